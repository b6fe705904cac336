"""Sweeps: the grid, resuming, and what a killed process leaves behind. On a toy encoder unless it says otherwise."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lorabound.adapters import load_adapter
from lorabound.errors import DataError, InputError, ModelError, StoreError
from lorabound.models import kinds
from lorabound.sweeps import Sweep, SweepConfig, execute, measuring, read_config, runs_of
from lorabound.sweeps.grid import stacks_of
from lorabound.sweeps.material import read_material
from tests import commands
from tests.pages import words_of


@pytest.fixture
def letters(tmp_path):
    """Strings labelled by their first letter."""
    random = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, random.integers(3, 8))) for _ in range(300)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    return path


@pytest.fixture
def config(letters, tiny, monkeypatch):
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    monkeypatch.setattr(
        "lorabound.engine.pool.n_workers", lambda _, n_runs: min(2, n_runs)
    )  # whatever the tests' machine has
    return SweepConfig(
        data=str(letters), n_test=60, ranks=[1, 3], modes=["freeze_a", "train_both", "freeze_b"], seeds=2,
        n_train=[20, 40], targets=["query", "value"], epochs=2, batch_size=8, lr=0.01,
    )  # fmt: skip


WITHOUT_ARRAYS = dict.fromkeys(("test_errors", "test_log_losses", "first_order", "first_errors", "first_log_losses"))


def measured(store):
    """Rows without what may differ between two runs of the same thing."""
    return [(replace(row, seconds=0.0, **WITHOUT_ARRAYS), row.first_order.tobytes()) for row in store.rows()]


def test_every_cell_of_the_grid_is_there_once(config, tmp_path):
    store = execute.run_sweep(config, tmp_path / "out")
    rows = store.rows()
    assert len(rows) == 2 * (1 + 3 * 2 * 2)
    assert {(r.mode, r.rank, r.n_train, r.seed) for r in rows} == {
        (r.mode, r.rank, r.n_train, r.seed) for r in runs_of(config)
    }
    zero = [r for r in rows if r.rank == 0]
    assert zero[0].test_error == zero[1].test_error
    assert all(r.status == "done" and len(r.test_errors) == 60 for r in rows)
    for row in rows:
        assert row.test_error == pytest.approx(row.test_errors.mean())
        assert row.test_ce == pytest.approx(row.test_log_losses.mean(), rel=1e-5)
        assert row.test_risk == pytest.approx((1 - np.exp(-row.test_log_losses)).mean(), rel=1e-5)


def test_a_sweep_goes_on_with_the_prompt_it_began_with(config, tmp_path, monkeypatch):
    """Another version may ask for a class otherwise; what is stored keeps its meaning."""
    begun = execute.run_sweep(config, tmp_path / "out")
    assert begun.config.prompt == kinds.ENCODER.prompt
    monkeypatch.setattr(kinds, "KINDS", (replace(kinds.ENCODER, prompt="It is {}."),))
    longer = config.model_copy(update={"seeds": [0, 1, 2]})
    again = execute.run_sweep(longer, tmp_path / "out")
    assert len(again.rows()) == 2 * (1 + 3 * 2 * 3)
    assert again.config.prompt == kinds.ENCODER.prompt
    with pytest.raises(StoreError, match="was made with prompt = .*, now it is 'It is {}.'"):
        execute.run_sweep(config.model_copy(update={"prompt": "It is {}."}), tmp_path / "out")
    assert execute.run_sweep(config, tmp_path / "new").config.prompt == "It is {}."


def test_the_prompt_that_nobody_gave_is_told(config):
    assert read_material(config).sentences[1] == (
        f"No prompt is given: a class is asked for as {kinds.ENCODER.prompt!r}; --prompt changes that."
    )
    given = config.model_copy(update={"prompt": "{}"})
    assert not any("No prompt" in line for line in read_material(given).sentences)
    head = config.model_copy(update={"head": "trained"})
    assert not any("No prompt" in line for line in read_material(head).sentences)


def test_what_was_unusual_in_the_data_reaches_terminal_and_page(config, letters, tmp_path):
    """Notes of the training data and of the test data, once each."""
    from lorabound.reports.page import write_page
    from lorabound.sweeps.summary import summarize

    frame = pl.read_csv(letters)
    frame[:200].write_csv(tmp_path / "pool.csv", separator=";")
    frame[200:].write_csv(tmp_path / "test.csv", separator="\t")
    few = config.model_copy(update={
        "data": str(tmp_path / "pool.csv"), "test_data": str(tmp_path / "test.csv"), "ranks": [1], "modes": ["freeze_a"],
        "seeds": [0], "n_train": [20],
    })  # fmt: skip
    store = execute.run_sweep(few, tmp_path / "out")
    assert store.about["notes"] == [
        f"{few.data}: the columns are separated by semicolons.",
        f"{few.test_data}: the columns are separated by tabs.",
    ]
    terminal = commands.shown(store, width=400)
    page = words_of(write_page(summarize(store), tmp_path / "page.html"))
    for written in (terminal, page):
        assert all(note in written for note in store.about["notes"])


def test_stored_adapters_reproduce_their_rows(config, tmp_path, tiny):
    from lorabound.data import read_table, split
    from lorabound.engine import evaluate
    from lorabound.stack import Stack

    store = execute.run_sweep(config, tmp_path / "out")
    data = split(read_table(config.data), 40, 60)
    inputs = tiny.prepare(data.test_examples)
    for row in store.rows():
        if row.rank:
            adapter = load_adapter(
                tmp_path / "out" / "adapters" / f"{row.mode}-r{row.rank}-n{row.n_train}-seed{row.seed}"
            )
            assert (adapter.n_params, adapter.mode, adapter.seed) == (row.n_params, row.mode, row.seed)
            with Stack(tiny.module, [adapter]):
                losses = evaluate(tiny, inputs, data.test_labels)[0]
            np.testing.assert_allclose(losses.log_losses, row.test_log_losses, atol=1e-5)


def test_a_finished_sweep_does_nothing_more(config, tmp_path, monkeypatch):
    store = execute.run_sweep(config, tmp_path / "out")
    before = measured(store)
    monkeypatch.setattr(measuring, "train", None)
    monkeypatch.setattr(measuring, "evaluate", None)
    assert measured(execute.run_sweep(config, tmp_path / "out")) == before


def test_interrupted_and_resumed_is_the_same(config, tmp_path, monkeypatch):
    """Stopped by Ctrl-C in the middle of the second stack."""
    undisturbed = measured(execute.run_sweep(config, tmp_path / "whole"))
    monkeypatch.setattr("lorabound.engine.memory.STACK_WIDTH", 5)
    undisturbed_5 = measured(execute.run_sweep(config, tmp_path / "whole5"))
    steps = 0

    def stop(progress):
        nonlocal steps
        steps += 1
        if steps == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute.run_sweep(config, tmp_path / "out", stop)
    partial = Sweep.open(tmp_path / "out").rows()
    assert 0 < len(partial) < len(undisturbed)
    assert measured(execute.run_sweep(config, tmp_path / "out")) == undisturbed_5
    for (a, _), (b, _) in zip(undisturbed, undisturbed_5, strict=True):  # the stack width changes rounding only
        assert a.test_ce == pytest.approx(b.test_ce, abs=1e-4)


def test_the_grid_may_grow_and_nothing_else_may_change(config, tmp_path):
    execute.run_sweep(config, tmp_path / "out")
    grown = config.model_copy(update={"ranks": [2], "n_train": [30]})
    store = execute.run_sweep(grown, tmp_path / "out")
    assert sorted(store.config.ranks) == [1, 2, 3]
    assert {row.rank for row in store.rows()} == {0, 1, 2, 3}
    with pytest.raises(StoreError, match="was made with lr = 0.01, now it is 0.02: choose another --out"):
        execute.run_sweep(config.model_copy(update={"lr": 0.02}), tmp_path / "out")


def test_data_are_named_where_settings_follow_from_them(config, letters, tmp_path):
    execute.run_sweep(config, tmp_path / "out")
    other = tmp_path / "other.csv"
    other.write_text(letters.read_text())
    asked = config.model_copy(update={"data": str(other), "lr": 0.02})
    with pytest.raises(
        StoreError, match=r"lr = 0.01, .*; its data were .*letters.csv, now .*other.csv: choose another"
    ):
        execute.run_sweep(asked, tmp_path / "out")


def test_other_data_under_the_same_name_is_noticed(config, letters, tmp_path):
    execute.run_sweep(config, tmp_path / "out")
    letters.write_text(letters.read_text() + "zebra,a\n")
    with pytest.raises(StoreError, match="was made with other data than .*letters.csv now holds"):
        execute.run_sweep(config, tmp_path / "out")


def test_nothing_is_written_when_the_grid_cannot_be_run(config, tmp_path):
    for changes, error in (
        ({"ranks": [1, 17]}, InputError), ({"targets": ["nothing"]}, ModelError), ({"n_train": [5000]}, DataError),
        ({"data": "nowhere.csv"}, DataError),
    ):  # fmt: skip
        with pytest.raises(error):
            execute.run_sweep(config.model_copy(update=changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_while_saving_adapters(config, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lorabound.files._flush", full)
    monkeypatch.setattr("lorabound.sweeps.execute.write_rows", lambda *_: None)
    with pytest.raises(StoreError, match="No space left on device; make room .*; the runs already stored are safe"):
        execute.run_sweep(config, tmp_path / "out")
    assert {row.rank for row in Sweep.open(tmp_path / "out").rows()} == {0}


def test_diverged_runs_are_rows_too(config, tmp_path):
    store = execute.run_sweep(
        config.model_copy(update={"lr": 1e6, "alpha_over_r": 1e6, "logit_scale": 1e6, "targets": ["query", "key"]}),
        tmp_path / "out",
    )
    diverged = [row for row in store.rows() if row.status == "diverged"]
    assert diverged
    assert all(row.test_error is None and row.test_errors is None for row in diverged)
    assert not any(
        (tmp_path / "out" / "adapters" / f"{r.mode}-r{r.rank}-n{r.n_train}-seed{r.seed}").exists() for r in diverged
    )


def test_stacks_hold_each_run_once_and_one_size():
    runs = runs_of(SweepConfig(ranks=[1, 2, 4, 8], n_train=[10, 20], seeds=3))
    stacks = stacks_of(runs, 10)
    assert sorted(map(str, sum(stacks, []))) == sorted(str(r) for r in runs if r.rank)
    for stack in stacks:
        assert len({run.n_train for run in stack}) == 1
        assert len(stack) <= 10


def test_config_from_file_and_flags(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("ranks: [1, 2]\nseeds: 3\nbatch-size: 16\nlayers: all\nlr: 1.0e-3\n")
    made = read_config(path, {"ranks": "4,8", "layers": None, "seeds": "5,6"})
    assert (made.ranks, made.seeds, made.batch_size, made.layers, made.lr) == ([4, 8], [5, 6], 16, None, 1e-3)
    assert read_config(None, {"layers": "4,5", "seeds": "2"}).layers == [4, 5]
    assert read_config(None, {"seeds": "2"}).seeds == [0, 1]
    assert read_config(None, {"layers": "all"}).layers is None


def test_sizes_that_follow_from_the_data_are_recorded_and_go_on(config, tmp_path):
    asked = config.model_copy(update={"n_train": None, "n_test": None, "ranks": [1], "modes": ["freeze_a"]})
    told = []
    store = execute.run_sweep(asked, tmp_path / "out", told.append)
    assert store.config.n_test == (store.about["n_pool"] + store.config.n_test) // 4
    assert store.config.n_train == [40, 200]
    assert any(at.seconds and at.seconds > 0 for at in told)  # what it will take is known before it starts
    rows = measured(store)
    told.clear()
    again = execute.run_sweep(asked, tmp_path / "out", told.append)
    assert measured(again) == rows
    grown = execute.run_sweep(asked.model_copy(update={"n_train": [50]}), tmp_path / "out")
    assert grown.config.n_train == [40, 200, 50]
    assert {row.n_train for row in grown.rows()} == {40, 50, 200}
    with pytest.raises(StoreError, match="was made with n_test = .*, now it is 60"):
        execute.run_sweep(asked.model_copy(update={"n_test": 60}), tmp_path / "out")


def test_empty_rows_and_rare_classes_are_left_out_of_both_sets_and_told(config, letters, tmp_path):
    rows = pl.read_csv(letters)
    odd = pl.DataFrame({"text": ["", "only one", "zzz"], "label": ["a", "rare", ""]})
    pl.concat([rows, odd]).write_csv(tmp_path / "train.csv")
    pl.concat(
        [pl.DataFrame({"text": [f"{t}!" for t in rows["text"][:80]], "label": rows["label"][:80]}), odd]
    ).write_csv(tmp_path / "test.csv")
    asked = config.model_copy(update={
        "data": str(tmp_path / "train.csv"), "test_data": str(tmp_path / "test.csv"), "ranks": [1], "modes": ["freeze_a"],
        "n_train": [20],
    })  # fmt: skip
    with pytest.raises(DataError, match="4 things to mend"):
        execute.run_sweep(asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    store = execute.run_sweep(asked.model_copy(update={"drop_empty": True, "min_class_rows": 2}), tmp_path / "out")
    assert store.about["classes"] == ["a", "b", "c"]
    assert sum(store.about["class_counts"].values()) == len(rows)
    notes = " ".join(store.about["notes"])
    assert notes.count("left out 2 rows (--drop-empty)") == 2
    rare = "left out 1 row of 'rare': fewer than 2 rows per class (--min-class-rows); every error is over rows of the other"
    assert notes.count(rare) == 2


@pytest.mark.parametrize(("text", "message"), [
    ("ranks: [0]", r"c.yaml: ranks = 0: it must be at least 1"),
    ("ranks: two", "give whole numbers with commas between them"),
    ("rank: [1]", "there is no setting 'rank': did you mean ranks"),
    ("modes: [freeze_c]", "modes = 'freeze_c'"),
    ("lr: -1", "lr = -1"),
    ("ranks: [1, 1]", r"ranks = \[1, 1\]: it names a value twice: 1, 1"),
    ("seeds: 0", "seeds"),
    ("seeds: 99999999999", "1 to 10000"),
    ("seeds: [99999999999999999999]", "seeds"),
    ("layers: []", "layers"),
    ("n_test: 1", "n_test = 1"),
    ("lr: 1.0e+38", "lr"),
    ("- a list", "expected 'name: value' lines"),
    ("ranks: [1", "is not valid YAML"),
    ("!!python/object/apply:os.system ['touch owned']", "is not valid YAML"),
])  # fmt: skip
def test_bad_configs(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_config(path, {})
    assert "\n" not in str(caught.value)
