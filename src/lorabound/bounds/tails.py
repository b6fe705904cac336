"""Exact tails of the binomial and of its Chernoff bound, inverted: the two functions every risk bound ends in.

Both return the safe end of their last bracket: rounding may make them a few units in the last place too
large, never too small.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from lorabound.errors import InputError
from lorabound.notation import Number

# Below this delta the beta quantile is inverted in log space by a continued fraction (see _log_binomial_cdf).
_LOG_SPACE_BELOW = 1e-9


def kl_bernoulli(p: ArrayLike, x: ArrayLike) -> Number:
    """kl(p || x) = p ln(p/x) + (1-p) ln((1-p)/(1-x)) in nats, with 0 ln 0 = 0; p, x in [0, 1]."""
    p, x = np.asarray(p, dtype=np.float64), np.asarray(x, dtype=np.float64)
    return _plain_scalar(special.rel_entr(p, x) + special.rel_entr(1.0 - p, 1.0 - x))


def kl_inverse(p: ArrayLike, budget: ArrayLike) -> Number:
    """Largest x in [p, 1] with kl(p || x) <= budget.

    kl is the relative entropy of Bernoulli distributions in nats. Exact at p = 0 (1 - exp(-budget)),
    p = 1 (1) and budget = 0 (p). Elsewhere Newton's method on d = x - p, started right of the root:
    d -> kl(p || p + d) is convex and increasing, so every iterate stays right of the root, and what
    rounding may take away is added back at the end.

    Args:
        p: empirical risk, in [0, 1]; scalar or array.
        budget: nats, in [0, inf]; broadcasts against p.
    Raises:
        InputError: an argument outside its range.
    Source: Langford 2005; Maurer 2004. The start d <= min(sqrt(c/2), sqrt(2pc) + 2c) is Pinsker's
        inequality and its refinement; x <= 1 - exp(-(c + h(p))/(1 - p)), h the binary entropy, follows
        from dropping -p ln x >= 0.
    """
    p, c = np.broadcast_arrays(np.asarray(p, dtype=np.float64), np.asarray(budget, dtype=np.float64))
    if not np.all((p >= 0) & (p <= 1)):
        raise InputError(f"kl_inverse: p must lie in [0, 1], got {_offender(p, (p >= 0) & (p <= 1))}")
    if not np.all(c >= 0):
        raise InputError(f"kl_inverse: budget must be >= 0 nats, got {_offender(c, c >= 0)}")
    q = 1.0 - p
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        far = -np.expm1(-(c + special.entr(p) + special.entr(q)) / q) - p
        d = np.minimum.reduce([np.sqrt(c / 2), np.sqrt(2 * p * c) + 2 * c, np.where(far >= 0, far, q)])
        inside = (p > 0) & (q > 0) & (d > 0) & (d < q) & np.isfinite(d)
        for _ in range(64):
            x, y = p + d, q - d
            excess = special.xlog1py(-p, d / p) + special.xlog1py(-q, -d / q) - c
            step = np.where(inside & (excess > 0) & (y > 0), excess * x * y / d, 0.0)
            d = d - np.where(step < d, step, 0.5 * d)
            if not np.any(step > 1e-16 * d):
                break
    x = p + d * (1 + 1e-15)
    x = np.where(inside, np.minimum(np.nextafter(x, 2.0), 1.0), np.where(d >= q, 1.0, p + np.maximum(d, 0.0)))
    at_zero = np.minimum(np.nextafter(-np.expm1(-c), 2.0), 1.0)
    x = np.where(c == 0, p, np.where(p == 0, at_zero, np.where(p == 1, 1.0, x)))
    return _plain_scalar(x)


def binomial_upper(k: int, n: int, delta: float | None = None, *, log_delta: float | None = None) -> float:
    """Exact one-sided upper confidence limit for a binomial proportion (Clopper-Pearson).

    The largest R with P(Bin(n, R) <= k) >= delta: 1 when k = n, 1 - delta^(1/n) when k = 0, otherwise
    the upper delta-quantile of Beta(k+1, n-k).

    Args:
        k: errors, 0 <= k <= n.
        n: examples, >= 1.
        delta: failure probability in (0, 1). Give either this or
        log_delta: its natural logarithm, down to -1e6 and beyond, for codes of thousands of bits.
    Raises:
        InputError: an argument outside its range, or not exactly one of delta and log_delta.
    Source: Clopper & Pearson 1934; Langford 2005, Theorem 3.3.
    """
    if not (n >= 1 and 0 <= k <= n and k == int(k) and n == int(n)):
        raise InputError(f"binomial_upper: need integers 0 <= k <= n with n >= 1, got k={k}, n={n}")
    if (delta is None) == (log_delta is None):
        raise InputError("binomial_upper: give exactly one of delta and log_delta")
    if delta is not None and not 0 < delta < 1:
        raise InputError(f"binomial_upper: delta must lie in (0, 1), got {delta}")
    if log_delta is not None and not -math.inf < log_delta < 0:
        raise InputError(f"binomial_upper: log_delta must be finite and below 0, got {log_delta}")
    log_level = math.log(delta) if delta is not None else float(log_delta)  # type: ignore[arg-type]
    if k == n:
        return 1.0
    if k == 0:
        return min(1.0, math.nextafter(-math.expm1(log_level / n), 2.0))
    if log_level > math.log(_LOG_SPACE_BELOW):
        return min(1.0, float(stats.beta.isf(math.exp(log_level), k + 1, n - k)) * (1 + 4e-16))
    # Bisect y = ln(1 - R) between a value whose tail is above delta and one whose tail is below it.
    high = math.log1p(-k / n)
    low = high - 1.0
    while _log_binomial_cdf(k, n, low) > log_level:
        low = high + 2.0 * (low - high)
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if _log_binomial_cdf(k, n, middle) <= log_level else (low, middle)
    return min(1.0, -math.expm1(low))


def _log_binomial_cdf(k: int, n: int, log_survival: float) -> float:
    """ln P(Bin(n, R) <= k) for 0 < k < n and R = 1 - exp(log_survival) >= k/n, without underflow.

    P = I_x(a, b) with x = 1 - R, a = n - k, b = k + 1, by the continued fraction of the incomplete beta
    function (DLMF 8.17.22), evaluated by the modified Lentz method; it converges for x < (a+1)/(a+b+2).
    """
    a, b, x = n - k, k + 1, math.exp(log_survival)
    front = a * log_survival + b * math.log(-math.expm1(log_survival)) - math.log(a) - special.betaln(a, b)
    tiny = 1e-300
    fraction, c, d = 1.0, 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 100_000):
        for coefficient in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + coefficient * d
            c = 1.0 + coefficient / c
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return float(front + math.log(fraction))


def _plain_scalar(value: np.ndarray) -> Number:
    return float(value) if value.ndim == 0 else value


def _offender(values: np.ndarray, allowed: np.ndarray) -> float:
    return float(np.atleast_1d(values)[~np.atleast_1d(allowed)][0])
