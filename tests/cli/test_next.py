"""The last line of a command says what to do next, and the command it names is one that works."""

import json
import shlex
from dataclasses import replace

import pytest
import typer

from lorabound import cli
from lorabound.cli.results import say_next
from tests.commands import run
from tests.reports.test_report import build, with_errors


def command_in(line):
    """What stands between "Next:" and two spaces, as the parser takes it."""
    name, *typed = shlex.split(line.removeprefix("Next: ").split("  ")[0])[1:]
    group = typer.main.get_command(cli.app)
    with group.make_context("lorabound", [name]) as context:
        group.get_command(context, name).make_context(name, [*typed], parent=context)
    return name, *typed


def test_a_sweep_ends_with_the_certificate_of_its_best_adapter(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "my sweep"
    with_errors(build(folder), zero_shot=0.5, freeze_a=0.3, train_both=0.4)
    status, output, _ = run(capsys, monkeypatch, "report", folder)
    adapter = str(folder / "adapters" / "freeze_a-r1-n400-seed0")
    assert status == 0
    assert command_in(output.splitlines()[-1]) == ("certify", adapter, "--holdout", "FILE")


def test_it_names_the_training_where_that_proves_something(tmp_path, capsys):
    summary = with_errors(build(tmp_path), zero_shot=0.5, freeze_a=0.3, train_both=0.4)
    some = next(cell for cell in summary.cells if cell.rank)
    proved = replace(summary, cells=[replace(some, progressive=some.holdout), *summary.cells])
    say_next(proved)
    assert command_in(capsys.readouterr().out) == ("certify", str(tmp_path), "--out", "DIR")


@pytest.mark.parametrize("wrong", [{"zero_shot": 0.2, "freeze_a": 0.3, "train_both": 0.4}])
def test_nothing_is_named_where_no_adapter_is_best(wrong, tmp_path, capsys):
    say_next(with_errors(build(tmp_path), **wrong))
    assert capsys.readouterr().out == ""


def test_data_that_can_be_used_are_followed_by_recommend(tmp_path, capsys, monkeypatch):
    path = tmp_path / "some tickets.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(40)))
    status, output, _ = run(capsys, monkeypatch, "data", path)
    assert status == 0
    assert command_in(output.splitlines()[-1]) == ("recommend", "--data", str(path), "--out", "DIR")


def test_recommend_reads_the_data_as_the_look_did(tmp_path, capsys, monkeypatch):
    path = tmp_path / "export.csv"
    rows = "".join(f"text {i};{['a', 'b', 'B'][i % 3]}\n" for i in range(60))
    path.write_text("Message;Category\n;a\n" + rows)
    read = ("--text-column", "Message", "--label-column", "Category", "--drop-empty", "--rename-label", "B=b")
    status, output, _ = run(capsys, monkeypatch, "data", path, *read, "--n-train", "10,20")
    assert status == 0
    name, *typed = command_in(output.splitlines()[-1])
    assert (name, typed[:2], typed[-2:]) == ("recommend", ["--data", str(path)], ["--out", "DIR"])
    assert sorted(typed[2:-2]) == sorted(read)


def test_recommend_is_given_a_model_for_dialogues(tmp_path, capsys, monkeypatch):
    path = tmp_path / "chats.jsonl"
    turns = (
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": "a"}]} for i in range(40)
    )
    path.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    status, output, _ = run(capsys, monkeypatch, "data", path)
    assert status == 0
    assert command_in(output.splitlines()[-1])[3:] == ("--model", "MODEL", "--out", "DIR")
