"""The best adapter against the others, counted by hand on runs whose errors are known."""

import numpy as np
import pytest
from scipy import stats

from lorabound.reports.page import write_page
from lorabound.reports.rivals_table import p_value
from lorabound.sweeps.rivals import rivals
from lorabound.sweeps.summary import summarize
from tests.pages import words_of
from tests.reports.test_report import N_TEST, build
from tests.stores import rewrite


def with_wrong(store, wrong):
    """Each run's test errors: a function of (mode, rank, seed) to the indices of the examples that are wrong."""
    changes = []
    for row in store.rows():
        errors = np.zeros(N_TEST, dtype=bool)
        errors[list(wrong(row.mode, row.rank, row.seed))] = True
        values = (np.packbits(errors).tobytes(), float(errors.mean()), row.key)
        changes.append(("update runs set test_errors = ?, test_error = ? where key = ?", values))
    rewrite(store, *changes)
    return summarize(store)


def wrong(mode, rank, seed):
    """Of 400 examples; rank 2 of train_both errs on the fewest. Seeds 0 and 1 of freeze_a also err on 2 or 3 others."""
    if mode == "zero_shot":
        return range(100, 150)
    if (mode, rank) == ("train_both", 2):
        return range(20)
    if (mode, rank) == ("freeze_a", 1):
        return [*range(5, 20), *range(200, 210 + seed)]
    return range(80)


@pytest.fixture
def summary(tmp_path):
    return with_wrong(build(tmp_path, ranks=(1, 2), sizes=(100,), seeds=(0, 1)), wrong)


def test_runs_and_examples_are_counted(summary):
    found = rivals(summary)
    assert [(rival.other.mode, rival.other.rank) for rival in found] == [
        ("freeze_a", 1), ("zero_shot", 0), ("freeze_a", 2), ("train_both", 1),
    ]  # fmt: skip
    first, bare, third, _ = found
    # 20 errors against 25 and 26: both runs are won; examples 200 to 210 are won, 0 to 4 are lost
    assert (first.runs.won, first.runs.lost, first.runs.tied) == (2, 0, 0)
    assert (first.examples.won, first.examples.lost, first.examples.tied) == (11, 5, 384)
    assert first.p == pytest.approx(stats.binomtest(5, 16).pvalue, rel=1e-10)
    assert first.n_pairs == 10  # of five choices
    assert first.p_of_all == min(1.0, 10 * first.p)
    assert (bare.examples.won, bare.examples.lost) == (50, 20)
    assert (bare.runs.won, bare.runs.lost) == (2, 0)  # its one measurement beside each run
    assert (third.examples.won, third.examples.lost) == (60, 0)


def test_the_page_says_what_is_paired(summary, tmp_path):
    page = words_of(write_page(summary, tmp_path / "page.html"))
    assert "on the same 400 test examples, in 2 pairs of runs with the same seed and training sample" in page
    assert "p times the 10 pairs among the choices of the grid at that N (Bonferroni)" in page
    assert "freeze_a, rank 1 100 0.064 +0.014 2, 0, 0 11, 5, 384 0.210 1.000" in page


def test_cells_without_all_runs_are_not_compared(tmp_path):
    store = build(tmp_path, ranks=(1, 2), sizes=(100,), seeds=(0, 1))
    rewrite(store, "delete from runs where mode = 'train_both' and rank = 1 and seed = 1")
    found = rivals(with_wrong(store, wrong))
    assert {(rival.other.mode, rival.other.rank) for rival in found} == {
        ("freeze_a", 1),
        ("freeze_a", 2),
        ("zero_shot", 0),
    }
    assert found[0].n_pairs == 10  # the one that is not finished is a choice too


def test_where_no_adapter_is_best_it_is_compared_with_runs(tmp_path):
    store = build(tmp_path, ranks=(1,), sizes=(100,), seeds=(0, 1))
    found = rivals(with_wrong(store, lambda mode, rank, seed: range(10 if mode == "zero_shot" else 12 - seed)))
    assert found[0].best.mode == "zero_shot"
    assert (found[0].runs.won, found[0].examples.won, found[0].examples.lost) == (2, 2, 0)


def test_a_p_value_is_never_shown_as_0():
    assert [p_value(p)["lines"] for p in (1e-9, 0.0312, 1.0)] == [("< 0.001",), ("0.031",), ("1.000",)]
