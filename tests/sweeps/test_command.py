"""The command that makes a sweep again, read back by the command line itself."""

import pytest
import typer

from lorabound.cli import sweep as group
from lorabound.config import read_settings
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.command import sweep_command

WORDS = {"data": "words", "n_train": [100, 400], "n_test": 300, "precision": "float32"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seeds": [4], "ranks": [1, 16], "modes": ["core"], "layers": "top2", "lr": 1e-3, "prompt": 'A "{}" word.'},
        {"seeds": [0, 1], "drop_long": True, "rename_labels": {"Biling": "Billing", "a b": "c"}, "samples": 4},
        {"epochs": 1, "window": 0.25, "clip_norm": 1.0, "layers": [4, 5], "memory": 4.0},
        {"shots": [4, 16], "n_train": None},
    ],
)
def test_the_command_asks_for_the_same_settings(settings, monkeypatch):
    config = SweepConfig(**(WORDS | settings))
    words = sweep_command(config, "a folder")
    assert words[:2] == ["lorabound", "sweep"]
    given = {}
    monkeypatch.setattr(group, "_say_what_it_takes", lambda asked, out: given.update(asked=asked, out=out))
    monkeypatch.setattr("sys.argv", words)
    command = typer.main.get_command(group.app)
    command.main([*words[1:], "--dry-run"], standalone_mode=False)
    assert given["asked"] == {"": config}
    assert str(given["out"]) == "a folder"


def test_settings_may_differ():
    config = SweepConfig(**WORDS)
    assert "50,400" in sweep_command(config, "out", n_train=[50, 400])
    assert read_settings(SweepConfig, None, WORDS) == config
