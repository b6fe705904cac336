"""The best adapter against each other choice, in a table, with what exactly is paired and what its p-values say."""

from __future__ import annotations

from typing import Any

from lorabound.reports.measured import digits, heads, number, text
from lorabound.reports.sentences import cell_name
from lorabound.stats import Signs
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.rivals import Rival, rivals
from lorabound.sweeps.summary import Summary

_HEADS = (
    (("against",), "against", ""),
    (("N",), "n_train", "N"),
    (("test", "error"), "test_error", "test error"),
    (("above", "the best"), "difference", ""),
    (("runs", "won, lost, tied"), "runs_won runs_lost runs_tied", "seeds"),
    (("examples", "won, lost, tied"), "examples_won examples_lost examples_tied", "test error"),
    (("p",), "p", "p"),
    (("p, all", "pairs"), "p_of_all", "p"),
)


def rivals_table(summary: Summary) -> dict[str, Any] | None:
    """Sentences, heads and rows as the template takes them; None where there is nothing to compare."""
    found = rivals(summary)
    if not found:
        return None
    return {
        "paired": paired(summary, found[0]),
        "tested": tested(summary, found[0]),
        "heads": heads(_HEADS),
        "rows": [
            {"kind": "first" if i and found[i - 1].best is not rival.best else "", "cells": _cells(rival)}
            for i, rival in enumerate(found)
        ],
    }


def paired(summary: Summary, rival: Rival) -> str:
    """What is paired with what, and what is counted."""
    n_pairs, n_test = _total(rival.runs), _total(rival.examples)
    runs = f"{n_pairs} pairs of runs" if n_pairs > 1 else "one pair of runs"
    bare = " The model without an adapter is paired with each run." if _has_bare(summary) else ""
    together = "the runs of the best adapter together have" if n_pairs > 1 else "the best adapter has"
    several = " At each N the best is compared with the others of that N." if len(summary.verdicts) > 1 else ""
    return (
        f"At N = {rival.best.n_train:,} {cell_name(rival.best)} has the lowest test error. Each row sets it against "
        f"another choice on the same {n_test:,} test examples, in {runs} with the same seed and training sample."
        f"{bare}{several} Runs: in how many pairs its test error is lower (won), higher (lost) or equal (tied). "
        f"Examples: on how many test examples {together} the smaller error (won), the larger one (lost) or an equal "
        "one (tied)."
    )


def tested(summary: Summary, rival: Rival) -> str:
    """What the test asks, what is corrected for, and what is not."""
    compares_means = _total(rival.runs) > 1 or summary.losses[0].column == "wrong"
    test = "exact sign test" if compares_means else "exact sign test (McNemar)"
    sizes = (
        " It counts on how many examples an error is smaller, not by how much: that is not quite the question which "
        "mean error is lower."
        if compares_means
        else ""
    )
    return (
        f"p is the {test}: if these trained adapters won a new example as often as they lost one, p is how often "
        "chance would make the count at least this uneven. It is exact if the test examples are independent draws. "
        "The best was picked by these very examples, so p by itself is too small. p, all pairs is p times the "
        f"{rival.n_pairs} pairs among the choices of the grid at that N (Bonferroni), which pays for the picking at "
        "that N: below 0.05 the chance of the test examples does not explain the count. The test knows that chance "
        f"alone, not the chance of another seed or training sample.{sizes}"
    )


def _total(signs: Signs) -> int:
    return signs.won + signs.lost + signs.tied


def _has_bare(summary: Summary) -> bool:
    return any(cell.mode == ZERO_SHOT for cell in summary.cells)


def _cells(rival: Rival) -> list[dict[str, Any]]:
    other, difference = rival.other, rival.other.test_loss - rival.best.test_loss
    return [
        text(cell_name(other)),
        number(other.n_train, ",d"),
        number(other.test_loss, ".3f"),
        number(difference, "+.3f"),
        counted(rival.runs),
        counted(rival.examples),
        p_value(rival.p),
        p_value(rival.p_of_all),
    ]


def counted(signs: Signs) -> dict[str, Any]:
    """Won, lost and tied in one entry of a table."""
    counts = (signs.won, signs.lost, signs.tied)
    return {"lines": (", ".join(f"{count:,}" for count in counts),), "raw": " ".join(map(str, counts))}


def p_value(p: float) -> dict[str, Any]:
    """A p-value in one entry of a table, never shown as 0: "0.031", "< 0.001"."""
    return {"lines": ("< 0.001" if p < 0.001 else f"{p:.3f}",), "raw": digits(p)}
