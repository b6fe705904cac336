"""Certificates: how bad a trained adapter can be on new data, each number with all that is needed to compute it again.

Files that train or measure import torch and are imported by their own names; the others do not.
"""

from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fresh import Checked, FreshCheck, check_errors
from lorabound.certificates.predictions import check_predictions

__all__ = ["Certificate", "Checked", "FreshCheck", "Statement", "check_errors", "check_predictions"]
