"""The table at the end of a sweep, for a terminal."""

from __future__ import annotations

from itertools import zip_longest

from rich import box
from rich.console import Console
from rich.table import Table

from lorabound.report.sentences import comparison_sentence, exponent_sentence, notes
from lorabound.report.summary import Cell, Growth, Summary


def print_summary(summary: Summary, console: Console) -> None:
    """Print the cells, the comparison at equal parameters, the growth exponents, and what they rest on."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    heads = (
        "mode",
        "rank",
        "params",
        "N",
        "train\nerror",
        "test\nerror",
        "gap, 95%\ninterval",
        "true\n<=",
        "E gap\n<=",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "mode" else "right", no_wrap=True)
    for cell, following in zip_longest(summary.cells, summary.cells[1:]):
        last = following is None or following.n_train != cell.n_train
        table.add_row(*_row(cell), end_section=last)
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
        console.print(note, highlight=False, markup=False, style="dim")


def _row(cell: Cell) -> list[str]:
    gap = cell.gaps["error"]
    bound = cell.information
    return [
        cell.mode,
        str(cell.rank),
        str(cell.n_params),
        str(cell.n_train),
        f"{cell.train['error']:.3f}",
        f"{cell.test['error']:.3f}",
        f"{gap.mean:+.3f} ±{gap.high - gap.mean:.3f}",
        f"{cell.holdout.value:.3f}",
        "" if bound is None else f"{bound.value:.1f}*" if bound.vacuous else f"{bound.value:.3f}",
    ]


def _headline(growth: Growth, summary: Summary) -> bool:
    """One line a mode: the 0-1 error, along rank at the largest N, along N at the largest rank."""
    fixed = max(c.n_train if growth.axis == "rank" else c.rank for c in summary.cells)
    return growth.loss.column == "error" and growth.fixed == fixed
