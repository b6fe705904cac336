"""A Gaussian over the entries of an adapter: its distance from a prior, and the file it is kept in. No torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lorabound.adapters.adapter import Adapter, Array, Head
from lorabound.bounds.pac_bayes import gaussian_kl
from lorabound.errors import AdapterError
from lorabound.modes import PEFT_NAMES, Factor

# lambda_j = 2^(8 - j), j = 0 .. 31: variances of a prior, fixed before any data. The prior is their even mixture, so that
# KL(Q || prior) <= KL(Q || N(start, lambda_j I)) + ln 32 for every j, and j may be chosen on the data.
PRIOR_VARIANCES = tuple(2.0 ** (8 - j) for j in range(32))
GRID_NATS = math.log(len(PRIOR_VARIANCES))

_MEAN, _VARIANCE = "mean.", "variance."


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """N(mean, diag variance) over some entries of an adapter; the others are as in ``frame``.

    Attributes:
        frame: adapter that says scales, shapes and the entries that are not random.
        mean: name of an entry -> mean of its normal law.
        variance: name of an entry -> variance, > 0, of the same shape.
    """

    frame: Adapter
    mean: Mapping[str, Array]
    variance: Mapping[str, Array]

    @property
    def n_params(self) -> int:
        """Number of random entries."""
        return sum(value.size for value in self.mean.values())

    def around(self, mean: Mapping[str, Array], variance: Mapping[str, Array]) -> Posterior:
        """The same entries with other laws."""
        return replace(self, mean=mean, variance=variance)

    def kl(self, prior_mean: Mapping[str, Array], prior_variance: Mapping[str, Array] | float) -> float:
        """KL(Q || N(prior_mean, diag prior_variance)) in nats; a number stands for lambda I."""
        return sum(
            gaussian_kl(
                self.mean[name].astype(np.float64),
                prior_mean[name].astype(np.float64),
                self.variance[name].astype(np.float64),
                prior_variance if isinstance(prior_variance, float) else prior_variance[name].astype(np.float64),
            )
            for name in self.mean
        )

    def to_bytes(self) -> bytes:
        """Means and variances as a safetensors file."""
        means = {_MEAN + name: np.ascontiguousarray(value) for name, value in self.mean.items()}
        return save(means | {_VARIANCE + name: np.ascontiguousarray(v) for name, v in self.variance.items()})


def entries(adapter: Adapter, paid: Sequence[Factor]) -> dict[str, Array]:
    """The entries of an adapter that depend on the data, by the names that :mod:`lorabound.stack.drawn` gives them."""
    found = {
        f"{name}.{PEFT_NAMES[factor]}": getattr(factors, factor)
        for name, factors in adapter.layers.items()
        for factor in paid
    }
    return found | ({} if adapter.head is None else _head_entries(adapter.head))


def start_entries(adapter: Adapter, start: Adapter, paid: Sequence[Factor]) -> dict[str, Array]:
    """:func:`entries` of the adapter before training; 0 for a head that the checkpoint does not have."""
    found = entries(start, paid)
    return {name: found.get(name, np.zeros_like(value)) for name, value in entries(adapter, paid).items()}


def read_posterior(content: bytes, frame: Adapter, paid: Sequence[Factor], sha256: str, name: str) -> Posterior:
    """The posterior of a file that was written for this adapter.

    Args:
        content: the file.
        frame: adapter with the entries that are not random.
        paid: factors that are random.
        sha256: what the certificate records of the file.
        name: name of the file in messages.
    Raises:
        AdapterError: another file than the recorded one, other entries, or a value that no normal law has.
    """
    remedy = "take the file that was written with the certificate, or make the certificate again"
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise AdapterError(
            f"{name} is not the file of this certificate (SHA-256 {found[:12]}... against {sha256[:12]}...): {remedy}"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise AdapterError(f"{name} cannot be read ({error}): {remedy}") from None
    wanted = entries(frame, paid)
    shapes = {kind + key: value.shape for key, value in wanted.items() for kind in (_MEAN, _VARIANCE)}
    if {key: value.shape for key, value in tensors.items()} != shapes:
        raise AdapterError(f"{name} does not hold the entries of this adapter: {remedy}")
    mean = {key: tensors[_MEAN + key] for key in wanted}
    variance = {key: tensors[_VARIANCE + key] for key in wanted}
    if not all(np.isfinite(value).all() for value in tensors.values()) or any((v <= 0).any() for v in variance.values()):
        raise AdapterError(f"{name} holds a mean that is no number or a variance that is not above 0: {remedy}")
    return Posterior(frame=frame, mean=mean, variance=variance)


def _head_entries(head: Head) -> dict[str, Array]:
    return {f"{head.name}.weight": head.weight, f"{head.name}.bias": head.bias}
