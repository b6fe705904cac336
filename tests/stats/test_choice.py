"""A forecast read off its draws, and the choice that follows, on distributions small enough to count by hand."""

import numpy as np
import pytest

from lorabound.errors import InputError
from lorabound.stats import Forecast, pick


def forecast(draws, candidates=(("freeze_a", 1), ("freeze_a", 8), ("train_both", 8)), level=0.5, **fields):
    draws = np.array(draws, dtype=float)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    known = {"hopeless": np.zeros(draws.shape[1], dtype=bool), "seed_sd": 0.0, "example_share": 1.0, "seed_share": 0.0}
    return Forecast(
        candidates=tuple(candidates[: draws.shape[1]]), n=100, level=level, means=draws.mean(axis=0), lows=low, highs=high,
        draws=draws, **(known | fields),
    )  # fmt: skip


FOUR = [[0.30, 0.20, 0.10], [0.10, 0.20, 0.30], [0.204, 0.20, 0.30], [0.40, 0.20, 0.30]]


def test_what_is_read_off_the_draws():
    got = forecast(FOUR)
    assert got.best == 1
    assert got.best_chances == pytest.approx([1 / 4, 2 / 4, 1 / 4])
    # above the best of each draw: 0.20 0 0.004 0.20; 0.10 0.10 0 0; 0 0.20 0.10 0.10
    assert got.expected_loss == pytest.approx([0.404 / 4, 0.2 / 4, 0.4 / 4])
    assert got.close(0.005) == pytest.approx([2 / 4, 2 / 4, 1 / 4])
    assert got.close(0.003) == pytest.approx([1 / 4, 2 / 4, 1 / 4])
    low, high = got.difference(0, 1)
    assert (low, high) == pytest.approx(tuple(np.quantile([0.1, -0.1, 0.004, 0.2], [0.25, 0.75])))
    assert got.difference(1, 0) == pytest.approx((-high, -low))
    assert got.difference(0, 1, level=0.999) == pytest.approx((-0.1, 0.2), abs=1e-3)


def test_the_smallest_of_those_that_lose_little_is_taken():
    got = forecast(FOUR)
    assert pick(got, [1, 8, 16], allowance=0.0).index == 1
    assert pick(got, [1, 8, 16], allowance=0.049).index == 1
    assert pick(got, [1, 8, 16], allowance=0.0511).index == 0  # 0.101 - 0.05 = 0.051
    assert pick(got, [9, 8, 7], allowance=0.0501).index == 2
    chosen = pick(got, [8, 8, 8], allowance=1.0)
    assert chosen.index == 1
    assert chosen.candidate == ("freeze_a", 8)
    assert chosen.expected_loss == pytest.approx(0.05)
    assert chosen.chance_close == pytest.approx(0.5)


def test_ties_are_those_of_one_mode_whose_difference_to_the_best_may_be_nothing():
    random = np.random.default_rng(0)
    base = 0.2 + 0.05 * random.normal(size=(2000, 1))
    apart = np.array([[0.02, 0.001, 0.0, 0.0005, -0.0001]]) + 0.002 * random.normal(size=(2000, 5))
    candidates = [("freeze_a", 1), ("freeze_a", 16), ("freeze_a", 4), ("train_both", 4), ("freeze_a", 64)]
    got = forecast(base + apart, candidates, level=0.8)
    chosen = pick(got, [1, 16, 4, 8, 64], allowance=0.002)
    assert chosen.candidate == ("freeze_a", 4)
    assert [candidates[c] for c in chosen.ties] == [("freeze_a", 4), ("freeze_a", 16), ("freeze_a", 64)]


def test_a_measurement_scatters_as_the_test_and_the_seeds_do():
    """A risk that is known exactly: the interval of a measurement is the binomial one, or narrower where losses vary less."""
    from scipy import stats

    known = np.full((4096, 1), 0.3)
    low, high = forecast(known).measured(500, level=0.8)
    assert (low[0], high[0]) == pytest.approx([stats.binom.ppf(p, 500, 0.3) / 500 for p in (0.1, 0.9)], abs=0.0021)
    half = forecast(known, example_share=0.0, seed_share=1.0).measured(500, n_seeds=4, level=0.8)
    assert half[1][0] - half[0][0] == pytest.approx((high[0] - low[0]) / 2, rel=0.1)
    flat = forecast(known, example_share=0.0, seed_sd=0.1).measured(500, level=0.8)
    f = np.log(-np.log(0.7)) + 0.1 * stats.norm.ppf([0.1, 0.9])
    assert (flat[0][0], flat[1][0]) == pytest.approx(1 - np.exp(-np.exp(f)), abs=0.002)
    assert forecast(np.zeros((4096, 1))).measured(50)[1][0] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: pick(f, [1, 2]), "one entry per candidate, 3, got"),
        (lambda f: pick(f, [1, 2, 3], allowance=-0.1), "allowance must lie in"),
        (lambda f: f.close(-0.1), "tolerance must lie in"),
        (lambda f: f.difference(0, 1, level=1.0), "level must lie in"),
        (lambda f: f.measured(0), "n_test must be an integer"),
        (lambda f: f.measured(10, n_seeds=0), "n_seeds must be an integer"),
    ],
)
def test_bad_questions_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(forecast(FOUR))
