"""Options made from settings: none is lost, each says its default once, and every command with settings takes YAML."""

from typing import get_args

import pytest
import typer

from lorabound.certificates.config import CertifyConfig
from lorabound.cli import COMMANDS, app
from lorabound.modes import MODES, PEFT_MODES
from lorabound.notation import Law
from lorabound.plans.config import PlanConfig
from lorabound.recommendations import RecommendConfig
from lorabound.sweeps import SweepConfig
from lorabound.worst_case.options import ComplexityConfig, LowerConfig
from tests.commands import run

# Options that users have in their scripts; a release that drops one breaks them.
KEPT = {
    "sweep": "alpha-over-r augment base batch-size clip-norm data data-seed drop-empty dry-run encoder epochs head head-lr "
             "image-column label-column law layers links logit-scale lr max-length memory min-class-rows model modes n-test n-train "
             "out precision prompt ranks rename-label schedule seeds shots skip-corrupt subspace-size targets test-data text-column "
             "weight-decay",
    "recommend": "axolotl batch-size budget data data-seed delta dry-run epochs holdout layers llamafactory lr lrs memory metric "
                 "model modes n-train out prompt ranks schedule seeds targets task template test-fraction write",
    "data": "drop-empty image-column label-column max-length min-class-rows n-test n-train rename-label test-data text-column",
    "report": "figure page",
    "serve": "host port",
    "export": "",
    "certify": "base classes data delta drop-empty holdout label-column max-length memory methods model out page predicted prompt "
               "rename-label text-column write-card",
    "verify": "adapter data holdout memory model page",
    "inspect": "against base csv layers page ranks targets",
    "plan": "bits classes csv delta encoder layers links model modes n-train page pilot ranks shapes subspace-size target-gap targets",
    "lower-bound": "n-train page probability radius ranks scale seed std trials widths",
    "complexity": "data drop-empty label-column layers max-length min-class-rows model n-train out page prompt radius ranks "
                  "rename-label scale seed signs std steps text-column",
    "concentration": "data data-seed drop-empty epochs factors label-column layers lr max-length min-class-rows model modes "
                     "n-test n-train out page prompt rank rename-label samples text-column",
    "paper": "out quick",
    "repair": "",
}  # fmt: skip
NAMES = [name for commands in COMMANDS.values() for name in commands]


def options_of(name):
    command = typer.main.get_command(app).get_command(None, name)
    return {option: param for param in command.params for option in param.opts if option.startswith("--")}


def test_the_commands_are_those_that_were():
    assert set(NAMES) == set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_no_option_is_lost(name):
    assert {f"--{option}" for option in KEPT[name].split()} <= set(options_of(name))


@pytest.mark.parametrize(
    "name", ["recommend", "sweep", "data", "certify", "plan", "lower-bound", "complexity", "concentration"]
)
def test_settings_may_come_from_a_file(name):
    assert "--config" in options_of(name)


@pytest.mark.parametrize(
    "kind", [RecommendConfig, SweepConfig, PlanConfig, CertifyConfig, LowerConfig, ComplexityConfig]
)
def test_every_setting_is_made_by_setting_and_says_what_it_does(kind):
    for name, field in kind.model_fields.items():
        assert field.description.endswith("."), name
        assert len(field.description) < 220, name
        assert field.json_schema_extra["group"], name


def test_help_stands_in_groups_with_defaults_that_are_those_of_the_settings(capsys, monkeypatch):
    status, output, _ = run(capsys, monkeypatch, "sweep", "--help")
    assert status == 0
    lines = output.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments:", "Options:", "Data:", "Model:", "Adapters:", "Training:", "Resources:"]
    plain = " ".join(output.split())
    defaults = SweepConfig()
    assert f"[default: {','.join(map(str, defaults.ranks))}]" in plain
    assert f"[default: {defaults.lr:g}]" in plain
    assert f"[default: {defaults.model}]" in plain


@pytest.mark.parametrize(("command", "modes"), [("sweep", MODES), ("plan", MODES), ("recommend", PEFT_MODES)])
def test_help_names_the_modes_and_laws_that_a_command_takes(command, modes, capsys, monkeypatch):
    _, output, _ = run(capsys, monkeypatch, command, "--help")
    plain = " ".join(output.split())
    assert all(f"{mode}: {MODES[mode].brief}" in plain for mode in MODES)
    if command == "recommend":
        assert f"It compares what PEFT trains: modes {', '.join(modes[:-1])} and {modes[-1]}, laws" in plain
    if command != "plan":
        assert all(law in plain for law in get_args(Law))


def test_the_first_help_says_where_to_start(capsys, monkeypatch):
    status, output, _ = run(capsys, monkeypatch, "--help")
    assert status == 0
    assert "Start with one of these" in output
    for name in NAMES:
        assert f"  {name} " in output


def test_a_file_of_settings_and_flags_over_it(capsys, monkeypatch, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("shapes: 16x16\nranks: [1, 2]\nn_train: [1000]\nmodes: [freeze_a]\nbits: 4\n")
    csv = tmp_path / "plan.csv"
    status, _, errors = run(capsys, monkeypatch, "plan", "--config", path, "--ranks", "4", "--csv", csv)
    assert (status, errors) == (0, "")
    header, row, *rest = csv.read_text().splitlines()
    record = dict(zip(header.split(","), row.split(","), strict=True))
    assert (record["rank"], record["n_train"], record["bits"], rest) == ("4", "1000", "4", [])
    path.write_text("rank: 4\n")
    status, _, errors = run(capsys, monkeypatch, "lower-bound", "--config", path)
    assert status == 2
    assert errors == f"lorabound: {path}: there is no setting 'rank': did you mean ranks?\n"
    path.write_text("ranks: [0]\nsigns: 3\n")
    status, _, errors = run(capsys, monkeypatch, "complexity", "--config", path)
    assert status == 2
    assert "ranks = 0: it must be at least 1; signs = 3: it must be at least 4" in errors


def test_two_files_of_settings_are_one_too_many(capsys, monkeypatch, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("ranks: [1]\n")
    status, _, errors = run(capsys, monkeypatch, "sweep", path, "--config", path, "--out", tmp_path / "o")
    assert status == 2
    assert "two files of settings" in errors
