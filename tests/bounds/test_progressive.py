"""Progressive bounds and their kin: 60-digit oracles, attacks by simulation, and the false variants that break."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from scipy import stats

from lorabound.bounds import (
    best_a,
    best_lam,
    binomial_upper,
    cross_fit,
    disagreement,
    holdout,
    kl_inverse,
    log_xi,
    paired_gain,
    progressive,
    progressive_losses,
    recursive_pac_bayes,
)
from lorabound.errors import InputError

DELTA = 0.05
LN20 = math.log(20)


def holds(violations: int, trials: int) -> bool:
    """At most DELTA of the trials, up to a chance of 1 in 10^6."""
    return stats.binom.sf(violations - 1, trials, DELTA) > 1e-6


def breaks(violations: int, trials: int) -> bool:
    """More than DELTA of the trials, beyond a chance of 1 in 10^6."""
    return stats.binom.sf(violations - 1, trials, DELTA) < 1e-6


# ---- against 60 digits


@pytest.mark.parametrize("mean", [0.0, 1e-9, 0.3, 0.97, 1.0])
@pytest.mark.parametrize("n", [1, 40, 25_000])
@pytest.mark.parametrize("lam", [1e-6, 0.1, 2.0, 60.0])
def test_closed_forms_at_60_digits(mean: float, n: int, lam: float) -> None:
    with mp.workdps(60):
        a = 1 - mp.exp(-mp.mpf(lam))
        exact = (1 - mp.exp(-mp.mpf(lam) * mp.mpf(mean) - mp.log(1 / mp.mpf(DELTA)) / n)) / a
        folds = max(1, n // 20)
        crossed = (1 - mp.exp(-mp.mpf(lam) * mp.mpf(mean) - mp.mpf(folds) * mp.log(1 / mp.mpf(DELTA)) / n)) / a
    value = progressive(mean, n, DELTA, lam=lam).value
    assert float(exact) * (1 - 1e-15) <= value <= max(float(exact) * (1 + 1e-13), mean)
    value = cross_fit(mean, n, folds, DELTA, lam=lam).value
    assert float(crossed) * (1 - 1e-15) <= value <= max(float(crossed) * (1 + 1e-13), mean)


def test_losses_and_gains_at_60_digits() -> None:
    rng = np.random.default_rng(0)
    z, d = rng.uniform(0, 1, 300), rng.uniform(-1, 1, 300)
    for a in (1e-6, 0.3, 0.999):
        with mp.workdps(60):
            c = mp.log(1 / mp.mpf(DELTA)) / 300
            exact = (1 - mp.exp(sum(mp.log(1 - mp.mpf(a) * mp.mpf(x)) for x in z) / 300 - c)) / mp.mpf(a)
            gain = (mp.exp(sum(mp.log(1 + mp.mpf(a) * mp.mpf(x)) for x in d) / 300 - c) - 1) / mp.mpf(a)
        value = progressive_losses(z, DELTA, a=a).value
        assert float(exact) <= value <= float(exact) * (1 + 1e-12)
        value = paired_gain(d, DELTA, a=a).value
        assert float(gain) - 1e-12 * (abs(float(gain)) + 1) <= value <= float(gain)


def test_zero_one_losses_give_the_form_of_their_mean_and_others_a_tighter_one() -> None:
    rng = np.random.default_rng(1)
    z = (rng.random(1000) < 0.3).astype(float)
    lam = 0.2
    a = -math.expm1(-lam)
    by_mean = progressive(z.mean(), 1000, DELTA, lam=lam)
    assert progressive_losses(z, DELTA, a=a).value == pytest.approx(by_mean.value, rel=1e-12)
    narrow = 0.35 + 0.15 * rng.uniform(-1, 1, 25_000)
    a = best_a(narrow[:1000], 24_000, DELTA)
    lam = best_lam(narrow[:1000].mean(), 24_000, DELTA)
    one_by_one = progressive_losses(narrow[1000:], DELTA, a=a)
    assert one_by_one.value < progressive(narrow[1000:].mean(), 24_000, DELTA, lam=lam).value - 0.003


def test_the_best_constants_are_the_best() -> None:
    for mean in (0.02, 0.4, 0.9):
        for n in (30, 2000):
            best = progressive(mean, n, DELTA, lam=best_lam(mean, n, DELTA)).value
            # Duality: at the best lam the bound is the kl inverse itself.
            assert best == pytest.approx(min(kl_inverse(mean, LN20 / n), 1), rel=1e-9)
            others = [progressive(mean, n, DELTA, lam=lam).value for lam in np.geomspace(1e-4, 30, 200)]
            assert best <= min(others) + 1e-12
            z = np.r_[np.ones(round(mean * n)), np.zeros(n - round(mean * n))]
            found = progressive_losses(z, DELTA, a=best_a(z, n, DELTA)).value
            assert found <= min(progressive_losses(z, DELTA, a=a).value for a in np.linspace(0.001, 0.999, 300)) + 1e-6
    differences = np.r_[np.ones(220), -np.ones(30), np.zeros(750)]
    gain = paired_gain(differences, DELTA, a=best_a(differences, 1000, DELTA, "gain")).value
    others = [paired_gain(differences, DELTA, a=a).value for a in np.linspace(0.001, 0.999, 300)]
    assert gain >= max(others) - 1e-6
    assert best_lam(0.0, 10, DELTA) == 36.0 == best_lam(1.0, 10, DELTA)


def test_the_gain_of_the_theory_file() -> None:
    """D = .22, E = .03, n = 25k: .1829 (section 13.6)."""
    z = np.zeros(25_000)
    z[:5500], z[5500:6250] = 1, -1
    assert paired_gain(z, DELTA, a=best_a(z, 25_000, DELTA, "gain")).value == pytest.approx(0.1829, abs=5e-5)


# ---- attacks: predictors that see the past


def adaptive(rng: np.random.Generator, kind: str, trials: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Risks p (trials, n) chosen from the past, and 0-1 losses drawn with them."""
    p, z = np.empty((trials, n)), np.empty((trials, n))
    ahead = np.zeros(trials)  # sum of p - z so far: how far the losses flatter the risks
    for t in range(n):
        if kind == "constant":
            p[:, t] = 0.5
        elif kind == "stops when ahead":
            p[:, t] = np.where(ahead > 2 * math.sqrt(n) / 3, 0.0, 0.5)
        elif kind == "dares when behind":
            p[:, t] = np.where(ahead < 0, 0.5, 0.05)
        else:  # "bad once": all is staked on the end
            p[:, t] = np.where((t > n - 4) & (ahead > -1), 0.9, 0.02)
        z[:, t] = rng.random(trials) < p[:, t]
        ahead += p[:, t] - z[:, t]
    return p, z


@pytest.mark.parametrize("kind", ["constant", "stops when ahead", "dares when behind", "bad once"])
def test_progressive_holds_at_every_n_at_once_against_an_adversary(kind: str) -> None:
    trials, n = 4000, 400
    p, z = adaptive(np.random.default_rng(2), kind, trials, n)
    sizes = np.arange(1, n + 1)
    risk, mean = p.cumsum(1) / sizes, z.cumsum(1) / sizes
    for lam in (best_lam(0.3, n, DELTA), 0.5, 3.0):
        limit = progressive(mean, np.broadcast_to(sizes, mean.shape), DELTA, lam=lam).value
        assert holds(int((risk > limit).any(1).sum()), trials)


def test_the_kl_inverse_looked_at_at_every_n_breaks() -> None:
    trials, n = 4000, 1000
    z = np.random.default_rng(3).random((trials, n)) < 0.5
    sizes = np.arange(1, n + 1)
    mean = z.cumsum(1) / sizes
    false = np.empty(trials, dtype=bool)
    limits = {}  # the same count at the same n has the same limit
    for t in range(n):
        counts, where = np.unique(z[:, : t + 1].sum(1), return_inverse=True)
        limits[t] = np.asarray(kl_inverse(counts / (t + 1), LN20 / (t + 1)))[where]
    false = np.any([limits[t] < 0.5 for t in range(n)], axis=0)
    assert breaks(int(false.sum()), trials)
    true = progressive(mean, np.broadcast_to(sizes, mean.shape), DELTA, lam=best_lam(0.5, n, DELTA)).value
    assert holds(int((true < 0.5).any(1).sum()), trials)


def test_clopper_pearson_breaks_for_two_risks_and_progressive_does_not() -> None:
    """p = (1, .9495): one error in two with probability .0505 > delta, and the limit sqrt(.95) is below the mean."""
    p = np.array([1.0, 0.9495])
    assert binomial_upper(1, 2, DELTA) < p.mean()
    assert 1 - p[1] > DELTA
    assert all(progressive(0.5, 2, DELTA, lam=lam).value > p.mean() for lam in np.geomspace(1e-3, 30, 100))


def test_one_by_one_violations_stay_below_delta() -> None:
    rng, trials, n = np.random.default_rng(5), 3000, 60
    broken = gains = 0
    for _ in range(trials):
        flattered, p, z = 0.0, np.empty(n), np.empty(n)
        for t in range(n):
            chance = 0.0 if flattered > 3 else 0.6
            z[t] = 0.7 * (rng.random() < chance)
            p[t] = 0.7 * chance
            flattered += p[t] - z[t]
        broken += progressive_losses(z, DELTA, a=0.2).value < p.mean()
        gains += paired_gain(1 - 2 * z, DELTA, a=0.2).value > (1 - 2 * p).mean()  # a gain of mean 1 - 2p
    assert holds(broken, trials)
    assert holds(gains, trials)


def test_bets_that_follow_the_past_break_the_gain() -> None:
    """Bets .9 and .1 in turn, differences +.5 and -.5 in turn: the mean gain is 0, the formula says more for any a."""
    z, bets = np.tile([0.5, -0.5], 5000), np.tile([0.9, 0.1], 5000)
    for a in (0.1, 0.5, 0.9):
        false = (math.exp(np.log1p(bets * z).mean() - LN20 / len(z)) - 1) / a
        assert false > 0.15
        assert paired_gain(z, DELTA, a=a).value < 0


def test_cross_fit_holds_where_the_price_of_one_sample_breaks() -> None:
    """Labels from c classes; predictor j says what makes all labels sum to 0 modulo c, so it errs with probability 1 - 1/c.

    All folds of one example are right at once with probability 1/c: the worst that K = N allows.
    """
    rng, trials, n = np.random.default_rng(6), 20_000, 8
    for classes, lam in ((6, 0.5), (6, 8.0), (20, 30.0)):
        labels = rng.integers(classes, size=(trials, n))
        wrong = labels.sum(1) % classes != 0  # all are wrong, or all are right
        limit = np.where(wrong, cross_fit(1.0, n, n, DELTA, lam=lam).value, cross_fit(0.0, n, n, DELTA, lam=lam).value)
        assert holds(int((limit < 1 - 1 / classes).sum()), trials)
        if classes == 6:
            false = progressive(0.0, n, DELTA, lam=lam).value  # ln(1/delta)/N in place of K/N
            assert false < 1 - 1 / classes
            assert breaks(int((~wrong).sum()), trials)


def test_disagreement_carries_the_limit_to_a_kept_predictor() -> None:
    """Risks known: half of the window errs on the first half of the cells, half on none; the kept one on all cells < .3."""
    rng, trials, n, m = np.random.default_rng(7), 1500, 200, 150
    broken = 0
    for _ in range(trials):
        z = np.where(np.arange(n) % 2 == 0, rng.random(n) < 0.5, 0.0).astype(float)
        late = progressive_losses(z, DELTA / 2, a=0.15)
        x, even = rng.random(m), rng.integers(2, size=m) == 0
        differ = int(((x < 0.3) != (even & (x < 0.5))).sum())
        broken += disagreement(late, differ, m, DELTA / 2).value < 0.3
    assert holds(broken, trials)
    record = disagreement(late, 4, 100, 0.01)
    assert record.value == pytest.approx(late.value + binomial_upper(4, 100, 0.01), rel=1e-15)
    assert record.delta == pytest.approx(0.035)
    with pytest.raises(InputError, match="progressive"):
        disagreement(holdout(3, 10, 0.05), 4, 100, 0.01)


# ---- recursive PAC-Bayes


def test_recursive_at_60_digits() -> None:
    n, kls, draws = [1000, 600, 300], [3.0, 5.0, 2.0], [900, 700, 500]
    shares = [[0.6, 0.3, 0.05], [0.55, 0.25, 0.02]]
    bound = recursive_pac_bayes(0.3, shares, n, kls, draws, 0.04, 0.01, gamma=0.4)

    def inverse(p: float, c: float) -> mp.mpf:
        low, high = mp.mpf(p), mp.mpf(1)
        for _ in range(220):
            x = (low + high) / 2
            kl = (p * mp.log(p / x) if p else mp.mpf(0)) + (1 - p) * mp.log((1 - p) / (1 - x))
            low, high = (x, high) if kl <= c else (low, x)
        return high

    with mp.workdps(60):
        xi = [
            mp.log(mp.nsum(lambda k, n=n: mp.binomial(n, k) * (k / n) ** k * (1 - k / n) ** (n - k), [0, n]))
            for n in map(mp.mpf, n)
        ]

        def limit(p: float, t: int, parts: int) -> mp.mpf:
            mean = inverse(mp.mpf(p), mp.log(parts / mp.mpf("0.01")) / draws[t])
            return inverse(mean, (kls[t] + xi[t] + mp.log(parts / mp.mpf("0.04"))) / n[t])

        value = limit(0.3, 0, 3)
        for t in (1, 2):
            edges = [mp.mpf("-0.4"), mp.mpf(0), mp.mpf("0.6"), mp.mpf(1)]
            parts = [(edges[j + 1] - edges[j]) * limit(shares[t - 1][j], t, 9) for j in range(3)]
            value = edges[0] + sum(parts) + mp.mpf("0.4") * value
    assert bound.value == pytest.approx(float(value), rel=1e-9)
    assert bound.delta == pytest.approx(0.05)
    one = recursive_pac_bayes(0.3, [], [1000], [3.0], [900], 0.04, 0.01)
    assert one.value == pytest.approx(bound.terms["stage 1"], abs=0.01)
    assert one.terms == {"stage 1": one.value}


def recursive_trial(rng: np.random.Generator) -> float:
    """Limit on a posterior that overfits: 200 hypotheses of true risk 1/2, greedy stages, exact shares."""
    h, n = 200, 120
    losses = rng.integers(2, size=(n, h)).astype(float)  # every hypothesis is right half of the time
    prior = np.full(h, 1 / h)

    def gibbs(rows: slice, before: np.ndarray) -> np.ndarray:
        weight = before * np.exp(-30 * losses[rows].mean(0))
        return weight / weight.sum()

    first = gibbs(slice(0, n // 2), prior)
    last = gibbs(slice(0, n), first)
    rest = losses[n // 2 :]
    ours, theirs = rest @ last, rest @ first
    share = [1 - ((1 - ours) * theirs).mean(), ours.mean(), (ours * (1 - theirs)).mean()]
    kls = [float(np.sum(q * np.log(np.maximum(q, 1e-300) / p))) for q, p in ((first, prior), (last, first))]
    bound = recursive_pac_bayes((losses @ first).mean(), [share], [n, n // 2], kls, [1e12, 1e12], 0.049, 0.001)
    return float(bound.value)


def test_recursive_holds_for_posteriors_that_overfit() -> None:
    rng, trials = np.random.default_rng(8), 400
    assert holds(sum(recursive_trial(rng) < 0.5 for _ in range(trials)), trials)


def test_recursive_breaks_when_the_divergence_is_not_paid() -> None:
    """Tables that store fair-coin labels, half of them in stage 1, all in stage 2: KL = n_t ln 2 each, true risk 1/2."""
    n = 2000

    def limit(kl: float) -> float:
        shares = [[0.5, 0.0, 0.0]]
        return float(recursive_pac_bayes(0.25, shares, [n, n / 2], [kl, kl], [1e12, 1e12], 0.049, 0.001).value)

    assert limit(0.0) < 0.2
    assert limit(n / 2 * math.log(2)) > 0.5


# ---- what is refused


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: progressive(1.2, 10, DELTA, lam=1.0), "mean_loss"),
        (lambda: progressive(0.2, 0, DELTA, lam=1.0), "n_samples"),
        (lambda: progressive(0.2, 10, 1.0, lam=1.0), "delta"),
        (lambda: progressive(0.2, 10, DELTA, lam=0.0), "lam"),
        (lambda: progressive_losses([], DELTA, a=0.5), "losses"),
        (lambda: progressive_losses([[0.1]], DELTA, a=0.5), "losses"),
        (lambda: progressive_losses([0.1, math.nan], DELTA, a=0.5), "losses"),
        (lambda: progressive_losses([0.1, 1.5], DELTA, a=0.5), "losses"),
        (lambda: progressive_losses([0.1, -0.5], DELTA, a=0.5), "losses"),
        (lambda: progressive_losses([0.1], DELTA, a=1.0), "a must"),
        (lambda: progressive(0.2, 10, DELTA, lam=math.inf), "lam"),
        (lambda: cross_fit(0.1, 4, 0.5, DELTA, lam=1.0), "folds"),
        (lambda: best_a([0.1, 1.5], 9, DELTA), "before"),
        (lambda: best_a([-0.1], 9, DELTA), "before"),
        (lambda: best_a([-1.5], 9, DELTA, "gain"), "before"),
        (lambda: best_lam(1.5, 9, DELTA), "mean_loss"),
        (lambda: paired_gain([0.1, -1.5], DELTA, a=0.5), "differences"),
        (lambda: paired_gain([0.1, 1.5], DELTA, a=0.5), "differences"),
        (lambda: best_a([1.5], 9, DELTA, "gain"), "before"),
        (lambda: cross_fit(0.2, 100, 2.5, DELTA, lam=0.5), "folds"),
        (lambda: cross_fit(0.2, np.array([3, 100]), 5, DELTA, lam=0.5), "at least folds = 5"),
        (lambda: disagreement(progressive(0.2, 100, 0.5, lam=0.5), 1, 100, 0.5), "deltas must add up to less than 1"),
        (lambda: cross_fit(0.1, 4, 5, DELTA, lam=1.0), "folds"),
        (lambda: cross_fit(0.1, 4, 1.5, DELTA, lam=1.0), "folds"),
        (lambda: disagreement(progressive(0.1, 9, 0.6, lam=1.0), 1, 9, 0.5), "deltas"),
        (lambda: recursive_pac_bayes(0.1, [[0.1, 0.2, 0.3]], [9, 9], [1, 1], [9, 9], 0.1, 0.1), "rise"),
        (lambda: recursive_pac_bayes(0.1, [], [9, 9], [1, 1], [9, 9], 0.1, 0.1), "rows of shares"),
        (lambda: recursive_pac_bayes(0.1, [], [9], [1], [9], 0.6, 0.5), "below 1"),
    ],
)
def test_bad_input_is_named(call: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()  # type: ignore[operator]


def test_the_constants_stay_where_they_can_be_computed_with() -> None:
    """No error before the window asks for an infinite lam, a window without end for lam = 0: neither is a number."""
    assert best_lam(0.0, 9, DELTA) == 36.0
    assert best_lam(0.3, 1e300, DELTA) == 1e-9
    assert best_a([0.0, 0.0], 9, DELTA) == pytest.approx(1 / (1 + math.exp(-16)), abs=1e-10)
    # Without a mean, the best bet is sqrt(2 ln(1/delta)/n): 2e-8 here, left of where the search ends.
    assert best_a([-1.0, 1.0], 1e16, DELTA, "gain") == pytest.approx(1 / (1 + math.exp(16)), rel=1e-3)
    assert best_a([0.3, 0.5], 1e6, DELTA) < best_a([0.3, 0.5], 10, DELTA)


def test_the_mean_gain_is_the_mean() -> None:
    z = [1.0, 1.0, -1.0, 0.0]
    assert paired_gain(z, DELTA, a=0.3).terms["mean_gain"] == 0.25
    assert paired_gain(z, DELTA, a=0.3).n_samples == 4


def test_terms_add_up_to_the_value() -> None:
    z = [0.0, 1.0, 0.5, -0.5]
    for bound in (
        paired_gain(z, DELTA, a=0.3),
        progressive_losses(np.abs(z), DELTA, a=0.3),
        progressive(0.3, 40, DELTA, lam=1.0),
        cross_fit(0.3, 40, 5, DELTA, lam=1.0),
    ):
        assert bound.value == pytest.approx(sum(map(float, bound.terms.values())), rel=1e-12), bound.theorem


def test_xi_is_the_sum_it_stands_for() -> None:
    assert math.exp(log_xi(3)) == pytest.approx(1 + 3 * (1 / 3) * (4 / 9) + 3 * (4 / 9) * (1 / 3) + 1, rel=1e-9)
