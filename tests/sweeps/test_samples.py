"""Training samples as an axis of the grid: disjoint blocks, nested sizes, and what was there before stays to the bit."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lorabound.adapters import new_adapter
from lorabound.data import load_table, split
from lorabound.engine import Examples, Recipe, WithPrefix, train
from lorabound.errors import DataError, InputError, StoreError
from lorabound.stack import select_linears
from lorabound.sweeps import Sweep, SweepConfig, runs_of
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.grid import Run, run_key
from lorabound.sweeps.tables import FORMAT
from tests.fresh_rows import check_adapters
from tests.stores import as_format, rewrite


@pytest.fixture
def config(tmp_path, tiny, monkeypatch):
    random = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, random.integers(3, 8))) for _ in range(300)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    monkeypatch.setattr("lorabound.engine.pool.n_workers", lambda _, n_jobs: min(2, n_jobs))
    return SweepConfig(
        data=str(path), n_test=60, ranks=[1, 3], modes=["freeze_a", "train_both"], seeds=2, n_train=[20, 40],
        targets=["query", "value"], epochs=2, batch_size=8, lr=0.02, samples=3,
    )  # fmt: skip


# What stores of format 1 do not have, and what tests compare by its bytes.
ARRAYS = ("first_order", "first_errors", "first_log_losses")
ADDED = (
    "sample",
    *ARRAYS,
    "final_start",
    "n_unlabelled",
    "n_differing",
    "n_folds",
    "fold_test_error",
    "fold_errors",
    "n_next",
    "next_errors",
    "adapter_sha256",
    "train_wrong",
    "test_wrong",
    "test_misses",
    "test_wrongs",
    "first_wrongs",
)
WITHOUT_ARRAYS = dict.fromkeys(("test_errors", "test_log_losses", "adapter_sha256", *ARRAYS))


def content(sweep, sample=None):
    """Everything about the runs but their seconds, by key."""
    return {
        row.key: (
            replace(row, seconds=0.0, **WITHOUT_ARRAYS), row.test_errors.tobytes(),
            row.test_log_losses.tobytes(),
        )
        for row in sweep.rows()
        if sample is None or row.sample == sample
    }  # fmt: skip


def test_the_first_sample_is_the_sweep_of_one_and_others_can_be_added(config, tmp_path):
    one = run_sweep(config.model_copy(update={"samples": 1}), tmp_path / "one")
    before = content(one)
    whole = run_sweep(config, tmp_path / "whole")
    assert content(whole, sample=0) == before
    grown = run_sweep(config, tmp_path / "one")
    assert content(grown) == content(whole)
    assert len(grown.rows()) == 2 * 3 * (1 + 8)
    names = {path.name for path in (tmp_path / "one" / "adapters").iterdir()}
    assert names == {path.name for path in (tmp_path / "whole" / "adapters").iterdir()}
    more = run_sweep(config.model_copy(update={"samples": 4, "seeds": [5], "ranks": [2]}), tmp_path / "one")
    assert more.config.samples == 4
    assert {row.sample for row in more.rows() if row.seed == 5} == {0, 1, 2, 3}
    assert content(grown).items() <= content(more).items()


def test_keys_of_the_first_sample_are_those_from_before_there_were_others():
    run, fixed = Run(2, "freeze_a", 100, 1), {"engine": 4}
    # hashlib.sha256(b'{"engine": 4, "run": {"mode": "freeze_a", "n_train": 100, "rank": 2, "seed": 1}}').hexdigest()
    assert run_key(run, fixed) == "7df9f932c1c523fd46c6d279773fba034ed0aedefa869441f617bb9507bda52b"
    assert run_key(replace(run, sample=1), fixed) != run_key(run, fixed)


def test_each_run_is_its_factor_on_its_block(config, tiny, tmp_path):
    sweep = run_sweep(config, tmp_path / "out")
    data = split(load_table(config.data), 120, 60, 0)
    test_set = Examples(tiny.prepare(data.test_examples), data.test_labels)
    shapes = select_linears(tiny.module, config.targets)
    rows = {(row.mode, row.rank, row.n_train, row.seed, row.sample): row for row in sweep.rows()}
    for mode, rank, n, seed, sample in (("freeze_a", 3, 20, 1, 2), ("train_both", 1, 40, 0, 1)):
        block = slice(40 * sample, 40 * sample + n)
        train_set = Examples(tiny.prepare(data.train_examples[block]), data.train_labels[block])
        adapter = new_adapter(shapes, rank, mode, seed, config.law, config.alpha_over_r)
        with WithPrefix(tiny, list(shapes), [train_set.inputs, test_set.inputs]) as fast:
            order = seed + sample * 2**64
            (alone,) = train(fast, train_set, test_set, [adapter], [order], Recipe(2, 8, 0.02))
        row = rows[mode, rank, n, seed, sample]
        np.testing.assert_allclose(row.test_log_losses, alone.test.log_losses, atol=1e-5)
        assert row.train_ce == pytest.approx(alone.train.cross_entropy, abs=1e-5)
        loaded = sweep.adapter(rank, mode, n, seed, sample)
        name = next(iter(shapes))
        np.testing.assert_allclose(loaded.layers[name].b, alone.adapter.layers[name].b, atol=1e-5)
        if mode == "freeze_a":  # crossed: the same factor on every sample
            first = sweep.adapter(rank, mode, n, seed, 0)
            np.testing.assert_array_equal(first.layers[name].a, loaded.layers[name].a)
    for sample in range(3):
        zero = rows["zero_shot", 0, 20, 0, sample]
        assert zero.test_error == rows["zero_shot", 0, 40, 0, 0].test_error
    assert len({rows["zero_shot", 0, 40, 0, sample].train_ce for sample in range(3)}) == 3


def test_orders_of_two_runs_are_never_the_same():
    runs = runs_of(SweepConfig(n_train=[10], ranks=[1], modes=["freeze_a"], seeds=[0, 1, 2**63 - 1], samples=3))
    orders = [run.order_seed for run in runs if run.rank]
    assert len(set(orders)) == len(orders) == 9


def test_a_check_leaves_out_the_rows_of_its_own_sample_alone(config, tiny, tmp_path, monkeypatch):
    few = config.model_copy(update={"ranks": [1], "modes": ["freeze_a"], "seeds": [0]})
    run_sweep(few, tmp_path / "out")
    monkeypatch.setattr("lorabound.certificates.holdout.load_classifier", lambda *_, **__: tiny)
    folder = tmp_path / "out" / "adapters" / "freeze_a-r1-n20-seed0-sample2"
    assert json.loads((folder / "task.json").read_text())["first_row"] == 80
    data = split(load_table(config.data), 120, 60, 0)
    pairs = list(zip(data.train_examples, data.train_labels, strict=True))
    for block, n_fresh in ((slice(80, 100), 0), (slice(0, 100), 80)):
        path = tmp_path / "rows.csv"
        pl.DataFrame({"text": [t for t, _ in pairs[block]], "label": ["abc"[k] for _, k in pairs[block]]}).write_csv(
            path
        )
        if n_fresh:
            assert check_adapters([folder], str(path)).n_rows == n_fresh
        else:
            with pytest.raises(DataError, match="holds no fresh row: of 20 rows 20 it was trained on"):
                check_adapters([folder], str(path))


def test_blocks_do_not_move(config, tmp_path):
    run_sweep(config, tmp_path / "out")
    with pytest.raises(StoreError, match=r"up to 40 rows, now it is 50: .*or their rows would move; give --n-train 40"):
        run_sweep(config.model_copy(update={"n_train": [50]}), tmp_path / "out")
    with pytest.raises(StoreError, match="or their rows would move"):
        run_sweep(config.model_copy(update={"n_train": [20]}), tmp_path / "out")
    smaller = run_sweep(config.model_copy(update={"n_train": [10], "samples": 1}), tmp_path / "out")
    assert {row.sample for row in smaller.rows() if row.n_train == 10} == {0}
    one = tmp_path / "one"
    run_sweep(config.model_copy(update={"samples": 1, "n_train": [20]}), one)
    assert run_sweep(config, one).config.n_train == [20, 40]  # nothing but the first sample was there


def test_samples_that_do_not_fit_are_refused_with_counts(config, tmp_path):
    path = config.data
    n = len(pl.read_csv(path))
    pool = n - 60
    with pytest.raises(DataError) as caught:
        run_sweep(config.model_copy(update={"samples": 7}), tmp_path / "out")
    told = str(caught.value)
    assert f"7 samples of 40 that share no row need 280, and {pool} can be trained on beside 60 test rows" in told
    assert f"give --samples {pool // 40}, a largest --n-train of" in told
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="several samples need training sets drawn as the data are: give n_train"):
        SweepConfig(shots=[2], samples=2)
    sized = run_sweep(config.model_copy(update={"n_train": None, "samples": 4, "ranks": [1]}), tmp_path / "sized")
    assert max(sized.config.n_train) * 4 <= pool


def test_a_store_without_samples_is_read_and_goes_on(config, tmp_path):
    """A store of format 1: made here by taking the column away."""
    one = config.model_copy(update={"samples": 1, "modes": ["freeze_a"]})
    sweep = run_sweep(one, tmp_path / "out")
    before = content(sweep)
    as_format(sweep, 1)
    with sweep._connection:
        record = {name: value for name, value in sweep.about["config"].items() if name != "samples"}
        sweep._connection.execute("update about set value = ? where name = 'config'", (json.dumps(record),))
    sweep.close()
    old = Sweep.open(tmp_path / "out")
    assert content(old) == before
    assert old.config.samples == 1
    old.close()
    with pytest.raises(StoreError, match="was made with lr"):
        run_sweep(one.model_copy(update={"samples": 2, "lr": 0.5}), tmp_path / "out")
    assert Sweep.open(tmp_path / "out").about["format"] == 1  # what is refused stays readable for the version it is of
    grown = run_sweep(one.model_copy(update={"samples": 2}), tmp_path / "out")
    assert content(grown, sample=0) == before
    assert grown.about["format"] == FORMAT


def test_a_store_gets_the_column_together_with_runs_or_not_at_all(config, tmp_path):
    sweep = run_sweep(config.model_copy(update={"samples": 1, "ranks": [1], "modes": ["freeze_a"]}), tmp_path / "out")
    as_format(sweep, 1)
    row = sweep.rows()[0]
    with pytest.raises(StoreError):
        sweep.add([replace(row, key="another", rank=None)])  # no rank: the table refuses it
    columns = [name for _, name, *_ in sweep._connection.execute("pragma table_info(runs)").fetchall()]
    assert not set(ADDED) & set(columns)
    assert sweep.about["format"] == 1
    sweep.add([replace(row, key="another", sample=1)])
    assert sweep.about["format"] == FORMAT
    assert {row.sample for row in sweep.rows()} == {0, 1}


@pytest.mark.parametrize("column", ["test_errors", "test_log_losses"])
def test_losses_that_are_cut_off_are_refused(config, tmp_path, column):
    """Bits that are missing would be read as examples without an error."""
    sweep = run_sweep(config.model_copy(update={"samples": 1, "ranks": [1], "modes": ["freeze_a"]}), tmp_path / "out")
    rewrite(sweep, f"update runs set {column} = x'0000' where rank = 1 and seed = 0 and n_train = 20")
    with pytest.raises(StoreError, match=r"sweep\.sqlite is damaged \(.*\): run  lorabound repair"):
        sweep.rows()
