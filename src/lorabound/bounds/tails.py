"""Exact tails of the binomial and of its Chernoff bound, inverted: what every risk bound ends in.

Both give the safe end: rounding may make them too large by what their code says, never too small.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lorabound.arguments import Array, number, real
from lorabound.errors import InputError
from lorabound.notation import Number

# Down to this log delta the beta quantile of scipy serves; below it the tail is inverted in log space.
_BETA_QUANTILE_ABOVE = math.log(0.05)
# Up to here the inversion was held against exact sums. Beyond it, ``kl_inverse`` gives a limit for any n.
LARGEST_COUNT = 1e9


def kl_bernoulli(p: ArrayLike, x: ArrayLike) -> Number:
    """kl(p || x) = p ln(p/x) + (1-p) ln((1-p)/(1-x)) in nats, with 0 ln 0 = 0; p, x in [0, 1].

    Raises:
        InputError: an argument outside [0, 1].
    Source: Kullback & Leibler 1951.
    """
    p, x = real("kl_bernoulli", "p", p, 0.0, 1.0), real("kl_bernoulli", "x", x, 0.0, 1.0)
    return number(special.rel_entr(p, x) + special.rel_entr(1.0 - p, 1.0 - x))


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
    p, c = np.broadcast_arrays(real("kl_inverse", "p", p, 0.0, 1.0), real("kl_inverse", "budget", budget, 0.0, np.inf))
    q = 1.0 - p
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        far = -np.expm1(-(c + special.entr(p) + special.entr(q)) / q) - p
        d = np.minimum.reduce([np.sqrt(c / 2), np.sqrt(2 * p) * np.sqrt(c) + 2 * c, np.where(far >= 0, far, q)])
        inside = (p > 0) & (q > 0) & (d > 0) & (d < q) & np.isfinite(d)
        for _ in range(64):
            x, y = p + d, q - d
            excess = special.xlog1py(-p, d / p) + special.xlog1py(-q, -d / q) - c
            step = np.where(inside & (excess > 0) & (y > 0), excess * x * y / d, 0.0)
            d = d - np.where(step < d, step, 0.5 * d)
            # Stopping early is safe; what is left to gain is below rounding.
            if not np.any(step > 1e-15 * x):
                break
    # Rounding of ``excess`` shifts d by a few units of p q eps: 4 eps x covers it.
    x = np.minimum((p + d) * (1 + 1e-15), 1.0)
    x = np.where(inside, x, np.where(d >= q, 1.0, p + np.maximum(d, 0.0)))
    at_zero = np.minimum(np.nextafter(-np.expm1(-c), 2.0), 1.0)
    return number(np.where(c == 0, p, np.where(p == 0, at_zero, np.where(p == 1, 1.0, x))))


def binomial_upper(
    k: ArrayLike, n: ArrayLike, delta: ArrayLike | None = None, *, log_delta: ArrayLike | None = None
) -> Number:
    """Exact one-sided upper confidence limit for a binomial proportion (Clopper-Pearson).

    The largest R with P(Bin(n, R) <= k) >= delta: 1 when k = n, 1 - delta^(1/n) when k = 0, otherwise
    the upper delta-quantile of Beta(k+1, n-k). Below delta = 0.05 by Newton's method on ln P, which is
    concave
    in R: started at Chernoff's limit, right of the root, it stays there.

    Args:
        k: errors, integers 0 <= k <= n; scalar or array.
        n: examples, integers from 1 to 10^9; scalar or array. For more, kl_inverse(k/n, -log_delta/n) is a limit too.
        delta: failure probability in (0, 1). Give either this or
        log_delta: its natural logarithm, down to -1e6 and beyond, for codes of thousands of bits.
    Raises:
        InputError: an argument outside its range, or not exactly one of delta and log_delta.
    Source: Clopper & Pearson 1934; Langford 2005, Theorem 3.3.
    """
    name = "binomial_upper"
    n = real(name, "n", n, 1.0, LARGEST_COUNT, whole=True)
    k = real(name, "k", k, 0.0, whole=True)
    if np.any(k > n):
        raise InputError(f"{name}: k must be <= n, got k={k} and n={n}")
    if (delta is None) == (log_delta is None):
        raise InputError(f"{name}: give exactly one of delta and log_delta")
    if delta is not None:
        level = np.log(real(name, "delta", delta, 0.0, 1.0, open_low=True, open_high=True))
    else:
        assert log_delta is not None
        level = real(name, "log_delta", log_delta, -np.inf, 0.0, open_low=True, open_high=True)
    shape = np.broadcast_shapes(k.shape, n.shape, level.shape)
    k, n, level = (np.broadcast_to(a, shape).ravel() for a in (k, n, level))
    limit = np.ones(k.shape)
    none = k == 0
    limit[none] = -np.expm1(level[none] / n[none])
    inner = (k > 0) & (k < n)
    usual, deep = inner & (level > _BETA_QUANTILE_ABOVE), inner & (level <= _BETA_QUANTILE_ABOVE)
    limit[usual] = special.betainccinv(k[usual] + 1, n[usual] - k[usual], np.exp(level[usual]))
    limit[deep] = _deep_limit(k[deep], n[deep], level[deep])
    # Covers the errors seen against 50 digits. scipy's quantile: 3e-11 relative for small n, growing like n to 2e-7
    # at 10^9. Ours: 6e-13 relative, and 1e-16 absolute, which counts where R is tiny.
    slack = np.where(usual, 2e-10 * np.maximum(1.0, n / 2e5), np.where(deep, 1e-11, 0.0))
    limit = limit * (1 + slack * (1 - limit) + 4e-16) + np.where(inner, 4e-16, 0.0)
    # Chernoff's limit is one too, and now and then scipy's quantile is far off to the right.
    limit[usual] = np.minimum(limit[usual], kl_inverse(k[usual] / n[usual], -level[usual] / n[usual]))
    return number(np.minimum(limit, 1.0).reshape(shape))


def stirling_error(n: ArrayLike) -> Array:
    """ln n! - ( n ln n - n + ln(2 pi n)/2 ), n >= 1; absolute error below 1e-15 from n = 16, 5e-14 before."""
    n = np.asarray(n, dtype=np.float64)
    x = np.maximum(n, 16.0)
    series = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / 1188 / x**2) / x**2) / x**2) / x**2) / x
    few = np.minimum(n, 16.0)
    direct = special.gammaln(few + 1) - (few + 0.5) * np.log(few) + few - 0.5 * np.log(2 * np.pi)
    error: Array = np.where(n < 16, direct, series)
    return error


def _deep_limit(k: Array, n: Array, level: Array) -> Array:
    """R with ln P(Bin(n, R) <= k) = level, for 0 < k < n, from the right."""
    p = k / n
    d = np.asarray(kl_inverse(p, -level / n)) - p
    # When R rounds to 1 the limit is 1: nothing below it can be told apart.
    d = np.minimum(d, (1 - p) * (1 - 1e-16))
    moving = np.arange(d.size)
    for _ in range(60):
        log_tail, slope = _log_binomial_tail(k[moving], n[moving], d[moving])
        step = np.maximum((level[moving] - log_tail) / slope, 0.0)
        step = np.where(np.isfinite(step), np.minimum(step, 0.5 * d[moving]), 0.0)
        d[moving] -= step
        moving = moving[step > 1e-14 * d[moving]]
        if not moving.size:
            break
    return p + d


def _log_binomial_tail(k: Array, n: Array, d: Array) -> tuple[Array, Array]:
    """(ln P(Bin(n, R) <= k), -d/dR of it) at R = k/n + d, 0 < k < n, 0 < d < 1 - k/n.

    P = pmf(k) * f with f the continued fraction of the incomplete beta function (DLMF 8.17.22, a = n - k,
    b = k + 1, modified Lentz), which converges for R > k/n; ln pmf = -n kl(k/n || R) + Stirling errors
    (Loader 2000), so nothing cancels and nothing underflows. The slope is (n - k)/((1 - R) f').
    """
    p = k / n
    q = 1 - p
    y = np.maximum(q - d, np.finfo(float).tiny)
    divergence = special.xlog1py(-p, d / p) + special.xlog1py(-q, np.maximum(-d / q, -1 + 1e-16))
    log_pmf = (
        -n * divergence
        + stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - 0.5 * np.log(2 * np.pi * k * q)
    )
    a, b = n - k, k + 1
    c = np.ones_like(d)
    e = fraction = 1 / (1 - (a + b) * y / (a + 1))
    for m in range(1, 400):
        for coefficient in (
            m * (b - m) * y / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * y / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            e = 1 / (1 + coefficient * e)
            c = 1 + coefficient / c
            fraction = fraction * c * e
        if np.all(np.abs(c * e - 1) < 1e-15):
            break
    # I_y(a, b) = y^a (1-y)^b / (a B(a, b)) * fraction = pmf(k) (p + d) * fraction.
    tail = (p + d) * fraction
    return log_pmf + np.log(tail), (n - k) / (y * tail)
