"""Singular directions of the frozen weights: factors that depend on the model and never on the data.

With W = U S V' (d_out x d_in, singular values from the largest on), A = V_r' reads the r directions of the input that W
lengthens the most, and B = U_r writes those of the output. Of several weights of one d_out, U_r are the left singular
vectors of [W_1 .. W_L] side by side: the eigenvectors of sum_t W_t W_t'.

Both are computed as eigenvectors of a d x d matrix in float64, one weight after the other, and so are orthonormal
whatever the weights. Each has a positive entry where it is largest, as eigenvectors have no sign.
Source: LoRA-XS (Balazy et al. 2024), which has B = U_r S_r; CoRA (Xiao et al. 2024) for [W_1 .. W_L].
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from scipy.linalg import eigh


class SingularDirections:
    """Singular directions of the weights of a model, each computed once; several threads may ask.

    Args:
        weight: function that gives the weight (d_out, d_in) of a layer by the layer's name.
    """

    def __init__(self, weight: Callable[[str], NDArray[np.floating[Any]]]) -> None:
        self._weight = weight
        self._found: dict[tuple[str, ...], NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def right(self, name: str, rank: int) -> Float32[np.ndarray, "rank d_in"]:
        """V_r' of one layer."""
        return self._rows(("right", name), [name], rank)

    def left(self, names: Sequence[str], rank: int) -> Float32[np.ndarray, "rank d_out"]:
        """U_r' of layers of one d_out together."""
        return self._rows(("left", *sorted(names)), sorted(names), rank)

    def _rows(self, key: tuple[str, ...], names: Sequence[str], rank: int) -> NDArray[np.float32]:
        with self._lock:
            found = self._found.get(key)
            if found is None or len(found) < rank:
                found = self._found[key] = _leading(sum(self._gram(key[0], name) for name in names), rank)
        return found[:rank]

    def _gram(self, side: str, name: str) -> Any:
        weight = self._weight(name).astype(np.float64)
        return weight.T @ weight if side == "right" else weight @ weight.T


def _leading(gram: NDArray[np.float64], rank: int) -> NDArray[np.float32]:
    """Eigenvectors of the largest eigenvalues as rows, largest first."""
    size = len(gram)
    _, vectors = eigh(gram, subset_by_index=(size - rank, size - 1))
    rows = vectors.T[::-1]
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    return np.ascontiguousarray(rows * np.sign(largest), dtype=np.float32)
