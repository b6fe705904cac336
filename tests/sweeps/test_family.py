"""Sweeps over every mode: one grid, stored keys that do not move, adapters that reproduce their rows."""

from __future__ import annotations

import numpy as np
import pytest

from lorabound.adapters import load_adapter
from lorabound.engine import evaluate
from lorabound.errors import InputError, StoreError
from lorabound.modes import MODES
from lorabound.reports.sentences import modes_sentence
from lorabound.stack import Stack
from lorabound.sweeps import execute
from lorabound.sweeps.grid import Run, run_key
from lorabound.sweeps.summary import summarize
from tests.adapter_cases import SUBSPACE
from tests.commands import run

# SHA-256 of {"data_sha256": "d", "lr": 0.01, "run": {"mode": "freeze_a", "n_train": 20, "rank": 2, "seed": 1}}, as
# hashlib gives it of the JSON with sorted keys: what a store held before there were other modes.
OLD_KEY = "aacf6a5495cd40c2cf3cd21da7fce7cf28895b4b7bb5f1cba082403fd7a6be3e"


@pytest.fixture
def config(crossed_design):
    return crossed_design.model_copy(
        update={"modes": list(MODES), "samples": 1, "seeds": [0, 1], "subspace_size": SUBSPACE, "epochs": 1}
    )


def test_every_mode_in_one_sweep_and_from_its_folder(config, tmp_path, tiny):
    """Stacked with all others, stored, loaded: the same errors, and q entries trained."""
    store = execute.run_sweep(config, tmp_path / "out")
    rows = [row for row in store.rows() if row.rank]
    assert {row.mode for row in rows} == set(MODES)
    q = {
        "freeze_a": 64,
        "freeze_b": 64,
        "train_both": 128,
        "core": 8,
        "subspace": SUBSPACE,
        "common": 64,
    }  # 2 x 16 x 16
    task = execute.load_task(config)
    for row in rows:
        assert row.n_params == q[row.mode]
        name = Run(row.rank, row.mode, row.n_train, row.seed).name
        adapter = load_adapter(tmp_path / "out" / "adapters" / name)
        assert adapter.n_params == row.n_params
        with Stack(tiny.module, [adapter]):
            (again,) = evaluate(tiny, task.test_set.inputs, task.test_set.labels)
        np.testing.assert_array_equal(again.errors, row.test_errors)


@pytest.mark.parametrize("law", ["kaiming_uniform", "svd"])
def test_a_sweep_that_was_stopped_goes_on_to_the_same(config, tmp_path, law):
    config = config.model_copy(update={"law": law})
    whole = execute.run_sweep(config, tmp_path / "whole")
    first = config.model_copy(update={"modes": ["freeze_a", "core"], "seeds": [1]})
    execute.run_sweep(first, tmp_path / "parts")
    parts = execute.run_sweep(config, tmp_path / "parts")
    found = [{row.key: (row.test_error, row.train_ce) for row in store.rows()} for store in (whole, parts)]
    assert found[0].keys() == found[1].keys()
    for key, numbers in found[0].items():
        assert found[1][key] == pytest.approx(numbers, abs=1e-5)
    said = modes_sentence(summarize(whole))
    assert ("at random" in said) == (law != "svd")
    assert ("main directions of the layer's weight" in said) == (law == "svd")


def test_keys_of_the_other_modes_do_not_know_the_size_of_a_vector():
    fixed = {"data_sha256": "d", "lr": 0.01}
    assert run_key(Run(2, "freeze_a", 20, 1), fixed) == OLD_KEY
    sizes = [{**fixed, "subspace_size": size} for size in (100, 200)]
    for mode in (*MODES, "zero_shot"):
        keys = {run_key(Run(2, mode, 20, 1), record) for record in (fixed, *sizes)}
        assert len(keys) == (3 if mode == "subspace" else 1)


def test_a_store_without_vectors_takes_any_size_and_one_with_them_its_own(config, tmp_path):
    few = config.model_copy(update={"modes": ["freeze_a"], "seeds": [0], "subspace_size": 512})
    execute.run_sweep(few, tmp_path / "out")
    grown = execute.run_sweep(few.model_copy(update={"modes": ["subspace"], "subspace_size": 10}), tmp_path / "out")
    assert {row.n_params for row in grown.rows() if row.mode == "subspace"} == {10}
    with pytest.raises(StoreError, match="was made with subspace_size = 10, now it is 11"):
        execute.run_sweep(few.model_copy(update={"modes": ["subspace"], "subspace_size": 11}), tmp_path / "out")


def test_what_does_not_fit_is_refused_before_training(config, tmp_path):
    with pytest.raises(InputError, match="subspace_size 65 does not fit the 64 entries of all factors B"):
        execute.run_sweep(config.model_copy(update={"subspace_size": 65}), tmp_path / "out")
    with pytest.raises(InputError, match=r"rank 17 does not fit layer layer.0.query \(16 x 16\)"):
        execute.run_sweep(config.model_copy(update={"modes": ["core"], "ranks": [17]}), tmp_path / "out")
    assert not (tmp_path / "out" / "adapters").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--modes", "freeze_a,core", "modes: recommend answers with settings for PEFT, which cannot train core"),
        ("--law", "svd", "law: recommend answers with settings for PEFT, which does not draw factors by law svd"),
    ],
)
def test_recommend_refuses_what_peft_cannot_train(config, capsys, monkeypatch, tmp_path, option, value, said):
    status, _, errors = run(
        capsys, monkeypatch, "recommend", "--data", config.data, "--out", tmp_path / "o", option, value
    )
    assert status == 2
    assert errors.startswith(f"lorabound: {said}")
