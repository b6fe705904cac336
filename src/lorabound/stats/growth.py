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


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """The slope of ln(gap) on ln(x).

    Attributes:
        value: least-squares slope through the cell means; nan when a mean gap is not positive.
        low, high: ends of the interval; nan when ``note`` says why there is none.
        level: coverage of the interval.
        n_cells, n_seeds, n_samples: numbers of cells, seeds and training samples.
        note: reason why value or interval are missing; empty where both are there.
    """

    value: float
    low: float
    high: float
    level: float
    n_cells: int
    n_seeds: int
    note: str = ""
    n_samples: int = 1


def growth_exponent(
    x: ArrayLike,
    test_losses: Sequence[ArrayLike],
    train_losses: Sequence[ArrayLike],
    level: float = 0.95,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Exponent:
    """Exponent beta of gap = c x^beta over cells that share their seeds, training samples and test examples.

    One bootstrap for each thing that is random: seeds are drawn again, training samples where there are several, and
    test examples; each the same in every cell, as the design is paired. Each gives an interval of percentiles around
    the estimate. With S seeds (samples) theirs is widened by sqrt(S/(S-1)) t_{S-1}/z, since resampling so few points
    understates their spread (Hesterberg 2015, sec. 4.5); then the half-widths are added in quadrature. With one
    training sample it is given: the chance in drawing it is no part of the interval, which along x = N falls well
    short of its level for redrawn samples.

    Args:
        x: (cells,) ranks or sample sizes, positive, at least two distinct.
        test_losses: per cell (F, n): seed by test example; or (F, S, n) with S training samples.
        train_losses: per cell (F,) or (F, S): mean training loss of each run.
        level: coverage of the interval, in (0, 1).
        n_bootstrap: number of resamples.
        seed: seed of the resampling.
    Raises:
        InputError: fewer than two cells, or cells that do not agree in shape.
    Source: ours; resampling rows and columns of a crossed layout is Owen 2007, *The pigeonhole bootstrap*.
    """
    log_x = np.log(np.asarray(x, dtype=np.float64))
    test = np.stack([np.asarray(cell, dtype=np.float64) for cell in test_losses])  # (cells, F, [S,] n)
    train = np.stack([np.asarray(cell, dtype=np.float64) for cell in train_losses])  # (cells, F[, S])
    n_cells = len(test)
    if n_cells < 2 or log_x.shape != (n_cells,) or np.ptp(log_x) == 0 or train.shape != test.shape[:-1]:
        raise InputError("growth_exponent: need at least two cells of different x, with the same seeds in each")
    if test.ndim == 3:
        test, train = test[:, :, None], train[:, :, None]
    _, n_seeds, n_samples, n_test = test.shape
    gaps = test.mean(axis=3) - train  # (cells, F, S)
    draws = [gaps.mean(axis=2), gaps.mean(axis=1)]  # (cells, F), (cells, S)
    estimate = float(_slope(log_x, draws[0].mean(axis=1)))

    def result(low: float = math.nan, high: float = math.nan, note: str = "") -> Exponent:
        return Exponent(
            value=estimate,
            low=low,
            high=high,
            level=level,
            n_cells=n_cells,
            n_seeds=n_seeds,
            note=note,
            n_samples=n_samples,
        )

    if math.isnan(estimate):
        return result(note="a mean gap is not positive")
    if n_seeds < 2 and n_samples < 2:
        return result(note="one seed: no interval")
    random = np.random.default_rng(seed)
    tail = (1 - level) / 2

    def weights(count: int) -> Array:
        return np.asarray(random.multinomial(count, np.full(count, 1 / count), n_bootstrap) / count)

    def by_draw(cells: Array) -> tuple[Array, float]:
        count = cells.shape[1]
        widen = math.sqrt(count / (count - 1)) * float(special.stdtrit(count - 1, tail) / special.ndtri(tail))
        return _slope(log_x[:, None], cells @ weights(count).T), widen

    parts = [by_draw(draws[0])] if n_seeds > 1 else []
    over_runs = test.mean(axis=2).mean(axis=1) @ weights(n_test).T - train.mean(axis=2).mean(axis=1)[:, None]
    parts.append((_slope(log_x[:, None], over_runs), 1.0))
    parts += [by_draw(draws[1])] if n_samples > 1 else []
    if any(np.isnan(slopes).mean() > tail / 2 for slopes, _ in parts):
        return result(note="no interval: a gap is too close to zero")
    low, high = (
        estimate
        + sign * math.hypot(*(widen * abs(float(np.nanquantile(slopes, q)) - estimate) for slopes, widen in parts))
        for sign, q in ((-1, tail), (1, 1 - tail))
    )
    return result(low, high)


def _slope(log_x: Array, gaps: Array) -> Array:
    """Least-squares slope of ln(gaps) on log_x along the first axis; nan where a gap is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        log_gaps = np.where(gaps > 0, np.log(np.where(gaps > 0, gaps, 1.0)), np.nan)
    centred = log_x - log_x.mean(axis=0)
    return np.asarray((centred * log_gaps).sum(axis=0) / (centred**2).sum(axis=0))
