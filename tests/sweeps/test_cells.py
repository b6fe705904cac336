"""Cells of crossed runs: intervals that cover the chance of the training sample too, and runs that are missing."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom

from lorabound.sweeps import Row
from lorabound.sweeps.cells import cell_of, crossed
from lorabound.sweeps.verdict import verdicts

TRUE_GAP, ERROR = 0.1, 0.3


def runs(random, n_seeds, n_samples, n_test, factor, sample, interaction):
    """Runs whose gap has this mean and these standard deviations; 0-1 test errors of examples that are hard for all."""
    easy = random.normal(size=n_test)
    factors, samples = factor * random.normal(size=n_seeds), sample * random.normal(size=n_samples)
    rows = []
    for seed in range(n_seeds):
        for number in range(n_samples):
            gap = TRUE_GAP + factors[seed] + samples[number] + interaction * random.normal()
            errors = math.sqrt(0.5) * easy + math.sqrt(0.5) * random.normal(size=n_test) < ndtri(ERROR)
            rows.append(Row(
                key=f"{seed}-{number}", rank=2, mode="freeze_a", n_train=100, seed=seed, sample=number, n_params=8,
                train_error=ERROR - gap, test_error=float(errors.mean()), train_risk=0.1, test_risk=0.1, train_ce=0.1,
                test_ce=0.1, seconds=0.0, status="done", test_errors=errors,
                test_log_losses=np.full(n_test, 0.1, dtype=np.float32),
            ))  # fmt: skip
    return rows


def misses(shape, spread, repetitions=600):
    random = np.random.default_rng(0)
    missed = 0
    for _ in range(repetitions):
        gap = cell_of(runs(random, *shape, 80, *spread), 0, False).gaps["error"]
        missed += not gap.low <= TRUE_GAP <= gap.high
    return missed


# 600 simulated sweeps at 5%: a count beyond the 0.999 quantile of the binomial (48) shows a level that is missed. Seen: 0
# to 13 (intervals are wide rather than narrow: an interaction counts twice).
@pytest.mark.parametrize("shape", [(3, 3), (2, 6), (5, 3)])
@pytest.mark.parametrize("spread", [(0.03, 0.08, 0.02), (0.08, 0.0, 0.0), (0.0, 0.0, 0.08), (0.0, 0.08, 0.0)])
def test_the_interval_of_the_gap_covers(shape, spread):
    assert misses(shape, spread) <= binom.ppf(0.999, 600, 0.05)


def test_one_sample_does_not_cover_the_others():
    """What the page says: with one training sample its chance is in no interval. (And so the test above can fail.)"""
    assert misses((5, 1), (0.02, 0.15, 0.0)) > 200


def test_a_full_rectangle_is_read_and_the_rest_is_counted():
    rows = runs(np.random.default_rng(1), 3, 4, 20, 0.1, 0.1, 0.1)
    gone = {(0, 3), (2, 3), (1, 2)}
    left = [row for row in rows if (row.seed, row.sample) not in gone]
    grid = crossed(left)
    assert [[(row.seed, row.sample) for row in line] for line in grid] == [
        [(seed, sample) for sample in (0, 1)] for seed in (0, 1, 2)
    ]
    cell = cell_of(left, 1, False)
    assert cell.n_seeds * cell.n_samples == 6
    assert (cell.n_unpaired, cell.n_diverged) == (9 - 6, 1)
    used = [row.test_error for line in grid for row in line]
    assert cell.test["error"] == pytest.approx(np.mean(used))
    assert Counter(row.key for line in grid for row in line).most_common(1)[0][1] == 1
    whole = crossed(rows)
    assert [[(row.seed, row.sample) for row in line] for line in whole] == [
        [(seed, sample) for sample in range(4)] for seed in range(3)
    ]


def test_a_cell_without_all_samples_is_no_candidate():
    random = np.random.default_rng(2)
    rows = runs(random, 2, 3, 50, 0.0, 0.0, 0.0)
    done = {("freeze_a", 2, 100): rows, ("train_both", 2, 100): rows[:-1]}
    cells = [cell_of(group, 0, False) for group in done.values()]
    object.__setattr__(cells[1], "mode", "train_both")
    (verdict,) = verdicts(cells, done, [0, 1], 3)
    assert (verdict.n_candidates, verdict.n_seeds, verdict.n_samples) == (1, 2, 3)
    assert [cell.mode for cell in verdict.left_out] == ["train_both"]
