"""Several sweeps: what may be compared, what a comparison counts, and the page that shows it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lorabound.bounds import holdout_bounded
from lorabound.errors import InputError
from lorabound.reports.several_page import write_several
from lorabound.sweeps import Sweep
from lorabound.sweeps.side_by_side import named, side_by_side, why_apart
from tests.commands import run
from tests.pages import words_of
from tests.reports.test_report import N_TEST, build
from tests.sweeps.test_rivals import with_wrong


def sweep(folder, first, second=80, **about):
    """A sweep of two cells and the bare model: ``first`` errors of 400 in freeze_a, ``second`` in train_both."""
    store = build(folder, ranks=(2,), sizes=(100,), seeds=(0, 1), **about)
    counts = {"zero_shot": 100, "freeze_a": first, "train_both": second}
    return with_wrong(store, lambda mode, rank, seed: range(counts[mode]))


def changed(folder, **settings):
    store = Sweep.open(folder)
    config = json.loads(json.dumps(store.about["config"])) | settings
    store.note("config", config)
    return store.summary()


def test_one_test_set_is_compared_and_the_choice_among_all_is_counted(tmp_path):
    sweep(tmp_path / "a", 40)
    sweep(tmp_path / "b", 60)
    made = side_by_side(named([changed(tmp_path / "a"), changed(tmp_path / "b", lr=0.5, epochs=9)]))
    assert made.differences == {"epochs": ("6", "9"), "lr": ("0.002", "0.5")}
    assert not made.reasons
    (group,) = made.compared
    assert [entry.name for entry in group] == ["a", "b"]
    first, second = group
    assert first.limit.value == holdout_bounded(0.1, N_TEST, 0.05 / 6).value  # three choices in each sweep
    assert (second.examples.won, second.examples.lost, second.n_pairs) == (20, 0, 15)
    assert second.p_of_all == pytest.approx(15 * stats.binomtest(0, 20).pvalue, rel=1e-10)
    assert first.p_of_all is None


def test_other_data_are_not_compared_and_the_page_says_why(tmp_path):
    one = sweep(tmp_path / "a", 40)
    other = sweep(tmp_path / "b", 60, data_sha256="e", n_test=300)
    assert why_apart(one, other) == (
        "their data are other rows or labels, or were divided otherwise (400 and 300 test rows), so their test sets differ"
    )
    elsewhere = sweep(tmp_path / "c", 60, data_sha256="f", data="digits")
    assert why_apart(one, elsewhere) == "they are of other data (words, digits)"
    made = side_by_side(named([one, other, elsewhere]))
    assert made.compared == ()
    page = words_of(write_several([one, other], tmp_path / "page.html"))
    assert "2 sweeps side by side: their test errors are not all on the same test set." in page
    assert "Not compared: a and b: their data are other rows" in page
    assert "p, all pairs" not in page


def test_test_rows_that_are_recorded_must_be_the_same(tmp_path):
    for name, row in (("a", "x"), ("b", "y")):
        sweep(tmp_path / name, 40)
        (tmp_path / name / "rows.json").write_text(json.dumps({"train": ["t"], "test": [row]}))
    one, other = (Sweep.open(tmp_path / name).summary() for name in "ab")
    assert why_apart(one, other) == "their test rows differ"
    assert why_apart(one, one) == ""


def test_the_page_of_the_command(tmp_path, monkeypatch, capsys):
    sweep(tmp_path / "a", 40)
    sweep(tmp_path / "<b>", 41, 80)
    page = tmp_path / "both.html"
    status, said, _ = run(capsys, monkeypatch, "report", tmp_path / "a", tmp_path / "<b>", "--page", page)
    assert (status, " ".join(said.split())) == (0, f"Page: {page}")
    text = words_of(page)
    assert text.count("a has the lowest test error of 2 sweeps, 0.100: freeze_a, rank 2, at N = 100.") == 1
    assert "It is not shown to win more test examples than it loses against <b>." in text
    assert "That holds if no sweep was set up, extended or stopped after a look at these test errors." in text
    assert "the choice among all 6 choices of the sweeps with this test set counted, finished or not; by" in text
    assert "by the same 400 test examples" in text
    assert "All settings are the same." in text
    assert "<b>" not in page.read_text().replace("<b>Before", "").split("<script>")[0]


def test_a_lower_mean_with_fewer_examples_won_is_no_win(tmp_path):
    """Two seeds: a is better by 1 on 100 examples, and worse by 1/2 on 190; its mean is lower, and it loses more."""
    wrong = {"a": ((100, 290), (0, 0)), "b": ((0, 100), (0, 100))}
    summaries = []
    for name, ranges in wrong.items():
        store = build(tmp_path / name, ranks=(2,), sizes=(100,), seeds=(0, 1))
        worse = {"zero_shot": range(300), "train_both": range(300)}
        summaries.append(
            with_wrong(store, lambda mode, _, seed, own=ranges: worse.get(mode) or range(*own[seed])),  # noqa: B023
        )
    ((best, other),) = side_by_side(named(summaries)).compared
    assert (best.name, other.examples.won, other.examples.lost) == ("a", 100, 190)
    assert other.p_of_all < 1e-4
    assert not other.is_beaten
    text = words_of(write_several(summaries, tmp_path / "page.html"))
    assert "It is not shown to win more test examples than it loses against b." in text
    assert "than chance explains" not in text


def test_a_sweep_without_an_answer_is_named_and_its_choices_count(tmp_path):
    one, other = sweep(tmp_path / "a", 40), replace(sweep(tmp_path / "b", 60), verdicts=[])
    text = words_of(write_several([one, other], tmp_path / "page.html"))
    assert "2 sweeps side by side, and nothing to compare: b gave no answer yet." in text
    assert "than chance explains" not in text
    third = sweep(tmp_path / "c", 200)
    text = words_of(write_several([one, other, third], tmp_path / "page.html"))
    assert "a has the lowest test error of 2 sweeps, 0.100" in text
    assert "the choice among all 9 choices of the sweeps with this test set counted, finished or not" in text
    assert "Left out, as they give no answer yet: b." in text


def test_what_cannot_stand_side_by_side_is_refused(tmp_path, monkeypatch, capsys):
    one = sweep(tmp_path / "a", 40)
    with pytest.raises(InputError, match="named twice"):
        write_several([one, one], tmp_path / "page.html")
    with pytest.raises(InputError, match="at most 8"):
        write_several([one] * 9, tmp_path / "page.html")
    words = replace(one, config=one.config.model_copy(update={"task": "completions"}))
    other = sweep(tmp_path / "b", 40)
    with pytest.raises(InputError, match=r"a and b measure other errors \(share of wrong tokens, 0-1 error\)"):
        side_by_side(named([words, other]))
    status, _, err = run(capsys, monkeypatch, "report", tmp_path / "a", tmp_path / "b", "--figure", tmp_path / "x.svg")
    assert status == 2
    assert "--figure draws one sweep" in err


def test_folders_of_one_name_are_told_apart(tmp_path):
    both = [sweep(tmp_path / place / "s", 40) for place in ("a", "b")]
    assert list(named(both)) == [str(tmp_path / place / "s") for place in ("a", "b")]
    assert np.all([summary.folder for summary in both])
