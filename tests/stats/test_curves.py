"""Learning curves of many candidates: the algebra against direct formulas, intervals that cover, what must not break."""

import math

import numpy as np
import pytest
from scipy import special
from scipy import stats as scipy_stats

from lorabound.errors import InputError
from lorabound.stats import cells as in_cells
from lorabound.stats import curves as in_curves
from lorabound.stats import fit_curves, pick
from lorabound.stats.cells import measured_cells, risk_at, scaled

RANKS = (1, 4, 16, 64)
MODES = ("freeze_a", "train_both")
CANDIDATES = [(mode, rank) for mode in MODES for rank in RANKS]
N_PARAMS = [rank * (1 + (mode == "train_both")) for mode, rank in CANDIDATES]
SIZES = (50, 200, 800)


def columns(cells):
    modes, ranks, sizes = zip(*cells, strict=True)
    return list(modes), list(ranks), list(sizes)


def fit(cells, losses, **options):
    return fit_curves(*columns(cells), losses, **options)


def failures(random, risks, n_test=300, n_seeds=2, seed_sd=0.03, shared=0.6):
    """0-1 losses of cells of these risks: hard examples are hard for all (a normal copula), a part is each run's own."""
    hard, tables = random.normal(size=n_test), []
    for risk in risks:
        of_seeds = risk_at(scaled(np.array(risk)) + seed_sd * random.normal(size=(n_seeds, 1)))
        score = math.sqrt(shared) * hard + math.sqrt(1 - shared) * random.normal(size=(n_seeds, n_test))
        tables.append((score < special.ndtri(of_seeds)).astype(float))
    return tables


GRID = [(mode, rank, n) for n in SIZES for mode, rank in CANDIDATES]


def covariance(a, b, stretch, last):
    """The prior of the module's docstring, written down once more, for two sites."""
    (mode, r, n), (other, q, k) = a, b
    same, d = float(mode == other), math.log(r / q) / math.log(10)
    e = math.sqrt(3) * abs(math.log(n / k)) / math.log(150)
    by_rank, by_size, s = math.exp(-d * d / 2), (1 + e) * math.exp(-e), in_curves.EXPECTED
    smooth = s["curve"] ** 2 * by_size + s["rank"] ** 2 * by_rank + s["rank_of_mode"] ** 2 * same * by_rank
    smooth += s["change"] ** 2 * same * by_rank * by_size
    fixed = in_curves.LEVEL_SD**2 + in_curves.SLOPE_SD**2 * math.log(n / last) * math.log(k / last)
    return fixed + stretch**2 * smooth + s["cell"] ** 2 * (a == b) + s["sample"] ** 2 / max(n, k)


def dense(left, right, stretch, last):
    return np.array([[covariance(a, b, stretch, last) for b in right] for a in left])


def centre(sites, last):
    def of_rank(rank):
        low, high = max(math.log(16 / rank), 0) / math.log(16), max(math.log(rank / 32), 0) / math.log(8)
        return in_curves.LOW_RANKS * low**2 + in_curves.HIGH_RANKS * high**2

    return np.array([in_curves.LEVEL + in_curves.SLOPE * math.log(n / last) + of_rank(r) for _, r, n in sites])


def test_the_scale_is_ln_of_the_risk_where_it_is_small_and_turns_back():
    risks = np.array([1e-12, 1e-3, 0.2, 0.7, 0.999])
    assert risk_at(scaled(risks)) == pytest.approx(risks, rel=1e-12)
    assert scaled(np.array(1e-9)) == pytest.approx(math.log(1e-9), abs=1e-8)
    step = 1e-6 * risks
    slope = (scaled(risks + step) - scaled(risks - step)) / (2 * step)
    assert in_cells._steepness(risks) == pytest.approx(slope, rel=1e-6)
    assert risk_at(np.array([-800.0, 800.0])) == pytest.approx([0, 1])


def test_a_forecast_is_the_gaussian_conditional():
    """Mean and covariance of f at the new sites given y, by one dense solve; the interval and the draws follow them."""
    losses = failures(np.random.default_rng(1), np.linspace(0.5, 0.1, len(GRID)))
    curves, n = fit(GRID, losses), 1600
    forecast = curves.forecast(CANDIDATES, n)
    sites = [(mode, rank, n) for mode, rank in CANDIDATES]
    here, across, there = (dense(a, b, curves.stretch, 800) for a, b in ((GRID, GRID), (sites, GRID), (sites, sites)))
    gain = np.linalg.solve(here + curves.measured.noise, across.T).T
    mean = centre(sites, 800) + gain @ (curves.measured.scaled - centre(GRID, 800))
    spread = there - gain @ across.T
    half = scipy_stats.norm.ppf(0.9) * np.sqrt(np.diag(spread))
    assert forecast.lows == pytest.approx(risk_at(mean - half), rel=1e-8)
    assert forecast.highs == pytest.approx(risk_at(mean + half), rel=1e-8)
    drawn = scaled(forecast.draws)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=1e-9)  # antithetic
    se = np.sqrt((np.outer(np.diag(spread), np.diag(spread)) + spread**2) / (len(drawn) / 2))
    assert np.all(np.abs(np.cov(drawn.T) - spread) < 5 * se)


def test_the_stretch_has_the_largest_posterior_density():
    losses = failures(np.random.default_rng(2), [0.9 * n**-0.5 * r**-0.3 for _, r, n in GRID], n_test=2000)
    curves = fit(GRID, losses)

    def density(theta):
        prior = in_curves.GROWS if theta > 0 else in_curves.SHRINKS
        normal = scipy_stats.multivariate_normal(
            centre(GRID, 800), dense(GRID, GRID, math.exp(theta), 800) + curves.measured.noise
        )
        return normal.logpdf(curves.measured.scaled) + scipy_stats.norm.logpdf(theta, 0, prior) + math.log(prior)

    best = math.log(curves.stretch)
    assert best > 0.1  # livelier than expected
    assert density(best) > max(density(best - 0.02), density(best + 0.02), density(0.0))


def test_cells_are_read_in_the_folds_they_were_tested_in():
    random = np.random.default_rng(5)
    first, second = (random.random((1, 300)) < 0.3).astype(float), (random.random((1, 300)) < 0.4).astype(float)
    second[:, :150] = first[:, :150]
    folds = np.repeat([0, 1, 2], 100)
    untested = np.where(folds < 2, folds, -1)
    losses = [first, np.where(untested < 0, np.nan, second)]
    found = in_cells.measured_cells(["a", "a"], [1, 2], [100, 100], losses, folds=[folds, untested])
    assert found.means == pytest.approx([first.mean(), second[:, :200].mean()])
    x = [first[0, :200] - first.mean(), second[0, :200] - second[:, :200].mean()]
    steep = in_cells._steepness((found.means * [300, 200] + 0.5) / [301, 201])
    between = (x[0] * x[1]).mean() * 200 / (300 * 200) * steep.prod()
    own = (x[1] ** 2).mean() / 200 * steep[1] ** 2
    seeds = found.seed_sd**2 * in_cells.SEED_BY_SIZE / 3
    # The covariance of the mean with the difference is taken out: that of the two cells stays, their variances are evened.
    assert found.noise[0, 1] - seeds == pytest.approx(between, rel=0.02)
    assert found.noise[1, 1] < own + 2 * found.seed_sd**2


def test_cells_that_are_always_wrong_in_the_folds_they_share_can_be_fitted():
    wrong, mixed = np.ones((1, 200)), np.ones((1, 200))
    mixed[:, 150:] = 0
    folds, half = np.repeat([0, 1], 100), np.where(np.arange(200) < 100, 0, -1)
    curves = fit_curves(["a", "a", "a"], [1, 4, 16], [100, 100, 200], [wrong, wrong, mixed], folds=[half, half, folds])
    forecast = curves.forecast([("a", 1), ("a", 16)], 400)
    assert np.all(np.isfinite(curves.measured.noise))
    assert forecast.means[0] > forecast.means[1]


def test_one_fold_that_holds_everything_is_no_fold():
    losses = failures(np.random.default_rng(3), np.linspace(0.5, 0.1, len(GRID)))
    plain, folded = fit(GRID, losses), fit(GRID, losses, folds=[np.zeros(len(one[0]), dtype=int) for one in losses])
    assert folded.measured.noise == pytest.approx(plain.measured.noise)
    assert folded.stretch == pytest.approx(plain.stretch)


@pytest.mark.parametrize("folds", [[-1] * 300, [0] * 299])
def test_folds_that_leave_nothing_to_test_are_refused(folds):
    with pytest.raises(InputError, match="folds of a of rank 1"):
        in_cells.measured_cells(["a"], [1], [100], [np.zeros((1, 300))], folds=[folds])


def test_pairs_are_compared_on_the_examples_they_share():
    """Two adapters that fail alike but on four of 2,000 examples: their difference is known far better than either."""
    random = np.random.default_rng(3)
    one = np.repeat((random.random((1, 2000)) < 0.3).astype(float), 2, axis=0)
    other = one.copy()
    other[:, :4] = 1 - other[:, :4]
    noise = measured_cells(*columns([("a", 4, 100), ("a", 8, 100)]), [one, other]).noise
    free = (1 - in_cells.SEED_BY_SIZE) * in_cells.SEED_SD**2  # seeds that differ: none was seen to, four are expected
    apart = noise[0, 0] + noise[1, 1] - 2 * noise[0, 1]
    of_one = noise[0, 0]
    assert apart < 0.4 * of_one + free
    shuffled = measured_cells(*columns([("a", 4, 100), ("a", 8, 100)]), [one, other[:, random.permutation(2000)]]).noise
    assert shuffled[0, 0] + shuffled[1, 1] - 2 * shuffled[0, 1] > 2 * apart


@pytest.mark.parametrize("shared_test", [True, False])
def test_the_noise_is_that_of_repeated_pilots(shared_test):
    """Variances of y, and of differences of y, over 200 pilots of three candidates at two sizes, beside the mean noise."""
    random, seen, said = np.random.default_rng(4), [], []
    cells = [("a", r, n) for n in (50, 200) for r in (1, 4, 16)]
    risks = [0.5, 0.45, 0.4, 0.4, 0.3, 0.25]
    for _ in range(200):
        if shared_test:
            losses = failures(random, risks, seed_sd=0.05)
        else:
            losses = failures(random, risks[:3], seed_sd=0.05) + failures(random, risks[3:], n_test=200, seed_sd=0.05)
        cells_seen = measured_cells(*columns(cells), losses, shared_test=shared_test)
        seen.append(cells_seen.scaled)
        said.append(cells_seen.noise)
    contrasts = np.array([[1, 0, 0, 0, 0, 0], [1, -1, 0, 0, 0, 0], [0, 0, 0, 1, 0, -1], [1, 0, 0, -1, 0, 0], [1] * 6])
    variance = np.var(np.array(seen) @ contrasts.T, axis=0)
    expected = np.einsum("ki,ij,kj->k", contrasts, np.mean(said, axis=0), contrasts)
    assert expected == pytest.approx(variance, rel=0.35)  # chance of 200 pilots: rel 0.1; seeds share nothing here
    assert np.mean(seen, axis=0) == pytest.approx(scaled(np.array(risks)), abs=0.03)


def test_shares_of_the_test_noise():
    """Rows that fail by example only, by seed only: the variance of a loss is common to seeds, or is each one's own."""
    random = np.random.default_rng(5)
    example = np.repeat((random.random((1, 4000)) < 0.3).astype(float), 4, axis=0)
    own = (random.random((4, 4000)) < 0.3).astype(float)
    common, apart = (measured_cells(["a"], [4], [100], [x]) for x in (example, own))
    assert (common.example_share, common.seed_share) == pytest.approx((1, 0), abs=1e-9)
    assert (apart.example_share, apart.seed_share) == pytest.approx((0, 1), abs=0.03)


def truths_of_the_prior(random, count):
    """True risks of the grid's cells and of the candidates at 1,600, ``count`` times drawn from the prior itself."""
    sites = [*GRID, *[(mode, rank, 1600) for mode, rank in CANDIDATES]]
    root = np.linalg.cholesky(dense(sites, sites, 1.0, 800))
    for _ in range(count):
        risks = risk_at(centre(sites, 800) + root @ random.normal(size=len(sites)))
        yield dict(zip(GRID, np.clip(risks, 1e-4, 1 - 1e-4), strict=False)), risks[len(GRID) :]


def halved(risk, size_risks):
    """Cells of successive halving: half of the candidates drops out at each size."""
    left, cells = list(CANDIDATES), []
    for n in SIZES:
        cells += [(mode, rank, n) for mode, rank in left]
        left = sorted(left, key=lambda c, n=n: risk(*c, n))[: len(left) // 2]
    return cells, [size_risks(cell) for cell in cells]


def test_intervals_cover_when_the_model_is_right():
    """120 pilots whose curves come from the prior, halved: of one candidate each, the true risk at twice the largest size
    and a measurement on 500 fresh examples are outside of 80% intervals in no more than 20% of cases (binomial, 1e-4)."""
    random, missed, missed_measured, missed_difference, trials = np.random.default_rng(6), 0, 0, 0, 120
    for at, later in truths_of_the_prior(random, trials):
        cells, risks = halved(lambda m, r, n, at=at: at[m, r, n], at.__getitem__)
        forecast = fit(cells, failures(random, risks)).forecast(CANDIDATES, 1600)
        c, other = random.choice(len(CANDIDATES), 2, replace=False)
        missed += not forecast.lows[c] <= later[c] <= forecast.highs[c]
        low, high = forecast.measured(500)
        trained = risk_at(scaled(np.clip(later[c], 1e-9, 1 - 1e-9)) + 0.03 * random.normal())
        missed_measured += not low[c] <= random.binomial(500, trained) / 500 <= high[c]
        low, high = forecast.difference(c, other)
        missed_difference += not low <= later[c] - later[other] <= high
    for misses in (missed, missed_measured, missed_difference):
        assert scipy_stats.binom.sf(misses - 1, trials, 0.2) > 1e-4, misses
        assert misses > 0.05 * trials  # and they are not as wide as nothing


def crossing(random):
    """R = floor + loss of small ranks + price of large ranks at small N: curves that bend, cross and end in a floor."""
    start, floor, few, many = random.uniform([0.5, 0.02, 0.02, 0.0], [0.9, 0.25, 0.2, 0.3])
    gamma, knee, double = random.uniform(0.3, 0.8), random.uniform(20, 200), random.uniform(1, 4)

    def risk(mode, rank, n):
        q = rank * (double if mode == "train_both" else 1.0)
        base = floor + few * q**-0.6
        return min(base + (start - base) * (1 + n / knee) ** -gamma + many * math.sqrt(q / 64 / (1 + n / 20)), 0.98)

    return risk


@pytest.mark.parametrize("step", [1.25, 4])
def test_intervals_cover_where_curves_bend_and_cross(step):
    """100 pilots of power laws with floors, which the prior does not know: at most 30% outside of 80% intervals
    (binomial, 1e-4; 24 to 29% in 400 pilots); and what a choice loses is on average no more than was said (4 standard errors)."""
    random, misses, trials, lost = np.random.default_rng(7), 0, 100, []
    for _ in range(trials):
        risk = crossing(random)
        cells, risks = halved(risk, lambda cell, risk=risk: risk(*cell))
        forecast = fit(cells, failures(random, risks)).forecast(CANDIDATES, step * 800)
        truth = np.array([risk(*candidate, step * 800) for candidate in CANDIDATES])
        c = random.integers(len(CANDIDATES))
        misses += not forecast.lows[c] <= truth[c] <= forecast.highs[c]
        chosen = pick(forecast, N_PARAMS)
        lost.append(truth[chosen.index] - truth.min() - chosen.expected_loss)
    assert scipy_stats.binom.sf(misses - 1, trials, 0.3) > 1e-4, misses
    assert np.mean(lost) < 4 * np.std(lost) / math.sqrt(trials)


def test_a_forecast_widens_with_the_step_and_narrows_with_data():
    random = np.random.default_rng(8)
    risks = [0.1 + 0.5 * (n / 50) ** -0.4 for _, _, n in GRID]
    few, many = (fit(GRID, failures(random, risks, n_test=m)) for m in (100, 4000))
    width = [
        np.mean(scaled(f.highs) - scaled(f.lows)) for f in (many.forecast(CANDIDATES, n) for n in (900, 1600, 3200))
    ]
    assert width[0] < width[1] < width[2]
    wide = few.forecast(CANDIDATES, 900)
    assert np.mean(scaled(wide.highs) - scaled(wide.lows)) > 1.5 * width[0]


def test_the_order_of_cells_does_not_matter():
    random = np.random.default_rng(9)
    losses = failures(random, np.linspace(0.5, 0.2, len(GRID)))
    order = random.permutation(len(GRID))
    one = fit(GRID, losses).forecast(CANDIDATES, 1600)
    other = fit([GRID[i] for i in order], [losses[i] for i in order]).forecast(CANDIDATES, 1600)
    assert other.means == pytest.approx(one.means, rel=1e-6)
    assert fit(GRID, losses).forecast(CANDIDATES, 1600).draws.tobytes() == one.draws.tobytes()


ZERO, ONE = np.zeros((2, 50)), np.ones((2, 50))
MIXED = (np.random.default_rng(10).random((2, 50)) < 0.4).astype(float)


@pytest.mark.parametrize(
    ("cells", "losses"),
    [
        ([("a", 4, 100)], [MIXED]),
        ([("a", 4, 100)], [MIXED[:1]]),
        ([("a", 4, 100), ("a", 4, 400)], [MIXED, ZERO]),
        ([("a", r, 100) for r in RANKS], [MIXED] * 4),
        ([("a", r, 100) for r in RANKS], [ZERO] * 4),
        ([("a", r, n) for r in RANKS for n in SIZES], [ONE] * 12),
        ([("a", 1, 1), ("b", 1024, 1e6)], [MIXED, MIXED[:1]]),
        ([("a", 1, 10), ("a", 1, 20)], [MIXED / 3, 1e-9 * MIXED]),
    ],
)
def test_little_or_odd_data_give_a_wide_but_finite_forecast(cells, losses):
    forecast = fit(cells, losses).forecast([("a", 1), ("a", 4), ("a", 64)], 1000)
    assert np.all(np.isfinite(forecast.draws))
    assert np.all((forecast.lows < forecast.highs) & (forecast.lows > 0) & (forecast.highs <= 1))
    low, high = forecast.measured(100)
    assert np.all((low >= 0) & (low <= high) & (high <= 1))
    assert forecast.best_chances.sum() == pytest.approx(1)
    assert np.all(forecast.close(1.0) == 1)
    assert pick(forecast, [1, 4, 64]).index in range(3)


def test_an_adapter_without_an_error_is_not_taken_for_perfect():
    """No error in 50 examples: Clopper-Pearson allows up to 4.5% at one-sided 90%; the forecast at the same size, too."""
    forecast = fit([("a", 4, 100)], [ZERO]).forecast([("a", 4)], 100)
    limit = scipy_stats.beta.ppf(0.9, 1, 50)
    assert 0.5 * limit < forecast.highs[0] < 2 * limit


def test_a_candidate_that_diverged_is_hopeless_until_it_works_at_a_larger_size():
    lost = np.where(np.arange(50) == 7, np.nan, MIXED)
    cells = [("a", 1, 60), ("a", 8, 60), ("a", 64, 60), ("a", 8, 240), ("a", 1, 240)]
    curves = fit(cells, [MIXED, lost, lost, MIXED, MIXED])
    assert curves.measured.diverged == (("a", 8, 60), ("a", 64, 60))
    forecast = curves.forecast([("a", 1), ("a", 8), ("a", 64)], 960)
    assert forecast.hopeless.tolist() == [False, False, True]
    assert forecast.means[2] == forecast.lows[2] == forecast.highs[2] == 1
    assert forecast.best_chances[2] == 0
    assert [end[2] for end in forecast.measured(100)] == [1, 1]
    assert 2 not in pick(forecast, [3, 2, 1]).ties
    assert not curves.forecast([("a", 64)], 59).hopeless[0]
    with pytest.raises(InputError, match="every candidate diverged"):
        pick(curves.forecast([("a", 64)], 960), [64])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(ranks=[1]), "one entry per cell"),
        (dict(ranks=[1, 1.5]), "ranks must be an integer"),
        (dict(n_train=[0, 1]), "n_train must lie in"),
        (dict(ranks=[1, 1], n_train=[50, 50]), "a of rank 1 at 50 training examples is there twice"),
        (dict(losses=[MIXED, MIXED + 1]), r"rank 4 at 50 training examples must lie in \[0, 1\], got"),
        (
            dict(losses=[MIXED, MIXED[:, :40]]),
            "has losses of 50 test examples, a of rank 4 at 50 training examples of 40",
        ),
        (dict(losses=[MIXED, MIXED[:, :1]]), r"at least 2 examples, got \(2, 1\)"),
        (dict(losses=[MIXED * np.nan] * 2), "all 2 cells diverged"),
    ],
)
def test_bad_pilots_are_refused(change, message):
    asked = {"modes": ["a", "a"], "ranks": [1, 4], "n_train": [50, 50], "losses": [MIXED, MIXED]} | change
    with pytest.raises(InputError, match=message):
        fit_curves(**asked)


@pytest.mark.parametrize(
    ("candidates", "n", "level", "message"),
    [
        ([], 100, 0.8, "need one candidate or more"),
        ([("a", 4), ("a", 4)], 100, 0.8, "each once"),
        ([("b", 4)], 100, 0.8, "no pilot of mode b was measured"),
        ([("a", 0)], 100, 0.8, "rank must be an integer"),
        ([("a", 4)], 0, 0.8, "n must lie in"),
        ([("a", 4)], 100, 1.0, "level must lie in"),
    ],
)
def test_bad_questions_are_refused(candidates, n, level, message):
    with pytest.raises(InputError, match=message):
        fit([("a", 4, 50)], [MIXED]).forecast(candidates, n, level)
