"""Certificates: how bad a trained adapter can be on new data, each number with everything needed to compute it again.

One file per method; each certifies a :class:`Subject` and computes its own statement again from what it left.
"""

from lorabound.certificates.certificate import Statement

__all__ = ["Statement"]
