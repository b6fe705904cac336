"""One cell of a sweep: all seeds of one mode, rank and training size, with the intervals a report shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorabound.bounds import Bound, holdout_bounded, information_gap
from lorabound.stats import CrossedMean, crossed_mean
from lorabound.sweeps import Row

DELTA = 0.05
# Trained factors are stored as float32.
BITS = 32
LEVEL = 0.95
# Exponents of the upper bound, over all training algorithms and distributions (Kratsios et al. 2025, Theorem 1).
WORST_CASE = {"rank": 0.5, "n_train": -0.5}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """A loss the gap is measured in: its name in columns and for readers, and its values on the test examples."""

    column: str
    title: str
    test: Callable[[Row], Array]

    def train(self, row: Row) -> float:
        """Mean loss on the training set."""
        return float(getattr(row, f"train_{self.column}"))


def _log_losses(row: Row) -> Array:
    return np.asarray(row.test_log_losses, dtype=np.float64)


LOSSES = (
    Loss("error", "0-1 error", lambda row: np.asarray(row.test_errors, dtype=np.float64)),
    Loss("risk", "1 - p(correct)", lambda row: -np.expm1(-_log_losses(row))),
    Loss("ce", "cross-entropy, nats", _log_losses),
)


@dataclass(frozen=True)
class Cell:
    """All seeds of one (mode, rank, N).

    Attributes:
        gaps: test minus train of each loss, by column name, with its interval.
        train, test: mean over seeds of each loss, by column name.
        holdout: what the test set proves about the 0-1 risk of the cell's adapters, one picked at random.
        information: bound on the expected gap from the bits of the trained factors; None where training and
            test examples are not drawn alike: few-shot samples, a test set of its own.
        n_diverged: seeds that diverged and are not in the means.
    """

    mode: str
    rank: int
    n_train: int
    n_params: int
    n_seeds: int
    n_diverged: int
    train: dict[str, float]
    test: dict[str, float]
    gaps: dict[str, CrossedMean]
    holdout: Bound
    information: Bound | None


def cell_of(rows: Sequence[Row], n_diverged: int, drawn_apart: bool) -> Cell:
    """The cell of runs that share mode, rank and training size."""
    first = rows[0]
    gaps = {loss.column: _gap(rows, loss) for loss in LOSSES}
    test = {loss.column: float(np.mean([loss.test(row).mean() for row in rows])) for loss in LOSSES}
    return Cell(
        mode=first.mode,
        rank=first.rank,
        n_train=first.n_train,
        n_params=first.n_params,
        n_seeds=len(rows),
        n_diverged=n_diverged,
        train={loss.column: float(np.mean([loss.train(row) for row in rows])) for loss in LOSSES},
        test=test,
        gaps=gaps,
        holdout=holdout_bounded(test["error"], gaps["error"].n_test, DELTA),
        information=None if drawn_apart else information_gap(first.n_params, first.n_train, BITS),
    )


def _gap(rows: Sequence[Row], loss: Loss) -> CrossedMean:
    return crossed_mean([loss.test(row) for row in rows], [loss.train(row) for row in rows], LEVEL)
