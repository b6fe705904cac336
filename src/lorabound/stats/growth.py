"""Growth exponents: how a gap grows with rank or falls with data, gap = c x^beta, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lorabound.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exponent:
    """The slope of ln(gap) on ln(x).

    Attributes:
        value: least-squares slope through the cell means; nan when a mean gap is not positive.
        low, high: interval of the level; nan when ``note`` says why there is none.
        n_cells, n_seeds: what it rests on.
        note: a reason, when there is one, why value or interval are missing.
    """

    value: float
    low: float
    high: float
    level: float
    n_cells: int
    n_seeds: int
    note: str = ""


def growth_exponent(
    x: ArrayLike,
    test_losses: Sequence[ArrayLike],
    train_losses: Sequence[ArrayLike],
    level: float = 0.95,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Exponent:
    """Exponent beta of gap = c x^beta over cells that share their seeds and their test examples.

    The training samples are given: the chance in drawing them is no part of the interval, which
    along x = N falls well short of its level for redrawn samples. Two bootstraps for the two things that remain
    random: seeds are drawn again (the same in every cell, as the
    design is paired) and test examples are drawn again (the same in every cell). Each gives an interval of
    percentiles around the estimate. With S seeds the first is widened by sqrt(S/(S-1)) t_{S-1}/z, since
    resampling so few points understates their spread (Hesterberg 2015, sec. 4.5); then the half-widths are
    added in quadrature.

    Args:
        x: (cells,) ranks or sample sizes, positive, at least two distinct.
        test_losses: per cell (S, n): seed by test example.
        train_losses: per cell (S,): mean training loss of each seed.
        level, n_bootstrap, seed: coverage, resamples, and seed of the resampling.
    Raises:
        InputError: fewer than two cells, or cells that do not agree in shape.
    Source: ours; resampling rows and columns of a crossed layout is Owen 2007, *The pigeonhole bootstrap*.
    """
    log_x = np.log(np.asarray(x, dtype=np.float64))
    test = np.stack([np.asarray(cell, dtype=np.float64) for cell in test_losses])  # (cells, S, n)
    train = np.stack([np.asarray(cell, dtype=np.float64) for cell in train_losses])  # (cells, S)
    n_cells, n_seeds, n_test = test.shape
    if n_cells < 2 or log_x.shape != (n_cells,) or np.ptp(log_x) == 0 or train.shape != (n_cells, n_seeds):
        raise InputError("growth_exponent: need at least two cells of different x, with the same seeds in each")
    gaps = test.mean(axis=2) - train  # (cells, S)
    estimate = float(_slope(log_x, gaps.mean(axis=1)))
    if math.isnan(estimate):
        return Exponent(estimate, math.nan, math.nan, level, n_cells, n_seeds, "a mean gap is not positive")
    if n_seeds < 2:
        return Exponent(estimate, math.nan, math.nan, level, n_cells, n_seeds, "one seed: no interval")
    random = np.random.default_rng(seed)
    seed_weights = random.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), n_bootstrap) / n_seeds
    test_weights = random.multinomial(n_test, np.full(n_test, 1 / n_test), n_bootstrap) / n_test
    tail = (1 - level) / 2
    widen = math.sqrt(n_seeds / (n_seeds - 1)) * float(special.stdtrit(n_seeds - 1, tail) / special.ndtri(tail))
    by_seed = _slope(log_x[:, None], gaps @ seed_weights.T)
    by_test = _slope(log_x[:, None], test.mean(axis=1) @ test_weights.T - train.mean(axis=1)[:, None])
    if np.isnan(by_seed).mean() > tail / 2 or np.isnan(by_test).mean() > tail / 2:
        note = "no interval: a gap is too close to zero"
        return Exponent(estimate, math.nan, math.nan, level, n_cells, n_seeds, note)
    low, high = (
        estimate + sign * math.hypot(
            widen * abs(float(np.nanquantile(by_seed, q)) - estimate), float(np.nanquantile(by_test, q)) - estimate
        )
        for sign, q in ((-1, tail), (1, 1 - tail))
    )  # fmt: skip
    return Exponent(estimate, low, high, level, n_cells, n_seeds)


def _slope(log_x: Array, gaps: Array) -> Array:
    """Least-squares slope of ln(gaps) on log_x along the first axis; nan where a gap is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_gaps = np.where(gaps > 0, np.log(np.where(gaps > 0, gaps, 1.0)), np.nan)
    centred = log_x - log_x.mean(axis=0)
    return np.asarray((centred * log_gaps).sum(axis=0) / (centred**2).sum(axis=0))
