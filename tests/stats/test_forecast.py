"""Forecasts: exact without noise, intervals that cover, and checks that notice when the law is wrong."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lorabound.errors import InputError
from lorabound.stats import fit_power_law, leave_largest_out, leave_one_cell_out

GRID = [(r, n) for r in (1, 2, 4, 8) for n in (64, 128, 256)]
SMALL = [(r, n) for r in (1, 4) for n in (64, 256)]
SIZES = [(4, n) for n in (64, 128, 256, 512)]


def axes(cells):
    return np.array([r for r, _ in cells]), np.array([n for _, n in cells])


def law(cells, c=1.6, beta=0.5, gamma=0.5):
    r, n = axes(cells)
    return c * r**beta * n**-gamma


def measured(random, mean, misfit, spread, n_seeds):
    """Gaps of n_seeds seeds in cells of this mean: a misfit shared by a cell's seeds, then a spread of its own."""
    mean = np.atleast_1d(mean) * np.exp(misfit * random.normal(size=np.size(mean)))
    return mean[:, None] + spread * random.normal(size=(mean.size, n_seeds))


def test_without_noise_the_law_comes_back_and_predicts_itself():
    r, n = axes(GRID)
    gaps = [[g] for g in law(GRID, 0.9, 0.37, 0.61)]
    got = fit_power_law(r, n, gaps)
    assert (got.c.value, got.beta.value, got.gamma.value) == pytest.approx((0.9, 0.37, 0.61), rel=1e-12)
    assert got.dof == 9
    assert got.residual_sd == pytest.approx(0, abs=1e-12)
    assert math.isnan(got.noise_sd)
    far = got.predict(32, 10_000)
    assert far.value == pytest.approx(0.9 * 32**0.37 * 10_000**-0.61, rel=1e-12)
    assert (far.low, far.high) == pytest.approx((far.value, far.value), rel=1e-10)
    assert got.n_train_for(far.value, 32) == pytest.approx(10_000, rel=1e-10)
    held = leave_one_cell_out(r, n, gaps)
    assert held.cells == tuple(GRID)
    assert held.median_relative_error == pytest.approx(0, abs=1e-12)


def test_the_fit_is_that_of_scipy():
    """One axis: slope, its standard error and the residual against scipy.stats.linregress."""
    random = np.random.default_rng(3)
    r, n = axes(SIZES)
    gaps = measured(random, law(SIZES), 0.2, 0.0, 1)
    got, peer = fit_power_law(r, n, gaps), scipy_stats.linregress(np.log(n), np.log(gaps[:, 0]))
    assert got.beta is None
    assert got.gamma.value == pytest.approx(-peer.slope, rel=1e-10)
    assert got.gamma.high - got.gamma.value == pytest.approx(scipy_stats.t.ppf(0.975, 2) * peer.stderr, rel=1e-10)
    assert got.c.value == pytest.approx(math.exp(peer.intercept), rel=1e-10)


@pytest.mark.parametrize(("cells", "misfit", "spread", "n_seeds"), [
    (GRID, 0.1, 0.02, 3), (GRID, 0.0, 0.03, 3), (GRID, 0.3, 0.0, 1), (SMALL, 0.1, 0.01, 3), (SIZES, 0.15, 0.005, 2),
])  # fmt: skip
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_prediction_interval_covers(cells, misfit, spread, n_seeds, where):
    """300 pilots and one more measured cell each: misses of the 80% interval may not exceed 20% (binomial, 1e-4)."""
    random = np.random.default_rng(4)
    r, n = axes(cells)
    alone = len(set(r)) == 1
    new = [(4 if alone else 1.5, 100)] if where == "inside" else [(4 if alone else 2 * r.max(), 4 * n.max())]
    misses = tried = 0
    for _ in range(300):
        gaps = measured(random, law(cells), misfit, spread, n_seeds)
        if np.any(gaps.mean(axis=1) <= 0):
            continue
        interval = fit_power_law(r, n, gaps).predict(*new[0])
        tried += 1
        misses += not interval.low <= measured(random, law(new), misfit, spread, n_seeds).mean() <= interval.high
    assert tried > 290
    assert scipy_stats.binom.sf(misses - 1, tried, 0.2) > 1e-4, misses


def shaken(random, cells, test_sd, sample_sd):
    """The gaps of cells and of new cells, all with one shift, and with one shift for each N."""
    n = axes(cells)[1]
    shifts = {size: sample_sd / math.sqrt(size) * random.normal() for size in np.unique(n)}
    shift = test_sd * random.normal() + np.array([shifts[size] for size in n])
    return measured(random, law(cells), 0.08, 0.01, 3) + shift[:, None]


@pytest.mark.parametrize(("test_sd", "sample_sd"), [(0.02, 0.0), (0.01, 0.2)])
@pytest.mark.parametrize("new", [(2, 128), (16, 1024), (2, 2048)])
def test_shared_chance_is_covered_when_its_size_is_given(test_sd, sample_sd, new):
    random = np.random.default_rng(8)
    misses = told_nothing = 0
    for _ in range(200):
        gaps = shaken(random, [*GRID, new], test_sd, sample_sd)
        arguments = (*axes(GRID), gaps[:-1])
        interval = fit_power_law(*arguments, shared_test=test_sd, shared_sample=sample_sd).predict(*new)
        misses += not interval.low <= gaps[-1].mean() <= interval.high
        blind = fit_power_law(*arguments).predict(*new)
        told_nothing += not blind.low <= gaps[-1].mean() <= blind.high
    assert scipy_stats.binom.sf(misses - 1, 200, 0.2) > 1e-4, misses
    if new == (2, 2048):  # a small gap: without the sizes the interval is far too narrow
        assert scipy_stats.binom.sf(told_nothing - 1, 200, 0.2) < 1e-4, told_nothing


def test_a_shift_moves_the_forecast_as_the_delta_method_says():
    """One tiny shift of all cells of N = 64, by refitting: the interval grows by z times its effect."""
    r, n = axes(GRID)
    clean, step = law(GRID), 1e-7
    base = fit_power_law(r, n, clean[:, None])
    moved = fit_power_law(r, n, (clean + step * (n == 64))[:, None])
    effect = (moved.predict(8, 1024).value / base.predict(8, 1024).value - 1) / step
    others = sum(
        (
            (
                fit_power_law(r, n, (clean + step * (n == m))[:, None]).predict(8, 1024).value
                / base.predict(8, 1024).value
                - 1
            )
            / step
        )
        ** 2
        / m
        for m in (128, 256)
    )
    new = 1 / base.predict(8, 1024).value ** 2 / 1024
    wide = fit_power_law(r, n, clean[:, None], shared_sample=0.01).predict(8, 1024)
    half = scipy_stats.norm.ppf(0.9) * 0.01 * math.sqrt(effect**2 / 64 + others + new)
    assert math.log(wide.high / wide.value) == pytest.approx(half, rel=1e-4)


def test_coefficient_intervals_cover():
    random = np.random.default_rng(5)
    r, n = axes(GRID)
    misses = np.zeros(3)
    for _ in range(300):
        got = fit_power_law(r, n, measured(random, law(GRID), 0.2, 0.0, 2))
        truths = ((got.c, 1.6), (got.beta, 0.5), (got.gamma, 0.5))
        misses += [not value.low <= truth <= value.high for value, truth in truths]
    assert scipy_stats.binom.sf(misses.max() - 1, 300, 0.05) > 1e-4, misses


def test_leave_one_cell_out_covers_when_the_law_is_right():
    """60 pilots of 12 cells. Cells of one pilot are dependent, so the pilots' shares are averaged."""
    random = np.random.default_rng(6)
    shares = []
    for _ in range(60):
        held = leave_one_cell_out(*axes(GRID), measured(random, law(GRID), 0.1, 0.01, 3))
        assert held.n_intervals == 12
        shares.append(held.coverage)
    assert np.mean(shares) == pytest.approx(0.8, abs=4 * np.std(shares) / math.sqrt(60) + 0.02)


def saturating(cells):
    """A gap that stops growing with the rank, as one does when the training set is fitted."""
    r, n = axes(cells)
    return 5 * n**-0.5 * r**1.5 / (2 + r**1.5)


def test_a_wrong_law_is_revealed():
    """Saturation: cells held out are missed more often than 20%, and the next rank nearly always, forecast too high."""
    random = np.random.default_rng(7)
    cells = [(r, n) for r in (1, 2, 4, 8, 16) for n in (64, 128, 256)]
    right, wrong, largest = [], [], []
    for _ in range(20):
        good = measured(random, law(cells), 0.0, 0.005, 3)
        bad = measured(random, saturating(cells), 0.0, 0.005, 3)
        right.append(leave_one_cell_out(*axes(cells), good).median_relative_error)
        held = leave_one_cell_out(*axes(cells), bad)
        wrong.append(held.median_relative_error)
        edge = leave_largest_out(*axes(cells), bad, "rank")
        assert edge.cells == ((16, 64), (16, 128), (16, 256))
        largest.append(edge.coverage)
        assert all(p.value > m for p, m in zip(edge.predictions, edge.measured, strict=True))
        fit = fit_power_law(*axes(cells), bad)
        assert fit.residual_sd > 3 * fit.noise_sd
    assert min(wrong) > 3 * np.median(right)
    assert np.mean(largest) < 0.5


def test_one_value_on_an_axis_is_not_extrapolated():
    r, n = axes(SIZES)
    gaps = [[g] for g in law(SIZES)]
    along_n = fit_power_law(r, n, gaps)
    assert along_n.beta is None
    assert along_n.predict(4, 2048).value == pytest.approx(law([(4, 2048)])[0])
    with pytest.raises(InputError, match=r"one rank \(4\) and cannot be extrapolated along rank to 8"):
        along_n.predict(8, 64)
    along_rank = fit_power_law([1, 2, 4], [64] * 3, [[0.1], [0.2], [0.4]])
    assert along_rank.gamma is None
    assert along_rank.beta.value == pytest.approx(1)
    for ask in (lambda: along_rank.predict(2, 128), lambda: along_rank.n_train_for(0.1, 2)):
        with pytest.raises(InputError, match="add a second n_train to the pilot"):
            ask()
    alone = fit_power_law([2], [64], [[0.1, 0.3]])
    assert alone.predict(2, 64).value == pytest.approx(0.2)
    assert math.isnan(alone.predict(2, 64).low)
    assert alone.noise_sd == pytest.approx(0.1 / 0.2)
    assert leave_one_cell_out([2], [64], [[0.1]]).cells == ()
    assert leave_largest_out([1, 2], [64, 64], [[0.1], [0.2]], "rank").cells == ()


def test_as_many_cells_as_coefficients_gives_no_interval():
    held = leave_one_cell_out(*axes(SMALL), [[g] for g in law(SMALL)])
    assert len(held.cells) == 4
    assert held.n_intervals == 0
    assert math.isnan(held.coverage)
    assert held.median_relative_error == pytest.approx(0, abs=1e-12)


def test_a_gap_that_does_not_fall_needs_endless_data():
    assert fit_power_law([1, 1], [64, 128], [[0.1], [0.2]]).n_train_for(0.05, 1) == math.inf


@pytest.mark.parametrize(("arguments", "message"), [
    (([1, 2], [64, 64], [[0.1], [-0.02, 0.01]]), r"the mean gap is not positive at rank 2 N 64 \(-0.005\)"),
    (([1, 2], [64, 128], [[0.1], [0.2]]), "rank and N move together"),
    (([1, 2, 4], [64, 64], [[0.1], [0.2], [0.3]]), "one entry per cell"),
    (([1, 2], [64, 64], [[0.1], []]), "one entry per cell"),
    (([], [], []), "one entry per cell"),
    (([0, 2], [64, 64], [[0.1], [0.2]]), "rank must lie in"),
    (([1, 2], [64, 64], [[0.1], [math.nan]]), "gaps must lie in"),
    (([1, 2], [64, 64], [[0.1], [0.2]], [0.1]), "standard_errors must have one entry per cell"),
    (([1, 2], [64, 64], [[0.1], [0.2]], None, 1.0), "level must lie in"),
])  # fmt: skip
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message) as error:
        fit_power_law(*arguments)
    assert "\n" not in str(error.value)


def test_leave_largest_out_refuses_another_axis():
    with pytest.raises(InputError, match="axis must be 'rank' or 'n_train', got 'mode'"):
        leave_largest_out([1, 2], [64, 64], [[0.1], [0.2]], "mode")
