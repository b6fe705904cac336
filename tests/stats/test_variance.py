"""Variance components: exact squares by hand and against least squares, intervals that cover, test noise taken out."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lorabound.errors import InputError
from lorabound.stats import shared_test_noise as noise_of
from lorabound.stats import variance_components


def crossed(random, shape, sds):
    """(A, S, K) gaps around 0.3; standard deviations of factor, sample, interaction, training."""
    a, s, k = shape
    shapes = ((a, 1, 1), (1, s, 1), (a, s, 1), (a, s, k))
    return 0.3 + sum(sd * random.normal(size=each) for sd, each in zip(sds, shapes, strict=True))


def test_components_by_hand():
    """Effects that are orthogonal contrasts: every mean square is known."""
    factor, sample = np.array([-1.0, 0.0, 1.0]), np.array([-2.0, 0.0, 2.0])
    twist = 0.5 * np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])
    got = variance_components(5 + factor[:, None] + sample[None] + twist)
    ms_i = 0.25 * 36 / 4
    assert got.mean == pytest.approx(5)
    assert got.components["interaction"].value == pytest.approx(ms_i)
    assert got.components["sample"].value == pytest.approx((3 * 8 / 2 - ms_i) / 3)
    assert got.components["factor"].value == pytest.approx((3 * 2 / 2 - ms_i) / 3)
    exact = 4 * ms_i / scipy_stats.chi2.ppf([0.975, 0.025], 4)  # one mean square: the chi-squared interval
    assert (got.components["interaction"].low, got.components["interaction"].high) == pytest.approx(tuple(exact))
    total = sum(component.value for component in got.components.values())
    assert got.single_run.sd.value == pytest.approx(math.sqrt(total))
    assert sum(got.single_run.shares.values()) == pytest.approx(1)
    assert got.single_run.guarantee is None


def test_estimates_are_unbiased():
    random = np.random.default_rng(0)
    truth = {"factor": 1.0, "sample": 0.49, "interaction": 0.25, "training": 0.64}
    y = [crossed(random, (6, 7, 2), [math.sqrt(v) for v in truth.values()]) for _ in range(150)]
    got = [variance_components(gaps).components for gaps in y]
    for name, value in truth.items():
        estimates = np.array([each[name].value for each in got])
        assert abs(estimates.mean() - value) < 4 * estimates.std() / math.sqrt(150), name


@pytest.mark.parametrize(("shape", "sds"), [
    ((3, 3, 1), (1.0, 1.0, 1.0, 0.0)), ((3, 3, 1), (1.0, 0.2, 0.05, 0.0)), ((5, 5, 1), (0.3, 0.3, 1.0, 0.0)),
    ((3, 10, 1), (0.0, 1.0, 0.3, 0.0)), ((4, 4, 2), (1.0, 1.0, 0.5, 1.0)),
])  # fmt: skip
def test_intervals_cover(shape, sds):
    """150 designs: misses of each 95% interval, and of a new run, may not exceed 5% (new run: 7%) beyond chance."""
    random = np.random.default_rng(1)
    variances = dict(zip(("factor", "sample", "interaction", "training"), np.square(sds), strict=True))
    if shape[2] == 1:
        variances["interaction"] += variances.pop("training")
    total = sum(variances.values())
    misses = dict.fromkeys([*variances, "sd", "new run"], 0)
    for _ in range(150):
        got = variance_components(crossed(random, shape, sds))
        for name, value in variances.items():
            misses[name] += not got.components[name].low <= value <= got.components[name].high
        run = got.single_run
        misses["sd"] += not run.sd.low <= math.sqrt(total) <= run.sd.high
        misses["new run"] += not run.low <= crossed(random, (1, 1, 1), sds).item() <= run.high
    for name, count in misses.items():
        assert scipy_stats.binom.sf(count - 1, 150, 0.07 if name == "new run" else 0.05) > 1e-4, misses


def test_test_noise_is_what_redrawn_test_sets_add():
    """150 test sets for the same runs: mean squares of their noise against the reduced form of one of them.

    The dependence on example i is of every kind: common, with the factor, with the sample, alone.
    """
    random = np.random.default_rng(2)
    shape, n = (4, 5), 60

    def losses(count):
        common = random.normal(size=(1, 1, count))
        of_factor, of_sample = random.normal(size=(4, 1, count)), random.normal(size=(1, 5, count))
        return common + 0.5 * of_factor + 0.3 * of_sample + 0.7 * random.normal(size=(*shape, count))

    expected = {"factor": 0.25 / n, "sample": 0.09 / n, "interaction": 0.49 / n}
    noises = [noise_of(losses(n)) for _ in range(150)]
    for name, value in expected.items():
        parts = np.array([noise.parts[name] for noise in noises])
        assert abs(parts.mean() - value) < 4 * parts.std() / math.sqrt(150), name
    assert np.mean([noise.shared for noise in noises]) == pytest.approx(1 / n, rel=0.05)
    assert np.mean([noise.total for noise in noises]) == pytest.approx(1.83 / n, rel=0.05)
    # and that is what the gaps of runs without any spread of their own show, on average
    shown = [variance_components(x.mean(axis=-1), noise_of(x), level=0.9) for x in (losses(n) for _ in range(150))]
    factor = np.array([got.components["factor"].low > 0 for got in shown])
    assert factor.mean() < 0.1  # no spread of the factor is claimed where there is none
    alone = [variance_components(x.mean(axis=-1)).components["factor"].value for x in (losses(n) for _ in range(150))]
    assert np.mean(alone) > 0.9 * expected["factor"]


def test_components_with_test_noise_cover():
    random = np.random.default_rng(3)
    misses = 0
    for _ in range(150):
        a, s, n = 5, 5, 200
        common, of_factor = random.normal(size=(1, 1, n)), 2 * random.normal(size=(a, 1, n))
        x = common + of_factor + random.normal(size=(a, s, n))
        effects = crossed(random, (a, s, 1), (0.1, 0.1, 0.02, 0.0))
        got = variance_components(effects[:, :, 0] + x.mean(axis=-1), noise_of(x))
        misses += not got.components["factor"].low <= 0.01 <= got.components["factor"].high
    assert scipy_stats.binom.sf(misses - 1, 150, 0.05) > 1e-3, misses


def test_negative_estimates_are_told():
    """Gaps that vary less between rows than within: the factor's estimate is negative."""
    checker = np.array([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]) + np.array([[0.2], [0.0], [0.4]])
    got = variance_components(checker).components["factor"]
    assert (got.value, got.low, got.negative) == (0.0, 0.0, True)
    assert got.high > 0


def test_single_run_beside_the_guarantee():
    random = np.random.default_rng(4)
    x = (random.random((3, 4, 50)) < 0.3).astype(float)
    got = variance_components(x.mean(axis=-1) - 0.1, noise_of(x), n_train=400).single_run
    assert got.guarantee == pytest.approx(0.025)
    assert got.sd_measured**2 == pytest.approx(got.sd.value**2 + noise_of(x).total)
    assert set(got.shares) == {"factor", "sample", "interaction", "test"}
    assert sum(got.shares.values()) == pytest.approx(1)


def test_runs_that_agree_have_no_spread():
    got = variance_components(np.full((3, 3), 0.25))
    assert got.single_run.sd.value == 0
    assert (got.single_run.low, got.single_run.high) == (0.25, 0.25)
    assert math.isnan(got.single_run.shares["factor"])


@pytest.mark.parametrize(("call", "message"), [
    (lambda: variance_components(np.zeros((2, 5))), "at least 3 factors and 3 samples, got shape"),
    (lambda: variance_components([0.1, 0.2]), "gaps must be"),
    (lambda: variance_components(np.full((3, 3), math.nan)), "gaps must lie in"),
    (lambda: variance_components(np.zeros((3, 3)), n_train=0), "n_train must lie in"),
    (lambda: variance_components(np.zeros((3, 3)), level=1.0), "level must lie in"),
    (lambda: variance_components(np.zeros((3, 3, 2)), noise_of(np.zeros((3, 3, 5)))), "test noise has the parts"),
    (lambda: noise_of(np.zeros((3, 3, 1))), "test_losses must be"),
])  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
