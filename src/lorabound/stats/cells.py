"""What was measured in the cells of a pilot: mean losses on the scale on which curves are fitted, and their noise.

A cell is one mode, one rank and one training size, trained with S seeds and tested on m examples. Two kinds of chance
stand between its mean loss and its true risk (the mean over all seeds and over the population of examples): which
examples were drawn for the test, and which seeds. Cells share both, so their noise is a matrix.

The scale is f = ln( -ln(1 - R) ), for any risk R in (0, 1). For small R it is ln R, on which a power law in N is a
line. A risk near 1 counts by the share 1 - R that is right: where T tokens must all be right, each with probability
p, -ln(1 - R) = T (-ln p), so that an exact match follows a power law where the log-loss of its tokens does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lorabound.arguments import Array, real
from lorabound.errors import InputError

# Standard deviation over seeds of f that is expected before anything is measured, and the degrees of freedom that this
# expectation is worth. Tasks 1 to 10 of tools/learning_curves.py have 0.009 to 0.067.
SEED_SD, SEED_DOF = 0.03, 4.0
# Shares of the seeds' variance that cells of one mode and size have in common, and cells of one mode and rank.
SEED_BY_SIZE, SEED_BY_RANK = 0.2, 0.25

Cell = tuple[str, int, float]


@dataclass(frozen=True, kw_only=True)
class MeasuredCells:
    """Cells that did not diverge.

    Attributes:
        cells: (mode, rank, n_train) of each cell.
        diverged: (mode, rank, n_train) of each cell left out because a loss of it is not a number.
        means: (C,), mean loss over seeds and test examples.
        scaled: (C,), f of the mean loss with half an error added, y = f( (m mean + 1/2)/(m + 1) ).
        noise: (C, C), covariance of y given the true risks: test examples and seeds.
        seed_sd: standard deviation over seeds of f, pooled over cells.
        example_share, seed_share: variance over examples of the loss of one seed, as a share of r (1 - r): the part
            that all seeds have in common, and the part that differs by seed. They add up to 1 for 0-1 losses.
    """

    cells: tuple[Cell, ...]
    diverged: tuple[Cell, ...]
    means: Array
    scaled: Array
    noise: Array
    seed_sd: float
    example_share: float
    seed_share: float


def scaled(risk: Array) -> Array:
    """f(R) = ln( -ln(1 - R) ), R in (0, 1)."""
    return np.log(-np.log1p(-risk))


def risk_at(f: Array) -> Array:
    """R = 1 - exp(-exp f), the inverse of :func:`scaled`."""
    return -np.expm1(-np.exp(np.minimum(f, 700.0)))


def _steepness(risk: Array) -> Array:
    """df/dR = 1/( -(1 - R) ln(1 - R) )."""
    return 1 / (-(1 - risk) * np.log1p(-risk))


def measured_cells(
    modes: Sequence[str],
    ranks: ArrayLike,
    n_train: ArrayLike,
    losses: Sequence[ArrayLike],
    *,
    shared_test: bool = True,
    folds: Sequence[ArrayLike] | None = None,
) -> MeasuredCells:
    """Means and noise of the cells of a pilot.

    With x_c = the losses of cell c averaged over its seeds, (m,), and r_c = (sum_i x_ci + 1/2)/(m + 1):

        y_c = f(r_c),    noise_cd = f'(r_c) f'(r_d) ( Cov_i(x_c, x_d)/m + [c = d] v ) + seed_cd.

    Cov_i is the empirical covariance over test examples, so that adapters which fail on the same examples are compared
    as exactly as the pairing allows (delta method). Three things are mended in it. v = 1/(4 m (m + 1)) is what one more
    example adds whose loss is 0 or 1 at even odds: without it, a cell that made no error would be known exactly.
    Correlations are drawn towards their mean as far as chance explains how they differ. And the covariance of the mean
    over all cells with differences between them is set to 0: it is estimated from the same losses as y, and where
    curves do not fit perfectly, weights built on it push the level of all of them outside of everything measured (by
    one standard error, seen with 150 test examples).

    Row s of every cell is the same seed, and one seed draws the same factors at all ranks and sizes:
    seed_cd = seed_sd^2 rho_cd / max(S_c, S_d), rho_cd = SEED_BY_SIZE [same mode and N] + SEED_BY_RANK [same mode and r]
    for two cells, 1 for c = d.

    With ``folds`` cell c was tested on m_c of the examples, m_cd of them cell d too: Cov_i(x_c, x_d)/m becomes
    Cov_i(x_c, x_d) m_cd/(m_c m_d), correlations by the examples that all cells have in common, and every fold counts as
    a seed of its own in S_c.

    seed_sd^2 pools, over cells with two seeds or more, the variance over seeds of f(mean loss), less the part that is
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
    tested, n_folds = _tested(cells, tables, folds)
    tables = [table[:, columns] for table, columns in zip(tables, tested, strict=True)]
    good = [place for place, table in enumerate(tables) if not np.isnan(table).any()]
    if not good:
        raise InputError(f"{name}: all {len(cells)} cells diverged: train them with a lower learning rate")
    diverged = tuple(cell for place, cell in enumerate(cells) if place not in set(good))
    cells, tables = [cells[place] for place in good], [tables[place] for place in good]
    tested = [tested[place] for place in good]
    examples = np.array([table.shape[1] for table in tables], dtype=np.float64)
    seeds = np.array([tables[k].shape[0] * n_folds[place] for k, place in enumerate(good)], dtype=np.float64)
    means = np.array([table.mean() for table in tables])
    smoothed = (means * examples + 0.5) / (examples + 1)
    steep = _steepness(smoothed)
    groups = np.zeros(len(cells)) if shared_test else n[good]
    sampling = _sampling(cells, tables, tested, groups)
    sampling += np.diag(1 / (4 * examples * (examples + 1)))
    by_seed = [_BySeed(table) for table in tables]
    variance = _seed_variance(by_seed)
    seeded = variance * _seed_correlation(cells) / np.maximum.outer(seeds, seeds)
    binomial = sum(float(r * (1 - r)) for r in means)
    return MeasuredCells(
        cells=tuple(cells),
        diverged=diverged,
        means=means,
        scaled=scaled(smoothed),
        noise=_without_leverage(sampling * np.outer(steep, steep), groups) + seeded,
        seed_sd=math.sqrt(variance),
        example_share=sum(part.common for part in by_seed) / binomial if binomial > 0 else 1.0,
        seed_share=sum(part.own for part in by_seed) / binomial if binomial > 0 else 0.0,
    )


class _BySeed:
    """Analysis of variance of one cell's losses x[s, i], seeds x examples.

    ``common``, ``own``: variance over examples of what all seeds have in common, and of what differs by seed;
    ``squares``: sum over ``dof`` = S - 1 degrees of freedom of the squares of f(mean loss) between seeds, ``sampling``
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
            self.squares = self.dof * float(scaled(smoothed).var(ddof=1))
            self.sampling = self.dof * self.own / n_examples * float(_steepness(smoothed).mean()) ** 2
        self.common = total - self.own


def _seed_variance(cells: Sequence[_BySeed]) -> float:
    """seed_sd^2, pooled over cells together with what is expected of it."""
    between: float = max(sum(cell.squares - cell.sampling for cell in cells), 0.0)
    return (SEED_DOF * SEED_SD**2 + between) / (SEED_DOF + sum(cell.dof for cell in cells))


def _seed_correlation(cells: Sequence[Cell]) -> Array:
    """rho_cd, (C, C)."""
    mode, rank, n = (np.array(column) for column in zip(*cells, strict=True))
    same_mode = mode[:, None] == mode[None]
    by_size, by_rank = same_mode & (n[:, None] == n[None]), same_mode & (rank[:, None] == rank[None])
    rest = (1 - SEED_BY_SIZE - SEED_BY_RANK) * np.eye(len(cells))
    return np.asarray(SEED_BY_SIZE * by_size + SEED_BY_RANK * by_rank + rest, dtype=np.float64)


def _tested(
    cells: Sequence[Cell], tables: Sequence[Array], folds: Sequence[ArrayLike] | None
) -> tuple[list[NDArray[np.bool_]], list[int]]:
    """Which test examples each cell was tested on, and in how many folds."""
    if folds is None:
        return [np.ones(table.shape[1], dtype=np.bool_) for table in tables], [1] * len(tables)
    if len(folds) != len(cells):
        raise InputError(f"fit_curves: folds must have one entry per cell, {len(cells)}, got {len(folds)}")
    numbers = [np.asarray(one, dtype=np.int64) for one in folds]
    for cell, table, one in zip(cells, tables, numbers, strict=True):
        if one.shape != table.shape[1:] or (one >= 0).sum() < 2:
            raise InputError(
                f"fit_curves: folds of {_words(cell)} must have the number of the fold of each of its "
                f"{table.shape[1]} test examples, -1 where the cell was not tested on it; two at least are not -1"
            )
    return [one >= 0 for one in numbers], [len(set(one[one >= 0].tolist())) for one in numbers]


def _sampling(
    cells: Sequence[Cell], tables: Sequence[Array], tested: Sequence[NDArray[np.bool_]], group: Array
) -> Array:
    """(C, C), Cov_i(x_c, x_d) m_cd/(m_c m_d) of cells with the same test examples (one group), 0 for the others."""
    covariance = np.zeros((len(tables), len(tables)))
    for one in np.unique(group):
        members = [place for place, other in enumerate(group) if other == one]
        lengths = {len(tested[place]) for place in members}
        if len(lengths) > 1:
            first, other = members[0], next(p for p in members if len(tested[p]) != len(tested[members[0]]))
            raise InputError(
                f"fit_curves: {_words(cells[first])} has losses of {len(tested[first])} test examples, "
                f"{_words(cells[other])} of {len(tested[other])}: test them on the same examples"
            )
        masks = np.stack([tested[place] for place in members])
        common = masks.all(axis=0)
        if common.sum() < 2:
            raise InputError("fit_curves: the cells have fewer than two test examples in common")
        x = np.zeros(masks.shape)
        for row, place in enumerate(members):
            x[row, tested[place]] = tables[place].mean(axis=0)
        counts = (masks.astype(np.float64) @ masks.T.astype(np.float64)) / np.outer(masks.sum(1), masks.sum(1))
        whole = _shrunk(x[:, common])
        if not common.all():  # correlations by the examples in common, variances by those of each cell
            own = np.array([x[row, mask].var() for row, mask in enumerate(masks)])
            shared = np.diag(whole)
            scale = np.sqrt(np.divide(own, shared, out=np.zeros_like(own), where=shared > 0))
            whole = whole * np.outer(scale, scale)
            np.fill_diagonal(whole, own)
        covariance[np.ix_(members, members)] = whole * counts
    return covariance


def _shrunk(x: Array) -> Array:
    """Covariance between rows of x, (C, m), with correlations drawn towards their mean.

    c_ij <- (1 - w) c_ij + w cbar for i != j, the variances stay; w = sum Var(c_ij)/sum (c_ij - cbar)^2, at most 1.
    Var(c_ij) is that of the mean of m products, with the standard deviations taken as known.

    Source: Ledoit & Wolf 2004 ("Honey, I shrunk the sample covariance matrix"), without the terms by which the target
        varies.
    """
    n_cells, n_examples = x.shape
    x = x - x.mean(axis=1, keepdims=True)
    sd = np.sqrt((x**2).mean(axis=1) + 1 / (4 * (n_examples + 1)))
    unit = x / sd[:, None]
    correlation = unit @ unit.T / n_examples
    apart = ~np.eye(n_cells, dtype=np.bool_)
    if n_cells < 3:
        return np.asarray(x @ x.T / n_examples)
    mean = float(correlation[apart].mean())
    chance = float(((unit**2 @ (unit**2).T / n_examples - correlation**2) / n_examples)[apart].sum())
    spread = float(((correlation - mean) ** 2)[apart].sum())
    weight = min(chance / spread, 1.0) if spread > 0 else 1.0
    shrunk = np.where(apart, (1 - weight) * correlation + weight * mean, correlation)
    return np.asarray(shrunk * np.outer(sd, sd), dtype=np.float64)


def _without_leverage(noise: Array, group: Array) -> Array:
    """``noise`` without covariance between the mean of each group of cells and the differences within it."""
    centred = np.eye(len(noise))
    for one in np.unique(group):
        members = np.flatnonzero(group == one)
        centred[np.ix_(members, members)] -= 1 / len(members)
    means = np.eye(len(noise)) - centred
    return np.asarray(centred @ noise @ centred + means @ noise @ means, dtype=np.float64)


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
