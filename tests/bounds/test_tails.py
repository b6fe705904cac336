"""The two inversions every risk bound ends in: against 50 digits, on the safe side, at every extreme."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from lorabound.bounds import binomial_upper, kl_bernoulli, kl_inverse
from lorabound.bounds.tails import stirling_error
from lorabound.errors import InputError

mp.mp.dps = 50
CHECK = settings(max_examples=200, deadline=None, derandomize=True)


def exact_kl(p, x):
    p, x = mp.mpf(p), mp.mpf(x)
    first = p * mp.log(p / x) if p > 0 else 0
    return first + ((1 - p) * mp.log((1 - p) / (1 - x)) if p < 1 else 0)


def exact_log_cdf(k, n, r):
    """ln P(Bin(n, r) <= k), summed downwards from the term at k."""
    r = mp.mpf(r)
    term = mp.binomial(n, k) * r**k * (1 - r) ** (n - k)
    total, i = term, k
    while i > 0:
        term = term * i * (1 - r) / ((n - i + 1) * r)
        total, i = total + term, i - 1
        if term < total * mp.mpf(10) ** -45 and i < n * r:
            break
    return mp.log(total)


@CHECK
@given(
    p=st.one_of(
        st.floats(0.0, 1.0),
        st.floats(-300, 0).map(lambda e: 10.0**e),
        st.floats(-15, 0).map(lambda e: 1 - 10**e),
    ),
    c=st.floats(-18.0, 3.0).map(lambda e: 10.0**e),
)
def test_kl_inverse_is_the_upper_end_to_rounding(p, c):
    x = kl_inverse(p, c)
    assert p <= x <= 1
    if x == 1 or p == 1:
        return
    # Not below the root: kl at x reaches the budget.
    assert exact_kl(p, x) >= c
    # Not above it by more than rounding: a relative 4e-15 lower, kl no longer does. Seen: 2e-15.
    below = mp.mpf(x) * (1 - mp.mpf(4e-15))
    assert below <= p or exact_kl(p, below) <= c


@pytest.mark.parametrize(
    ("p", "c", "value"),
    [
        (0.0, 0.0, 0.0),
        (0.3, 0.0, 0.3),
        (1.0, 0.0, 1.0),
        (1.0, 5.0, 1.0),
        (0.0, math.inf, 1.0),
        (0.5, math.inf, 1.0),
        (0.5, 1e6, 1.0),
        (0.0, 1e6, 1.0),
    ],
)
def test_kl_inverse_is_exact_at_the_ends(p, c, value):
    assert kl_inverse(p, c) == value


@pytest.mark.parametrize("c", [1e-300, 1e-17, 1e-9, 1.0, 30.0])
def test_kl_inverse_at_no_errors(c):
    assert kl_inverse(0.0, c) == pytest.approx(float(-mp.expm1(-mp.mpf(c))), rel=1e-15)
    assert kl_inverse(0.0, c) >= -mp.expm1(-mp.mpf(c))


def test_kl_inverse_takes_arrays_and_gives_floats_for_numbers():
    table = kl_inverse([[0.0], [0.1], [1.0]], [0.0, 0.5])
    assert table.shape == (3, 2)
    assert table[1, 1] == kl_inverse(0.1, 0.5)
    assert type(kl_inverse(0.1, 0.5)) is float


@CHECK
@given(p=st.floats(0.0, 1.0), x=st.floats(1e-12, 1 - 1e-12))
def test_kl_bernoulli(p, x):
    # Cancellation near p = x costs the absolute 1e-15.
    assert kl_bernoulli(p, x) == pytest.approx(float(exact_kl(p, x)), rel=1e-9, abs=4e-15)


def test_kl_bernoulli_is_infinite_where_it_must_be():
    assert kl_bernoulli(0.5, 0.0) == math.inf
    assert kl_bernoulli(0.5, 1.0) == math.inf
    assert kl_bernoulli(0.0, 0.0) == 0.0


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    n=st.floats(0.7, 11.0).map(lambda e: int(math.exp(e))),
    share=st.floats(0.0, 1.0),
    nats=st.floats(-2.0, 5.0).map(lambda e: 10.0**e),
)
def test_binomial_upper_is_the_upper_end(n, share, nats):
    k = int(share * n)
    limit = binomial_upper(k, n, log_delta=-nats)
    if limit == 1:
        # Either all wrong, or the root is within rounding of 1.
        assert k == n or exact_log_cdf(k, n, 1 - mp.mpf(10) ** -15) >= -nats
        return
    tail = exact_log_cdf(k, n, limit)
    assert tail <= -nats
    # A relative 1e-9 lower the tail is above delta; seen: 1e-11.
    assert exact_log_cdf(k, n, mp.mpf(limit) * (1 - mp.mpf(10) ** -9)) >= -nats


@pytest.mark.parametrize("n", [10**6, 10**8, 10**9])
@pytest.mark.parametrize("share", [1e-3, 0.3, 0.999])
@pytest.mark.parametrize("nats", [0.01, 0.5, 3.0, 20.0, 700.0, 1e6])
def test_binomial_upper_is_below_chernoff_and_above_the_mean_at_any_size(n, share, nats):
    k = int(share * n)
    limit, chernoff = binomial_upper(k, n, log_delta=-nats), kl_inverse(k / n, nats / n)
    assert limit <= chernoff * (1 + 1e-12)
    if nats > 0.7:
        # By at most the gain of the tail over Chernoff: (ln(8 n) / 2) nats (Ash 1965, Lemma 4.7.2).
        assert limit >= kl_inverse(k / n, max(nats - 0.5 * math.log(8 * n), 0.0) / n) * (1 - 1e-12)


def test_binomial_upper_at_the_ends():
    assert binomial_upper(5, 5, 0.05) == 1.0
    assert binomial_upper(1, 1, log_delta=-1e6) == 1.0
    # k = 0: 1 - delta^(1/n).
    assert binomial_upper(0, 10, 0.05) == pytest.approx(1 - 0.05**0.1, rel=1e-15)
    assert binomial_upper(0, 10, log_delta=-1e-3) == pytest.approx(-math.expm1(-1e-4), rel=1e-15)
    assert binomial_upper(3, 10, log_delta=-1e6) == 1.0
    assert type(binomial_upper(3, 10, 0.05)) is float
    assert binomial_upper([1, 2], [[10], [20], [30]], 0.05).shape == (3, 2)


def test_binomial_upper_is_continuous_where_the_method_changes():
    below, above = (binomial_upper(37, 512, 0.05 * (1 + sign * 1e-7)) for sign in (-1, 1))
    assert above < below < above * (1 + 1e-7)


def test_binomial_upper_agrees_with_clopper_pearson_by_another_route():
    for k, n, delta in [(3, 20, 0.05), (3, 20, 0.3), (7, 9, 1e-4), (100, 5000, 0.01)]:
        assert stats.binom.cdf(k, n, binomial_upper(k, n, delta)) == pytest.approx(delta, rel=1e-9)


def test_stirling_error_against_50_digits():
    n = np.array([1, 2, 5, 15, 16, 17, 100, 10**6])
    truth = [
        float(mp.loggamma(int(i) + 1) - (int(i) + mp.mpf(1) / 2) * mp.log(int(i)) + int(i) - mp.log(2 * mp.pi) / 2)
        for i in n
    ]
    # Seen: 2e-14 (n = 15).
    np.testing.assert_allclose(stirling_error(n), truth, atol=5e-14, rtol=0)


def test_the_series_of_stirling_error_is_at_full_precision_from_16():
    truth = float(mp.loggamma(17) - mp.mpf(33) / 2 * mp.log(16) + 16 - mp.log(2 * mp.pi) / 2)
    assert stirling_error(16.0) == pytest.approx(truth, rel=1e-13)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kl_inverse(-0.1, 1.0), r"p must lie in \[0, 1\], got -0.1"),
        (lambda: kl_inverse([0.5, 1.5], 1.0), r"got 1.5"),
        (lambda: kl_inverse(0.5, -1.0), r"budget must lie in \[0, inf\], got -1"),
        (lambda: kl_inverse(math.nan, 1.0), r"got nan"),
        (lambda: kl_inverse("half", 1.0), r"p must be a number"),
        (lambda: kl_bernoulli(2.0, 0.5), r"kl_bernoulli: p must lie"),
        (lambda: kl_bernoulli(0.5, -1.0), r"kl_bernoulli: x must lie"),
        (lambda: binomial_upper(3, 2, 0.05), r"k must be <= n, got k=3.* and n=2"),
        (lambda: binomial_upper(-1, 2, 0.05), r"k must be an integer in \[0, inf\], got -1"),
        (lambda: binomial_upper(0.5, 2, 0.05), r"k must be an integer .*got 0.5"),
        (lambda: binomial_upper(0, 0, 0.05), r"n must be an integer in \[1, "),
        (lambda: binomial_upper(0, 10**9 + 1, 0.05), r"n must be an integer in \[1, 1e\+09\]"),
        (lambda: binomial_upper(1, 2), r"exactly one of delta and log_delta"),
        (lambda: binomial_upper(1, 2, 0.1, log_delta=-1.0), r"exactly one of delta and log_delta"),
        (lambda: binomial_upper(1, 2, 0.0), r"delta must lie in \(0, 1\), got 0"),
        (lambda: binomial_upper(1, 2, 1.0), r"delta must lie in \(0, 1\), got 1"),
        (lambda: binomial_upper(1, 2, log_delta=0.0), r"log_delta must lie in \(-inf, 0\), got 0"),
        (lambda: binomial_upper(1, 2, log_delta=-math.inf), r"log_delta must lie in \(-inf, 0\), got -inf"),
    ],
)
def test_bad_arguments_are_refused_with_the_value_and_the_range(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_the_exact_coverage_of_clopper_pearson_by_enumeration():
    # P over k of R > limit(k), summed exactly: at most delta for every R, and close to it for some R.
    for n, delta in [(1, 0.3), (12, 0.05), (40, 0.2)]:
        limits = binomial_upper(np.arange(n + 1), n, delta)
        grid = np.concatenate([np.linspace(0, 1, 2001), limits[:-1] * (1 - 1e-12), limits[:-1] * (1 + 1e-9)])
        missed = np.array([stats.binom.pmf(np.arange(n + 1), n, r)[limits < r].sum() for r in grid])
        assert missed.max() <= delta * (1 + 1e-9)
        assert missed.max() >= delta * (1 - 1e-6)


def test_the_exact_coverage_of_the_kl_form_by_enumeration():
    for n, delta in [(1, 0.3), (12, 0.05), (40, 0.2)]:
        limits = kl_inverse(np.arange(n + 1) / n, -math.log(delta) / n)
        grid = np.concatenate([np.linspace(0, 1, 2001), limits[:-1] * (1 + 1e-9)])
        missed = np.array([special.bdtr(np.sum(limits < r) - 1, n, r) if np.any(limits < r) else 0 for r in grid])
        assert missed.max() <= delta * (1 + 1e-9)
        assert missed.max() >= 0.2 * delta


def _log_tail(k, n, limit):
    """ln P(Bin(n, limit) <= k): the largest term by mpmath at 40 digits, the others by their (positive) ratios."""
    with mp.workdps(40):
        r = mp.mpf(limit)
        largest = (
            mp.loggamma(n + 1) - mp.loggamma(k + 1) - mp.loggamma(n - k + 1)
            + k * mp.log(r) + (n - k) * mp.log(1 - r)
        )  # fmt: skip
        ratio, total, term, j = float((1 - r) / r), 1.0, 1.0, 0
        while j < k and term > 1e-18 * total:
            i = np.arange(j, min(k, j + 200_000))
            terms = term * np.cumprod((k - i) / (n - k + 1 + i) * ratio)
            total, term, j = total + terms.sum(), terms[-1], j + len(i)
        return largest + mp.log(total)


@pytest.mark.parametrize("decade", range(1, 9))
@pytest.mark.parametrize("shape", ["few", "share", "rare"])
def test_binomial_limit_is_never_low_up_to_a_billion(decade, shape):
    """Sizes at which R is tiny or scipy's quantile drifts: the tail at the limit is at most delta, by an exact sum."""
    random = np.random.default_rng([decade, len(shape)])
    for _ in range(25):
        n = int(10 ** random.uniform(decade, decade + 1))
        share = {"few": 50 / n, "share": 1.0, "rare": 10 ** random.uniform(-6, -1)}[shape]
        k = int(np.clip(round(n * share * random.random()), 1, n - 1))
        delta = float(random.choice([10 ** random.uniform(-6, -1.3), random.uniform(0.05, 0.95)]))
        limit = binomial_upper(k, n, delta)
        assert limit == 1 or _log_tail(k, n, limit) <= math.log(delta) + 1e-12, (k, n, delta)


def test_kl_inverse_where_a_product_underflows():
    """kl(p || x) = p ln(p/x) + x - p for tiny p and x: at p = c = 1e-200 the root is 3.1462 p (mpmath, 450 digits)."""
    with mp.workdps(50):
        ratio = mp.findroot(lambda x: mp.log(1 / x) + x - 2, 3.1)  # per p: ln(1/x) + x - 1 = 1
    assert kl_inverse(1e-200, 1e-200) == pytest.approx(float(ratio) * 1e-200, rel=1e-9)
    assert kl_inverse(1e-200, 1e-200) >= float(ratio) * 1e-200 * (1 - 1e-15)
