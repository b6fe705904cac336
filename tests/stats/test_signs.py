"""The exact sign test: against scipy's, at its ends, and by simulation under the hypothesis it tests."""

import numpy as np
import pytest
from scipy import stats

from lorabound.errors import InputError
from lorabound.stats import Signs, signs


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (0, 5), (7, 7), (8, 3), (120, 90), (400, 1600)])
def test_p_is_the_two_sided_binomial_one(won, lost):
    expected = stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert Signs(won=won, lost=lost, tied=3).p == pytest.approx(expected, rel=1e-10, abs=1e-300)


def test_counts_and_rounding():
    counted = signs([0.1 + 0.2, 0.0, 1.0, 0.5], [0.3, 1.0, 0.0, 0.5])
    assert counted == Signs(won=1, lost=1, tied=2)


def test_pairs_must_agree():
    for first, second in (([0, 1], [0]), ([], []), ([0.0, np.nan], [0, 1]), ([[0]], [[1]])):
        with pytest.raises(InputError):
            signs(first, second)


def test_it_is_wrong_as_seldom_as_it_says():
    """2,000 data sets of 60 examples of two models that err alike often and not on the same ones; seed 7: 0.030."""
    random = np.random.default_rng(7)
    draws = random.random((2000, 60))
    first, second = draws < 0.3, (draws > 0.2) & (draws < 0.5)
    rejected = np.mean([signs(a, b).p < 0.05 for a, b in zip(first, second, strict=True)])
    assert 0.01 < rejected <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_the_best_of_alike_is_rarely_shown_to_be_better():
    """Four choices with three runs each, all as good, on examples some of which are hard for all: times all six pairs
    the p-value of the one that happens to be best stays below 0.05 in at most 5% of the draws."""
    drawn, shown, repeats = np.random.default_rng(0), 0, 400
    for _ in range(repeats):
        difficulty = drawn.beta(0.5, 1.0, 200)
        losses = (drawn.random((4, 3, 200)) < difficulty).sum(axis=1)
        best = int(losses.mean(axis=1).argmin())
        others = [signs(losses[best], losses[other]).p for other in range(4) if other != best]
        shown += min(others) * 6 < 0.05
    assert stats.binomtest(shown, repeats, 0.05, alternative="greater").pvalue > 1e-3
