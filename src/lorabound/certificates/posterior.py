"""A Gaussian over the entries of an adapter: its distance from a prior, and the file it is kept in. No torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lorabound.adapters.adapter import Adapter, Array
from lorabound.bounds.pac_bayes import gaussian_kl
from lorabound.errors import AdapterError

# lambda_j = 2^(8 - j), j = 0 .. 31: variances of a prior, fixed before any data. The prior is their even mixture, so
# that KL(Q || prior) <= KL(Q || N(start, lambda_j I)) + ln 32 for every j, and j may be chosen on the data.
PRIOR_VARIANCES = tuple(2.0 ** (8 - j) for j in range(32))
GRID_NATS = math.log(len(PRIOR_VARIANCES))

Entries = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """N(mean, diag variance) over some entries of an adapter; the others are as in ``frame``.

    Attributes:
        frame: adapter that says scales, shapes and the entries that are not random.
        mean: name of an entry -> mean of its normal law.
        variance: name of an entry -> variance, > 0, of the same shape.
    """

    frame: Adapter
    mean: Entries
    variance: Entries

    @property
    def n_params(self) -> int:
        """Number of random entries."""
        return sum(value.size for value in self.mean.values())

    def around(self, mean: Entries, variance: Entries) -> Posterior:
        """The same entries with other laws."""
        return replace(self, mean=mean, variance=variance)

    def kl(self, prior_mean: Entries, prior_variance: Entries | float) -> float:
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


def frame_of(adapter: Adapter, start: Adapter) -> Adapter:
    """The adapter before training, with a head of zeros where it trains one that the checkpoint does not have."""
    if adapter.head is None or start.head is not None:
        return start
    head = replace(adapter.head, weight=np.zeros_like(adapter.head.weight), bias=np.zeros_like(adapter.head.bias))
    return replace(start, head=head)


def pack(groups: Mapping[str, Entries]) -> bytes:
    """Groups of entries (means, variances) as one safetensors file."""
    content: bytes = save(
        {f"{group}:{name}": np.ascontiguousarray(v) for group, e in groups.items() for name, v in e.items()}
    )
    return content


def unpack(content: bytes, groups: Sequence[str], wanted: Entries, sha256: str, name: str) -> dict[str, Entries]:
    """What :func:`pack` wrote; a group whose name starts with "variance" holds variances.

    Args:
        content: the file.
        groups: names of the groups.
        wanted: entries of each group, by name and shape.
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
    except (SafetensorError, ValueError, KeyError) as error:
        raise AdapterError(f"{name} cannot be read ({error}): {remedy}") from None
    shapes = {
        f"{group}:{key}": (value.shape, np.dtype(np.float32)) for group in groups for key, value in wanted.items()
    }
    if {key: (value.shape, value.dtype) for key, value in tensors.items()} != shapes:
        raise AdapterError(f"{name} does not hold the entries of this adapter: {remedy}")
    for key, value in tensors.items():
        if not np.isfinite(value).all() or (key.startswith("variance") and (value <= 0).any()):
            raise AdapterError(f"{name} holds a mean that is no number or a variance that is not above 0: {remedy}")
    return {group: {key: tensors[f"{group}:{key}"] for key in wanted} for group in groups}


def nearest_variance(posterior: Posterior, prior_mean: Entries) -> float:
    """The prior variance of the grid with the least KL."""
    return min(PRIOR_VARIANCES, key=lambda variance: posterior.kl(prior_mean, variance))
