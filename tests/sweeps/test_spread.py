"""The crossed design: every factor on every sample, each cell the run it says it is."""

import csv
import json

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from lorabound.adapters import new_adapter
from lorabound.data import load_table, split
from lorabound.engine import Examples, Recipe, train
from lorabound.errors import InputError, ModelError
from lorabound.reports.spread import print_spread, write_spread
from lorabound.stack import select_linears
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.spread import SpreadConfig, measure_spread


@pytest.fixture
def config(tmp_path, tiny, monkeypatch):
    random = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, random.integers(3, 8))) for _ in range(300)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    return SweepConfig(
        data=str(path), n_test=60, ranks=[2], modes=["freeze_a", "train_both"], n_train=[20], targets=["query"],
        epochs=2, batch_size=8, lr=0.02,
    )  # fmt: skip


def test_each_cell_is_its_factor_on_its_sample(config, tiny):
    result = measure_spread(SpreadConfig(config, 3, 4))
    assert [(s.mode, s.loss) for s in result.spreads] == [
        (mode, loss) for mode in config.modes for loss in ("error", "risk")
    ]
    data = split(load_table(config.data), 80, 60, 0)
    test_set = Examples(tiny.prepare(data.test_examples), data.test_labels)
    shapes = select_linears(tiny.module, config.targets)
    for mode, factor, sample in (("freeze_a", 0, 0), ("freeze_a", 2, 3), ("train_both", 1, 2)):
        rows = slice(20 * sample, 20 * sample + 20)
        train_set = Examples(tiny.prepare(data.train_examples[rows]), data.train_labels[rows])
        adapter = new_adapter(shapes, 2, mode, factor, config.law, config.alpha_over_r)
        (alone,) = train(tiny, train_set, test_set, [adapter], [factor * 4 + sample], Recipe(2, 8, 0.02))
        by_loss = {s.loss: s.gaps[factor, sample] for s in result.spreads if s.mode == mode}
        assert by_loss["error"] == pytest.approx(alone.test.error - alone.train.error, abs=1e-9)
        assert by_loss["risk"] == pytest.approx(alone.test.risk - alone.train.risk, abs=1e-5)


def test_shares_add_up_and_the_guarantee_is_that_of_n(config):
    for spread in measure_spread(SpreadConfig(config, 3, 3)).spreads:
        run = spread.variance.single_run
        assert sum(run.shares.values()) == pytest.approx(1.0)
        assert run.guarantee == pytest.approx(1 / (2 * np.sqrt(20)))
        assert run.low < spread.gaps.mean() < run.high


def test_table_and_files_hold_the_same_runs(config, tmp_path):
    result = measure_spread(SpreadConfig(config, 3, 3))
    console = Console(width=100, record=True)
    print_spread(result, console)
    printed = console.export_text()
    assert "3 draws of the frozen factor x 3 training samples of 20 examples" in printed
    assert "freeze_a: mean gap" in printed
    paths = write_spread(result, tmp_path / "out")
    rows = list(csv.DictReader(paths[0].open()))
    assert len(rows) == 2 * 2 * 9
    gaps = [float(row["gap"]) for row in rows if (row["mode"], row["loss"]) == ("train_both", "risk")]
    np.testing.assert_array_equal(gaps, result.spreads[3].gaps.reshape(-1))
    record = json.loads(paths[1].read_text())
    assert record["spreads"][0]["mean"] == result.spreads[0].variance.mean


def test_a_design_of_diverged_runs_says_what_to_do(config):
    wild = config.model_copy(update={"lr": 1e30, "epochs": 6})
    with pytest.raises(ModelError, match="every mode has runs that diverged: lower --lr"):
        measure_spread(SpreadConfig(wild, 3, 3))


@pytest.mark.parametrize(("change", "sizes", "message"), [
    ({"ranks": [1, 2]}, (3, 3), "one rank and one training size"), ({}, (2, 3), "at least 3 factors and 3 samples"),
])  # fmt: skip
def test_designs_that_tell_nothing_are_refused(config, change, sizes, message):
    with pytest.raises(InputError, match=message):
        SpreadConfig(config.model_copy(update=change), *sizes)
