"""How small the uniform gap cannot be: Theorem 2 with exact constants, for every rank (5.2-5.4 are ours)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lorabound.arguments import Array, choice, number, real, samples
from lorabound.arguments import probability as failure
from lorabound.errors import InputError
from lorabound.notation import Bound, Number

_REACH = (
    "examples are independent and identically distributed",
    "the frozen factor does not depend on the sample",
)


def lower_bound(n_samples: ArrayLike, probability: float = 0.5, admissible: float = 1.0) -> Bound:
    """G >= c_p(N)/sqrt(N) with probability >= admissible * p: the largest c the exact binomial allows.

    X is a fair coin in {0, 1}, the label 0, the loss min(1, |yhat - y|), and the adapted network can
    compute f(x) = x. Then R - Rhat = 1/2 - mean(X_n), and c_p is the largest c with P(|mean - 1/2| >=
    c/sqrt(N)) >= p; it tends to Phi^{-1}(1 - p/2)/2. The binomial is discrete: the probability attained
    (``terms``) is at least p.

    Args:
        n_samples: N, integers >= 1; scalar or array.
        probability: p, in (0, 1].
        admissible: probability that the ball holds the construction, see :func:`admissibility`; in [0, 1].
    Returns:
        A lower bound on the two-sided gap, ``delta`` = 1 - admissible * p.
    Raises:
        InputError: an argument outside its range.
    Source: Kratsios et al. 2025, Theorem 2 and Example 1; the exact binomial instead of a
        Littlewood-Offord constant is ours. The coin and A are independent, so the probabilities multiply.
    """
    n = real("lower_bound", "n_samples", samples("lower_bound", n_samples), 1.0, 2.0**53, whole=True)
    level = float(real("lower_bound", "probability", probability, 0.0, 1.0, open_low=True))
    reach = float(real("lower_bound", "admissible", admissible, 0.0, 1.0))
    k = _coin_quantile(n, level / 2)
    distance = n / 2 - k
    attained = np.where(distance <= 0.5, 1.0, np.minimum(2 * _coin_cdf(k, n), 1.0))
    return Bound(
        value=number(distance / n),
        kind="gap",
        delta=1 - reach * level,
        n_samples=number(n),
        terms={"c": number(distance / np.sqrt(n)), "attained_probability": number(attained)},
        combine="c / sqrt(N)",
        theorem="Kratsios et al. 2025, Theorem 2, with the exact binomial quantile (ours)",
        predictor="the worst member of the class",
        scope="uniform",
        assumptions=(
            *_REACH,
            "the gap is |R - Rhat|, the task the fair coin of Example 1, the loss min(1, |yhat - y|)",
            "the ball holds a factor with which the network computes f(x) = x (see admissibility)",
        ),
        direction="lower",
        inputs={"probability": level, "admissible": reach, "sides": 2},
    )


def admissibility(
    rank: ArrayLike,
    shift_norms: Sequence[ArrayLike],
    radius: ArrayLike,
    std: float = 1.0,
    scale: float = 1.0,
    construction: Literal["rank_one", "full"] = "rank_one",
    input_widths: Sequence[int] | None = None,
) -> Number:
    """Probability over Gaussian factors that every ||B_t|| <= M in the construction that computes f(x) = x.

    ``rank_one`` (5.2, any r >= 1): B_t = (1/s)(e_1 - W_t e_1) a_t^T/||a_t||^2 with a_t = A_t e_1, rank
    one, so ||B_t||_op = ||B_t||_F = ||e_1 - W_t e_1||/(|s| ||a_t||). Exactly prod_t P(chi_r >= w_t/(|s| nu
    M)), w_t = ||e_1 - W_t e_1||.
    ``full`` (5.1, r >= d_{t-1}): B_t = (1/s)(I - W_t) A_t^+. At least prod_t (1 - exp(-u_t^2/2)), u_t =
    sqrt(r) - sqrt(d_{t-1}) - w_t/(|s| nu M), w_t = ||I - W_t||, operator or Frobenius as the ball is; 0
    where some u_t <= 0.

    Args:
        rank: r, integers >= 1; scalar or array.
        shift_norms: w_t, one per layer, >= 0.
        radius: M >= 0, the same for every layer; scalar or array.
        std: nu > 0.
        scale: s, not 0.
        construction: "rank_one" or "full".
        input_widths: d_{t-1}, one per layer, for "full" only.
    Raises:
        InputError: an argument outside its range.
    Source: ``full`` Kratsios et al. 2025, eqs. 25-38 (a union bound over layers; the product is ours: the
        A_t are independent). ``rank_one`` ours: U_t e_1 = W_t e_1 + (e_1 - W_t e_1) a^T a/||a||^2 = e_1,
        and ||a_t||/nu is chi with r degrees of freedom. No width condition is needed, as the signal is
        one-dimensional.
    """
    name = "admissibility"
    choice(name, "construction", construction, ("rank_one", "full"))
    r, m = (
        real(name, "rank", rank, 1, open_high=True, whole=True),
        real(name, "radius", radius, open_high=True),
    )
    reach = m * float(real(name, "std", std, open_low=True, open_high=True)) * abs(float(scale))
    if not 0 < abs(float(scale)) < np.inf:
        raise InputError(f"{name}: scale must be finite and not 0, got {scale}")
    shifts = [real(name, "shift_norms", shift, open_high=True) for shift in shift_norms]
    if not shifts:
        raise InputError(f"{name}: shift_norms must have one entry per layer, got none")
    if (construction == "full") != (input_widths is not None):
        raise InputError(f"{name}: input_widths belongs to construction 'full', and to it alone")
    widths = input_widths if input_widths is not None else [1] * len(shifts)  # unused by rank_one
    if len(widths) != len(shifts):
        raise InputError(f"{name}: input_widths must have one entry per layer, {len(shifts)}, got {len(widths)}")
    chance = np.ones(np.broadcast_shapes(r.shape, m.shape))
    for shift, width in zip(shifts, widths, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(shift == 0, 0.0, shift / reach)
        if construction == "rank_one":
            chance = chance * special.gammaincc(r / 2, needed**2 / 2)
        else:
            u = np.sqrt(r) - np.sqrt(real(name, "input_widths", width, 1, whole=True)) - needed
            chance = chance * np.where(u > 0, -np.expm1(-(np.maximum(u, 0.0) ** 2) / 2), 0.0)
    return number(chance)


def rank_lower_bound(n_samples: ArrayLike, cells: ArrayLike, delta: float | None = None) -> Bound:
    """G >= (1/N) sum_i |S_i - n_i/2| ~ sqrt(m/(2 pi N)): its exact mean, or its limit at delta.

    One layer, inputs uniform on e_1 .. e_m, m <= min(r, d_0), labels fair coins, loss |yhat - y|. B =
    (1/s)(c - w) A_{1:m}^+ outputs any c in {0, 1}^m; the majority label of every cell leaves R = 1/2 and
    Rhat = 1/2 - (the sum). With D outputs, where the label names an output coordinate and a coin for it,
    there are m D cells.

        E = (m/(2N)) E|D_1|,  E|D_1| = (2/pi) integral_0^inf (1 - (1 - 2w^2/(m (1 + w^2)))^N) / (2 w^2) dw

    where D_1 sums N steps, each +1 or -1 with probability 1/(2m), else 0; m = 1 has the closed form k C(N,
    k) 2^-N, k = floor(N/2) + 1, for E|D_1|/2 (De Moivre 1730). With ``delta``: E - sqrt(ln(1/delta)/(2N)).

    Args:
        n_samples: N >= 1, integers up to 2^53; scalar or array.
        cells: m (scalar output) or m D, integers >= 1; broadcasts against N.
        delta: None for the bound on the mean of G; in (0, 1) for one that holds with probability >= 1 -
            delta.
    Raises:
        InputError: an argument outside its range.
    Source: ours. |k| = (1/(2 pi)) integral (1 - cos kt)/(1 - cos t) dt and w = tan(t/2) give the integral;
        with w = e^y the trapezoidal rule converges like exp(-pi^2/(2h)), 3e-18 at h = 1/8. One example
        moves the sum by at most 1/N (1/2 in the cell it leaves, 1/2 in the one it enters): McDiarmid 1989.
    """
    name = "rank_lower_bound"
    n = real(name, "n_samples", samples(name, n_samples), 1.0, 2.0**53, whole=True)
    m = real(name, "cells", cells, 1.0, 2.0**53, whole=True)
    mean = _mean_majority_excess(*np.broadcast_arrays(n, m))
    terms = {"mean": number(mean)}
    value = mean
    if delta is not None:
        fluctuation = np.sqrt(-np.log(failure(name, "delta", delta)) / (2 * n)) + np.zeros_like(mean)
        terms["minus_fluctuation"] = number(-fluctuation)
        value = mean - fluctuation
    return Bound(
        value=number(value),
        kind="gap",
        delta=delta,
        n_samples=number(n),
        terms=terms,
        combine=" + ".join(terms),
        theorem="ours: majority votes on m free cells",
        predictor="the worst member of the class",
        scope="expectation" if delta is None else "uniform",
        assumptions=(
            *_REACH,
            "one adapted layer, inputs uniform on m <= min(r, d_0) unit vectors",
            "labels fair coins, loss |yhat - y|",
            "the ball holds (1/s)(c - w) A_{1:m}^+ for every 0-1 vector c",
        ),
        direction="lower",
        inputs={"cells": number(m)},
    )


# C(2j, j) 4^-j sqrt(pi j) = 1 + c_0/j + c_1/j^2 + ...
_CENTRAL = [-1 / 8, 1 / 128, 5 / 1024, -21 / 32768, -399 / 262144, 869 / 4194304, 39325 / 33554432]


def _coin_cdf(k: Array, n: Array) -> Array:
    """P(Bin(n, 1/2) <= k)."""
    inside = special.betainc(np.maximum(n - k, 0.5), np.maximum(k + 1, 0.5), 0.5)
    cdf: Array = np.where(k < 0, 0.0, np.where(k >= n, 1.0, inside))
    return cdf


def _coin_quantile(n: Array, level: float) -> Array:
    """Smallest k with P(Bin(n, 1/2) <= k) >= level, level in (0, 1/2]: a normal guess, then exact steps."""
    k = np.clip(np.ceil(n / 2 + special.ndtri(level) * np.sqrt(n) / 2 - 0.5), 0, np.floor(n / 2))
    while np.any(short := _coin_cdf(k, n) < level):
        k = k + short
    while np.any(more := _coin_cdf(k - 1, n) >= level):
        k = k - more
    quantile: Array = np.minimum(k, np.floor(n / 2))
    return quantile


def _mean_majority_excess(n: Array, m: Array) -> Array:
    """E (1/N) sum_i |S_i - n_i/2|."""
    y = np.arange(-272, 273).reshape((-1,) + (1,) * n.ndim) / 8 + 0.5 * np.log(np.minimum(m / (2 * n), 1.0))
    w2 = np.exp(2 * y)
    with np.errstate(divide="ignore"):
        log_rest = n * np.log1p(-np.minimum(2 / np.maximum(m, 2) * (w2 / (1 + w2)), 1.0))
    integral = np.sum(-np.expm1(log_rest) * np.exp(-y), axis=0) / 8
    # The last factor covers what rounding and truncation may add: the bound errs downwards.
    return np.where(m == 1, _central(np.floor(n / 2)) / 2, m / (2 * np.pi * n) * integral) * (1 - 1e-13)


def _central(j: Array) -> Array:
    """C(2j, j) 4^-j; beyond j = 25 by its asymptotic series, whose next term is below 1e-15."""
    few, x = np.minimum(j, 25), 1 / np.maximum(j, 25)
    series = 1 + x * np.polynomial.polynomial.polyval(x, _CENTRAL)
    central: Array = np.where(j <= 25, special.binom(2 * few, few) * 4.0**-few, series * np.sqrt(x / np.pi))
    return central
