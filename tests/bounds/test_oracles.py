"""Every closed form against mpmath at 50 digits (relative 1e-9), every integral against quadrature."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from scipy import integrate, special, stats

from lorabound.bounds import (
    admissibility,
    chaining_sum,
    concentration,
    concentration_width,
    dudley_rademacher,
    entropy_integral,
    gaussian_kl,
    holdout_bounded,
    information_gap,
    log_covering,
    log_xi,
    lower_bound,
    net_kl,
    occam,
    occam_gap,
    operator_norm_radius,
    pac_bayes,
    rademacher_lower,
    rademacher_upper,
    rank_lower_bound,
    snap_prior_variance,
    uniform_gap,
)
from lorabound.bounds.chaining import SCALES
from lorabound.bounds.covering import log_covering_constant
from lorabound.bounds.net import KL_RADII
from lorabound.bounds.random_matrix import column_norm_radius, smallest_singular_value
from lorabound.errors import InputError

mp.mp.dps = 50
BLOCKS = [(30, 2.5), (5, -1.0), (64, 0.3)]
SIZES, LOG_K = [mp.mpf(q) for q, _ in BLOCKS], [mp.mpf(k) for _, k in BLOCKS]
Q = sum(SIZES)
close = pytest.approx


def rel(value):
    """What 50 digits say, at the relative 1e-9 of the contract (seen: at most 1e-13)."""
    return pytest.approx(float(value), rel=1e-9)


def exact_kl_inverse(p, c):
    p, c = mp.mpf(p), mp.mpf(c)
    low, high = p, mp.mpf(1)
    for _ in range(200):
        x = (low + high) / 2
        if x == 1:
            break
        kl = (p * mp.log(p / x) if p else 0) + ((1 - p) * mp.log((1 - p) / (1 - x)) if p < 1 else 0)
        low, high = (x, high) if kl <= c else (low, x)
    return high


def exact_volume(eps, q=None, log_k=None):
    """sum_t q_t ln(1 + 2 K_t q/(q_t eps))."""
    q, log_k = q or SIZES, log_k or LOG_K
    return sum(s * mp.log(1 + 2 * mp.exp(k) * sum(q) / (s * mp.mpf(eps))) for s, k in zip(q, log_k, strict=True))


def exact_drawn(x, n):
    """ln of (ln(mp) + 2)/p for one ball of dimension n and radius x eps, g = 1/(1 + n ln(1 + n))."""
    g = 1 / (1 + n * mp.log(1 + n))
    p = ((1 - g) / (1 - g + x)) ** n
    m = (1 + 2 * x / g) ** n
    return mp.log((mp.log(m * p) + 2) / p)


def exact_finest(eps):
    if sum(mp.exp(k) for k in LOG_K) <= eps:
        return mp.mpf(0)
    total = mp.mpf(0)
    for s, k in zip(SIZES, LOG_K, strict=True):
        x = mp.exp(k) * Q / (s * mp.mpf(eps))
        total += min(s * mp.log(1 + 2 * x), exact_drawn(x, s))
    return total


def exact_dudley(n, largest):
    """min(D, 4a + 12/sqrt(N) integral_a^D sqrt(q ln(C/u)) du) by mpmath quadrature, at the best a."""
    log_c = sum(s / Q * mp.log(largest + 2 * mp.exp(k) * Q / s) for s, k in zip(SIZES, LOG_K, strict=True))
    a = min(mp.exp(log_c - mp.mpf(n) / (9 * Q)), largest)
    integral = mp.quad(lambda u: mp.sqrt(log_c - mp.log(u)), [a, mp.sqrt(a * largest), largest])
    return min(largest, 4 * a + 12 * mp.sqrt(Q / n) * integral)


# --- random matrices ---


def test_random_matrix_norms():
    u = mp.sqrt(2 * mp.log(mp.mpf(12) / mp.mpf(0.01)))
    assert operator_norm_radius(0.02, 8, 384, 12, 0.01) == rel(mp.mpf(0.02) * (mp.sqrt(8) + mp.sqrt(384) + u))
    assert column_norm_radius(0.02, 8, 12, 0.01) == rel(mp.mpf(0.02) * (mp.sqrt(8) + u))
    assert smallest_singular_value(0.02, 400, 8, 12, 0.01) == rel(mp.mpf(0.02) * (20 - mp.sqrt(8) - u))
    curve = operator_norm_radius(1.0, np.array([1, 4]), 16, 1, 0.5)
    assert curve == pytest.approx(np.array([1, 2]) + 4 + math.sqrt(2 * math.log(2)))


# --- covers ---


@pytest.mark.parametrize("eps", [1e-9, 1e-3, 0.5, 20.0])
def test_covers(eps):
    assert log_covering(BLOCKS, eps) == rel(exact_volume(eps))
    assert log_covering(BLOCKS, eps, "finest") == rel(exact_finest(eps))
    cells = mp.ceil(sum(mp.exp(k) for k in LOG_K) / mp.mpf(eps))
    assert log_covering(BLOCKS, eps, "cube") == rel(Q * mp.log(cells))


def test_covers_at_logarithms_in_the_thousands():
    big = [(30, 3000.0), (5, -3000.0)]
    sizes, logs = [mp.mpf(30), mp.mpf(5)], [mp.mpf(3000), mp.mpf(-3000)]
    assert log_covering(big, 1e-3) == rel(exact_volume(1e-3, sizes, logs))
    assert log_covering(big, 1e-3, "cube") == rel(35 * (3000 + 3 * mp.log(10)))
    assert log_covering([(30, 40.0)], 1.0, "cube") == rel(30 * 40)


def test_a_factor_that_cannot_move_takes_no_share():
    assert log_covering([(30, 2.0), (7, -math.inf)], 0.1) == log_covering([(30, 2.0)], 0.1)
    assert log_covering([(30, 2.0), (7, -math.inf)], 0.1, "finest") == log_covering([(30, 2.0)], 0.1, "finest")
    assert log_covering([(30, -math.inf)], 0.1, "finest") == 0
    assert log_covering([(30, -math.inf)], 0.1, "cube") == 0


def test_the_cube_counts_an_exact_quotient_once():
    assert log_covering([(3, math.log(4.0))], 2.0, "cube") <= 3 * math.log(3)
    # 3/1 is three cells; rounding up may make it four, never two.
    assert log_covering([(2, math.log(3.0))], 1.0, "cube") >= 2 * math.log(3) * (1 - 1e-15)
    assert log_covering([(2, math.log(3.5))], 1.0, "cube") == rel(2 * mp.log(4))


def test_the_finest_cover_gains_a_factor_two_in_the_radius():
    # q ln 2 = 693 nats at q = 1000, of which 1 + ln(q ln q) or so goes back.
    gain = log_covering([(1000, 2.0)], 1e-4) - log_covering([(1000, 2.0)], 1e-4, "finest")
    assert 1000 * math.log(2) - 15 < gain < 1000 * math.log(2)


@pytest.mark.parametrize("q", [1, 2, 3, 10, 100, 10**6])
def test_no_cover_is_smaller_than_volume_allows(q):
    # N balls of radius eps cover one of radius R only if N >= (R/eps)^q; the finest comes within 2 ln q + 3.
    for log_k in (0.0, 1.0, 5.0, 100.0):
        for eps in (0.9, 0.1, 1e-6):
            least = q * (log_k - math.log(eps))
            finest = log_covering([(q, log_k)], eps, "finest")
            assert finest >= least
            assert finest <= log_covering([(q, log_k)], eps)
            if eps == 1e-6:
                assert finest <= least + 3 + 2 * math.log(q) + math.log(2 + least / q)


@pytest.mark.parametrize("q", [1, 2, 3])
def test_greedy_covers_are_no_larger_than_the_volume_argument_says(q):
    # Greedy centres, more than eps apart, serve every point: no more of them than the volume argument says.
    rng = np.random.default_rng(q)
    direction = rng.normal(size=(4000, q))
    points = direction / np.linalg.norm(direction, axis=1)[:, None] * rng.uniform(size=(4000, 1)) ** (1 / q)
    for eps in (1.01, 0.6, 0.3):
        left, centres = points, 0
        while len(left):
            left = left[np.linalg.norm(left - left[0], axis=1) > eps]
            centres += 1
        assert math.log(centres) <= log_covering([(q, 0.0)], eps) + 1e-12
        assert (log_covering([(q, 0.0)], eps, "finest") == 0) == (eps > 1)


def test_one_ball_is_enough_when_it_holds_the_class():
    assert log_covering([(5, math.log(0.2)), (5, math.log(0.3))], 0.5000001, "finest") == 0
    assert log_covering([(5, math.log(0.2)), (5, math.log(0.3))], 0.4999, "finest") > 0
    assert log_covering([(5, 0.0)], 1.0, "finest") == 0


@pytest.mark.parametrize(("form", "largest"), [("frobenius", 0.5), ("frobenius", 1.0), ("cube", 0.5)])
def test_the_entropy_constant_covers_every_radius(form, largest):
    log_c = log_covering_constant(BLOCKS, largest, form)
    if form == "cube":
        assert log_c == rel(mp.log(largest + sum(mp.exp(k) for k in LOG_K)))
    for u in np.geomspace(1e-12, largest, 60):
        assert log_covering(BLOCKS, u, form) <= 99 * (log_c - math.log(u)) * (1 + 1e-12)


# --- Dudley ---


@pytest.mark.parametrize(
    ("log_c", "a", "b"),
    [(0.1, 0.0, 1.0), (0.0, 0.2, 1.0), (5.0, 1e-6, 0.5), (700.0, 0.01, 0.5), (2000.0, 0.0, 1.0)],
)
def test_the_entropy_integral_by_quadrature(log_c, a, b):
    truth = mp.quad(lambda u: mp.sqrt(mp.mpf(log_c) - mp.log(u)), [a, b / 100 + a * 0.99, b])
    log_a = math.log(a) if a else -math.inf
    assert entropy_integral(log_c, math.log(b)) - entropy_integral(log_c, log_a) == rel(truth)


def test_the_entropy_integral_by_scipy_quadrature():
    truth, error = integrate.quad(lambda u: math.sqrt(3 - math.log(u)), 0.1, 0.9, epsabs=1e-14)
    value = entropy_integral(3.0, math.log(0.9)) - entropy_integral(3.0, math.log(0.1))
    assert abs(value - truth) <= 10 * error + 1e-14


@pytest.mark.parametrize("n", [500, 3000, 20_000, 10**6, 10**9])
@pytest.mark.parametrize(("constants", "largest"), [("sharp", 0.5), ("paper", 1.0)])
def test_dudley(n, constants, largest):
    truth = exact_dudley(n, mp.mpf(largest))
    assert dudley_rademacher(BLOCKS, n, constants) == rel(truth)
    delta = mp.mpf(0.05)
    confidence = mp.sqrt(mp.log(1 / delta) / (2 * n)) if constants == "sharp" else mp.sqrt(8 * mp.log(2 / delta) / n)
    bound = uniform_gap(BLOCKS, n, 0.05, "dudley", constants)
    assert bound.value == rel(2 * truth + confidence)


def test_dudley_of_a_class_of_one_function():
    # K = 0, so C = D, and integral_0^D sqrt(ln(D/u)) du = D sqrt(pi)/2 is left.
    assert dudley_rademacher([(3, -math.inf)], 10**8) == rel(12 * mp.sqrt(mp.mpf(3) / 10**8) * mp.sqrt(mp.pi) / 4)


def test_dudley_scale_is_the_best_one():
    # Uncapped and with a inside (0, D): no other a does better.
    n, log_c, q = 10**5, float(log_covering_constant(BLOCKS, 0.5)), 99

    def objective(log_a):
        return 4 * math.exp(log_a) + 12 * math.sqrt(q / n) * (
            entropy_integral(log_c, math.log(0.5)) - entropy_integral(log_c, log_a)
        )

    best = min(objective(x) for x in np.linspace(-200, math.log(0.5), 4001))
    assert dudley_rademacher(BLOCKS, n) <= best * (1 + 1e-12)


def test_dudley_reads_the_cube_when_asked():
    n, q = 10**8, 99
    log_c = mp.log(mp.mpf(0.5) + sum(mp.exp(k) for k in LOG_K))
    truth = 12 * mp.sqrt(mp.mpf(q) / n) * mp.quad(lambda u: mp.sqrt(log_c - mp.log(u)), [0, 0.01, 0.5])
    assert dudley_rademacher(BLOCKS, n, form="cube") == rel(truth)
    assert uniform_gap(BLOCKS, n, 0.05, "dudley", form="cube").terms["twice_rademacher"] == rel(2 * truth)


# --- chaining and nets ---


def exact_chain(scales, n, residual=2):
    return residual * mp.mpf(scales[-1]) + sum(
        mp.mpf(scales[j - 1]) * mp.sqrt(2 * exact_finest(scales[j]) / n) for j in range(1, len(scales))
    )


@pytest.mark.parametrize("n", [1, 100, 10**4, 10**8])
def test_chaining(n):
    scales = [0.5, 0.1, 0.03, 1e-4]
    assert chaining_sum(BLOCKS, n, scales) == rel(exact_chain(scales, n))
    assert chaining_sum(BLOCKS, n, [0.5]) == 1.0
    for sides in (1, 2):
        bound = uniform_gap(BLOCKS, n, 0.05, sides=sides)
        confidence = mp.sqrt(mp.log(sides / mp.mpf(0.05)) / (2 * n))
        assert bound.inputs["scales"][0] == 0.5
        assert bound.value == rel(exact_chain(bound.inputs["scales"], n) + confidence)
        assert bound.value == rel(chaining_sum(BLOCKS, n, bound.inputs["scales"]) + float(confidence))


@pytest.mark.parametrize("n", [300, 10**4, 10**7])
@pytest.mark.parametrize("form", ["finest", "frobenius", "cube"])
def test_the_chain_found_is_the_best_on_its_grid(n, form):
    found = uniform_gap(BLOCKS, n, 0.05, form=form)
    value = found.terms["discretization"] + found.terms["chain"]
    rng = np.random.default_rng(0)
    for _ in range(200):
        inner = np.sort(rng.choice(np.arange(1, len(SCALES)), size=rng.integers(0, 8), replace=False))
        assert value <= chaining_sum(BLOCKS, n, [0.5, *SCALES[inner]], form) * (1 + 1e-12)
    # Nor do geometric scales off the grid gain more than 1 percent.
    for ratio in np.geomspace(1.3, 60, 40):
        for k in range(12):
            assert value <= 1.01 * chaining_sum(BLOCKS, n, 0.5 * ratio ** -np.arange(k + 1.0), form)
    path = found.inputs["scales"]
    for j in range(1, len(path) - 1):
        assert value <= chaining_sum(BLOCKS, n, [*path[:j], *path[j + 1 :]], form) * (1 + 1e-12)


@pytest.mark.parametrize("n", [1, 100, 10**4, 10**8])
@pytest.mark.parametrize("sides", [1, 2])
def test_net(n, sides):
    def at(eps):
        return 2 * mp.mpf(eps) + mp.sqrt((exact_finest(eps) + mp.log(sides / mp.mpf(0.05))) / (2 * n))

    bound = uniform_gap(BLOCKS, n, 0.05, "net", sides=sides)
    assert bound.value == rel(at(bound.terms["discretization"] / 2))
    # The best eps of all, to 0.1 percent.
    assert bound.value <= 1.001 * float(min(at(eps) for eps in np.geomspace(1e-9, 0.5, 300)))


@pytest.mark.parametrize("n", [1, 1000, 10**5, 10**9])
@pytest.mark.parametrize("risk", [0.0, 0.01, 0.4, 1.0])
def test_net_kl(n, risk):
    def at(eps):
        budget = (exact_finest(eps) + mp.log(64 / mp.mpf(0.05))) / n
        return mp.mpf(eps) + exact_kl_inverse(min(mp.mpf(1), mp.mpf(risk) + mp.mpf(eps)), budget)

    bound = net_kl(BLOCKS, n, 0.05, risk)
    assert bound.value == rel(at(bound.terms["discretization"]))
    assert bound.value <= float(min(at(eps) for eps in KL_RADII[::7])) * (1 + 1e-12)
    assert len(KL_RADII) == 64
    assert bound.terms["discretization"] in KL_RADII


def test_rademacher_limits():
    assert rademacher_upper(BLOCKS, 10**4) == rel(
        min(exact_chain(uniform_gap(BLOCKS, n, 0.05).inputs["scales"], 10**4, residual=1) for n in (10**4, 4 * 10**4))
    )
    assert rademacher_lower(0.2, 100, 8, 0.05) == rel(0.2 - mp.sqrt(mp.log(20) / (2 * 800)))


def test_concentration_and_its_inverse():
    assert concentration(50, 0.1) == rel(2 * mp.exp(-2 * 50 * mp.mpf(0.1) ** 2))
    assert concentration(50, 0.0) == 2.0
    t = concentration_width(50, 0.03)
    assert t == rel(mp.sqrt(mp.log(2 / mp.mpf(0.03)) / 100))
    assert concentration(50, t) == pytest.approx(0.03, rel=1e-12)
    assert concentration_width(50, 0.03, sides=1) == rel(mp.sqrt(mp.log(1 / mp.mpf(0.03)) / 100))


# --- lower bounds ---


@pytest.mark.parametrize("p", [1e-12, 0.01, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 50, 51, 1000])
def test_lower_bound_by_counting_coins(n, p):
    ways = [math.comb(n, k) for k in range(n + 1)]

    def chance(twice):
        """P(|2S - N| >= twice), exactly, as a fraction of 2^n."""
        return sum(w for k, w in enumerate(ways) if abs(2 * k - n) >= twice)

    target = mp.mpf(p) * 2**n
    best = max(t for t in range(n % 2, n + 1, 2) if chance(t) >= target)
    bound = lower_bound(n, p)
    assert bound.value == best / (2 * n)
    assert bound.terms["c"] == rel(mp.mpf(best) / (2 * mp.sqrt(n)))
    assert bound.terms["attained_probability"] == rel(mp.mpf(chance(best)) / 2**n)
    assert bound.delta == 1 - p


@pytest.mark.parametrize("n", [10**9 + 1, 10**12, 2**53])
def test_lower_bound_of_very_many(n):
    bound = lower_bound(n)
    assert bound.terms["c"] == pytest.approx(stats.norm.ppf(0.75) / 2, abs=1.1 / math.sqrt(n) + 1e-9)
    assert 0.5 <= bound.terms["attained_probability"] < 0.5 + 3 / math.sqrt(n)
    assert lower_bound(n, 1.0).terms["attained_probability"] == 1.0
    assert lower_bound(n, 1.0).value == (n % 2) / (2 * n)


def test_lower_bound_tends_to_the_normal_quantile():
    # Phi^{-1}(3/4)/2 = 0.33724, theory 5.3; the lattice spacing is 1/sqrt(N) = 3e-5.
    bound = lower_bound(10**9)
    assert bound.terms["c"] == pytest.approx(stats.norm.ppf(0.75) / 2, abs=3.2e-5)
    assert 0.5 <= bound.terms["attained_probability"] < 0.50004
    assert lower_bound(5).terms["attained_probability"] == 1.0
    assert lower_bound(10**9, admissible=0.25).delta == 0.875


def test_the_attained_probability_at_a_billion_coins():
    k = 10**9 / 2 - lower_bound(10**9).value * 10**9
    assert k == int(k)
    # Edgeworth: the coin is symmetric, so Phi at the half-integer is right to 1/(12 N).
    z = (k + 0.5 - 5e8) / math.sqrt(2.5e8)
    assert lower_bound(10**9).terms["attained_probability"] == pytest.approx(2 * stats.norm.cdf(z), rel=1e-9)


def test_admissibility():
    rank, radius, std, scale, shifts = 4, 0.7, 1.3, -0.5, [0.4, 1.1]
    product = mp.mpf(1)
    for shift in shifts:
        x = mp.mpf(shift) / (mp.mpf(0.5) * mp.mpf(1.3) * mp.mpf(0.7))
        product *= mp.gammainc(mp.mpf(rank) / 2, x**2 / 2, regularized=True)
    assert admissibility(rank, shifts, radius, std, scale) == rel(product)
    product = mp.mpf(1)
    for shift, width in zip(shifts, [4, 9], strict=True):
        u = mp.sqrt(100) - mp.sqrt(width) - mp.mpf(shift) / (mp.mpf(0.5) * mp.mpf(1.3) * mp.mpf(0.7))
        product *= 1 - mp.exp(-(u**2) / 2)
    assert admissibility(100, shifts, radius, std, scale, "full", [4, 9]) == rel(product)
    assert admissibility(4, [1.0], 1.0, construction="full", input_widths=[9]) == 0
    assert admissibility(1, [0.0], 0.0) == 1.0
    assert admissibility(1, [0.1], 0.0) == 0.0
    assert admissibility(np.array([1, 2, 3]), [1.0], 1.0).shape == (3,)
    assert np.all(np.diff(admissibility(np.arange(1, 30), [1.0, 2.0], 0.5)) > 0)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (2, 2), (5, 3), (30, 1), (31, 1), (60, 4), (40, 500)])
def test_rank_lower_bound_by_the_walk_itself(n, m):
    # The exact law of D_1 by convolution: N steps of +1, -1 with probability 1/(2m) each.
    step, law = [mp.mpf(1) / (2 * m), 1 - mp.mpf(1) / m, mp.mpf(1) / (2 * m)], [mp.mpf(1)]
    for _ in range(n):
        law = [sum(step[j] * law[i - j] for j in range(3) if 0 <= i - j < len(law)) for i in range(len(law) + 2)]
    mean = mp.mpf(m) / (2 * n) * sum(abs(i - n) * p for i, p in enumerate(law))
    assert rank_lower_bound(n, m).value == rel(mean)
    assert rank_lower_bound(n, m).value <= mean
    at_delta = rank_lower_bound(n, m, 0.05)
    assert at_delta.value == pytest.approx(float(mean - mp.sqrt(mp.log(20) / (2 * n))), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "m"), [(10**6, 1), (10**6 + 1, 1), (201, 1), (203, 1), (10**6, 2), (10**5, 17), (3, 10**12)]
)
def test_rank_lower_bound_at_sizes_no_walk_reaches(n, m):
    # The Fejer integral by mpmath, in w = tan(t/2) itself.
    mp.mp.dps = 30
    if m == 1:
        k = n // 2 + 1
        truth = mp.exp(mp.loggamma(n) - mp.loggamma(k) - mp.loggamma(n - k + 1) - n * mp.log(2))
    else:
        f = lambda w: -mp.expm1(n * mp.log1p(-2 * w**2 / (m * (1 + w**2)))) / w**2  # noqa: E731
        c = mp.sqrt(mp.mpf(m) / (2 * n))
        points = sorted({0, min(c, 1) / 10, min(c, 1), 3 * min(c, 1), 10 * min(c, 1), 1 + c, 100 * (1 + c)})
        truth = mp.mpf(m) / (2 * mp.pi * n) * (mp.quad(f, [*points, mp.inf]))
    mp.mp.dps = 50
    assert rank_lower_bound(n, m).value == rel(truth)
    assert rank_lower_bound(n, m).value <= truth


# --- one-predictor and compression bounds ---


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([], "at least one"),
        ([(0, 1.0)], r"q_t must be an integer in \[1, inf\), got 0"),
        ([(2.5, 1.0)], r"q_t must be an integer .* got 2.5"),
        ([(math.inf, 1.0)], r"q_t .* got inf"),
        ([(2, math.inf)], r"ln K_t must lie in \[-inf, inf\), got inf"),
        ([(2, math.nan)], r"ln K_t .* got nan"),
    ],
)
def test_bad_blocks_are_refused(blocks, words):
    for call in (lambda: log_covering(blocks, 0.1), lambda: uniform_gap(blocks, 10, 0.05)):
        with pytest.raises(InputError, match=words):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: log_covering(BLOCKS, 0.0), r"eps must lie in \(0, inf\), got 0"),
        (
            lambda: log_covering(BLOCKS, 0.1, "ball"),
            r"form must be one of 'finest', 'frobenius', 'cube', got 'ball'",
        ),
        (lambda: uniform_gap(BLOCKS, 10, 0.05, "magic"), r"method must be one of"),
        (lambda: uniform_gap(BLOCKS, 10, 0.05, form="ball"), r"form must be one of"),
        (lambda: uniform_gap(BLOCKS, 10, 0.05, sides=3), r"sides must be one of 1, 2, got 3"),
        (
            lambda: uniform_gap(BLOCKS, 10, 0.05, "dudley", "mine"),
            r"constants must be one of 'sharp', 'paper'",
        ),
        (
            lambda: uniform_gap(BLOCKS, 10, 0.05, constants="paper"),
            r"belong to method 'dudley', got method 'chaining'",
        ),
        (lambda: chaining_sum(BLOCKS, 10, [0.4, 0.1]), r"scales must start at 0.5 and decrease"),
        (lambda: chaining_sum(BLOCKS, 10, [0.5, 0.1, 0.1]), r"scales must start at 0.5 and decrease"),
        (lambda: chaining_sum(BLOCKS, 10, []), r"scales must start at 0.5 and decrease"),
        (lambda: chaining_sum(BLOCKS, 10, [0.5, 0.0]), r"scales must lie in \(0, 0.5\], got 0"),
        (lambda: concentration(10, -0.1), r"t must lie in \[0, inf\), got -0.1"),
        (lambda: concentration(10, math.inf), r"t must lie in \[0, inf\), got inf"),
        (lambda: concentration_width(10, 0.0), r"delta must lie in \(0, 1\), got 0"),
        (lambda: concentration_width(10, 0.1, 3), r"sides must be an integer in \[1, 2\], got 3"),
        (
            lambda: lower_bound(2.0**54),
            r"n_samples must be an integer in \[1, 9.0072e\+15\], got 1.8",
        ),
        (lambda: rank_lower_bound(2.0**54, 2), r"n_samples must be an integer in \[1, 9.0072e\+15\]"),
        (lambda: rank_lower_bound(2, 2.0**54), r"cells must be an integer in \[1, 9.0072e\+15\]"),
        (lambda: rank_lower_bound(2.5, 2), r"n_samples must be an integer .* got 2.5"),
        (lambda: rank_lower_bound(2, 2.5), r"cells must be an integer .* got 2.5"),
        (lambda: admissibility(1.5, [1.0], 1.0), r"rank must be an integer .* got 1.5"),
        (lambda: lower_bound(2.5), r"n_samples must be an integer .* got 2.5"),
        (lambda: lower_bound(10, 0.0), r"probability must lie in \(0, 1\], got 0"),
        (lambda: lower_bound(10, 0.5, 1.5), r"admissible must lie in \[0, 1\], got 1.5"),
        (lambda: admissibility(0, [1.0], 1.0), r"rank must be an integer in \[1, inf\), got 0"),
        (lambda: admissibility(1, [1.0], -1.0), r"radius must lie in \[0, inf\), got -1"),
        (lambda: admissibility(1, [-1.0], 1.0), r"shift_norms must lie"),
        (lambda: admissibility(1, [], 1.0), r"shift_norms must have one entry per layer, got none"),
        (lambda: admissibility(1, [1.0], 1.0, std=0.0), r"std must lie in \(0, inf\), got 0"),
        (lambda: admissibility(1, [1.0], 1.0, scale=0.0), r"scale must be finite and not 0, got 0"),
        (lambda: admissibility(1, [1.0], 1.0, scale=math.inf), r"scale must be finite and not 0, got inf"),
        (lambda: admissibility(1, [1.0], 1.0, construction="other"), r"construction must be one of"),
        (lambda: admissibility(1, [1.0], 1.0, construction="full"), r"input_widths belongs to"),
        (lambda: admissibility(1, [1.0], 1.0, input_widths=[1]), r"input_widths belongs to"),
        (
            lambda: admissibility(9, [1.0], 1.0, construction="full", input_widths=[1, 2]),
            r"one entry per layer, 1, got 2",
        ),
        (
            lambda: admissibility(9, [1.0], 1.0, construction="full", input_widths=[0]),
            r"input_widths must be an integer in \[1, inf\], got 0",
        ),
        (lambda: rank_lower_bound(10, 0), r"cells must be an integer in \[1, "),
        (lambda: rank_lower_bound(10, 2, 1.0), r"delta must lie in \(0, 1\), got 1"),
        (lambda: rademacher_lower(0.6, 10, 1, 0.05), r"average must lie in \[-0.5, 0.5\], got 0.6"),
        (lambda: rademacher_lower(0.1, 10, 0, 0.05), r"draws must lie in \[1, inf\), got 0"),
        (lambda: information_gap(-1, 10), r"n_params must lie in \[0, inf\), got -1"),
        (lambda: information_gap(1, 10, bits=0), r"bits must lie in \[1, inf\), got 0"),
        (lambda: information_gap(1, 10, sub_gaussian=0.0), r"sub_gaussian must lie in \(0, inf\), got 0"),
        (
            lambda: occam(0.15, 10, 5, 0.05, zero_one=True),
            r"must be a count of errors with zero_one, got 1.5",
        ),
        (lambda: gaussian_kl(0.0, 0.0, 0.0, 1.0), r"variance must lie in \(0, inf\), got 0"),
        (lambda: gaussian_kl(0.0, 0.0, 1.0, 0.0), r"prior_variance must lie in \(0, inf\), got 0"),
        (lambda: gaussian_kl(math.inf, 0.0, 1.0, 1.0), r"mean must lie in \(-inf, inf\), got inf"),
        (lambda: gaussian_kl(0.0, -math.inf, 1.0, 1.0), r"prior_mean must lie in \(-inf, inf\), got -inf"),
        (lambda: pac_bayes(0.1, 10, -1.0, 0.05), r"kl must lie in \[0, inf\], got -1"),
        (
            lambda: pac_bayes(0.1, 10, 1.0, 0.05, draws=0, delta_draws=0.1),
            r"draws must lie in \[1, inf\), got 0",
        ),
        (
            lambda: pac_bayes(0.1, 10, 1.0, 0.5, draws=1, delta_draws=0.5),
            r"delta \+ delta_draws must be below 1, got 1",
        ),
        (lambda: log_xi(0), r"n_samples must lie in \[1, 4.5036e\+15\], got 0"),
        (lambda: snap_prior_variance(0.0, 0.05), r"wanted must lie in \(0, inf\), got 0"),
        (lambda: snap_prior_variance(1.0, 0.05, largest=0.0), r"largest must lie"),
        (lambda: snap_prior_variance(1.0, 0.05, per_e=0.0), r"per_e must lie"),
        (lambda: snap_prior_variance(1.0, 0.0), r"delta must lie in \(0, 1\), got 0"),
        (lambda: operator_norm_radius(0.0, 1, 1, 1, 0.5), r"std must lie in \(0, inf\), got 0"),
        (lambda: operator_norm_radius(1.0, 0, 1, 1, 0.5), r"rank must lie in \[1, inf\), got 0"),
        (lambda: operator_norm_radius(1.0, 1, 1, 0, 0.5), r"n_layers must lie in \[1, inf\), got 0"),
        (lambda: operator_norm_radius(1.0, 1, 1, 1, 1.0), r"delta must lie in \(0, 1\), got 1"),
        (lambda: smallest_singular_value(1.0, 2, 3, 1, 0.5), r"rows must be >= columns, got 2 and 3"),
    ],
)
def test_arguments_out_of_range_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_information_gap():
    value = information_gap(1000, 5000, bits=8, sub_gaussian=0.3).value
    assert value == rel(mp.sqrt(2 * mp.mpf(0.3) ** 2 * mp.log(2) * 8 * 1000 / 5000))
    assert information_gap(1000, 5000).value == rel(mp.sqrt(mp.log(2) * 16 * 1000 / 5000 / 2))
    assert information_gap(1000, 5000).delta is None
    assert information_gap(1000, 5000).scope == "expectation"


@pytest.mark.parametrize(
    ("risk", "n", "bits", "delta"), [(0.25, 1000, 300.0, 0.05), (0.0, 8, 3.0, 0.3), (0.5, 2, 1e4, 1e-9)]
)
def test_occam(risk, n, bits, delta):
    nats = mp.mpf(bits) * mp.log(2) + mp.log(1 / mp.mpf(delta))
    assert occam(risk, n, bits, delta).value == rel(exact_kl_inverse(risk, nats / n))
    gap = occam_gap(n, bits, delta)
    assert gap.value == rel(mp.sqrt(nats / n / 2))
    assert occam(risk, n, bits, delta).value <= risk + gap.value
    exact = occam(risk, n, bits, delta, zero_one=True)
    assert exact.value <= occam(risk, n, bits, delta).value * (1 + 1e-9)
    k = round(risk * n)
    if exact.value < 1 - 1e-12:
        r = mp.mpf(exact.value)
        tail = mp.log(sum(mp.binomial(n, i) * r**i * (1 - r) ** (n - i) for i in range(k + 1)))
        assert float(tail) == pytest.approx(-float(nats), rel=1e-9)


def test_holdout_bounded():
    assert holdout_bounded(0.25, 100, 0.05).value == rel(exact_kl_inverse(0.25, mp.log(20) / 100))


def test_gaussian_kl():
    mean, prior_mean = [0.3, -1.0, 5.0, 0.0], [0.1, -1.0, 0.0, 0.0]
    variance, prior = [0.01, 2.0, 1e-12, 1.0 + 1e-9], 1.0
    truth = mp.mpf(0)
    for mu, mu0, v in zip(mean, prior_mean, variance, strict=True):
        ratio = mp.mpf(v) / prior
        truth += (ratio - 1 - mp.log(ratio) + (mp.mpf(mu) - mp.mpf(mu0)) ** 2) / 2
    assert gaussian_kl(mean, prior_mean, variance, prior) == rel(truth)
    assert gaussian_kl(0.0, 0.0, 3.0, 2.0) == rel((mp.mpf(1.5) - 1 - mp.log(1.5)) / 2)
    assert gaussian_kl([1.0, 2.0], 0.0, 1.0, 4.0) == rel(mp.mpf(1) / 4 - 1 + mp.log(4) + mp.mpf(5) / 8)
    assert gaussian_kl(0.0, 0.0, 1.0, 1.0) == 0.0
    assert type(gaussian_kl([0.0], 0.0, 1.0, 2.0)) is float
    # Nearly equal variances: (v - 1 - ln v)/2 = t^2/4, where the direct form has lost every digit.
    assert gaussian_kl(0.0, 0.0, 1 + 2.0**-26, 1.0) == pytest.approx(2.0**-54, rel=1e-7)
    assert gaussian_kl(0.0, 0.0, 1e-300, 1e300) == rel(
        (mp.mpf(1e-300) / 1e300 - 1 - mp.log(mp.mpf(1e-300) / 1e300)) / 2
    )
    assert gaussian_kl(1e200, 0.0, 1.0, 1.0) == math.inf


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 20, 171, 1000])
def test_xi_is_the_sum(n):
    total = mp.mpf(0)
    for k in range(n + 1):
        x = mp.mpf(k) / n
        total += mp.binomial(n, k) * x**k * (1 - x) ** (n - k)
    assert log_xi(n) == pytest.approx(float(mp.log(total)), abs=1e-11)
    assert log_xi(n) >= mp.log(total)
    if n >= 8:
        assert log_xi(n) < math.log(2 * math.sqrt(n))


@pytest.mark.parametrize("n", [10**4, 10**6, 10**9, 10**15])
def test_xi_of_many(n):
    # xi(N) = sqrt(pi N/2) + 2/3 + O(1/sqrt(N)) (Flajolet et al. 1995, Ramanujan's Q function).
    truth = mp.log(mp.sqrt(mp.pi * n / 2) + mp.mpf(2) / 3)
    assert log_xi(n) == pytest.approx(float(truth), abs=0.2 / n + 1e-11)
    assert 0.46 < math.log(2 * math.sqrt(n)) - log_xi(n) < 0.4675


def test_pac_bayes():
    n, kl = 1000, 37.5
    xi = sum(mp.binomial(n, k) * (mp.mpf(k) / n) ** k * (1 - mp.mpf(k) / n) ** (n - k) for k in range(n + 1))
    budget = (mp.mpf(kl) + mp.log(xi / mp.mpf(0.04))) / n
    assert pac_bayes(0.1, n, kl, 0.04).value == rel(exact_kl_inverse(0.1, budget))
    drawn = pac_bayes(0.1, n, kl, 0.04, draws=50, delta_draws=0.01)
    mean = exact_kl_inverse(0.1, mp.log(100) / 50)
    assert drawn.value == rel(exact_kl_inverse(mean, budget))
    assert drawn.delta == 0.05
    assert drawn.terms["monte_carlo"] == rel(mean - mp.mpf(0.1))
    assert pac_bayes(0.1, n, math.inf, 0.04).value == 1.0


def test_snapped_prior_variances_are_on_the_grid_and_share_delta():
    for wanted in (0.9, 0.31, 1e-4, 5.0):
        value, share = snap_prior_variance(wanted, 0.05, largest=1.0, per_e=10.0)
        j = round(-10 * math.log(value))
        assert j >= 1
        assert value == rel(mp.exp(-mp.mpf(j) / 10))
        assert share == rel(6 * mp.mpf(0.05) / (mp.pi * j) ** 2)
        assert abs(math.log(value / wanted)) <= 0.05 + 1e-12 or wanted > math.exp(-0.05)
    total = sum(snap_prior_variance(math.exp(-j / 10), 0.05, 1.0, 10.0)[1] for j in range(1, 2000))
    assert 0.0499 < total < 0.05


def test_special_functions_used_here_agree_with_scipy():
    # The one place where two routes to the chi survival function meet.
    assert special.gammaincc(1.5, 0.7) == pytest.approx(stats.chi.sf(math.sqrt(1.4), 3), rel=1e-12)
