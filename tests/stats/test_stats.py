"""Intervals and exponents: closed cases by hand, coverage by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lorabound.errors import InputError
from lorabound.stats import crossed_mean, growth_exponent


def test_crossed_mean_by_hand():
    losses = np.array([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    got = crossed_mean(losses, [0.1, 0.3])
    assert got.mean == pytest.approx((0.4 + 0.45) / 2)
    assert got.se_draw == pytest.approx(0.05 / math.sqrt(2) / math.sqrt(2))
    columns = np.array([0.5, 1.0, 1.0, 0.0])
    assert got.se_test == pytest.approx(columns.std(ddof=1) / 2)
    half = math.hypot(scipy_stats.t.ppf(0.975, 1) * got.se_draw, scipy_stats.t.ppf(0.975, 3) * got.se_test)
    assert (got.low, got.high) == pytest.approx((got.mean - half, got.mean + half))


def test_one_seed_has_no_spread_across_draws():
    got = crossed_mean([[0.0, 1.0, 1.0]])
    assert math.isnan(got.se_draw)
    assert got.high - got.mean == pytest.approx(scipy_stats.t.ppf(0.975, 2) * got.se_test)


def crossed_losses(random, n_seeds, n_test, mean, sd_draw, sd_test, sd_rest):
    return (
        mean
        + sd_draw * random.normal(size=(n_seeds, 1))
        + sd_test * random.normal(size=(1, n_test))
        + sd_rest * random.normal(size=(n_seeds, n_test))
    )


@pytest.mark.parametrize("shape", [(3, 200), (5, 50), (10, 300)])
@pytest.mark.parametrize("spread", [(0.05, 0.5, 0.2), (0.0, 0.5, 0.0), (0.1, 0.0, 0.3)])
def test_crossed_interval_covers(shape, spread):
    """1,500 simulated experiments of known mean: misses may not exceed 5% beyond chance (binomial, 1e-4)."""
    random = np.random.default_rng(1)
    misses = 0
    for _ in range(1500):
        got = crossed_mean(crossed_losses(random, *shape, 0.3, *spread))
        misses += not got.low <= 0.3 <= got.high
    assert scipy_stats.binom.sf(misses - 1, 1500, 0.05) > 1e-4, misses


def test_crossed_mean_with_samples_by_hand():
    losses = np.array(
        [[[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]]
    )  # 2 seeds, 3 samples
    trained = np.array([[0.1, 0.2, 0.0], [0.3, 0.1, 0.2]])
    got = crossed_mean(losses, trained)
    gaps = np.array([[0.4, 0.8, 0.0], [0.7, 0.4, 0.3]])
    assert got.mean == pytest.approx(gaps.mean())
    assert (got.n_seeds, got.n_samples, got.n_test) == (2, 3, 2)
    assert got.se_draw == pytest.approx(np.std([0.4, 1.4 / 3], ddof=1) / math.sqrt(2))
    assert got.se_sample == pytest.approx(np.std([0.55, 0.6, 0.15], ddof=1) / math.sqrt(3))
    assert got.se_test == pytest.approx(np.std([0.5, 4 / 6], ddof=1) / math.sqrt(2))
    parts = [(got.se_draw, 1), (got.se_sample, 2), (got.se_test, 1)]
    half = math.hypot(*(scipy_stats.t.ppf(0.975, dof) * error for error, dof in parts))
    assert (got.low, got.high) == pytest.approx((got.mean - half, got.mean + half))


def test_one_sample_is_no_other_computation():
    random = np.random.default_rng(3)
    losses, trained = random.random((3, 50)), random.random(3)
    one, with_axis = crossed_mean(losses, trained), crossed_mean(losses[:, None], trained[:, None])
    assert (one.low, one.high, one.mean) == (with_axis.low, with_axis.high, with_axis.mean)
    assert math.isnan(one.se_sample)
    cell = [losses, losses + 0.2]
    plain = growth_exponent([1, 2], cell, [trained * 0, trained * 0])
    again = growth_exponent([1, 2], [c[:, None] for c in cell], [trained[:, None] * 0] * 2)
    assert plain == again


# Standard deviations of factor, sample, interaction, example, residual. Misses seen of 1,500: 4 to 65.
@pytest.mark.parametrize("shape", [(3, 3, 100), (3, 8, 50), (8, 3, 100)])
@pytest.mark.parametrize(
    "spread",
    [(0.05, 0.05, 0.02, 0.5, 0.2), (0.0, 0.1, 0.0, 0.3, 0.0), (0.1, 0.0, 0.05, 0.0, 0.2), (0.0, 0.0, 0.1, 0.1, 0.1)],
)
def test_crossed_interval_covers_the_chance_of_the_sample(shape, spread):
    """1,500 simulated experiments of known mean: misses may not exceed 5% beyond chance (binomial, 1e-4)."""
    random = np.random.default_rng(4)
    factor, sample, both, example, rest = spread
    n_seeds, n_samples, n_test = shape
    misses = 0
    for _ in range(1500):
        gaps = (
            0.3
            + factor * random.normal(size=(n_seeds, 1))
            + sample * random.normal(size=(1, n_samples))
            + both * random.normal(size=(n_seeds, n_samples))
        )
        noise = example * random.normal(size=n_test) + rest * random.normal(size=shape)
        got = crossed_mean(0.5 + noise, 0.5 - gaps)
        misses += not got.low <= 0.3 <= got.high
    assert scipy_stats.binom.sf(misses - 1, 1500, 0.05) > 1e-4, misses


def test_without_samples_the_interval_does_not_cover_them():
    """The test above can fail: with one sample whose effect is as large as everything else, most intervals miss."""
    random = np.random.default_rng(5)
    misses = 0
    for _ in range(400):
        gaps = 0.3 + 0.1 * random.normal() + 0.01 * random.normal(size=5)
        got = crossed_mean(0.5 + 0.1 * random.normal(size=(1, 100)) + np.zeros((5, 1)), 0.5 - gaps)
        misses += not got.low <= 0.3 <= got.high
    assert misses > 200


def cells(random, xs, beta, n_seeds, n_test, sd_draw=0.02, sd_rest=0.3):
    """Gap 0.1 x^beta in every cell; draws shared by neighbours in part, test examples shared."""
    draw = sd_draw * random.normal(size=(n_seeds, 1))
    item = 0.4 * random.normal(size=(1, n_test))
    test, train = [], []
    for x in xs:
        own = sd_draw * random.normal(size=(n_seeds, 1))
        gap = 0.1 * x**beta * (1 + draw + own)
        test.append(0.5 + item + sd_rest * random.normal(size=(n_seeds, n_test)))
        train.append(0.5 - gap[:, 0])
    return test, train


def test_exponent_without_noise_is_exact():
    xs = [1, 2, 4, 8]
    flat = np.full((3, 10), 0.5)
    got = growth_exponent(xs, [flat] * 4, [np.full(3, 0.5 - 0.1 * x**0.37) for x in xs])
    assert got.value == pytest.approx(0.37, abs=1e-12)
    assert got.low == pytest.approx(0.37, abs=1e-9)
    assert got.high == pytest.approx(0.37, abs=1e-9)


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
def test_exponent_interval_covers(n_seeds):
    """200 simulated sweeps of known exponent: misses may not exceed 5% beyond chance (binomial, 1e-3)."""
    random = np.random.default_rng(2)
    misses = 0
    for _ in range(200):
        test, train = cells(random, [1, 2, 4, 8, 16], 0.5, n_seeds, 1000)
        got = growth_exponent([1, 2, 4, 8, 16], test, train, n_bootstrap=400)
        assert not math.isnan(got.low), got.note
        misses += not got.low <= 0.5 <= got.high
    assert scipy_stats.binom.sf(misses - 1, 200, 0.05) > 1e-3, misses


@pytest.mark.parametrize(("n_seeds", "n_samples"), [(3, 3), (1, 5), (3, 6)])
def test_exponent_interval_covers_the_chance_of_the_sample(n_seeds, n_samples):
    """As above; every sample moves the gap of each cell by a share of its own. Misses seen of 200: 3, 4, 6."""
    random = np.random.default_rng(6)
    xs = [1, 2, 4, 8, 16]
    misses = 0
    for _ in range(200):
        item = 0.4 * random.normal(size=(1, 1, 600))
        draw = 0.02 * random.normal(size=(n_seeds, 1)) * (n_seeds > 1)
        shared = 0.05 * random.normal(size=(1, n_samples))
        test, train = [], []
        for x in xs:
            gap = 0.1 * x**0.5 * (1 + draw + shared + 0.05 * random.normal(size=(1, n_samples)))
            test.append(0.5 + item + 0.3 * random.normal(size=(n_seeds, n_samples, 600)))
            train.append(np.broadcast_to(0.5 - gap, (n_seeds, n_samples)))
        got = growth_exponent(xs, test, train, n_bootstrap=400)
        assert not math.isnan(got.low), got.note
        misses += not got.low <= 0.5 <= got.high
    assert scipy_stats.binom.sf(misses - 1, 200, 0.05) > 1e-3, misses


def test_exponent_says_why_it_is_missing():
    flat = np.full((2, 10), 0.5)
    got = growth_exponent([1, 2], [flat, flat], [np.full(2, 0.6), np.full(2, 0.4)])
    assert math.isnan(got.value)
    assert got.note == "a mean gap is not positive"
    one = growth_exponent([1, 2], [flat[:1], flat[:1]], [[0.4], [0.3]])
    assert one.value == pytest.approx(1.0)
    assert math.isnan(one.low)
    assert one.note == "one seed: no interval"
    noise = np.random.default_rng(0).normal(0.5, 1.0, (2, 50))
    assert growth_exponent([1, 2], [noise, noise], [[0.45, 0.45]] * 2).note == "no interval: a gap is too close to zero"
    with pytest.raises(InputError):
        growth_exponent([3, 3], [flat, flat], [[0.4, 0.4]] * 2)
