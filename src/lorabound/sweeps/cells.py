"""One cell of a sweep: all runs of one mode, rank and training size, with the intervals a report shows.

Its runs are crossed: every seed on every training sample. Where some are missing or diverged, a full rectangle of seeds
and samples is read, so that the parts of the chance can be told apart; what is outside is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorabound.bounds import Bound, holdout_bounded, information_gap
from lorabound.stats import CrossedMean, crossed_mean
from lorabound.sweeps import Row
from lorabound.sweeps.config import SweepConfig

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


def _errors(row: Row) -> Array:
    return np.asarray(row.test_errors, dtype=np.float64)


LOSSES = (
    Loss("error", "0-1 error", _errors),
    Loss("risk", "1 - p(correct)", lambda row: -np.expm1(-_log_losses(row))),
    Loss("ce", "cross-entropy, nats", _log_losses),
)
_EXACT = Loss("error", "1 - exact match", _errors)
_WRONG = Loss("wrong", "share of wrong tokens", lambda row: np.asarray(row.test_wrongs, dtype=np.float64))
_COMPLETIONS = (
    Loss("risk", "1 - mean p(token)", lambda row: np.asarray(row.test_misses, dtype=np.float64)),
    Loss("ce", "-ln p per token, nats", _log_losses),
)


def losses_of(config: SweepConfig) -> tuple[Loss, ...]:
    """The losses of a sweep, the one that decides first: of classes, or of completions."""
    if config.task != "completions":
        return LOSSES
    both = (_EXACT, _WRONG) if config.metric == "exact-match" else (_WRONG, _EXACT)
    return (*both, *_COMPLETIONS)


@dataclass(frozen=True)
class Cell:
    """All runs of one (mode, rank, N).

    Attributes:
        metric: column of the loss that decides, in [0, 1].
        gaps: test minus train of each loss, by column name, with its interval.
        tests: test mean of each loss, by column name, with its interval.
        train, test: mean over seeds and samples of each loss, by column name.
        holdout: upper limit, by the test set, on the 0-1 risk of one of the cell's adapters, picked at random.
        information: bound on the expected gap from the bits of the trained factors; None where training and
            test examples are not drawn alike: few-shot samples, a test set of its own.
        progressive: limit on the same risk for a checkpoint of the training window, by the losses before each update;
            None where training certifies nothing (:mod:`lorabound.sweeps.progressive`).
        n_seeds, n_samples: numbers of seeds and of training samples in the means.
        n_diverged: number of runs that diverged and are not in the means.
        n_unpaired: number of finished runs that are not in the means, as their seed or sample lacks others.
    """

    mode: str
    rank: int
    n_train: int
    n_params: int
    n_seeds: int
    n_samples: int
    n_diverged: int
    n_unpaired: int
    train: dict[str, float]
    test: dict[str, float]
    gaps: dict[str, CrossedMean]
    tests: dict[str, CrossedMean]
    holdout: Bound
    information: Bound | None
    progressive: Bound | None = None
    metric: str = "error"

    @property
    def train_loss(self) -> float:
        """Mean of the loss that decides, on the training sets."""
        return self.train[self.metric]

    @property
    def test_loss(self) -> float:
        """Mean of the loss that decides, on the test set."""
        return self.test[self.metric]

    @property
    def gap(self) -> CrossedMean:
        """Test minus train of the loss that decides."""
        return self.gaps[self.metric]


def crossed(rows: Sequence[Row]) -> list[list[Row]]:
    """The runs of one cell as (seeds, samples), smallest seed and sample first.

    Where runs are missing, samples are taken in order of how many seeds they hold, as long as the rectangle grows.
    """
    by_draw = {(row.seed, row.sample): row for row in rows}
    seeds_of = {sample: {seed for seed, other in by_draw if other == sample} for sample in {row.sample for row in rows}}
    fullest = sorted(seeds_of, key=lambda sample: (-len(seeds_of[sample]), sample))
    rectangles = [
        (set.intersection(*(seeds_of[sample] for sample in fullest[:count])), sorted(fullest[:count]))
        for count in range(1, len(fullest) + 1)
    ]
    seeds, samples = max(rectangles, key=lambda found: len(found[0]) * len(found[1]))
    return [[by_draw[seed, sample] for sample in samples] for seed in sorted(seeds)]


def cell_of(
    rows: Sequence[Row],
    n_diverged: int,
    drawn_apart: bool,
    losses: Sequence[Loss] = LOSSES,
    proved: Callable[[Sequence[Row]], Bound | None] = lambda _: None,
) -> Cell:
    """The cell of runs that share mode, rank and training size.

    Args:
        losses: losses of the sweep, the one that decides first.
        proved: limit that the first pass of these runs proves.
    """
    grid = crossed(rows)
    used = [row for line in grid for row in line]
    first = rows[0]
    gaps = {loss.column: _gap(grid, loss) for loss in losses}
    test = {loss.column: float(np.mean([loss.test(row).mean() for row in used])) for loss in losses}
    return Cell(
        mode=first.mode,
        rank=first.rank,
        n_train=first.n_train,
        n_params=first.n_params,
        n_seeds=len(grid),
        n_samples=len(grid[0]),
        n_diverged=n_diverged,
        n_unpaired=len(rows) - len(used),
        train={loss.column: float(np.mean([loss.train(row) for row in used])) for loss in losses},
        test=test,
        gaps=gaps,
        tests={loss.column: crossed_mean(test_losses(grid, loss), 0.0, LEVEL) for loss in losses},
        holdout=holdout_bounded(test[losses[0].column], gaps[losses[0].column].n_test, DELTA),
        metric=losses[0].column,
        information=None if drawn_apart else information_gap(first.n_params, first.n_train, BITS),
        progressive=proved(used),
    )


def _gap(grid: Sequence[Sequence[Row]], loss: Loss) -> CrossedMean:
    return crossed_mean(test_losses(grid, loss), train_losses(grid, loss), LEVEL)


def test_losses(grid: Sequence[Sequence[Row]], loss: Loss) -> Array:
    """(seeds, samples, n) losses of crossed runs on the test examples."""
    return np.stack([np.stack([loss.test(row) for row in line]) for line in grid])


def train_losses(grid: Sequence[Sequence[Row]], loss: Loss) -> Array:
    """(seeds, samples) mean losses of crossed runs on their training sets."""
    return np.array([[loss.train(row) for row in line] for line in grid])
