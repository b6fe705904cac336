"""What a frozen factor costs: how much of a wanted update B A can reach with one factor frozen, and with both free.

The wanted update E is a (d_out, d_in) matrix, such as what full fine-tuning changed in a layer. Sizes are energies,
||.||_F^2, so that shares of ||E||_F^2 add up. Nothing here speaks of the loss: another update may serve as well as E.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk

from lorabound.arguments import Array, number, real
from lorabound.errors import InputError
from lorabound.notation import Number

# Entries of the update that are in float64 at one time.
_BLOCK = 2**22


@dataclass(frozen=True, kw_only=True)
class PriceOfFreezing:
    """How much of an update E is out of reach at rank r: least ||E - B A||_F^2 under several rules.

    Attributes:
        energy: ||E||_F^2.
        rank: r, one or several.
        free: least error with both factors free, sum_{i > r} sigma_i(E)^2.
        frozen_a: mean least error with a random A frozen, (1 - r/d_in) ||E||_F^2.
        frozen_b: mean least error with a random B frozen, (1 - r/d_out) ||E||_F^2.
        frozen_both: mean least error of B M A with random A and B frozen and M free, (1 - r^2/(d_out d_in)) ||E||_F^2.
        realized: least error with the very factors that were given frozen; None where none was given.
        directions: sigma_i(E)^2, largest first.
    """

    energy: float
    rank: Number
    free: Number
    frozen_a: Number
    frozen_b: Number
    frozen_both: Number
    realized: float | None
    directions: Array

    def rank_for(self, share: float) -> int:
        """The least rank at which free factors reach this share of ||E||_F^2; 0 where E is zero.

        Raises:
            InputError: a share that is not in (0, 1).
        """
        wanted = real("rank_for", "share", share, 0.0, 1.0, open_low=True, open_high=True) * self.directions.sum()
        return int(np.searchsorted(np.cumsum(self.directions), wanted)) + 1 if wanted > 0 else 0


def price_of_freezing(
    update: ArrayLike, rank: ArrayLike | None = None, *, a: ArrayLike | None = None, b: ArrayLike | None = None
) -> PriceOfFreezing:
    """The least error ||E - B A||_F^2 at rank r: both factors free, one drawn at random and frozen, these ones frozen.

        both free        sum_{i > r} sigma_i(E)^2
        A frozen         min_B ||E - B A||_F^2 = ||E (I - A^+ A)||_F^2
        B frozen         min_A ||E - B A||_F^2 = ||(I - B B^+) E||_F^2
        A and B frozen   min_M ||E - B M A||_F^2 = ||E||_F^2 - ||B B^+ E A^+ A||_F^2

    with the means (1 - r/d_in), (1 - r/d_out) and (1 - r^2/(d_out d_in)) times ||E||_F^2 over random factors.
    The scale s of an adapter changes none of them, as the trained factor makes up for it. The means are over factors
    that are independent of E (and of one another), of rank r with probability 1, with independent entries of one
    symmetric law, such as N(0, nu^2) or the uniform law on [-c, c].

    Args:
        update: E, (d_out, d_in).
        rank: r, integers >= 0, one or several; None takes that of the factor given. Where r is
            larger than a side of E, that side counts.
        a: A (r, d_in) that is frozen; for ``realized``.
        b: B (d_out, r) that is frozen; for ``realized``. Any rows or columns of a frozen factor may depend on others.
    Returns:
        Errors as energies. The squared singular values are those of the smaller Gram matrix in float64: off by about
        1e-12 ||E||_F^2 at most, which is all that shares of energy ask for.
    Raises:
        InputError: shapes that do not fit, values that are not finite, neither a rank nor a factor.
    Source: Eckart & Young 1936 (both free). The projections are least squares. The means are ours: with S a diagonal
        of random signs, A S has the law of A, so the entries of E[A^+ A] beside the diagonal are 0; those on it are
        equal, as columns are exchangeable, and add up to the rank r.

    >>> import numpy as np
    >>> price = price_of_freezing(np.diag([3.0, 2.0, 1.0]), 1)
    >>> price.energy, round(price.free, 12), round(price.frozen_a, 12), price.rank_for(0.9)
    (14.0, 5.0, 9.333333333333, 2)
    """
    name = "price_of_freezing"
    e = _matrix(name, "update", update)
    d_out, d_in = e.shape
    right = None if a is None else _rows_of(name, "a", a, d_in)
    left = None if b is None else _rows_of(name, "b", np.asarray(b).T, d_out)
    if rank is None and right is None and left is None:
        raise InputError(f"{name}: give a rank, or the factor that is frozen")
    given = rank if rank is not None else next(f.shape[0] for f in (right, left) if f is not None)
    r = real(name, "rank", given, 0.0, open_high=True, whole=True)
    r_out, r_in = np.minimum(r, d_out), np.minimum(r, d_in)
    energy = squared_norm(e)
    directions = squared_singular_values(e) if energy else np.zeros(min(e.shape))
    tails = np.append(np.cumsum(directions[::-1])[::-1], 0.0)
    return PriceOfFreezing(
        energy=energy,
        rank=number(r),
        free=number(tails[np.minimum(r, directions.size).astype(int)]),
        frozen_a=number((1 - r_in / d_in) * energy),
        frozen_b=number((1 - r_out / d_out) * energy),
        frozen_both=number((1 - r_out * r_in / (d_out * d_in)) * energy),
        realized=None if right is None and left is None else _out_of_reach(e, right, left),
        directions=directions,
    )


def squared_norm(matrix: NDArray[np.floating[Any]]) -> float:
    """||.||_F^2, summed in float64."""
    return float(sum(np.vdot(rows, rows) for _, rows in _blocks(matrix)))


def squared_singular_values(matrix: NDArray[np.floating[Any]]) -> Array:
    """sigma_i^2, largest first: the eigenvalues of M M^T or M^T M, whichever is smaller, in float64.

    A block of M is in float64 at one time, beside the Gram matrix. Rounding errors are some eps sigma_1^2 for each of
    them, so sums are right to about 1e-12 of ||M||_F^2, and single small ones are not (see
    :func:`lorabound.adapters.product_spectrum`, which keeps them).
    """
    m = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    gram = np.zeros((m.shape[1], m.shape[1]), order="F")
    for _, rows in _blocks(m):
        gram = dsyrk(1.0, rows, beta=1.0, c=gram, trans=1, overwrite_c=1)
    found = scipy.linalg.eigh(gram, lower=False, eigvals_only=True, overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(np.maximum(found[::-1], 0.0))


def _out_of_reach(e: NDArray[np.floating[Any]], a: Array | None, b: Array | None) -> float:
    """||E - P_B E P_A||_F^2 with the projections on the rows of ``a`` and of ``b``, or on everything without one."""
    right, left = (None if rows is None else _basis(rows) for rows in (a, b))
    if left is None:
        assert right is not None
        return float(sum(np.sum((rows - (rows @ right) @ right.T) ** 2) for _, rows in _blocks(e)))
    inside = np.zeros((left.shape[1], e.shape[1]))
    for start, rows in _blocks(e):
        inside += left[start : start + len(rows)].T @ rows
    inside = inside if right is None else (inside @ right) @ right.T
    return float(sum(np.sum((rows - left[start : start + len(rows)] @ inside) ** 2) for start, rows in _blocks(e)))


def _basis(rows: Array) -> Array:
    """Orthonormal columns that span the rows; directions below rounding are none."""
    _, sigma, directions = np.linalg.svd(rows, full_matrices=False)
    return np.ascontiguousarray(directions[sigma > max(rows.shape) * np.finfo(np.float64).eps * sigma[0]].T)


def _blocks(matrix: NDArray[np.floating[Any]]) -> Iterator[tuple[int, Array]]:
    """(number of the first row, rows in float64), some rows at a time."""
    step = max(1, _BLOCK // matrix.shape[1])
    for start in range(0, matrix.shape[0], step):
        yield start, np.asarray(matrix[start : start + step], dtype=np.float64)


def _matrix(function: str, name: str, value: ArrayLike) -> NDArray[np.floating[Any]]:
    """A matrix as it stands, in its own number format."""
    matrix = np.asarray(value)
    if matrix.ndim != 2 or matrix.size == 0:
        raise InputError(f"{function}: {name} must be a matrix with rows and columns, got shape {matrix.shape}")
    if not np.issubdtype(matrix.dtype, np.floating):
        matrix = real(function, name, matrix, -np.inf, np.inf, open_low=True, open_high=True)
    if not np.isfinite(matrix).all():
        raise InputError(f"{function}: {name} holds values that are not finite")
    return matrix


def _rows_of(function: str, name: str, value: ArrayLike, width: int) -> Array:
    """A frozen factor as (r, width) in float64."""
    rows = _matrix(function, name, value).astype(np.float64)
    if rows.shape[1] != width:
        shape = rows.shape if name == "a" else rows.shape[::-1]
        side = "columns" if name == "a" else "rows"
        raise InputError(f"{function}: {name} must have as many {side} as the update, {width}, got shape {shape}")
    return rows
