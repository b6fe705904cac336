"""The table at the end of a sweep, for a terminal."""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest

from rich import box
from rich.console import Console
from rich.table import Table

from lorabound.reports.sentences import (
    comparison_sentence,
    exponent_sentence,
    notes,
    shows_average_bound,
    verdict_sentences,
)
from lorabound.sweeps.cells import Cell
from lorabound.sweeps.summary import Growth, Summary


def print_summary(summary: Summary, console: Console, told: Collection[str] = ()) -> None:
    """Print the verdict, the cells, the comparison at equal parameters, the exponents, and what they rest on.

    Args:
        told: notes that stand on the screen already, and are not told again.
    """
    for number, sentence in enumerate(verdict_sentences(summary)):
        console.print(sentence, highlight=False, markup=False, style="bold" if number == 0 else None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    heads = [
        "  mode",
        "rank",
        "params",
        "N",
        "train\nerror",
        "test\nerror",
        "gap, 95%\ninterval",
        "true\n<=",
    ]
    with_bound = shows_average_bound(summary)
    if with_bound:
        heads.append("E gap\n<=")
    for head in heads:
        table.add_column(head, justify="left" if head == "  mode" else "right", no_wrap=True)
    marks = _marks(summary)
    for cell, following in zip_longest(summary.cells, summary.cells[1:]):
        last = following is None or following.n_train != cell.n_train
        table.add_row(*_row(cell, marks.get(id(cell), " "), with_bound), end_section=last)
    console.print(table)
    for growth in summary.growth:
        if _headline(growth, summary):
            console.print(exponent_sentence(growth), highlight=False)
    largest = max((cell.n_train for cell in summary.cells), default=0)
    for comparison in summary.comparisons:
        if comparison.n_train != largest:
            continue
        console.print(comparison_sentence(comparison), highlight=False)
    for note in notes(summary):
        if note in told:
            continue
        console.print(note, highlight=False, markup=False, style="dim")


def _marks(summary: Summary) -> dict[int, str]:
    """The sign before a cell: the best of its training size, or not to be told apart from it."""
    marks = {id(cell): "~" for verdict in summary.verdicts for cell in verdict.members}
    return marks | {id(verdict.best): ">" for verdict in summary.verdicts}


def _row(cell: Cell, mark: str, with_bound: bool) -> list[str]:
    gap = cell.gaps["error"]
    bound = cell.information
    columns = [
        f"{mark} {cell.mode}",
        str(cell.rank),
        str(cell.n_params),
        str(cell.n_train),
        f"{cell.train['error']:.3f}",
        f"{cell.test['error']:.3f}",
        f"{gap.mean:+.3f} ±{gap.high - gap.mean:.3f}",
        f"{cell.holdout.value:.3f}",
    ]
    if with_bound:
        columns.append("" if bound is None else ">=1" if bound.vacuous else f"{bound.value:.3f}")
    return columns


def _headline(growth: Growth, summary: Summary) -> bool:
    """One line per mode: the 0-1 error, along rank at the largest N, along N at the largest rank."""
    fixed = max(c.n_train if growth.axis == "rank" else c.rank for c in summary.cells)
    return growth.loss.column == "error" and growth.fixed == fixed
