"""The page of a single result: what the terminal shows of it, in the frame of all pages, and a chart where it has one.

Sentences and tables are those of :func:`lorabound.reports.show.parts`, so that page and terminal cannot disagree. Bold
lines are the answer and stand first; lines above the first table follow, then the charts, then the tables with what
stands between them. Dim lines say how to read them and what must be true, and stand last.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from lorabound import __version__
from lorabound.errors import InputError
from lorabound.reports.frame import write_framed
from lorabound.reports.result_charts import charts
from lorabound.reports.show import Part, parts

# Columns of a console so wide that nothing is left out or broken.
_WIDE = 1000
# A column with a cell of more characters is words and not a number: its lines may break.
_WORDS = 28
# Rows from which on a table can be sorted and searched.
_SORTABLE = 5
# Head of a column that has none in the terminal, by the class of the result.
_UNNAMED = {"Certificate": "method", "Verification": "outcome"}
# What the line above the answer says of a result, by its class.
_ABOUT = {
    "AdapterSpectra": "How large the update of an adapter is, and how much of its rank is used",
    "Bound": "A bound, and what it rests on",
    "Certificate": "How bad it can be on new data",
    "Complexity": "How far the worst adapter of each rank can go, beside its bound",
    "Crossed": "What chance does to the gap of a single run",
    "DataCheck": "Can these data be used?",
    "FreezingCosts": "What a rank, or a frozen factor, keeps of a full fine-tune",
    "FreshCheck": "How bad it can be on new data",
    "LowerSimulation": "The gap that no method avoids: Theorem 2, simulated",
    "Plan": "Before training: how far the error on new data can be above the training error",
    "Verification": "A certificate, computed again",
}


def write_result_page(result: object, path: str | Path, command: str = "") -> Path:
    """Write the page of a result to ``path``; returns its path.

    Args:
        result: anything that :func:`lorabound.show` shows, but no sweep and no recommendation.
        path: file of the page.
        command: command that made the result; "" leaves it out.
    Raises:
        InputError: an object of another kind; a file of this name that is no page of ours.
        OutputError: the file cannot be written.
    """
    kind = type(result).__name__
    if kind not in _ABOUT:
        raise InputError(f"report: no page for {kind}, only for a Sweep, a Recommendation, {', '.join(_ABOUT)}")
    answer, evidence, caveats = _sorted_out(parts(result, _WIDE))
    first = next((i for i, part in enumerate(evidence) if isinstance(part, Table)), len(evidence))
    drawn, unnamed = charts(result), _UNNAMED.get(kind, "name")
    return write_framed(
        path,
        "result.html.j2",
        {chart.name: chart.spec for chart in drawn},
        about=_ABOUT[kind],
        title=_ABOUT[kind],
        answer=answer,
        lead=list(_blocks(evidence[:first], unnamed)),
        charts=drawn,
        numbers_said=list(_blocks(evidence[first:], unnamed)),
        data=_data(result),
        caveats=list(_blocks(caveats, unnamed)),
        command=command,
        version=__version__,
    )


def _sorted_out(every: Iterable[Part]) -> tuple[list[str], list[Part], list[Part]]:
    """The answer, the evidence and the caveats; where nothing is bold, the first line is the answer."""
    answer: list[str] = []
    evidence: list[Part] = []
    caveats: list[Part] = []
    for part in every:
        style = str(part.style) if isinstance(part, Text) else ""
        if "bold" in style:
            answer.append(str(part))
        else:
            (caveats if style else evidence).append(part)
    if not answer:
        first, _, others = str(evidence.pop(0)).partition("\n")
        answer, evidence = [first], [others, *evidence] if others else evidence
    return answer, evidence, caveats


def _blocks(every: Sequence[Part], unnamed: str) -> Iterator[dict[str, Any]]:
    """Parts as the template takes them: paragraphs, lists of the lines that begin with "- ", code, tables."""
    for listed, group in groupby(every, lambda part: not isinstance(part, Table) and str(part).startswith("- ")):
        if listed:
            yield {"kind": "list", "lines": [str(part)[2:] for part in group]}
            continue
        for part in group:
            if isinstance(part, Table):
                yield _table(part, unnamed)
            elif "\n" in str(part).strip():
                yield {"kind": "pre", "text": str(part).strip()}
            else:
                yellow = isinstance(part, Text) and "yellow" in str(part.style)
                yield {"kind": "warn" if yellow else "", "text": str(part)}


def _table(shown: Table, unnamed: str) -> dict[str, Any]:
    columns = [[_plain(cell) for cell in column.cells] for column in shown.columns]
    heads = []
    for column, cells in zip(shown.columns, columns, strict=True):
        wordy = max(map(len, cells), default=0) > _WORDS
        left = column.justify == "left"
        kind = " ".join(name for name, wanted in (("left", left), ("words", wordy)) if wanted)
        heads.append({"name": _plain(column.header) or unnamed, "left": left, "kind": kind})
    kinds = ["group" if row.style else "" for row in shown.rows]
    rows = [{"cells": cells, "kind": kind} for cells, kind in zip(zip(*columns, strict=True), kinds, strict=True)]
    sortable = len(rows) >= _SORTABLE and not any(kinds)
    return {"kind": "table", "heads": heads, "rows": rows, "sortable": sortable}


def _plain(cell: object) -> str:
    """What a cell shows, in one line."""
    return " ".join(str(cell).split())


def _data(result: Any) -> dict[str, str]:
    """The frame of a result as a CSV file inside the page."""
    name = {"AdapterSpectra": "layers", "Crossed": "gaps"}.get(kind := type(result).__name__, kind.lower())
    content = result.frame().fill_nan(None).write_csv().encode("utf-8")
    return {"name": f"{name}.csv", "content": base64.b64encode(content).decode("ascii")}
