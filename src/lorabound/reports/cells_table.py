"""The table of a page's cells: what a row shows, and the numbers before rounding that its CSV file holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorabound.bounds import Bound
from lorabound.reports.measured import Head, digits, heads, text
from lorabound.reports.sentences import ceiled, n_samples, shows_average_bound, shows_certificate
from lorabound.sweeps.cells import Cell, Loss
from lorabound.sweeps.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        head: lines of the head.
        csv: names of the numbers that its cells hold in a CSV file.
        shown: lines that a cell shows.
        raw: those numbers, before rounding; None is an empty entry.
        word: term of the glossary that explains the column; "" for none.
    """

    head: tuple[str, ...]
    csv: tuple[str, ...]
    shown: Callable[[Cell], tuple[str, ...]]
    raw: Callable[[Cell], tuple[float | None, ...]]
    word: str = ""


def columns(*summaries: Summary) -> list[Column]:
    """The columns that these sweeps of the same losses have something to say in, after the mode of a cell."""
    summary = summaries[0]
    first, *others = summary.losses
    made = [
        _whole(("rank",), "rank", lambda cell: cell.rank, "rank"),
        _whole(("N",), "n_train", lambda cell: cell.n_train, "N"),
        _mean(("train", "error"), f"train_{first.column}", lambda cell: cell.train_loss, "training error"),
        _mean(("test", "error"), f"test_{first.column}", lambda cell: cell.test_loss, "test error"),
    ]
    if summary.completes:
        made += [_mean(("test", *_broken(loss)), f"test_{loss.column}", _test_of(loss)) for loss in others]
    made.append(_limit(("new data", "<=, by", "test set"), "error_at_most", lambda cell: cell.holdout, "new data"))
    if any(map(shows_certificate, summaries)):
        made.append(_limit(("new data", "<=, by", "training"), "proved_at_most", _progressive, "certificate"))
    compared = summary.losses[:1] if summary.completes else summary.losses
    made += [_gap(loss, *(("gap", ()) if summary.completes else ("gap in", _broken(loss)))) for loss in compared]
    if any(map(shows_average_bound, summaries)):
        made.append(_limit(("mean", "gap <="), "mean_gap_at_most", lambda cell: cell.information, "bound"))
    made += [
        _whole(("trained", "params"), "n_params", lambda cell: cell.n_params, "trained parameters"),
        Column(
            head=("seeds",),
            csv=("n_seeds", "n_diverged"),
            shown=lambda cell: (str(cell.n_seeds), *_diverged(cell)),
            raw=lambda cell: (cell.n_seeds, cell.n_diverged),
            word="seeds",
        ),
    ]
    if max(map(n_samples, summaries)) > 1:
        made.append(_whole(("samples",), "n_samples", lambda cell: cell.n_samples, "training sample"))
    return made


def _diverged(cell: Cell) -> tuple[str, ...]:
    return (f"(+{cell.n_diverged} diverged)",) if cell.n_diverged else ()


def _progressive(cell: Cell) -> Bound | None:
    return cell.progressive


def _test_of(loss: Loss) -> Callable[[Cell], float]:
    return lambda cell: cell.test[loss.column]


def _broken(loss: Loss) -> tuple[str, ...]:
    """The title of a loss in short lines."""
    title = loss.title.replace(", ", "|").replace(" per", "|per").replace("exact ", "exact|").replace("mean ", "mean|")
    return tuple(title.split("|"))


def _whole(head: tuple[str, ...], name: str, value: Callable[[Cell], int], word: str = "") -> Column:
    return Column(
        head=head, csv=(name,), shown=lambda cell: (f"{value(cell):,}",), raw=lambda cell: (value(cell),), word=word
    )


def _mean(head: tuple[str, ...], name: str, value: Callable[[Cell], float], word: str = "") -> Column:
    return Column(
        head=head, csv=(name,), shown=lambda cell: (f"{value(cell):.3f}",), raw=lambda cell: (value(cell),), word=word
    )


def _limit(head: tuple[str, ...], name: str, bound: Callable[[Cell], Bound | None], word: str) -> Column:
    def shown(cell: Cell) -> tuple[str, ...]:
        found = bound(cell)
        return ("",) if found is None else ("nothing",) if found.silent else (ceiled(float(found.value)),)

    def raw(cell: Cell) -> tuple[float | None, ...]:
        found = bound(cell)
        return (None if found is None else float(found.value),)

    return Column(head=head, csv=(name,), shown=shown, raw=raw, word=word)


def _gap(loss: Loss, name: str, title: tuple[str, ...]) -> Column:
    """A gap with its interval; the file has the parts of its standard error too."""
    parts = ("mean", "low", "high", "se_draw", "se_sample", "se_test")

    def shown(cell: Cell) -> tuple[str, ...]:
        gap = cell.gaps[loss.column]
        return f"{gap.mean:+.3f}", f"±{gap.high - gap.mean:.3f}"

    def raw(cell: Cell) -> tuple[float | None, ...]:
        found = [getattr(cell.gaps[loss.column], part) for part in parts]
        return tuple(None if math.isnan(value) else value for value in found)

    csv = tuple(f"gap_{loss.column}" + ("" if part == "mean" else f"_{part}") for part in parts)
    return Column(head=(name, *title), csv=csv, shown=shown, raw=raw, word="gap")


def cells_table(sweeps: Mapping[str, Summary]) -> dict[str, Any]:
    """Heads and rows as the template takes them; rows of the best of a sweep and of those as good are marked.

    Args:
        sweeps: sweeps of the same losses by their names, which stand in a column of their own where there are several.
    """
    several = len(sweeps) > 1
    made = columns(*sweeps.values())
    named: list[Head] = [(("sweep",), "sweep", "")] if several else []
    named += [(("mode",), "mode mark", "mode"), *((one.head, " ".join(one.csv), one.word) for one in made)]
    rows: list[dict[str, Any]] = []
    for name, summary in sweeps.items():
        rows += _rows(summary, made, [text(name)] if several else [])
    return {"heads": heads(named, left=1 + several), "rows": rows}


def _rows(summary: Summary, made: Sequence[Column], before: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    best = {id(verdict.best) for verdict in summary.verdicts}
    alike = {id(cell) for verdict in summary.verdicts for cell in verdict.members} - best
    for number, cell in enumerate(summary.cells):
        kind = "best" if id(cell) in best else "alike" if id(cell) in alike else ""
        new = number and summary.cells[number - 1].n_train != cell.n_train
        mark = {"best": "> ", "alike": "~ "}.get(kind, "")
        cells = [*before, {"lines": (f"{mark}{cell.mode}",), "raw": f"{cell.mode} {mark.strip()}"}]
        cells += [{"lines": column.shown(cell), "raw": " ".join(map(digits, column.raw(cell)))} for column in made]
        yield {"kind": f"{kind}{' first' if new else ''}".strip(), "cells": cells}
