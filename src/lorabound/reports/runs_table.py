"""The table of a page's runs: one row per seed and training sample."""

from __future__ import annotations

from typing import Any

from lorabound.sweeps import Row
from lorabound.sweeps.summary import Summary

# More rows make a page slow; `lorabound export` has them all.
MOST_RUNS = 800


def runs_table(summary: Summary) -> dict[str, Any]:
    """Heads and rows as the template takes them, at most :data:`MOST_RUNS` rows; measurements of a diverged run are
    empty."""
    heads: list[tuple[tuple[str, ...], str, str]] = [
        (("mode",), "mode", "mode"),
        (("rank",), "rank", "rank"),
        (("N",), "n_train", "N"),
        (("seed",), "seed", "seeds"),
        (("sample",), "sample", "training sample"),
    ]
    for loss in summary.losses:
        heads += [
            (("training", loss.title), f"train_{loss.column}", ""),
            (("test", loss.title), f"test_{loss.column}", ""),
        ]
    heads += [(("status",), "status", ""), (("seconds",), "seconds", "")]
    return {
        "heads": [
            {"lines": head, "csv": csv, "word": word, "left": not i} for i, (head, csv, word) in enumerate(heads)
        ],
        "rows": [{"kind": "", "cells": _cells(summary, row)} for row in summary.rows[:MOST_RUNS]],
    }


def _cells(summary: Summary, row: Row) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = [
        {"lines": (value,), "raw": None} for value in (row.mode, str(row.rank), f"{row.n_train:,}", str(row.seed))
    ]
    cells[2]["raw"] = str(row.n_train)
    cells.append({"lines": (str(row.sample),), "raw": None})
    for loss in summary.losses:
        done = row.status == "done"
        for value in (loss.train(row), float(loss.test(row).mean())) if done else (None, None):
            shown = "" if value is None else f"{value:.3f}"
            cells.append({"lines": (shown,), "raw": "" if value is None else repr(value)})
    return [
        *cells,
        {"lines": (row.status,), "raw": None},
        {"lines": (f"{row.seconds:.1f}",), "raw": repr(float(row.seconds))},
    ]
