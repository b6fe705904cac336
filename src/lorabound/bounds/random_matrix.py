"""Norms and singular values of Gaussian factors: what holds before a frozen factor has been drawn.

Once it has been drawn, measure it: A does not depend on the sample, so every bound may use the norm it has.

Sources: Gordon 1992; Davidson & Szarek 2001, Theorem II.13; Vershynin 2010, Corollary 5.35.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, number, probability, real
from lorabound.errors import InputError
from lorabound.notation import Number


def operator_norm_radius(std: ArrayLike, rank: ArrayLike, d_in: ArrayLike, n_layers: ArrayLike, delta: float) -> Number:
    """nu ( sqrt(r) + sqrt(d_in) + sqrt(2 ln(L/delta)) ) >= every ||A_t||_op, with probability >= 1 - delta.

    Args:
        std: nu > 0, standard deviation of the independent N(0, nu^2) entries.
        rank, d_in: shape of A_t, (r, d_in); for layers of several widths the largest.
        n_layers: L, adapted layers the union bound covers.
        delta: failure probability over the draw of all A_t, in (0, 1).
    Raises:
        InputError: an argument outside its range.
    Source: P(s_max >= nu (sqrt(m) + sqrt(n) + u)) <= exp(-u^2/2) (Davidson & Szarek 2001, Theorem II.13).
    """
    return number(_positive("std", std) * (np.sqrt(_count("rank", rank)) + column_deviation(d_in, n_layers, delta)))


def column_norm_radius(std: ArrayLike, rank: ArrayLike, n_layers: ArrayLike, delta: float) -> Number:
    """nu ( sqrt(r) + sqrt(2 ln(L/delta)) ): no first column A_t e_1 is longer, with probability >= 1 - delta.

    Arguments and errors as in :func:`operator_norm_radius`.
    Source: the norm is 1-Lipschitz, Gaussian concentration (Vershynin 2010, Proposition 5.34).
    """
    return number(_positive("std", std) * column_deviation(rank, n_layers, delta))


def smallest_singular_value(
    std: ArrayLike, rows: ArrayLike, columns: ArrayLike, n_layers: ArrayLike, delta: float
) -> Number:
    """nu ( sqrt(m) - sqrt(n) - sqrt(2 ln(L/delta)) ): below every s_min, with probability >= 1 - delta.

    ``rows`` m >= ``columns`` n. A value <= 0 says nothing. Other arguments and errors as in
    :func:`operator_norm_radius`.
    Source: Davidson & Szarek 2001, Theorem II.13.
    """
    if np.any(_count("rows", rows) < _count("columns", columns)):
        raise InputError(f"smallest_singular_value: rows must be >= columns, got {rows!r} and {columns!r}")
    return number(_positive("std", std) * (np.sqrt(_count("rows", rows)) - column_deviation(columns, n_layers, delta)))


def column_deviation(size: ArrayLike, n_layers: ArrayLike, delta: float) -> Number:
    """sqrt(size) + sqrt(2 ln(L/delta)), the part the three limits share, in units of nu."""
    log_delta = np.log(probability("random_matrix", "delta", delta))
    deviation = np.sqrt(2 * (np.log(_count("n_layers", n_layers)) - log_delta))
    return number(np.sqrt(_count("size", size)) + deviation)


def _positive(name: str, value: ArrayLike) -> Array:
    return real("random_matrix", name, value, open_low=True, open_high=True)


def _count(name: str, value: ArrayLike) -> Array:
    return real("random_matrix", name, value, 1.0, open_high=True)
