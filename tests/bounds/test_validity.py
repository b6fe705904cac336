"""Validity by simulation: true risks exact, predictors chosen to break the bound, violations against delta.

2,000 samples or more for every bound; a run fails when so many violations would be a 1-in-10^6 event at
delta.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import special, stats

from lorabound.bounds import (
    LoraNetwork,
    admissibility,
    best_of,
    binomial_upper,
    concentration,
    gaussian_kl,
    holdout,
    information_gap,
    kl_inverse,
    lower_bound,
    net_kl,
    occam,
    occam_gap,
    operator_norm_radius,
    over_radii,
    pac_bayes,
    rademacher_lower,
    rademacher_upper,
    rank_lower_bound,
    uniform_gap,
)
from lorabound.bounds.random_matrix import column_norm_radius, smallest_singular_value

SAMPLES = 4000


def holds(violations, delta, trials=SAMPLES):
    """At most delta of the trials, up to chance."""
    return stats.binom.sf(violations - 1, trials, delta) > 1e-6


class MajorityTask:
    """Inputs e_1 .. e_m, fair-coin labels, one adapted layer with scalar output, loss min(1, |yhat - y|).

    B = c (r = m, A = identity, W = 0): f(e_i) = c_i. Every c in [0, 1]^m has true risk 1/2, so a predictor
    that reads the
    labels of the sample has the gap 1/2 - Rhat, and nothing is known better than the risk of each.
    """

    def __init__(self, m, n, seed, trials=SAMPLES):
        rng = np.random.default_rng(seed)
        self.m, self.n = m, n
        cell = rng.integers(m, size=(trials, n))
        label = rng.integers(2, size=(trials, n))
        self.counts = np.stack([(cell == i).sum(1) for i in range(m)], 1)
        self.ones = np.stack([((cell == i) & (label == 1)).sum(1) for i in range(m)], 1)

    def network(self, radius):
        return LoraNetwork([self.m, 1], self.m, "freeze_a", [0.0], [0.0], [1.0], [radius])

    def worst(self, radius):
        """The factor with the largest gap in the ball, and that gap.

        The loss at cell i is y + (1 - 2y) c_i, linear in c on [0, 1], so R - Rhat = sum_i c_i (2 S_i -
        n_i)/N + const.
        """
        gain = (2 * self.ones - self.counts) / self.n
        constant = 0.5 - self.ones.sum(1) / self.n
        # maximize <gain, c> over 0 <= c <= 1, ||c|| <= radius: c = min(1, t gain+); bisect t.
        up = np.maximum(gain, 0.0)
        low, high = np.zeros(len(up)), np.full(len(up), 1e6)
        for _ in range(80):
            t = (low + high) / 2
            inside = np.linalg.norm(np.minimum(1.0, t[:, None] * up), axis=1) <= radius
            low, high = np.where(inside, t, low), np.where(inside, high, t)
        c = np.minimum(1.0, low[:, None] * up)
        return c, constant + (gain * c).sum(1)


@pytest.mark.parametrize("method", ["chaining", "net", "dudley"])
@pytest.mark.parametrize(("m", "n", "radius"), [(1, 40, 1.0), (2, 400, 1.0), (8, 3000, 3.0), (3, 50, 0.05)])
def test_uniform_gap(method, m, n, radius):
    task = MajorityTask(m, n, seed=m)
    _, gaps = task.worst(radius)
    for delta in (0.3, 0.05):
        bound = uniform_gap(task.network(radius).blocks(), n, delta, method)
        assert holds(np.sum(gaps > bound.value), delta)
        expected = bound.value - bound.terms.get("confidence", 0.0)
        if method != "net":
            assert gaps.mean() <= expected + 4 * gaps.std() / math.sqrt(SAMPLES)
    # The adversary is a real one: its gap is not small.
    assert gaps.mean() > 0.2 * math.sqrt(m / n) * min(1.0, radius) / math.sqrt(m)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("method", ["chaining", "net"])
def test_uniform_gap_of_a_single_predictor_is_hoeffding_and_no_less(method, sides):
    # Radius 0: the class is one function, a fair coin. The bound must hold, and leave no room for a wrong
    # delta.
    rng = np.random.default_rng(5)
    n, delta = 400, 0.3
    gap = rng.binomial(n, 0.5, 20_000) / n - 0.5
    gap = np.abs(gap) if sides == 2 else gap
    bound = uniform_gap([(1, -math.inf)], n, delta, method, sides=sides)
    violations = np.sum(gap > bound.value)
    assert holds(violations, delta, 20_000)
    # Hoeffding at delta = 0.3 loses a factor 2 to 5 in probability on a coin, not more.
    assert violations > 20_000 * delta / 6


@pytest.mark.parametrize(("m", "n", "radius"), [(1, 40, 1.0), (2, 400, 1.0), (8, 3000, 3.0)])
def test_net_kl(m, n, radius):
    task = MajorityTask(m, n, seed=10 + m)
    _, gaps = task.worst(radius)
    for delta in (0.3, 0.05):
        limits = net_kl(task.network(radius).blocks(), n, delta, np.clip(0.5 - gaps, 0, 1)).value
        assert holds(np.sum(limits < 0.5), delta)
        # At K = 0 and Rhat = a coin's mean only the union over 64 radii protects: it must not be missing
        # altogether.
    alone = net_kl([(1, -math.inf)], 40, 0.3, np.arange(41) / 40).value
    missed = stats.binom.pmf(np.arange(41), 40, 0.5)[alone < 0.5].sum()
    assert missed <= 0.3 / 64 * 2


def test_over_radii_when_the_radius_is_chosen_on_the_sample():
    task = MajorityTask(2, 60, seed=3)
    # The adversary uses as large a ball as it likes, and reports the norm it ended with.
    c, gaps = task.worst(math.sqrt(2))
    for delta in (0.3, 0.05):
        norms = np.round(np.linalg.norm(c, axis=1), 2)
        table = {r: over_radii(task.network, r, 60, delta).value for r in np.unique(norms)}
        assert holds(np.sum(gaps > np.array([table[r] for r in norms])), delta)


def test_concentration_of_the_supremum():
    n = 50
    _, gaps = MajorityTask(4, n, seed=2).worst(2.0)
    for t in (0.05, 0.1, 0.15):
        assert holds(np.sum(np.abs(gaps - gaps.mean()) >= t + 0.005), min(1.0, concentration(n, t)))
    assert gaps.std() <= 1 / (2 * math.sqrt(n))


@pytest.mark.parametrize("zero_one", [False, True])
def test_occam_with_the_predictor_that_breaks_it_most(zero_one):
    # 2^b predictors with independent errors: the one with the fewest training errors is taken.
    rng = np.random.default_rng(1)
    n, bits, delta = 60, 6, 0.2
    for risk in (0.1, 0.3, 0.5):
        errors = rng.binomial(n, risk, (SAMPLES, 2**bits)).min(axis=1)
        limits = occam(np.arange(n + 1) / n, n, bits, delta, zero_one).value
        assert holds(np.sum(limits[errors] < risk), delta)
        # Without the price of the code the same predictors break it far too often: the test can fail.
        free = occam(np.arange(n + 1) / n, n, 0.0, delta, zero_one).value
        assert not holds(np.sum(free[errors] < risk), delta)


def test_occam_gap_with_the_predictor_that_breaks_it_most():
    rng = np.random.default_rng(7)
    n, bits, delta, risk = 60, 6, 0.2, 0.5
    gaps = risk - rng.binomial(n, risk, (SAMPLES, 2**bits)).min(axis=1) / n
    assert holds(np.sum(gaps > occam_gap(n, bits, delta).value), delta)
    assert not holds(np.sum(gaps > occam_gap(n, 0.0, delta).value), delta)


def test_occam_with_codes_of_unequal_length():
    # Lengths 1, 2, .., 12, 12 (Kraft sum 1); the adversary takes the predictor whose certificate fails by
    # most.
    rng = np.random.default_rng(2)
    n, delta, risk = 40, 0.3, 0.4
    lengths = np.array([*range(1, 13), 12])
    limits = occam(np.arange(n + 1)[:, None] / n, n, lengths, delta, zero_one=True).value
    errors = rng.binomial(n, risk, (SAMPLES, len(lengths)))
    smallest = limits[errors, np.arange(len(lengths))].min(axis=1)
    violations = np.sum(smallest < risk)
    assert holds(violations, delta)
    assert violations > 0.1 * delta * SAMPLES


@pytest.mark.parametrize("draws", [None, 3, 50])
def test_pac_bayes_with_the_posterior_that_breaks_it_most(draws):
    """Threshold predictors sign(w_i) on m cells, labels fair coins: R(Q) = 1/2 for every Q.

    The adversary picks the posterior mean (a multiple of the majority sign) and variance with the least
    limit; with draws
    it cannot see them in advance, so they are drawn after.
    """
    rng = np.random.default_rng(4)
    m, n, delta = 2, 30, 0.25
    cell, label = rng.integers(m, size=(SAMPLES, n)), rng.choice([-1, 1], size=(SAMPLES, n))
    sums = np.stack([np.where(cell == i, label, 0).sum(1) for i in range(m)], 1)
    counts = np.stack([(cell == i).sum(1) for i in range(m)], 1)
    limits = []
    for shift in (0.0, 0.3, 1.0, 2.0):
        for variance in (1.0, 0.3):
            mean = shift * np.sign(sums)
            wrong = special.ndtr(-np.abs(mean) / math.sqrt(variance))  # error on the majority label of a cell
            majority = (counts + np.abs(sums)) / 2
            risk = (majority * wrong + (counts - majority) * (1 - wrong)).sum(1) / n
            kl = np.array([gaussian_kl(np.full(k, shift), 0.0, variance, 1.0) for k in (0, 1, 2)])[
                np.count_nonzero(sums, axis=1)
            ] + (m - np.count_nonzero(sums, axis=1)) * gaussian_kl(0.0, 0.0, variance, 1.0)
            # numpy sums an empty mean to 0: k cells moved, the rest at the prior mean.
            if draws is None:
                limits.append(pac_bayes(np.clip(risk, 0, 1), n, kl, delta).value)
            else:
                mc = rng.binomial(draws, np.clip(risk, 0, 1)) / draws
                limits.append(pac_bayes(mc, n, kl, delta / 2, draws=draws, delta_draws=delta / 2).value)
    if draws is None:
        assert holds(np.sum(np.min(limits, axis=0) < 0.5), delta)
    else:
        for limit in limits:  # draws protect one posterior at a time
            assert holds(np.sum(limit < 0.5), delta)


def test_pac_bayes_constant_is_needed():
    # The expectation the theorem rests on: E exp(N kl(S/N || p)) = xi(N) for every p, exactly.
    from lorabound.bounds import log_xi
    from lorabound.bounds.tails import kl_bernoulli

    for n, p in [(1, 0.3), (7, 0.01), (30, 0.5)]:
        k = np.arange(n + 1)
        moment = np.sum(stats.binom.pmf(k, n, p) * np.exp(n * kl_bernoulli(k / n, p)))
        assert math.log(moment) == pytest.approx(log_xi(n), abs=1e-10)


def test_monte_carlo_term():
    rng = np.random.default_rng(6)
    for risk in (0.02, 0.5):
        for draws in (5, 100):
            mean = rng.binomial(draws, risk, SAMPLES) / draws
            assert holds(np.sum(kl_inverse(mean, math.log(1 / 0.2) / draws) < risk), 0.2)


@pytest.mark.parametrize("risk", [0.01, 0.2, 0.7])
def test_best_of_three_at_a_third_each(risk):
    rng = np.random.default_rng(7)
    n, delta = 50, 0.3
    table = [holdout(np.arange(n + 1), n, delta / 3).value]
    errors = rng.binomial(n, risk, (3, SAMPLES))
    best = np.min(table[0][errors], axis=0)
    assert holds(np.sum(best < risk), delta)
    one = [holdout(int(e), n, delta / 3) for e in errors[:, 0]]
    combined = best_of(one, delta)
    assert combined.value == best[0]
    assert combined.delta == pytest.approx(delta)
    # At the whole delta each, the least of three fails too often.
    greedy = np.min(binomial_upper(np.arange(n + 1), n, delta)[errors], axis=0)
    if risk == 0.2:
        assert not holds(np.sum(greedy < risk), delta)


def test_information_gap_on_the_mean():
    # One parameter of b bits names one of 2^b independent coins; training takes the one with the least
    # training risk.
    rng = np.random.default_rng(8)
    for bits, n in [(1, 5), (4, 50), (8, 200)]:
        errors = rng.binomial(n, 0.5, (SAMPLES, 2**bits)).min(axis=1) / n
        gap = 0.5 - errors.mean()
        bound = information_gap(1, n, bits=bits).value
        assert gap - 4 * errors.std() / math.sqrt(SAMPLES) <= bound
        assert gap >= 0.4 * bound  # the memorizer comes within a factor 2.5


def test_rademacher_limits_around_a_complexity_that_is_known():
    # All c in [0, 1]^m on m cells, each seen k times: Rad_S = E sum_i |T_i|/(2N), T_i a walk of k steps.
    rng = np.random.default_rng(9)
    m, k, draws, delta = 6, 4, 5, 0.2
    n = m * k
    walk = 2 * rng.binomial(k, 0.5, (SAMPLES, draws, m)) - k
    average = (np.abs(walk).sum(2) / (2 * n)).mean(1)
    mean_walk = np.sum(stats.binom.pmf(np.arange(k + 1), k, 0.5) * np.abs(2 * np.arange(k + 1) - k))
    truth = m * mean_walk / (2 * n)
    assert holds(np.sum(rademacher_lower(average, n, draws, delta) > truth), delta)
    # With the confidence of one draw the limit would be far lower; with none it fails half of the time.
    assert np.mean(average > truth) > 0.3
    network = LoraNetwork([m, 1], m, "freeze_a", [0.0], [0.0], [1.0], [math.sqrt(m)])
    assert truth <= rademacher_upper(network.blocks(), n)


# --- lower bounds, end to end: real factors, real samples ---


@pytest.mark.parametrize(("n", "p"), [(5, 0.5), (30, 0.5), (401, 0.1), (10_000, 0.9)])
def test_lower_bound(n, p):
    rng = np.random.default_rng(n)
    gap = np.abs(rng.binomial(n, 0.5, SAMPLES) / n - 0.5)
    bound = lower_bound(n, p)
    hits = np.sum(gap >= bound.value * (1 - 1e-12))
    attained = bound.terms["attained_probability"]
    assert attained >= p
    assert stats.binom.cdf(hits, SAMPLES, attained) > 1e-6
    assert stats.binom.sf(hits - 1, SAMPLES, attained) > 1e-6


def identity_network(rng, rank, widths, scale, std):
    """(f, norms of the B_t): the rank-one construction of 5.2 on random W_t and A_t."""
    weights = [rng.normal(size=(o, i)) / math.sqrt(i) for i, o in pairwise(widths)]
    updated, norms = [], []
    for w in weights:
        a = std * rng.normal(size=(rank, w.shape[1]))
        e1 = np.eye(w.shape[0])[0]
        b = np.outer(e1 - w[:, 0], a[:, 0]) / (scale * a[:, 0] @ a[:, 0])
        updated.append(w + scale * b @ a)
        norms.append(np.linalg.norm(b))

    def f(x):
        h = np.array([x])
        for t, u in enumerate(updated):
            h = u @ h
            h = np.maximum(h, 0) if t < len(updated) - 1 else h
        return h[0]

    return f, norms, weights


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_rank_one_construction_computes_the_identity_at_every_rank(rank):
    rng = np.random.default_rng(rank)
    for _ in range(20):
        f, _, _ = identity_network(rng, rank, [1, 6, 4, 1], -0.7, 0.3)
        for x in (0.0, 0.3, 1.0):
            assert f(x) == pytest.approx(x, abs=1e-9)


@pytest.mark.parametrize(("rank", "radius"), [(1, 2.0), (3, 1.0), (8, 0.6)])
def test_admissibility_is_the_frequency_of_fitting_factors(rank, radius):
    rng = np.random.default_rng(rank)
    std, scale, shifts = 0.8, 1.5, np.array([0.7, 1.1])
    columns = std * rng.normal(size=(20_000, 2, rank))
    norms = shifts / (scale * np.linalg.norm(columns, axis=2))
    fits = np.sum(np.all(norms <= radius, axis=1))
    p = admissibility(rank, shifts, radius, std, scale)
    assert 0.05 < p < 0.999
    assert min(stats.binom.cdf(fits, 20_000, p), stats.binom.sf(fits - 1, 20_000, p)) > 1e-6


def test_admissibility_of_the_full_construction_is_a_lower_bound():
    rng = np.random.default_rng(0)
    rank, width, radius, trials = 60, 4, 0.7, 2000
    shift = rng.normal(size=(width, width))
    norm = np.linalg.norm(shift, 2)
    fits = sum(
        np.linalg.norm(shift @ np.linalg.pinv(rng.normal(size=(rank, width))), 2) <= radius for _ in range(trials)
    )
    p = admissibility(rank, [norm], radius, construction="full", input_widths=[width])
    assert 0.3 < p < 1
    assert stats.binom.cdf(fits, trials, p) > 1e-6


def majority_gap(rng, rank, cells, outputs, n, trials, scale=0.5):
    """Mean gap of real adapters: A Gaussian, B = (1/s)(C - W) A^+, C the majority labels."""
    d0, gaps, norms = rank + 3, [], []
    for _ in range(trials):
        a = rng.normal(size=(rank, d0))
        w = rng.normal(size=(outputs, d0)) / math.sqrt(d0)
        i, j, y = rng.integers(cells, size=n), rng.integers(outputs, size=n), rng.integers(2, size=n)
        votes = np.zeros((outputs, cells))
        np.add.at(votes, (j, i), 2 * y - 1)
        target = (votes > 0).astype(float)
        b = (target - w[:, :cells]) @ np.linalg.pinv(a[:, :cells]) / scale
        predicted = ((w + scale * b @ a)[:, :cells])[j, i]
        assert np.allclose(predicted, target[j, i], atol=1e-6)
        gaps.append(0.5 - np.mean(np.abs(predicted - y)))
        norms.append(np.linalg.norm(b) * scale)
    return np.array(gaps), max(norms)


@pytest.mark.parametrize(
    ("rank", "cells", "outputs", "n"),
    [(16, 4, 1, 1000), (64, 16, 1, 2000), (32, 8, 3, 3000), (8, 8, 10, 8000)],
)
def test_the_rank_lower_bound_is_met_by_real_adapters(rank, cells, outputs, n):
    trials = 200
    gaps, _ = majority_gap(np.random.default_rng(rank), rank, cells, outputs, n, trials)
    free = cells * outputs
    exact = rank_lower_bound(n, free).value
    assert abs(gaps.mean() - exact) <= 4 * gaps.std() / math.sqrt(trials)
    # 0.399 sqrt(m/N) within 3 percent.
    assert exact == pytest.approx(math.sqrt(free / (2 * math.pi * n)), rel=0.03)
    assert gaps.mean() == pytest.approx(
        0.399 * math.sqrt(free / n), rel=0.03 + 4 * gaps.std() / gaps.mean() / math.sqrt(trials)
    )
    limit = rank_lower_bound(n, free, 0.2).value
    assert holds(np.sum(gaps < limit), 0.2, trials)


@pytest.mark.slow
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize(("rank", "n"), [(8, 500), (8, 4000), (32, 2000), (64, 8000)])
def test_the_rank_lower_bound_on_a_grid(rank, n, outputs):
    trials, cells = 2500, max(1, rank // 4)
    gaps, norm = majority_gap(np.random.default_rng(rank + n), rank, cells, outputs, n, trials)
    assert gaps.mean() / math.sqrt(cells * outputs / n) == pytest.approx(0.399, rel=0.03)
    # theory 5.4: at m = r/4 the factor stays O(1) per output; rank 8 has the widest tail.
    assert norm < 3.5 * math.sqrt(outputs)


def test_the_majority_sum_concentrates():
    rng = np.random.default_rng(11)
    n, m, delta = 60, 5, 0.1
    counts = rng.multinomial(n, [1 / m] * m, SAMPLES)
    total = np.abs(rng.binomial(counts, 0.5) - counts / 2).sum(1) / n
    bound = rank_lower_bound(n, m, delta)
    assert total.mean() == pytest.approx(bound.terms["mean"], abs=4 * total.std() / math.sqrt(SAMPLES))
    assert holds(np.sum(total < bound.value), delta)


# --- random matrices ---


def test_gaussian_norms_stay_within_their_limits():
    rng = np.random.default_rng(12)
    rank, width, layers, delta, std, trials = 4, 9, 2, 0.3, 0.5, 2000
    draws = std * rng.normal(size=(trials, layers, rank, width))
    spectrum = np.linalg.svd(draws, compute_uv=False)
    assert holds(np.sum(spectrum[..., 0].max(1) > operator_norm_radius(std, rank, width, layers, delta)), delta, trials)
    columns = np.linalg.norm(draws[..., 0], axis=-1).max(1)
    violations = np.sum(columns > column_norm_radius(std, rank, layers, delta))
    assert holds(violations, delta, trials)
    assert holds(
        np.sum(spectrum[..., -1].min(1) < smallest_singular_value(std, width, rank, layers, delta)),
        delta,
        trials,
    )
    # Not loose beyond recognition: a fifth of the deviation would not do.
    short = std * (math.sqrt(rank) + 0.2 * math.sqrt(2 * math.log(layers / delta)))
    assert not holds(np.sum(columns > short), delta, trials)
