"""The table of a page's runs: one row per seed and training sample."""

from __future__ import annotations

from typing import Any

from lorabound.reports.measured import Head, heads, number, text
from lorabound.sweeps import Row
from lorabound.sweeps.summary import Summary

# Cells and runs that a page lists: more make it slow, and larger than 2 MB. `lorabound export` has all runs.
MOST_ROWS, FEWEST_RUNS = 1_000, 100


def runs_table(summary: Summary) -> dict[str, Any]:
    """Heads and rows as the template takes them, with all cells at most :data:`MOST_ROWS` rows, but always the first
    :data:`FEWEST_RUNS`; measurements of a diverged run are empty."""
    most = max(FEWEST_RUNS, MOST_ROWS - len(summary.cells))
    named: list[Head] = [
        (("mode",), "mode", "mode"),
        (("rank",), "rank", "rank"),
        (("N",), "n_train", "N"),
        (("seed",), "seed", "seeds"),
        (("sample",), "sample", "training sample"),
    ]
    for loss in summary.losses:
        named += [
            (("training", loss.title), f"train_{loss.column}", ""),
            (("test", loss.title), f"test_{loss.column}", ""),
        ]
    named += [(("status",), "status", ""), (("seconds",), "seconds", "")]
    return {
        "heads": heads(named),
        "rows": [{"kind": "", "cells": _cells(summary, row)} for row in summary.rows[:most]],
    }


def _cells(summary: Summary, row: Row) -> list[dict[str, Any]]:
    cells = [text(row.mode), text(str(row.rank)), number(row.n_train, ",d"), text(str(row.seed)), text(str(row.sample))]
    for loss in summary.losses:
        done = row.status == "done"
        values = (loss.train(row), float(loss.test(row).mean())) if done else (None, None)
        cells += [number(value, ".3f") for value in values]
    return [*cells, text(row.status), number(row.seconds, ".1f")]
