"""Which of several models have the lowest error, as far as test examples, seeds and training samples can tell.

K cells (rank and mode) are measured on the same n test examples with the same F seeds on the same S training samples:
x[c, f, s, i]. The cell with the
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


@dataclass(frozen=True, kw_only=True)
class BestSet:
    """The cells that may be the best.

    Attributes:
        lowest: index of the cell with the lowest mean.
        members: indices of the cells that cannot be told apart from the best, ``lowest`` among them.
        means: (K,), mean loss of each cell over seeds, samples and test examples.
        margins: (K,), one-sided margin of each cell against ``lowest``: the true difference of the two means lies
            within it of the measured one with probability ``level``, whichever cell turned out lowest. Zero for
            ``lowest`` itself.
        losses_at_most: (K,), largest distance of each cell's true mean above the best one, for all cells at once, with
            probability ``level`` (the event that makes the set right makes this right).
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
    (1 - level)/(K - 1), and nothing is paid for the choice of the winner. With d = x[c] - x[j], indexed by f, s and i:

        w_cj^2 = ( t_{n-1} se_test )^2 + ( t se_draw )^2 + ( t se_sample )^2,
        se_test^2 = Var_i(mean_fs d)/n,  se_draw^2 = Var_f(mean_si d)/F,  se_sample^2 = Var_s(mean_fi d)/S.

    A variance of two or three seeds is hardly known: se_draw is the larger one of the pair's own and of what the
    spread of all cells around their means says, (v_c + v_j)/F with v_c the larger of the cell's own variance over seeds
    and the mean one, and t is Student's with the degrees of freedom of all cells together; se_sample likewise. With one
    sample its part is left out, and the set speaks of that sample alone. With one seed too, 0-1 losses are compared by
    the exact sign test (McNemar) instead, and the set speaks of these adapters alone.

    The same event bounds what is lost by taking cell c: mu_c - mu_b <= mean_c - mean_b + w_bc for the truly best b,
    which is one of the members; ``losses_at_most`` is the largest of these over the members. (With one seed it still
    rests on the allowances w, the set on the sign test: two events, each of probability ``level``.)

    Args:
        losses: (K, F, n), or (K, F, S, n) with S training samples; 0-1 losses or others.
        seedless: (K,) bool, cells whose rows are all one and the same measurement (the model without an adapter).
        level: probability, in (0, 1), that the truly best cell is in the set.
    Raises:
        InputError: another shape, fewer than two test examples, or losses that are not finite.
    Source: multiple comparisons with the best (Hsu 1981; Edwards & Hsu 1983), here by Bonferroni; pooling is ours, held
        to its level by simulation (``tests/stats/test_best.py``).
    """
    x = real("not_worse_than_best", "losses", losses, -np.inf, open_low=True, open_high=True)
    if x.ndim not in (3, 4) or min(x.shape[:-1]) < 1 or x.shape[-1] < 2:
        raise InputError(
            "not_worse_than_best: need (cells, seeds, >= 2 test examples) or (cells, seeds, samples, >= 2), got shape "
            f"{x.shape}"
        )
    x = x[:, :, None] if x.ndim == 3 else x
    n_cells, n_seeds, n_samples, _ = x.shape
    fixed = np.zeros(n_cells, dtype=np.bool_) if seedless is None else np.asarray(seedless, dtype=np.bool_)
    if fixed.shape != (n_cells,):
        raise InputError(f"not_worse_than_best: seedless must have one entry per cell, {n_cells}, got {fixed.shape}")
    alpha = 1 - probability("not_worse_than_best", "level", level)
    means = x.mean(axis=2).mean(axis=(1, 2))
    lowest = int(means.argmin())
    tail = min(alpha / max(n_cells - 1, 1), 0.5)  # an allowance is never negative: the lowest one stays
    exact = n_seeds == n_samples == 1 and bool(np.isin(x, (0.0, 1.0)).all())
    worse = np.zeros(n_cells, dtype=np.bool_)
    spread = _Spread(x, fixed)
    above = np.zeros((n_cells, n_cells))
    for j in range(n_cells):
        above[j] = means - means[j] + spread.margins(j, tail)
        beaten = _sign_tests(x[:, 0, 0], x[j, 0, 0]) < tail if exact else means - means[j] > spread.margins(j, tail)
        above[j, j] = 0.0
        beaten[j] = False
        worse |= beaten
    margins = spread.margins(lowest, tail)
    margins[lowest] = 0.0
    members = tuple(int(c) for c in np.flatnonzero(~worse))
    return BestSet(
        lowest=lowest,
        members=members,
        means=means,
        margins=margins,
        losses_at_most=np.maximum(above[list(members)].max(axis=0), 0.0),
        level=level,
    )


class _Spread:
    """Allowances of one cell against another, from test sampling, from the draws and from the training samples."""

    def __init__(self, x: Array, fixed: NDArray[np.bool_]) -> None:
        self._over_runs = x.mean(axis=2).mean(axis=1)
        means = x.mean(axis=3)
        axes = (means.mean(axis=2), means.mean(axis=1))  # (K, F), (K, S)
        self._draws = [_Draws(by_draw, fixed) for by_draw in axes if by_draw.shape[1] > 1 and not fixed.all()]

    def margins(self, j: int, tail: float) -> Array:
        """One-sided allowance of every cell over cell j."""
        d = self._over_runs - self._over_runs[j]
        half = -float(special.stdtrit(d.shape[1] - 1, tail)) * d.std(axis=1, ddof=1) / math.sqrt(d.shape[1])
        for draws in self._draws:
            half = np.hypot(half, draws.margins(j, tail))
        return np.asarray(half, dtype=np.float64)


class _Draws:
    """The part that comes from the draws along one axis: (K, draws) means of the cells."""

    def __init__(self, by_draw: Array, fixed: NDArray[np.bool_]) -> None:
        self._by_draw, self._count = by_draw, by_draw.shape[1]
        self._dof = int((~fixed).sum()) * (self._count - 1)
        own = by_draw.var(axis=1, ddof=1)
        self._variance = np.where(fixed, 0.0, np.maximum(own, own[~fixed].mean()))

    def margins(self, j: int, tail: float) -> Array:
        own = (self._by_draw - self._by_draw[j]).var(axis=1, ddof=1)
        variance = np.maximum(own, self._variance + self._variance[j])
        return np.asarray(-float(special.stdtrit(self._dof, tail)) * np.sqrt(variance / self._count))


def _sign_tests(losses: Array, other: Array) -> Array:
    """P-value of "not worse than the other" for every row of 0-1 losses: P(Bin(lost + won, 1/2) >= lost)."""
    lost = ((losses == 1) & (other == 0)).sum(axis=1)
    won = ((losses == 0) & (other == 1)).sum(axis=1)
    return np.asarray(special.bdtrc(lost - 1, lost + won, 0.5))
