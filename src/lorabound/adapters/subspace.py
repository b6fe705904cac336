"""One vector for a whole adapter: every entry of every factor B is a copy of one of its entries.

Definition (version 1). Q is the number of entries of all B's, layers in the order of their names, each B row by row.
Philox keyed by the first 16 bytes of SHA-256("lorabound/subspace/1", seed), joined by a NUL byte, gives 2 Q words of 64
bits. The ranks of the first Q words (ties by place) are a random permutation pi of 0 .. Q-1, the highest bits of the
others are signs sigma in {-1, 1}. With theta in R^p, p <= Q,

    entry k of the B's = sigma_k theta_j / sqrt(count_j),   j = pi(k) mod p,   count_j = number of k with that j.

Every count is Q/p, rounded down or up, so no entry of theta is idle, and the map is an isometry:
sum_t ||B_t||_F^2 = ||theta||^2.
Source: Uni-LoRA; intrinsic dimension (Li et al. 2018); Lotfi et al. 2022. The permutation is ours: an index drawn
uniformly would leave entries idle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from lorabound.modes import check_subspace


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Where the entries of one factor B (d_out, r) come from: B = weight * theta[index].

    Attributes:
        index: place in theta of each entry.
        weight: sign / sqrt(count) of each entry.
    """

    index: Int64[np.ndarray, "d_out r"]
    weight: Float32[np.ndarray, "d_out r"]

    def of(self, theta: Float32[np.ndarray, " p"]) -> Float32[np.ndarray, "d_out r"]:
        """B for a vector theta."""
        filled: Float32[np.ndarray, "d_out r"] = theta[self.index] * self.weight
        return filled


def copies_of(seed: int, size: int, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Copies]:
    """The map from theta (p,) to the factors B, by the name of the layer.

    Args:
        seed: seed of permutation and signs.
        size: p.
        shapes: module name -> shape (d_out, r) of B.
    Raises:
        InputError: p is below 1 or above the number of entries of all B's.
    """
    names = sorted(shapes)
    ends = np.cumsum([shapes[name][0] * shapes[name][1] for name in names])
    total = int(ends[-1])
    check_subspace(size, total)
    digest = hashlib.sha256(b"\0".join([b"lorabound/subspace/1", str(seed).encode()])).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "big")).random_raw(2 * total)
    permutation = np.empty(total, dtype=np.int64)
    permutation[np.argsort(words[:total], kind="stable")] = np.arange(total)
    index = permutation % size
    signs = 1.0 - 2.0 * (words[total:] >> np.uint64(63)).astype(np.float64)
    weight = (signs / np.sqrt(np.bincount(index, minlength=size))[index]).astype(np.float32)
    return {
        name: Copies(index=index[end - count : end].reshape(shape), weight=weight[end - count : end].reshape(shape))
        for name, end in zip(names, ends.tolist(), strict=True)
        for shape in [shapes[name]]
        for count in [shape[0] * shape[1]]
    }
