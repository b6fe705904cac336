"""The best adapter of a sweep against each other one, on the same test examples: won, lost, tied, and an exact test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lorabound.arguments import Array
from lorabound.stats import Signs, signs
from lorabound.sweeps.cells import Cell, Loss
from lorabound.sweeps.grid import ZERO_SHOT, n_pairs
from lorabound.sweeps.row import Row
from lorabound.sweeps.summary import Summary
from lorabound.sweeps.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The best cell against another one of the same training size.

    Attributes:
        best, other: the two cells.
        runs: pairs of runs with the same seed and training sample, by mean test loss. The model without an adapter is
            one measurement, paired with each run.
        examples: test examples, by the sum of the losses of the paired runs on each of them.
        n_pairs: number of pairs among all choices that the grid has at this size, finished or not.
    """

    best: Cell
    other: Cell
    runs: Signs
    examples: Signs
    n_pairs: int

    @property
    def p(self) -> float:
        """Of an example that is as often won as lost, given the adapters: the chance of the test examples alone."""
        return self.examples.p

    @property
    def p_of_all(self) -> float:
        """``p`` times the number of pairs, at most 1: the best one was picked by the same test examples.

        With probability 1 - alpha over the test examples, no pair of cells of this training size whose examples are as
        often won as lost has a value below alpha, whichever pair is picked (Bonferroni).
        """
        return min(1.0, self.n_pairs * self.p)


def rivals(summary: Summary) -> list[Rival]:
    """All comparisons with the best cell, the largest training size first, the closest rival of a size first."""
    return [rival for verdict in summary.verdicts for rival in _of_size(summary, verdict)]


def _of_size(summary: Summary, verdict: Verdict) -> list[Rival]:
    loss = summary.losses[0]
    left_out = {id(cell) for cell in verdict.left_out}
    cells = [c for c in summary.cells if c.n_train == verdict.n_train and id(c) not in left_out]
    trained = next((cell for cell in cells if cell.mode != ZERO_SHOT), None)
    if trained is None:
        return []
    draws = sorted({(row.seed, row.sample) for row in _rows(summary, trained)})  # the same for all that are compared
    best = _losses(summary, verdict.best, draws, loss)
    found = []
    for other in cells:
        if other is verdict.best:
            continue
        theirs = _losses(summary, other, draws, loss)
        found.append(
            Rival(
                best=verdict.best,
                other=other,
                runs=signs(best.mean(axis=1), theirs.mean(axis=1)),
                examples=signs(best.sum(axis=0), theirs.sum(axis=0)),
                n_pairs=n_pairs(verdict.n_counted),
            )
        )
    return sorted(found, key=lambda rival: rival.other.test_loss)


def _rows(summary: Summary, cell: Cell) -> list[Row]:
    wanted = (cell.mode, cell.rank, cell.n_train, "done")
    return [row for row in summary.rows if (row.mode, row.rank, row.n_train, row.status) == wanted]


def _losses(summary: Summary, cell: Cell, draws: list[tuple[int, int]], loss: Loss) -> Array:
    """(runs, n) test losses, one line per draw; of the model without an adapter the same line for each."""
    rows = {(row.seed, row.sample): row for row in _rows(summary, cell)}
    if cell.mode == ZERO_SHOT:
        return np.repeat(loss.test(next(iter(rows.values())))[None], len(draws), axis=0)
    return np.stack([loss.test(rows[draw]) for draw in draws])
