"""The command line: fast to start, one sentence and status 2 for bad input."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import python, run


@pytest.mark.parametrize("code", [
    "import lorabound",
    "import lorabound.bounds",
    "import lorabound.stats",
    "import lorabound.sweeps",
    "import lorabound.reports.page, lorabound.reports.export, lorabound.reports.summary",
    "import lorabound.data",
    "import lorabound.worst_case, lorabound.reports.lower",
    "import sys; sys.argv = ['lorabound', '--help']\ntry:\n    from lorabound.cli import main; main()\nexcept SystemExit: pass",
])  # fmt: skip
def test_torch_stays_out(code):
    heavy = python(f"{code}\nimport sys; print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])")
    assert heavy.endswith("[]")


@pytest.mark.parametrize(("arguments", "message"), [
    (["sweep"], "say where the sweep is kept: --out DIR"),
    (["sweep", "none.yaml", "--out", "o"], "no configuration at none.yaml"),
    (["sweep", "--out", "o", "--ranks", "0"], "ranks = 0: it must be at least 1"),
    (["sweep", "--out", "o", "--ranks", "one"], "give whole numbers with commas between them"),
    (["sweep", "--out", "o", "--modes", "freeze_all"], "modes = 'freeze_all'"),
    (["sweep", "--out", "o", "--data", "none.csv"], "no data file none.csv"),
    (["sweep", "--out", "o", "--model", "none", "--n-train", "20", "--n-test", "20"], "no model 'none'"),
    (["sweep", "--out", "o", "--n-train", "300000"], "at most 201,490 can be trained on beside 2,000 test rows, not 300,000; give --n-train 200000"),
    (["sweep", "--out", "o", "--targets", "qurey"], "no linear layer of the model is called 'qurey'"),
    (["sweep", "--out", "o", "--layers", "9"], "no layer 9 holds query, key, value: the model has layers 0 to 5"),
    (["sweep", "--out", "o", "--ranks", "500"], "rank 500 does not fit layer encoder.layer.0.attention.self.key (384 x 384)"),
    (["report", "nowhere"], "nowhere holds no sweep"),
    (["export", "nowhere", "x.csv"], "nowhere holds no sweep"),
])  # fmt: skip
def test_bad_input_is_one_sentence(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, output, errors = run(capsys, monkeypatch, *arguments)
    assert status == 2
    assert message in errors
    assert errors.startswith("lorabound: ")
    assert errors.count("\n") == 1
    assert "Traceback" not in errors + output
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.parametrize("command", ["sweep", "data", "complexity", "concentration"])
def test_what_a_check_of_data_advises_is_an_option_of_every_command_that_checks(capsys, monkeypatch, command):
    status, output, _ = run(capsys, monkeypatch, command, "--help")
    assert status == 0
    assert {"--drop-empty", "--rename-label", "--min-class-rows"} <= set(output.split())


def test_version(capsys, monkeypatch):
    status, output, _ = run(capsys, monkeypatch, "--version")
    assert status == 0
    assert output.strip() == python("from importlib.metadata import version; print(version('lorabound'))")


def test_ctrl_c_says_how_to_go_on(capsys, monkeypatch, tmp_path):
    from lorabound.sweeps import execute

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "run_sweep", interrupted)
    status, _, errors = run(capsys, monkeypatch, "sweep", "--out", tmp_path / "o o")
    assert status == 130
    assert f"the same command goes on: lorabound sweep --out '{tmp_path / 'o o'}'" in " ".join(errors.split())


def test_ctrl_c_is_heard_while_stacks_train(tmp_path):
    """In a process of its own: libraries that are imported there change how waits take signals."""
    arguments = [
        "sweep",
        "--out",
        tmp_path / "out",
        "--ranks",
        "1",
        "--seeds",
        "2",
        "--n-train",
        "500",
        "--epochs",
        "400",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "lorabound", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("1/"):  # the first stack of adapters follows
            assert line, "ended before it trained"
        time.sleep(1)
        begun = time.perf_counter()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert time.perf_counter() - begun < 20  # a stack would take minutes
    assert "the same command goes on" in said


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("unable to mmap a file: Cannot allocate memory (12)")])
def test_memory_that_ends_anywhere_is_one_sentence(error, tmp_path, capsys, monkeypatch):
    def without_memory(*_):
        raise error

    monkeypatch.setattr("lorabound.sweeps.material.read_material", without_memory)
    status, _, said = run(capsys, monkeypatch, "sweep", "--data", "words", "--out", tmp_path / "out")
    assert status == 2
    assert "the system gave no more memory" in " ".join(said.split())
