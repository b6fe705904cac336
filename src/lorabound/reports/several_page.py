"""The page of several sweeps side by side: which is best where that can be said, in what they differ, all cells."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorabound import __version__
from lorabound.errors import InputError
from lorabound.notation import says_nothing
from lorabound.reports.cells_table import cells_table
from lorabound.reports.chart_specs import Series
from lorabound.reports.charts import chart_sentences, explorer
from lorabound.reports.colours import MOST_SWEEPS
from lorabound.reports.frame import write_framed
from lorabound.reports.measured import digits, heads, number, text
from lorabound.reports.rivals_table import counted, p_value
from lorabound.reports.sentences import caveats, ceiled, cell_name
from lorabound.reports.verdict_sentences import averaged, verdict_sentences
from lorabound.sweeps.cells import DELTA
from lorabound.sweeps.command import sweep_command
from lorabound.sweeps.side_by_side import Entry, SideBySide, named, side_by_side
from lorabound.sweeps.summary import Summary

SEVERAL = "sweeps.html"

_HEADS = (
    (("sweep",), "sweep", ""),
    (("best adapter",), "best", "adapter"),
    (("N",), "n_train", "N"),
    (("test", "error"), "test_error", "test error"),
    (("gap",), "gap", "gap"),
    (("new data", "<="), "error_at_most", "certificate"),
    (("examples", "won, lost, tied"), "examples_won examples_lost examples_tied", "test error"),
    (("p, all", "pairs"), "p_of_all", "p"),
)


def write_several(summaries: Sequence[Summary], path: str | Path) -> Path:
    """Write the page of several sweeps to ``path``; returns its path.

    Raises:
        InputError: fewer than two sweeps, more than colours, one named twice, or sweeps whose errors are other things.
        OutputError: the file cannot be written.
    """
    if len(summaries) > MOST_SWEEPS:
        raise InputError(f"{len(summaries)} sweeps: one page shows at most {MOST_SWEEPS} side by side")
    made = side_by_side(named(summaries))
    explored = explorer([Series(name=name, summary=summary) for name, summary in made.sweeps.items()])
    return write_framed(
        path,
        "several.html.j2",
        {},
        made=made,
        first=_first(made),
        sentences=_sentences(made),
        groups=[_table(group) for group in made.compared],
        answers={name: verdict_sentences(summary)[0] for name, summary in made.sweeps.items()},
        warnings={name: caveats(summary) for name, summary in made.sweeps.items()},
        explored=explored,
        said=chart_sentences(*made.sweeps.values()),
        cells=cells_table(made.sweeps),
        again=[shlex.join(sweep_command(one.config, one.folder or "DIR")) for one in made.sweeps.values()],
        again_said=shlex.join(["lorabound", "report", *(one.folder for one in made.sweeps.values())]),
        version=__version__,
    )


def _first(made: SideBySide) -> str:
    """The sweep with the lowest test error, where all can be compared; else that they cannot."""
    every = f"{len(made.sweeps)} sweeps side by side"
    if len(made.compared) != 1 or made.reasons:
        return f"{every}: their test errors are not all on the same test set"
    silent = [name for name, summary in made.sweeps.items() if not summary.verdicts]
    if len(made.compared[0]) < 2:
        return f"{every}, and nothing to compare: {', '.join(silent)} gave no answer yet"
    best, *others = made.compared[0]
    text = (
        f"{best.name} has the lowest test error of {len(others) + 1} sweeps, {best.verdict.best.test_loss:.3f}: "
        f"{cell_name(best.verdict.best)}, at N = {best.verdict.n_train:,}"
    )
    unsure = [entry.name for entry in others if not entry.is_beaten]
    if not unsure:
        text += ". It wins more test examples against the best of each other sweep than chance explains"
    else:
        text += f". It is not shown to win more test examples than it loses against {', '.join(unsure)}"
    return f"{text}. Left out, as they give no answer yet: {', '.join(silent)}" if silent else text


def _sentences(made: SideBySide) -> list[str]:
    """What is guaranteed of the best, and what is not compared."""
    lines = []
    for group in made.compared:
        if not group:
            continue
        best, n_test = group[0], group[0].verdict.n_test
        limit = float(best.limit.value)
        told = "limited by nothing" if says_nothing(limit) else f"at most {ceiled(limit)}"
        lines.append(
            f"On new data the error of {averaged(best.verdict)} of {best.name} is {told} ({1 - DELTA:.0%}, the choice "
            f"among all {best.n_counted} choices of the sweeps with this test set counted, finished or not; by the "
            f"same {n_test:,} test examples). That holds if no sweep was set up, extended or stopped after a look at "
            "these test errors."
        )
        sizes = {entry.verdict.n_train for entry in group}
        if len(sizes) > 1:
            lines.append(
                "The adapters compared were trained on different numbers of examples "
                f"({', '.join(f'{size:,}' for size in sorted(sizes))}), which alone makes errors differ."
            )
    lines += [f"Not compared: {reason}" for reason in made.reasons]
    return lines


def _table(group: Sequence[Entry]) -> dict[str, Any]:
    return {
        "heads": heads(_HEADS, left=2),
        "rows": [{"kind": "best" if entry.examples is None else "", "cells": _cells(entry)} for entry in group],
    }


def _cells(entry: Entry) -> list[dict[str, Any]]:
    best, limit = entry.verdict.best, float(entry.limit.value)
    return [
        text(entry.name),
        text(cell_name(best)),
        number(best.n_train, ",d"),
        number(best.test_loss, ".3f"),
        number(best.gap.mean, "+.3f"),
        {"lines": (ceiled(limit),), "raw": digits(limit)},
        counted(entry.examples) if entry.examples else {"lines": ("",), "raw": "  "},
        number(None, "") if entry.p_of_all is None else p_value(entry.p_of_all),
    ]
