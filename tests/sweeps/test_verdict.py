"""The numbers of a verdict that claim 95%: simulated where few test examples differ, with the truth known."""

import numpy as np
import pytest
from scipy.stats import binom

from lorabound.reports.verdict_sentences import verdict_sentences
from lorabound.sweeps import Row
from lorabound.sweeps.cells import cell_of
from lorabound.sweeps.verdict import difference_at_most, verdicts

REPETITIONS = 400


def run(mode, rank, errors):
    return Row(
        key=f"{mode}-{rank}", rank=rank, mode=mode, n_train=100, seed=0, sample=0, n_params=8 * rank, train_error=0.0,
        test_error=float(errors.mean()), train_risk=0.1, test_risk=0.1, train_ce=0.1, test_ce=0.1, seconds=0.0,
        status="done", test_errors=errors, test_log_losses=np.full(len(errors), 0.1, dtype=np.float32),
    )  # fmt: skip


def verdict_of(**errors):
    """The verdict on one run of each: of the model without an adapter (``bare``), of rank 1, of rank 4."""
    names = {"bare": ("zero_shot", 0), "small": ("freeze_a", 1), "large": ("freeze_a", 4)}
    rows = [run(*names[name], wrong) for name, wrong in errors.items()]
    done = {(row.mode, row.rank, 100): [row] for row in rows}
    (verdict,) = verdicts([cell_of(group, 0, False) for group in done.values()], done, [0])
    return verdict


# Without the limit by single examples 14% to 35% were broken, at 5%.
@pytest.mark.parametrize(("n", "saved"), [(5, 0.8), (50, 0.97), (100, 0.99)])
def test_what_an_adapter_saves_is_not_below_its_limit(n, saved):
    random = np.random.default_rng(0)
    broken = 0
    for _ in range(REPETITIONS):
        verdict = verdict_of(bare=np.ones(n, dtype=bool), small=random.random(n) >= saved)
        broken += verdict.gain[0] > saved
    assert broken <= binom.ppf(0.999, REPETITIONS, 0.05), broken


@pytest.mark.parametrize(("n", "more"), [(100, 0.03), (200, 0.015), (100, 0.05)])
def test_what_the_cheapest_loses_is_not_above_its_limit(n, more):
    random = np.random.default_rng(0)
    broken = 0
    for _ in range(REPETITIONS):
        large = random.random(n) < 0.1
        verdict = verdict_of(small=large | (random.random(n) < more / 0.9), large=large)
        broken += verdict.cheapest is not verdict.best and verdict.extra[1] < more
    assert broken <= binom.ppf(0.999, REPETITIONS, 0.05), broken


def test_the_truly_best_choice_stays_at_every_look_at_a_sweep_that_runs():
    """Eight choices come one by one, each truly better than all before it by a hair: the worst for looking. Where
    each look has the share of a single one, 29 of 400 such sweeps lose it at some look; seen: 9."""
    random, n, count, lost = np.random.default_rng(0), 400, 8, 0
    for _ in range(REPETITIONS):
        rows = [run("freeze_a", rank, random.random(n) < 0.3) for rank in range(1, count + 1)]
        done = {(row.mode, row.rank, 100): [row] for row in rows}
        cells = [cell_of(group, 0, False) for group in done.values()]
        for there in range(2, count):
            (verdict,) = verdicts(cells[:there], done, [0], planned={100: count})
            if cells[there - 1] not in verdict.members:
                lost += 1
                break
    assert lost <= 0.05 * REPETITIONS, lost


@pytest.mark.parametrize("delta", [0.2, 0.05])
def test_a_mean_difference_is_not_above_its_limit(delta):
    random = np.random.default_rng(0)
    draws = random.choice([-1.0, 0.0, 1.0], p=[0.02, 0.93, 0.05], size=(REPETITIONS, 60))
    broken = sum(difference_at_most(draw, delta) < 0.03 for draw in draws)
    assert broken <= binom.ppf(0.999, REPETITIONS, delta), broken


def test_equal_errors_are_called_equal():
    verdict = verdict_of(bare=np.ones(50, dtype=bool), small=np.zeros(50, dtype=bool))
    summary = type("Summary", (), {"verdicts": [verdict], "about": {}, "completes": False, "n_missing": 0})
    assert "Gap: its test error is equal to its training error, 0.000" in " ".join(verdict_sentences(summary))
