"""The frame that all pages share: one self-contained file, light and dark, readable on a phone, without network.

``frame.css`` holds the style and ``frame.js`` the scripts: drawing charts in the colours of the page, sorting tables,
copying code, explaining terms. The template of a page extends ``frame.html.j2`` and fills its body. Whatever comes from
data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from lorabound.errors import InputError
from lorabound.files import write_text
from lorabound.reports.colours import DARK_COLOURS
from lorabound.reports.glossary import Words
from lorabound.reports.offline import scripts

PAGE = "report.html"
# What the head of every page of ours holds, and how far into a file it is looked for.
_MARK, _HEAD = b"<title>lorabound: ", 2000
# On a narrow screen; the sentence that stands above tables which may not fit.
WIDE = "On a narrow screen this table scrolls sideways; its first column stays."


def write_framed(path: str | Path, template: str, specs: Mapping[str, Mapping[str, Any]], **values: Any) -> Path:
    """:func:`write_html` of :func:`framed`."""
    return write_html(path, framed(template, specs, **values))


def write_html(path: str | Path, page: str) -> Path:
    """Write a page; returns its path.

    Raises:
        InputError: a file of this name that is no page of ours.
        OutputError: the file cannot be written.
    """
    refuse_other_file(path)
    return write_text(path, page)


def framed(template: str, specs: Mapping[str, Mapping[str, Any]], **values: Any) -> str:
    """The HTML of a page.

    Args:
        template: file of this folder that extends ``frame.html.j2``.
        specs: Vega-Lite specification by the id of the element it is drawn in.
        values: what the template asks for; ``explored``, where it is there, are charts of ``explorer.js``.
    """
    environment = Environment(autoescape=True, loader=FunctionLoader(_source), undefined=StrictUndefined)
    glossary = Words()
    environment.filters["worded"] = glossary.worded
    environment.filters["packed"] = packed
    bundle = scripts() if specs or values.get("explored") else ""
    return environment.get_template(template).render(
        specs=specs, dark_colours=DARK_COLOURS, bundle=bundle, wide=WIDE, glossary=glossary, **values
    )


def refuse_other_file(path: str | Path) -> None:
    """A page takes the place of an earlier page only.

    Raises:
        InputError: a file of this name that is no page of ours.
    """
    path = Path(path)
    if not path.is_file():
        return  # a free name, a pipe, or a folder, which writing refuses
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise InputError(f"{path} is there and cannot be read ({error.strerror}): name another file") from None
    if head and _MARK not in head:
        raise InputError(
            f"{path} is there and is no page of lorabound, so it stays as it is: move it away, or name another file "
            "(--page FILE)"
        )


def rows_of(rows: Sequence[Sequence[object]], kinds: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Rows of a table as the frame's macro takes them: cells, and the class of the row."""
    named = [*kinds, *[""] * (len(rows) - len(kinds))]
    return [{"cells": [str(cell) for cell in row], "kind": kind} for row, kind in zip(rows, named, strict=True)]


def packed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the names of their fields written once for all rows that share them; scripts unpack them."""
    tables: dict[tuple[str, ...], list[list[Any]]] = {}
    for row in rows:
        tables.setdefault(tuple(row), []).append(list(row.values()))
    return [{"fields": list(fields), "rows": values} for fields, values in tables.items()]


def _source(name: str) -> str:
    return (files("lorabound.reports") / name).read_text(encoding="utf-8")
