"""Which of several models have the lowest error, as far as the test examples and the seeds can tell.

K cells (rank and mode) are measured on the same n test examples with the same S seeds: x[c, s, i]. The cell with the
lowest mean is not the best one for certain. :func:`not_worse_than_best` gives the cells that cannot be told apart from
the best, so that the truly best one is among them with probability ``level``, however many cells there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lorabound.arguments import Array, probability, real
from lorabound.errors import InputError


@dataclass(frozen=True)
class BestSet:
    """The cells that may be the best.

    Attributes:
        lowest: index of the cell with the lowest mean.
        members: indices of the cells that cannot be told apart from the best, ``lowest`` among them.
        means: (K,), over seeds and test examples.
        margins: (K,), one-sided, of cell c against ``lowest``: the true difference of the two means lies within it of
            the measured one with probability ``level``, whichever cell turned out lowest. Zero for ``lowest`` itself.
        losses_at_most: (K,), how far the true mean of cell c lies above the best one at most, for all cells at once,
            with probability ``level`` (the event that makes the set right makes this right).
        level: probability that the truly best cell is in the set.
    """

    lowest: int
    members: tuple[int, ...]
    means: Array
    margins: Array
    losses_at_most: Array
    level: float


def not_worse_than_best(losses: ArrayLike, seedless: ArrayLike | None = None, level: float = 0.95) -> BestSet:
    """Compare every cell with every other one; a cell that is shown to be worse than another is out.

    Cell c stays where mean_c - mean_j <= w_cj for every j. The truly best cell b has mu_b <= mu_j, so it falls out with
    probability at most sum_{j != b} P( mean_b - mean_j - (mu_b - mu_j) > w_bj ): each one-sided comparison is made at
    (1 - level)/(K - 1), and nothing is paid for the choice of the winner. With d[s, i] = x[c, s, i] - x[j, s, i]:

        w_cj^2 = ( t_{n-1} se_test )^2 + ( t se_draw )^2,
        se_test^2 = Var_i(mean_s d) / n,    se_draw^2 = Var_s(mean_i d) / S.

    A variance of two or three seeds is hardly known: se_draw is the larger one of the pair's own and of what the
    spread of all cells around their means says, (v_c + v_j)/S with v_c the larger of the cell's own variance over seeds
    and the mean one, and t is Student's with the degrees of freedom of all cells together. With one seed, 0-1 losses
    are compared by the exact sign test (McNemar) instead, and the set speaks of these adapters alone.

    The same event bounds what is lost by taking cell c: mu_c - mu_b <= mean_c - mean_b + w_bc for the truly best b,
    which is one of the members; ``losses_at_most`` is the largest of these over the members. (With one seed it still
    rests on the allowances w, the set on the sign test: two events, each of probability ``level``.)

    Args:
        losses: (K, S, n), 0-1 losses or others.
        seedless: (K,) bool, cells whose S rows are one and the same measurement (the model without an adapter).
        level: in (0, 1).
    Raises:
        InputError: another shape, fewer than two test examples, or losses that are not finite.
    Source: multiple comparisons with the best (Hsu 1981; Edwards & Hsu 1983), here by Bonferroni; pooling is ours, held
        to its level by simulation (``tests/test_best.py``).
    """
    x = real("not_worse_than_best", "losses", losses, -np.inf, open_low=True, open_high=True)
    if x.ndim != 3 or x.shape[0] < 1 or x.shape[1] < 1 or x.shape[2] < 2:
        raise InputError(f"not_worse_than_best: need (cells, seeds, >= 2 test examples), got shape {x.shape}")
    n_cells, n_seeds, _ = x.shape
    fixed = np.zeros(n_cells, dtype=np.bool_) if seedless is None else np.asarray(seedless, dtype=np.bool_)
    if fixed.shape != (n_cells,):
        raise InputError(f"not_worse_than_best: seedless must have one entry per cell, {n_cells}, got {fixed.shape}")
    alpha = 1 - probability("not_worse_than_best", "level", level)
    means = x.mean(axis=(1, 2))
    lowest = int(means.argmin())
    tail = min(alpha / max(n_cells - 1, 1), 0.5)  # an allowance is never negative: the lowest one stays
    exact = n_seeds == 1 and bool(np.isin(x, (0.0, 1.0)).all())
    worse = np.zeros(n_cells, dtype=np.bool_)
    spread = _Spread(x, fixed)
    above = np.zeros((n_cells, n_cells))
    for j in range(n_cells):
        above[j] = means - means[j] + spread.margins(j, tail)
        beaten = _sign_tests(x[:, 0], x[j, 0]) < tail if exact else means - means[j] > spread.margins(j, tail)
        above[j, j] = 0.0
        beaten[j] = False
        worse |= beaten
    margins = spread.margins(lowest, tail)
    margins[lowest] = 0.0
    members = tuple(int(c) for c in np.flatnonzero(~worse))
    return BestSet(lowest, members, means, margins, np.maximum(above[list(members)].max(axis=0), 0.0), level)


class _Spread:
    """Allowances of one cell against another, from test sampling and from the draws."""

    def __init__(self, x: Array, fixed: NDArray[np.bool_]) -> None:
        self._over_seeds, self._by_seed = x.mean(axis=1), x.mean(axis=2)
        self._n_seeds = x.shape[1]
        self._fixed = fixed
        n_drawn = int((~fixed).sum())
        self._dof = n_drawn * (self._n_seeds - 1)
        if self._dof:
            own = self._by_seed.var(axis=1, ddof=1)
            self._variance = np.where(fixed, 0.0, np.maximum(own, own[~fixed].mean()))

    def margins(self, j: int, tail: float) -> Array:
        """One-sided allowance of every cell over cell j."""
        d = self._over_seeds - self._over_seeds[j]
        half = -float(special.stdtrit(d.shape[1] - 1, tail)) * d.std(axis=1, ddof=1) / math.sqrt(d.shape[1])
        if not self._dof:
            return np.asarray(half, dtype=np.float64)
        own = (self._by_seed - self._by_seed[j]).var(axis=1, ddof=1)
        variance = np.maximum(own, self._variance + self._variance[j])
        draw = -float(special.stdtrit(self._dof, tail)) * np.sqrt(variance / self._n_seeds)
        return np.asarray(np.hypot(half, draw), dtype=np.float64)


def _sign_tests(losses: Array, other: Array) -> Array:
    """P-value of "not worse than the other" for every row of 0-1 losses: P(Bin(lost + won, 1/2) >= lost)."""
    lost = ((losses == 1) & (other == 0)).sum(axis=1)
    won = ((losses == 0) & (other == 1)).sum(axis=1)
    return np.asarray(special.bdtrc(lost - 1, lost + won, 0.5))
