"""The front door: what `import lorabound` offers, without torch before something is trained."""

import doctest
import importlib
import shutil

import numpy as np
import polars as pl
import pytest

import lorabound as lb
from lorabound.adapters import Adapter
from lorabound.errors import InputError, StoreError
from tests.commands import python


def test_the_door_needs_no_torch():
    names = ", ".join(f"lorabound.{name}" for name in lb.__all__)
    assert python(f"import lorabound, sys\n{names}\nprint('torch' in sys.modules)") == "False"
    assert set(lb.__all__) <= set(dir(lb))
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        lb.swep  # noqa: B018


def test_showing_a_result_loads_no_charts():
    lines = "import sys, lorabound as lb\nlb.show(lb.bounds.holdout(8, 400, 0.05))\nprint('altair' in sys.modules)"
    assert python(lines).endswith("False")


@pytest.mark.parametrize(
    "name",
    [
        "lorabound",
        "lorabound.adapters.folder",
        "lorabound.adapters.spectra",
        "lorabound.bounds",
        "lorabound.certificates.verbs",
        "lorabound.plans.verbs",
        "lorabound.recommendations.stored",
        "lorabound.reports.peft_code",
        "lorabound.reports.page",
        "lorabound.reports.show",
        "lorabound.stats",
        "lorabound.sweeps.config",
        "lorabound.sweeps.sweep",
        "lorabound.sweeps.verbs",
    ],
)
def test_the_examples_of_the_door(name, done, tmp_path, monkeypatch):
    shutil.copytree(done.folder, tmp_path / "tickets-sweep")  # the sweep that examples open
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert tried > 0


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A sweep from a CSV on the real encoder: three lines of Python."""
    where = tmp_path_factory.mktemp("door")
    random = np.random.default_rng(0)
    labels = random.choice(["sport", "music"], 60)
    words = {"sport": "a match of football number", "music": "a song for the violin number"}
    pl.DataFrame({"text": [f"{words[c]} {i}" for i, c in enumerate(labels)], "label": labels}).write_csv(
        where / "t.csv"
    )
    return lb.sweep(
        data=str(where / "t.csv"), n_train=[12], n_test=20, ranks=[1], modes="freeze_a", seeds=2, layers=[5], epochs=1,
        precision="float32", out=where / "out",
    )  # fmt: skip


def test_from_a_csv_to_a_frame_and_a_page(done):
    again = lb.open_sweep(done.folder)
    frame = again.frame()
    assert frame.height == 3
    assert frame.filter(pl.col("rank") == 1)["seed"].to_list() == [0, 1]
    rows = {(row.rank, row.seed): row for row in done.rows()}
    for record in frame.iter_rows(named=True):
        row = rows[record["rank"], record["seed"]]
        assert record["test_error"] == pytest.approx(row.test_errors.mean())
    cells = again.cells()
    trained = frame.filter(pl.col("rank") == 1)
    cell = cells.row(by_predicate=pl.col("rank") == 1, named=True)
    assert cell["test_error"] == pytest.approx(trained["test_error"].mean())
    assert cell["gap"] == pytest.approx((trained["test_error"] - trained["train_error"]).mean())
    assert cell["gap_low"] <= cell["gap"] <= cell["gap_high"]
    assert cell["error_at_most"] > cell["test_error"]
    page = lb.report(again)
    assert page == done.folder / "report.html"
    assert "freeze_a" in page.read_text(encoding="utf-8")


def test_it_prints_what_is_there(done):
    shown = repr(lb.open_sweep(done.folder))
    assert "3 runs" in shown
    assert "N = 12" in shown
    assert "<table" in lb.open_sweep(done.folder)._repr_html_()


def test_an_adapter_of_a_run(done):
    adapter = done.adapter(1, "freeze_a", 12, 1)
    assert isinstance(adapter, Adapter)
    assert (adapter.mode, adapter.seed) == ("freeze_a", 1)
    for rank, seed in ((2, 1), (1, 5), (0, 0)):
        with pytest.raises(InputError, match="holds no trained adapter"):
            done.adapter(rank, "freeze_a", 12, seed)


def test_settings_are_laid_over_a_configuration_and_the_sweep_goes_on(done):
    more = lb.sweep(done.config, seeds=[2], out=done.folder)
    assert more.frame().filter(pl.col("rank") == 1)["seed"].to_list() == [0, 1, 2]
    with pytest.raises(StoreError, match=r"was made with epochs = 1"):
        lb.sweep(done.config, epochs=2, out=done.folder)
    few = lb.SweepConfig(n_train=[12])
    with pytest.raises(StoreError, match="was made with"):  # shots take the place of n_train
        lb.sweep(few, data=done.config.data, shots=[3], n_test=20, out=done.folder)


def test_a_sweep_without_runs_has_its_columns(done, tmp_path):
    empty = lb.Sweep.open_or_create(tmp_path, {name: value for name, value in done.about.items() if name != "format"})
    assert empty.frame().height == empty.cells().height == 0
    assert empty.cells().schema == done.cells().schema
    assert empty.frame().schema == done.frame().schema
    assert "0 of " in repr(empty)
