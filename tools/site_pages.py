"""Pages of the documentation site that are made when it is built; `make docs` runs this as a hook of mkdocs.

index, changelog, contributing   README, CHANGELOG and CONTRIBUTING, with their links as seen from docs/
cli                              every command and option, from the command line itself
api, api-bounds, ...             what the docstrings say, one entry for each public name
tutorial                         docs/tutorial.ipynb, cells and outputs
"""

from __future__ import annotations

import json
import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import lorabound
from lorabound import cli
from lorabound.cli.options import sections

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # misses a part that no page needs
ROOT = Path(__file__).parents[1]
NOTEBOOK = "tutorial.ipynb"
_OUTSIDE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    pages = {page: moved((ROOT / name).read_text(encoding="utf-8")) for name, page in _OUTSIDE.items()}
    pages["cli.md"] = command_page()
    pages["api.md"] = door_page()
    for room, title in (("bounds", "Bounds"), ("stats", "Statistics"), ("hf", "Training loops")):
        pages[f"api-{room}.md"] = room_page(room, title)
    notebook = files.get_file_from_path(NOTEBOOK)
    if notebook is not None:
        files.remove(notebook)
        pages["tutorial.md"] = notebook_page((ROOT / "docs" / NOTEBOOK).read_text(encoding="utf-8"))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name code as :class:`Name`; the page shows the name."""
    return re.sub(r":(?:class|mod|func|meth|data):(?=<code>)", "", html)


def moved(text: str) -> str:
    """A page of the root with its links as seen from docs/."""
    text = re.sub(r"\[docs/([\w-]+)\.md\]", r"[\1]", re.sub(r"\]\(docs/", "](", text))
    for name, page in _OUTSIDE.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text


def command_page() -> str:
    """Usage, explanation and options of every command."""
    group = typer.main.get_command(cli.app)
    lines = ["# Commands", "", "`lorabound COMMAND --help` says the same.", ""]
    with group.make_context("lorabound", ["--version"], resilient_parsing=True) as context:
        for heading, commands in cli.COMMANDS.items():
            lines += [f"## {heading}", ""]
            for name in commands:
                command = group.get_command(context, name)
                with command.make_context(name, [], parent=context, resilient_parsing=True) as inner:
                    lines += one_command(name, command, inner)
    return "\n".join(lines)


def one_command(name: str, command: Any, context: Any) -> list[str]:
    """The part of one command: its docstring, then one table for each group of options."""
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"### {name}", "", f"    lorabound {name} {usage}", "", *paragraphs(command.help), ""]
    for heading, records in sections(command, context).items():
        lines += ["", f"| {heading} | |", "|---|---|", *(f"| `{cell(o)}` | {cell(what)} |" for o, what in records)]
    return [*lines, ""]


def paragraphs(text: str | None) -> list[str]:
    r"""Markdown of a command's docstring; click's mark \b keeps the lines of a paragraph, so they become code."""
    lines = []
    for paragraph in (text or "").split("\n\n"):
        if paragraph.startswith("\b"):
            lines += [f"    {line}" for line in paragraph.splitlines()[1:]]
        else:
            lines.append(escaped(paragraph))
        lines.append("")
    return lines


def escaped(text: str) -> str:
    """Text whose < and * are no markup."""
    return text.replace("<", "&lt;").replace("*", "\\*")


def cell(text: str) -> str:
    """Text of one cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def door_page() -> str:
    """What `import lorabound` offers, in the order of its own docstring."""
    lines = ["# Python", "", "`import lorabound as lb`; a name is imported when it is first used.", ""]
    for name in lorabound.__all__:
        room = lorabound._ROOMS.get(name)
        if room is not None:
            lines += [f"::: {getattr(import_module(room), name).__module__}.{name}", ""]
    return "\n".join(lines)


def room_page(room: str, title: str) -> str:
    """The public names of a room."""
    module = import_module(f"lorabound.{room}")
    lines = [f"# {title}", "", f"`lorabound.{room}`", ""]
    for name in module.__all__:
        found = getattr(module, name)
        home = getattr(found, "__module__", None) or ""
        if home.startswith("lorabound.") and home != "lorabound.notation":
            lines += [f"::: {home}.{name}", ""]
    return "\n".join(lines)


def notebook_page(text: str) -> str:
    """Cells of a notebook as Markdown: text as it stands, code and what it printed as blocks."""
    parts = []
    for part in json.loads(text)["cells"]:
        source = "".join(part["source"])
        if part["cell_type"] == "markdown":
            parts.append(moved(source))
        else:
            parts.append(f"```python\n{source}\n```")
            parts += [f"```text\n{printed}\n```" for printed in map(printed_by, part["outputs"]) if printed]
    return "\n\n".join(parts)


def printed_by(output: dict[str, Any]) -> str:
    """What an output shows as text."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "")).rstrip()
