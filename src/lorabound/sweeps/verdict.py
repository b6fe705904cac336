"""Which adapter to take, one answer per training size: the lowest test error, and what is cheaper and as good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lorabound.arguments import Array
from lorabound.bounds import Bound, holdout_bounded, paired_gain
from lorabound.stats import not_worse_than_best
from lorabound.sweeps import ZERO_SHOT, Row
from lorabound.sweeps.cells import DELTA, LEVEL, LOSSES, Cell, Loss
from lorabound.sweeps.choices import Choice
from lorabound.sweeps.grid import n_pairs

# Of the way from the error at the start to 0: training that has come less far may not have finished.
_FINISHED = 0.2
# A model that starts below this error has little to learn, and is not asked to.
_LEARNT = 0.1
# Shares that a limit on a difference may bet: the smaller, the more examples that differ it is for.
_BETS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 15 / 16)


@dataclass(frozen=True)
class Verdict:
    """The answer for one training size.

    Attributes:
        best: the cell with the lowest test error.
        cheapest: the cell with the fewest trainable parameters that cannot be told apart from the best.
        members: all cells that cannot be told apart from the best.
        extra: test error of ``cheapest`` minus that of ``best``; and how far its error on new data lies above the best
            there is at most, with probability ``LEVEL`` (:func:`difference_at_most`, or more where seeds say so).
        zero_shot: the model without an adapter, None where it was not measured.
        gain: the least (likewise) and the measured number of errors per example that ``best`` saves against
            ``zero_shot``.
        limit: hold-out limit on the risk of ``best``, the choice among all K choices of the grid counted: at delta/K.
            Those that are not finished count too: a reader may look at any time, and stop when the limit is low.
        proved: run with the lowest limit that its own training proves, and that limit; None where it proves none.
        smallest_gap: the trained cell with the smallest gap.
        left_out: cells without all seeds and samples (diverged, or not run yet): no candidates.
        n_candidates, n_counted: number of choices compared; number of choices that the grid has, finished or not.
        n_seeds, n_samples, n_test: numbers of seeds, of training samples and of test examples.
    """

    n_train: int
    best: Cell
    cheapest: Cell
    members: tuple[Cell, ...]
    extra: tuple[float, float]
    zero_shot: Cell | None
    gain: tuple[float, float]
    limit: Bound
    smallest_gap: Cell | None
    left_out: tuple[Cell, ...]
    n_candidates: int
    n_counted: int
    n_seeds: int
    n_samples: int
    n_test: int
    proved: Choice | None = None

    @property
    def beats_zero_shot(self) -> bool:
        """Whether some adapter is shown to be better than the model without any."""
        return self.zero_shot is None or self.zero_shot not in self.members


def verdicts(
    cells: Sequence[Cell],
    done: Mapping[tuple[str, int, int], Sequence[Row]],
    seeds: Sequence[int],
    samples: int = 1,
    proved: Mapping[int, Choice] | None = None,
    loss: Loss = LOSSES[0],
    planned: Mapping[int, int] | None = None,
) -> list[Verdict]:
    """One verdict per training size, the largest first; sizes with no trained cell that holds all its runs have none.

    Args:
        cells: cells of the summary.
        done: the runs of every cell, by (mode, rank, N).
        seeds: seeds of the grid; a cell that lacks one is no candidate, because its mean is over other draws.
        samples: number of training samples of the grid; likewise.
        proved: what training proves at each size.
        loss: loss that decides.
        planned: number of choices that the grid has at each size; None takes the cells for all of them.
    """
    found = []
    draws = [(seed, sample) for seed in seeds for sample in range(samples)]
    for n_train in sorted({cell.n_train for cell in cells}, reverse=True):
        same_size = [cell for cell in cells if cell.n_train == n_train]
        by_draw = {id(c): {(row.seed, row.sample): row for row in done[c.mode, c.rank, n_train]} for c in same_size}
        complete = [c for c in same_size if c.mode == ZERO_SHOT or set(draws) <= set(by_draw[id(c)])]
        if any(c.mode != ZERO_SHOT for c in complete):
            left_out = tuple(c for c in same_size if c not in complete)
            n_counted = max((planned or {}).get(n_train, 0), len(same_size))
            verdict = _verdict(complete, by_draw, (len(seeds), samples), draws, left_out, loss, n_counted)
            found.append(replace(verdict, proved=(proved or {}).get(n_train)))
    return found


def _verdict(
    cells: list[Cell],
    by_draw: dict[int, dict[tuple[int, int], Row]],
    shape: tuple[int, int],
    draws: Sequence[tuple[int, int]],
    left_out: tuple[Cell, ...],
    loss: Loss,
    n_counted: int,
) -> Verdict:
    cells = sorted(cells, key=lambda cell: (cell.n_params, cell.test_loss))  # of equal means the cheapest is first
    losses = []
    for cell in cells:
        rows = by_draw[id(cell)]
        runs = [next(iter(rows.values()))] * len(draws) if cell.mode == ZERO_SHOT else [rows[draw] for draw in draws]
        per_run = np.stack([loss.test(row) for row in runs])
        losses.append(per_run.reshape(*shape, -1))
    seedless = [cell.mode == ZERO_SHOT for cell in cells]
    pairs = n_pairs(n_counted)
    # The truly best of those that are there is compared with the others once; while choices are missing it may be
    # another one at each look, so that all pairs are paid for.
    of_set = (1 - LEVEL) / max(n_counted - 1 if len(cells) == n_counted else pairs, 1)
    compared = not_worse_than_best(np.stack(losses), seedless, 1 - of_set * max(len(cells) - 1, 1))
    lowest, least = compared.lowest, compared.members[0]
    best, cheapest = cells[lowest], cells[least]
    n_test = losses[0].shape[-1]
    of_examples = np.stack(losses).mean(axis=(1, 2))
    # Whichever pair has the cheapest and the truly best, at any look; of pairs with the model without an adapter there
    # are fewer.
    of_pairs, of_bare = (DELTA / max(count, 1) for count in (pairs, n_counted - 1))
    step = float(compared.means[least] - compared.means[lowest])
    at_most = float(compared.losses_at_most[least])
    if least != lowest:
        at_most = max(at_most, *(difference_at_most(of_examples[least] - other, of_pairs) for other in of_examples))
    zero_shot = cells[seedless.index(True)] if any(seedless) else None
    gain = 0.0, 0.0
    if zero_shot is not None:
        position = cells.index(zero_shot)
        saved = float(compared.means[position] - compared.means[lowest])
        sure = saved - float(compared.margins[position])
        gain = min(sure, -difference_at_most(of_examples[lowest] - of_examples[position], of_bare)), saved
    trained = [cell for cell in cells if cell.mode != ZERO_SHOT]
    return Verdict(
        best.n_train,
        best,
        cheapest,
        tuple(cells[c] for c in compared.members),
        (step, at_most),
        zero_shot,
        gain,
        holdout_bounded(best.test_loss, n_test, DELTA / n_counted),
        min(trained, key=lambda cell: cell.gap.mean),
        left_out,
        len(cells),
        n_counted,
        *shape,
        n_test,
    )


def difference_at_most(differences: Array, delta: float) -> float:
    """Largest mean difference of two losses on new data, with probability 1 - delta, however few examples differ.

    The least of the limits of :func:`lorabound.bounds.paired_gain` over the bets in :data:`_BETS`, each at an equal
    share of delta. An interval from the spread of d is too narrow where few examples differ, and empty where none does.

    Args:
        differences: (n,) d, differences of losses with values in [0, 1] on independent test examples.
        delta: failure probability, in (0, 1).
    Source: ours: that bound for each of a few bets, all fixed here, and the union bound over them.

    >>> round(difference_at_most(np.zeros(100), 0.05), 3)
    0.048
    """
    z = -np.clip(differences, -1.0, 1.0)
    return -max(float(paired_gain(z, delta / len(_BETS), a=bet).value) for bet in _BETS)


def unfinished(cells: Sequence[Cell], majority_error: float | None = None) -> list[Cell]:
    """Trained cells whose training error has come down by less than a fifth.

    It started at the error of the model without an adapter, or, where that is lower, at ``majority_error``, that of
    always answering the most frequent class.
    """
    zero_shot = {cell.n_train: cell.train_loss for cell in cells if cell.mode == ZERO_SHOT}
    found = []
    for cell in cells:
        if cell.mode == ZERO_SHOT or cell.n_train not in zero_shot:
            continue
        start = min(zero_shot[cell.n_train], 1.0 if majority_error is None else majority_error)
        if start > _LEARNT and cell.train_loss > (1 - _FINISHED) * start:
            found.append(cell)
    return found
