"""What was measured in the cells of a pilot: the logarithm of each mean loss, and the covariance of its noise.

A cell is one mode, one rank and one training size, trained with S seeds and tested on m examples. Two kinds of chance
stand between its mean loss and its true risk (the mean over all seeds and over the population of examples): which
examples were drawn for the test, and which seeds. Cells share both, so their noise is a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lorabound.arguments import Array, real
from lorabound.errors import InputError

# Spread over seeds of ln(mean loss) that is expected before anything is measured, and how many degrees of freedom this
# expectation is worth.
SEED_SD, SEED_DOF = 0.03, 4.0
# Share of the seeds' variance that is the same shift in every cell.
SEED_SHARED = 0.3

Cell = tuple[str, int, float]


@dataclass(frozen=True, kw_only=True)
class MeasuredCells:
    """Cells that did not diverge.

    Attributes:
        cells: (mode, rank, n_train) of each cell.
        diverged: (mode, rank, n_train) of each cell left out because a loss of it is not a number.
        means: (C,), mean loss over seeds and test examples.
        logs: (C,), ln of the mean loss with half an error added, y = ln( (m mean + 1/2)/(m + 1) ).
        noise: (C, C), covariance of y given the true risks: test examples and seeds.
        seed_sd: standard deviation over seeds of ln(mean loss), pooled over cells.
        example_share, seed_share: variance over examples of the loss of one seed, as a share of r (1 - r): the part
            that all seeds have in common, and the part that differs by seed. They add up to 1 for 0-1 losses.
    """

    cells: tuple[Cell, ...]
    diverged: tuple[Cell, ...]
    means: Array
    logs: Array
    noise: Array
    seed_sd: float
    example_share: float
    seed_share: float


def measured_cells(
    modes: Sequence[str],
    ranks: ArrayLike,
    n_train: ArrayLike,
    losses: Sequence[ArrayLike],
    *,
    shared_test: bool = True,
) -> MeasuredCells:
    """Means and noise of the cells of a pilot.

    With x_c = the losses of cell c averaged over its seeds, (m,), and r_c = (sum_i x_ci + 1/2)/(m + 1):

        y_c = ln r_c,    noise_cd = ( Cov_i(x_c, x_d)/m + [c = d] v )/(r_c r_d) + seed_cd.

    Cov_i is the empirical covariance over test examples, so that two adapters which fail on the same examples are
    compared as exactly as the pairing allows (delta method). v = 1/(2 m (m + 1)) is what one more example adds whose
    loss is 0 or 1 at even odds: without it, a cell that made no error would be known exactly. seed_cd =
    seed_sd^2 ( SEED_SHARED / max(S_c, S_d) + [c = d] (1 - SEED_SHARED)/S_c ): row s of every cell is the same seed.

    seed_sd^2 pools, over cells with two seeds or more, the variance over seeds of ln(mean loss), less the part that is
    only the sampling of test examples, with an expectation of SEED_SD^2 worth SEED_DOF degrees of freedom.

    Args, Raises: as :func:`lorabound.stats.fit_curves`.
    """
    name = "fit_curves"
    r = np.atleast_1d(real(name, "ranks", ranks, 1.0, open_high=True, whole=True))
    n = np.atleast_1d(real(name, "n_train", n_train, 0.0, open_low=True, open_high=True))
    if r.ndim != 1 or not r.size or r.shape != n.shape or len(modes) != len(r) or len(losses) != len(r):
        raise InputError(
            f"{name}: modes, ranks, n_train and losses must have one entry per cell, got {len(modes)}, {r.shape}, "
            f"{n.shape}, {len(losses)}"
        )
    cells = [(str(mode), int(rank), float(size)) for mode, rank, size in zip(modes, r, n, strict=True)]
    twice = next((cell for place, cell in enumerate(cells) if cell in cells[:place]), None)
    if twice:
        raise InputError(
            f"{name}: {_words(twice)} is there twice: give each cell once, with one row of losses per seed"
        )
    tables = [_table(cell, table) for cell, table in zip(cells, losses, strict=True)]
    good = [place for place, table in enumerate(tables) if not np.isnan(table).any()]
    if not good:
        raise InputError(f"{name}: all {len(cells)} cells diverged: train them with a lower learning rate")
    diverged = tuple(cell for place, cell in enumerate(cells) if place not in set(good))
    cells, tables = [cells[place] for place in good], [tables[place] for place in good]
    examples = np.array([table.shape[1] for table in tables], dtype=np.float64)
    seeds = np.array([table.shape[0] for table in tables], dtype=np.float64)
    means = np.array([table.mean() for table in tables])
    smoothed = (means * examples + 0.5) / (examples + 1)
    sampling = _sampling(cells, tables, np.zeros(len(cells)) if shared_test else n[good])
    sampling += np.diag(1 / (2 * examples * (examples + 1)))
    by_seed = [_BySeed(table) for table in tables]
    variance = _seed_variance(by_seed)
    shared = SEED_SHARED / np.maximum.outer(seeds, seeds) + np.diag((1 - SEED_SHARED) / seeds)
    binomial = sum(float(r * (1 - r)) for r in means)
    return MeasuredCells(
        cells=tuple(cells),
        diverged=diverged,
        means=means,
        logs=np.log(smoothed),
        noise=sampling / np.outer(smoothed, smoothed) + variance * shared,
        seed_sd=math.sqrt(variance),
        example_share=sum(part.common for part in by_seed) / binomial if binomial > 0 else 1.0,
        seed_share=sum(part.own for part in by_seed) / binomial if binomial > 0 else 0.0,
    )


class _BySeed:
    """Analysis of variance of one cell's losses x[s, i], seeds x examples.

    ``common``, ``own``: variance over examples of what all seeds have in common, and of what differs by seed;
    ``squares``: sum over ``dof`` = S - 1 degrees of freedom of the squares of ln(mean loss) between seeds, ``sampling``
    what own/m contributes to it.
    """

    def __init__(self, x: Array) -> None:
        n_seeds, n_examples = x.shape
        total = float(x.var(axis=1).mean())
        by_seed = x.mean(axis=1)
        self.dof: int = n_seeds - 1
        self.own, self.squares, self.sampling = 0.0, 0.0, 0.0
        if self.dof:
            rest = x - by_seed[:, None] - x.mean(axis=0) + x.mean()
            self.own = min(float(np.sum(rest**2)) / (self.dof * n_examples), total)
            smoothed = (by_seed * n_examples + 0.5) / (n_examples + 1)
            self.squares = float(np.sum((np.log(smoothed) - np.log(smoothed).mean()) ** 2))
            self.sampling = self.dof * self.own / n_examples / float(smoothed.mean()) ** 2
        self.common = total - self.own


def _seed_variance(cells: Sequence[_BySeed]) -> float:
    """seed_sd^2, pooled over cells together with what is expected of it."""
    between: float = max(sum(cell.squares - cell.sampling for cell in cells), 0.0)
    return (SEED_DOF * SEED_SD**2 + between) / (SEED_DOF + sum(cell.dof for cell in cells))


def _sampling(cells: Sequence[Cell], tables: Sequence[Array], group: Array) -> Array:
    """(C, C), Cov_i(x_c, x_d)/m of cells with the same test examples (one group), 0 for the others."""
    covariance = np.zeros((len(tables), len(tables)))
    for one in np.unique(group):
        members = [place for place, other in enumerate(group) if other == one]
        lengths = {tables[place].shape[1] for place in members}
        if len(lengths) > 1:
            first, other = members[0], next(p for p in members if tables[p].shape[1] != tables[members[0]].shape[1])
            raise InputError(
                f"fit_curves: {_words(cells[first])} has losses of {tables[first].shape[1]} test examples, "
                f"{_words(cells[other])} of {tables[other].shape[1]}: test them on the same examples"
            )
        x = np.stack([tables[place].mean(axis=0) for place in members])
        x -= x.mean(axis=1, keepdims=True)
        covariance[np.ix_(members, members)] = x @ x.T / x.shape[1] ** 2
    return covariance


def _table(cell: Cell, losses: ArrayLike) -> Array:
    """Losses of one cell, (S, m), in [0, 1] or nan."""
    x = np.atleast_2d(np.asarray(losses, dtype=np.float64))
    if x.ndim != 2 or not x.shape[0] or x.shape[1] < 2:
        raise InputError(
            f"fit_curves: losses of {_words(cell)} must be (seeds, test examples), at least 2 examples, got {x.shape}"
        )
    outside = x[~np.isnan(x) & ((x < 0) | (x > 1))]
    if outside.size:
        raise InputError(f"fit_curves: losses of {_words(cell)} must lie in [0, 1], got {outside[0]:g}")
    return x


def _words(cell: Cell) -> str:
    return f"{cell[0]} of rank {cell[1]} at {cell[2]:g} training examples"
