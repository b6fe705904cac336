"""PAC-Bayes certificates of real folders: with a trained head, by plain PEFT, written and computed again."""

import shutil

import numpy as np
import polars as pl
import pytest

import lorabound as lb
from lorabound.certificates.posterior import PRIOR_VARIANCES
from lorabound.errors import InputError
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep

METHODS = ["pac-bayes", "pac-bayes-half", "pac-bayes-recursive"]
COLOURS = {"a": "red", "b": "green", "c": "blue"}


@pytest.fixture(scope="module")
def work(letters_bert, tmp_path_factory):
    """A sweep of two modes on texts of letters whose first letter is their class."""
    where = tmp_path_factory.mktemp("pac-bayes")
    random = np.random.default_rng(0)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(4, 10))) for _ in range(260)})
    random.shuffle(texts)
    pl.DataFrame({"text": texts, "label": [COLOURS[text[0]] for text in texts]}).write_csv(where / "letters.csv")
    config = SweepConfig(
        data=str(where / "letters.csv"), model=str(letters_bert), head="trained", n_test=40, n_train=[120], ranks=[2],
        modes=["freeze_a", "train_both"], seeds=1, targets=["query"], epochs=1, batch_size=10, lr=0.02, precision="float32",
    )  # fmt: skip
    run_sweep(config, where / "out")
    return where


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("lorabound.certificates.monte_carlo._LEAST_DRAWS", 2000)
    monkeypatch.setattr("lorabound.certificates.search._LOOKS", 200)
    monkeypatch.setattr("lorabound.certificates.search._MOST_EPOCHS", 1)
    monkeypatch.setattr("lorabound.certificates.search._SCALES", PRIOR_VARIANCES[4:21:8])


def test_every_method_is_written_and_computed_again(work, tmp_path):
    made = lb.certify(work / "out/adapters/freeze_a-r2-n120-seed0", methods=METHODS, out=tmp_path)
    assert [one.method for one in made.statements] == METHODS
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == sorted(
        f"{name}.safetensors" for name in METHODS
    )
    found = lb.verify(tmp_path)
    assert found.holds, found.parts
    again = {part.what: part for part in found.parts}
    assert all("another machine" not in again[f"limit by {name}"].detail for name in METHODS)


def test_a_trained_head_is_paid_for_and_a_second_factor_too(work):
    """BERT of width 16 with 3 classes: 51 entries of the head; rank 2 on two layers: 64 of B, 64 of A."""
    sizes = {}
    for mode in ("freeze_a", "train_both"):
        made = lb.certify(work / f"out/adapters/{mode}-r2-n120-seed0", methods=["pac-bayes"])
        sizes[mode] = made.best.record["n_params"]
    assert sizes == {"freeze_a": 51 + 64, "train_both": 51 + 128}


def test_for_an_adapter_without_a_seed_a_factor_is_drawn_here(work, tmp_path):
    source = work / "out/adapters/freeze_a-r2-n120-seed0"
    shutil.copytree(source, tmp_path / "plain")
    (tmp_path / "plain/lorabound.json").unlink()
    (tmp_path / "plain/task.json").unlink()
    made = lb.certify(
        tmp_path / "plain", work / "letters.csv", methods=["pac-bayes-half"], classes=["red", "green", "blue"],
        model=str(read_model(source)),
    )  # fmt: skip
    assert made.best.record["paid"] == ["b"]
    assert made.best.record["n_params"] == 51 + 64


def read_model(source):
    from lorabound.sweeps.records import read_task

    return read_task(source).model


def test_a_changed_posterior_is_refused(work, tmp_path):
    lb.certify(work / "out/adapters/freeze_a-r2-n120-seed0", methods=["pac-bayes"], out=tmp_path)
    path = tmp_path / "pac-bayes.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"pac-bayes\.safetensors"):
        lb.verify(tmp_path)
