"""A sweep in the terminal: the verdict, the cells, and about ten lines under them; the page has the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest

from rich.table import Table
from rich.text import Text

from lorabound.data import counted
from lorabound.reports.sentences import (
    caveats,
    ceiled,
    comparison_sentence,
    error_sentence,
    exponent_text,
    modes_sentence,
    n_samples,
    remarks,
    shows_average_bound,
    shows_certificate,
)
from lorabound.reports.show import Part, parts, table
from lorabound.reports.spread import conclusions, spread_table
from lorabound.reports.verdict_sentences import verdict_sentences
from lorabound.sweeps import Sweep
from lorabound.sweeps.cells import WORST_CASE, Cell
from lorabound.sweeps.progressive import speaks_of
from lorabound.sweeps.summary import Growth, Summary

# Lines under the table, about, beside caveats; what does not fit stands on the page.
_LINES = 10


@parts.register
def _(sweep: Sweep, width: int) -> Iterator[Part]:
    """The summary of a sweep."""
    yield from parts(sweep.summary(), width)


@parts.register
def _(summary: Summary, width: int) -> Iterator[Part]:
    """Which adapter to take; one row per cell; what to beware of, never left out; what the columns are, how the gap
    grows, as far as there is room."""
    answer, *others = verdict_sentences(summary)
    yield Text(answer, style="bold")
    yield from others
    if summary.cells:
        yield _cells(summary)
    yield from map(Text, caveats(summary))
    room, hidden = _LINES, 0
    for style, sentences in [("dim", _legend(summary)), ("", _findings(summary)), ("dim", remarks(summary))]:
        for sentence in sentences:
            room -= math.ceil(len(sentence) / width)
            if room < 0:
                hidden += 1
            else:
                yield Text(sentence, style=style)
    if summary.spread:
        yield Text(f"What spreads the gap of one run, at N = {summary.spread.n_train}:")
        yield spread_table(summary.spread)
        yield from conclusions(summary.spread)
    if hidden:
        yield Text(f"{counted(hidden, 'more note')} on the page that report writes.", style="dim")


def _cells(summary: Summary) -> Table:
    heads = ["<  mode", "rank", "params", "N", "train\nerror", "test\nerror", "gap, 95%\ninterval", "new\ndata\n<="]
    with_bound, proved = shows_average_bound(summary), shows_certificate(summary)
    heads += ["new data\n<=, by\ntraining"] if proved else []
    shown = table(*heads, *(["mean\ngap\n<="] if with_bound else []))
    marks = {id(cell): "~" for verdict in summary.verdicts for cell in verdict.members}
    marks |= {id(verdict.best): ">" for verdict in summary.verdicts}
    for cell, following in zip_longest(summary.cells, summary.cells[1:]):
        last = following is None or following.n_train != cell.n_train
        shown.add_row(*_row(cell, marks.get(id(cell), " "), proved, with_bound), end_section=last)
    return shown


def _row(cell: Cell, mark: str, proved: bool, with_bound: bool) -> list[str]:
    gap = cell.gap
    bound = cell.information
    columns = [
        f"{mark} {cell.mode}",
        str(cell.rank),
        str(cell.n_params),
        str(cell.n_train),
        f"{cell.train_loss:.3f}",
        f"{cell.test_loss:.3f}",
        f"{gap.mean:+.3f} ±{gap.high - gap.mean:.3f}",
        ">=1" if cell.holdout.silent else ceiled(float(cell.holdout.value)),
    ]
    if proved:
        limit = cell.progressive
        columns.append("" if limit is None else ">=1" if limit.silent else ceiled(float(limit.value)))
    if with_bound:
        columns.append("" if bound is None else ">=1" if bound.silent else ceiled(float(bound.value)))
    return columns


def _legend(summary: Summary) -> list[str]:
    """What marks, columns and modes are, in four lines."""
    if not summary.cells:
        return []
    samples = n_samples(summary)
    over = f"over {samples} training samples too" if samples > 1 else "for this one training sample"
    return [
        *error_sentence(summary),
        "> lowest test error at this N; ~ cannot be told apart from it. Gap = test - training error, its interval "
        f"{over}. New data <=: limit on the error there, 95% sure for any one row" + _by_training(summary),
        modes_sentence(summary),
    ]


def _by_training(summary: Summary) -> str:
    """What the column of certificates is; "" where there is none."""
    if not shows_certificate(summary):
        return "."
    return f"; by training: without the test set, of {speaks_of(summary.config).rstrip(',')}."


def _findings(summary: Summary) -> list[str]:
    """Equal parameters at the largest rank and N; how the gap in 0-1 error grows with rank and with N."""
    lines = []
    if summary.comparisons:
        largest = max(summary.comparisons, key=lambda comparison: (comparison.n_train, comparison.rank))
        lines.append(f"{comparison_sentence(largest)}.")
    for axis, other in (("rank", "n_train"), ("n_train", "rank")):
        growths = [g for g in summary.growth if g.axis == axis and g.loss == summary.losses[0]]
        fixed = max((getattr(cell, other) for cell in summary.cells), default=0)
        growths = [growth for growth in growths if growth.fixed == fixed]
        if any(not math.isnan(growth.exponent.value) for growth in growths):
            lines.append(_growth(growths))
    return lines


def _growth(growths: list[Growth]) -> str:
    """The exponents of all modes along one axis, beside the worst case."""
    axis, fixed = growths[0].axis, growths[0].fixed
    symbol, fixed_at = ("rank", f"N = {fixed}") if axis == "rank" else ("N", f"rank {fixed}")
    measured = "; ".join(f"{growth.mode} {exponent_text(growth.exponent)}" for growth in growths)
    worst = f"b = {WORST_CASE[axis]:+.1f} in the worst case"
    return f"The gap grows like {symbol}^b at {fixed_at}; {worst}, here: {measured}."
