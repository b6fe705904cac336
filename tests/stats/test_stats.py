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
