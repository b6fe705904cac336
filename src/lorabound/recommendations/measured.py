"""What the pilots showed, as forecasts read it: losses on the test rows by mode, rank and size. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorabound.recommendations.schedule import Candidate
from lorabound.stats import Curves, fit_curves
from lorabound.sweeps.cells import Loss
from lorabound.sweeps.row import Row

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """All finished pilots of one candidate at one size.

    Attributes:
        mode, rank, n_train: the candidate and its training size.
        losses: (seeds of one fold, test rows of all folds) losses on the test rows; nan in folds it was not trained in.
        folds: (test rows of all folds,) number of the fold of each, -1 in folds it was not trained in.
        train: mean loss on the training rows.
        n_seeds: number of runs.
        seconds: time that they took.
    """

    mode: str
    rank: int
    n_train: int
    losses: Array
    folds: NDArray[np.int64]
    train: float
    n_seeds: int
    seconds: float

    @property
    def mean(self) -> float:
        """Mean loss over seeds and test rows."""
        return float(self.tested.mean())

    @property
    def tested(self) -> Array:
        """The losses without folds that it was not trained in."""
        return self.losses[:, self.folds >= 0]


def pilots_of(rows: Sequence[Row], loss: Loss, folds: Sequence[Sequence[int]]) -> list[Pilot]:
    """The pilots of finished runs, without the model that has no adapter; smallest size first.

    Seeds of one fold have the same test rows: their losses are rows of the matrix. Folds have test rows of their own:
    they are columns, in the order of the folds; a fold that a pilot was not trained in is left at nan.

    Args:
        folds: seeds of each fold.
    """
    grouped: dict[tuple[int, str, int], dict[int, Row]] = defaultdict(dict)
    widths = [0] * len(folds)
    for row in rows:
        if row.rank and row.status == "done":
            grouped[row.n_train, row.mode, row.rank][row.seed] = row
            fold = next(number for number, seeds in enumerate(folds) if row.seed in seeds)
            widths[fold] = len(loss.test(row))
    found = []
    for (n_train, mode, rank), group in sorted(grouped.items()):
        parts = [[loss.test(group[seed]) for seed in fold if seed in group] for fold in folds]
        depth = min(len(part) for part in parts if part)
        losses = [
            np.stack(part[:depth]) if part else np.full((depth, width), np.nan)
            for part, width in zip(parts, widths, strict=True)
        ]
        found.append(
            Pilot(
                mode=mode,
                rank=rank,
                n_train=n_train,
                losses=np.hstack(losses),
                folds=np.repeat([number if part else -1 for number, part in enumerate(parts)], widths),
                train=float(np.mean([loss.train(row) for row in group.values()])),
                n_seeds=len(group),
                seconds=sum(row.seconds for row in group.values()),
            )
        )
    return found


def diverged(rows: Sequence[Row]) -> set[Candidate]:
    """Candidates of which a run diverged."""
    return {(row.mode, row.rank) for row in rows if row.status != "done"}


def curves_of(pilots: Sequence[Pilot]) -> Curves:
    """Learning curves through the pilots."""
    return fit_curves(
        [pilot.mode for pilot in pilots],
        [pilot.rank for pilot in pilots],
        [pilot.n_train for pilot in pilots],
        [pilot.losses for pilot in pilots],
        folds=[pilot.folds for pilot in pilots],
    )
