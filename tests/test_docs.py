"""What the pages show runs as it stands: the code of docs/adapters.md, the numbers of docs/plan.md; options exist."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
import typer

from lorabound import cli
from lorabound.sweeps.sweep import COLUMNS


def test_the_snippets_of_the_adapters_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[1] / "docs" / "adapters.md"
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 3
    exec("\n".join(snippets), {})
    assert capsys.readouterr().out.startswith("['")
    assert (tmp_path / "my-adapter" / "lorabound.json").is_file()


def test_the_numbers_of_the_plan_page():
    failed, tried = doctest.testfile(str(Path(__file__).parents[1] / "docs" / "plan.md"), module_relative=False)
    assert failed == 0
    assert tried > 10


def commands():
    """Every command line of README and docs, without comments."""
    pages = [Path(__file__).parents[1] / "README.md", *sorted((Path(__file__).parents[1] / "docs").glob("*.md"))]
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"(?:^ *|`)(?:\.venv/bin/)?lorabound ([^#\n`]+)", text, re.MULTILINE):
            yield pytest.param(line.strip(), id=f"{page.name}: {line.strip()[:50]}")


@pytest.mark.parametrize("line", list(commands()))
def test_the_command_lines_of_the_pages_have_options_that_exist(line):
    group = typer.main.get_command(cli.app)
    name, *typed = shlex.split(line)
    with group.make_context("lorabound", [name]) as context:
        command = group.get_command(context, name)
        assert command is not None, name
        if typed and "--help" not in typed:
            command.make_context(name, typed, parent=context)  # raises what a user would be told


def test_the_page_of_sweeps_explains_every_column_of_an_export():
    page = (Path(__file__).parents[1] / "docs" / "sweep.md").read_text()
    exported = page[page.index("## What comes out") : page.index("`lorabound report DIR` prints")]
    entries = re.findall(r"^\| (`.*?) \|", exported, re.MULTILINE)
    assert {name for entry in entries for name in re.findall(r"`(\w+)`", entry)} == set(COLUMNS)
