"""Learning curves of many candidates at once, and what they say about training sizes that were not tried.

A candidate is a mode and a rank. Pilots train candidates on nested parts of a training set and test them on the same
examples; :func:`fit_curves` finds the curves that fit, :meth:`Curves.forecast` says what the true risks of candidates
will be at a larger size, all together, so that differences and the chance of being best can be read off.

The model is a Gaussian process for f = ln( -ln(1 - R) ), R the true risk (near 0 it is ln R), over mode, ln r and ln N.
Measured are y = f + noise (:mod:`lorabound.stats.cells`). With t = ln N - ln N_max, N_max the largest size measured,

    f = level + beta t + curve(ln N)             one learning curve for all candidates
        + rank(ln r) + rank_of_mode(ln r)        how candidates differ
        + change(ln r, ln N)                     how the differences change with more data
        + cell + sample                          what no smooth function says

level ~ N(LEVEL, LEVEL_SD^2), beta ~ N(SLOPE, SLOPE_SD^2). Every function is a Gaussian process of mean 0 (``rank``:
LOW_RANKS (ln(16/r)/ln 16)_+^2 + HIGH_RANKS (ln(r/32)/ln 8)_+^2) and of the standard deviation that ``EXPECTED`` gives;
``rank_of_mode`` and ``change`` are independent from mode to mode. Their correlation along ln r is exp(-d^2/2),
d = |ln r - ln r'|/ln 10, along ln N it is (1 + e) exp(-e), e = sqrt(3) |ln N - ln N'|/ln 150 (Matern 3/2: curves have
knees). ``cell`` is independent from cell to cell. ``sample`` is the chance in which examples the training set holds,
one shift for all cells of one N; as an average over the examples of nested sets it has the covariance
EXPECTED^2/max(N, N').

One number is fitted: a factor by which the standard deviations of the smooth functions are stretched, ln(factor) by
its largest posterior density under a normal prior around 0 of standard deviation GROWS above 0 and SHRINKS below. It
may grow but hardly shrink: pilots on few examples often sit where the model has not begun to learn, all alike, and are
calm before what comes. (A standard deviation fitted to each function on its own covered 63% where 80% was asked.)

The priors were fixed on adapters that were really trained: tasks 1 to 12 of ``tools/learning_curves.py``, and `words`
(``sweep --data words --layers top2 --ranks 1,2,4,8,16,32,64 --n-train 60,240,960 --n-test 4000 --data-seed 101``).
``docs/plan.md`` says how they fare on tasks 13 to 18, which had no part in it.

A forecast is a belief under this model, no guarantee: a curve that bends after the last pilot shows nothing of it
before. What guards a user is the measurement that follows.

Source: Gaussian processes on learning curves are those of Swersky, Snoek & Adams 2014 (freeze-thaw); sizes of the
training set as a coordinate beside the settings are from Klein et al. 2017 (Fabolas); the power law is that of Hestness
et al. 2017. The terms, the noise and the priors are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, optimize

from lorabound.arguments import Array, probability, real
from lorabound.errors import InputError
from lorabound.stats.cells import Cell, MeasuredCells, measured_cells
from lorabound.stats.choice import Forecast

LEVEL, LEVEL_SD = -1.0, 2.0
SLOPE, SLOPE_SD = -0.2, 0.25
# Expected excess of f over middle ranks (16 to 32) at rank 1, and at rank 256; it grows with the square of the distance
# in ln r. Small ranks lost everywhere we looked: 300 words (rank 1: 0.58 to 0.61 against 0.54 to 0.56), descriptions of
# Debian packages, French words with SmolLM2. Where pilots tell little, middle ranks are the safe choice.
LOW_RANKS, HIGH_RANKS, MIDDLE = 0.12, 0.05, (math.log(16.0), math.log(32.0))
RANK_LENGTH, SIZE_LENGTH = math.log(10.0), math.log(150.0)
# Standard deviations in units of f (of ``sample``: at N = 1).
EXPECTED: Mapping[str, float] = {
    "curve": 0.15,
    "rank": 0.15,
    "rank_of_mode": 0.15,
    "change": 0.25,
    "cell": 0.01,
    "sample": 0.3,
}
STRETCHED = ("curve", "rank", "rank_of_mode", "change")
GROWS, SHRINKS = 1.0, 0.1

Candidate = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Learning curves fitted to the cells of a pilot.

    Attributes:
        measured: means and noise of the cells that did not diverge, and which diverged.
        stretch: factor by which the standard deviations of the smooth functions are stretched.
        hopeless: candidates whose largest pilots diverged, with the smallest training size of these.
    """

    measured: MeasuredCells
    stretch: float
    hopeless: Mapping[Candidate, float]
    _cholesky: Array
    _weights: Array

    def forecast(self, candidates: Sequence[Candidate], n: float, level: float = 0.8) -> Forecast:
        """True risks of candidates at training size n, jointly.

        Ranks between or beyond those of the pilots are allowed, modes without any pilot are not. A candidate that
        diverged at n or a smaller size, and worked at none beyond that one, is forecast to have risk 1.

        The risk is the mean over seeds and over the population of examples, after training on the pilots' own training
        set, filled up to n examples.

        Args:
            candidates: (mode, rank) of each candidate.
            n: training size, > 0.
            level: coverage of the intervals, in (0, 1).
        Raises:
            InputError: no candidate, a candidate twice, a mode without pilots, or an argument outside its range.
        """
        name = "forecast"
        size = float(real(name, "n", n, open_low=True, open_high=True))
        probability(name, "level", level)
        asked = [(str(mode), int(real(name, "rank", rank, 1.0, whole=True))) for mode, rank in candidates]
        if not asked or len(set(asked)) < len(asked):
            raise InputError(f"{name}: need one candidate or more, each once, got {asked}")
        hopeless = np.array([self.hopeless.get(candidate, math.inf) <= size for candidate in asked])
        known = {mode for mode, _, _ in self.measured.cells}
        unknown = [mode for (mode, _), lost in zip(asked, hopeless, strict=True) if mode not in known and not lost]
        if unknown:
            raise InputError(f"{name}: no pilot of mode {unknown[0]} was measured: train one, or leave the mode out")
        here, there = _Sites(self.measured.cells), _Sites([(mode, rank, size) for mode, rank in asked])
        last = float(here.log_n.max())
        across = _covariance(there, here, self.stretch, last)
        solved = linalg.solve_triangular(self._cholesky, across.T, lower=True)
        centre = _centre(there, last) + across @ self._weights
        return Forecast.of(
            candidates=tuple(asked),
            n=size,
            level=level,
            centre=centre,
            covariance=_covariance(there, there, self.stretch, last) - solved.T @ solved,
            hopeless=hopeless,
            seed_sd=self.measured.seed_sd,
            example_share=self.measured.example_share,
            seed_share=self.measured.seed_share,
        )


def fit_curves(
    modes: Sequence[str],
    ranks: ArrayLike,
    n_train: ArrayLike,
    losses: Sequence[ArrayLike],
    *,
    shared_test: bool = True,
    folds: Sequence[ArrayLike] | None = None,
) -> Curves:
    """Fit learning curves to the cells of a pilot.

    One cell is enough: what the cells do not say stays as expected, and forecasts are as wide as that.

    Args:
        modes, ranks, n_train: mode, rank and training size of each cell. Training sets are nested: the smaller ones are
            parts of the larger ones.
        losses: losses of each cell, (S, m), in [0, 1]: one row per seed, one column per test example; cells may differ
            in S, and row s is the same seed in every cell. A cell with a loss that is nan diverged: it is left out, and
            its candidate is hopeless from this size on unless it worked at a larger one.
        shared_test: whether all cells were tested on the same examples; if not, only cells of one n_train were (stages
            that are tested on the block of examples that comes next).
        folds: for each cell the number of the fold of each test example, (m,), -1 where the cell was not tested on it
            (its loss is not read). Folds are seeds of their own, with training rows and test examples of their own, as
            in cross-validation. None: every cell was tested on all of its examples.
    Raises:
        InputError: shapes that do not agree, losses outside [0, 1], a cell given twice, or only diverged cells.
    """
    cells = measured_cells(modes, ranks, n_train, losses, shared_test=shared_test, folds=folds)
    sites = _Sites(cells.cells)
    last = float(sites.log_n.max())
    stretch = _stretch(sites, cells, last)
    covariance = _covariance(sites, sites, stretch, last) + cells.noise
    cholesky = linalg.cholesky(covariance, lower=True)
    return Curves(
        measured=cells,
        stretch=stretch,
        hopeless=_hopeless(cells),
        _cholesky=cholesky,
        _weights=linalg.cho_solve((cholesky, True), cells.scaled - _centre(sites, last)),
    )


class _Sites:
    """Places where the curves are read: arrays of mode, ln r and N."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.mode = np.array([mode for mode, _, _ in cells])
        self.log_rank = np.log([rank for _, rank, _ in cells])
        self.n = np.array([n for _, _, n in cells])
        self.log_n = np.log(self.n)


def _centre(sites: _Sites, last: float) -> Array:
    """Expected f before anything is measured."""
    low = np.maximum(MIDDLE[0] - sites.log_rank, 0.0) / MIDDLE[0]
    high = np.maximum(sites.log_rank - MIDDLE[1], 0.0) / (math.log(256.0) - MIDDLE[1])
    by_rank = LOW_RANKS * low**2 + HIGH_RANKS * high**2
    return np.asarray(LEVEL + SLOPE * (sites.log_n - last) + by_rank, dtype=np.float64)


def _fixed(a: _Sites, b: _Sites, last: float) -> Array:
    """Covariance of level and slope, whose standard deviations are not fitted."""
    return np.asarray(LEVEL_SD**2 + SLOPE_SD**2 * np.outer(a.log_n - last, b.log_n - last), dtype=np.float64)


def _functions(a: _Sites, b: _Sites) -> dict[str, Array]:
    """Covariance of each function of the model between two lists of sites, before it is stretched."""
    by_rank = np.exp(-0.5 * (np.subtract.outer(a.log_rank, b.log_rank) / RANK_LENGTH) ** 2)
    away = math.sqrt(3.0) * np.abs(np.subtract.outer(a.log_n, b.log_n)) / SIZE_LENGTH
    by_size = (1 + away) * np.exp(-away)
    same_mode = (a.mode[:, None] == b.mode[None]).astype(np.float64)
    same_rank, same_size = a.log_rank[:, None] == b.log_rank[None], a.n[:, None] == b.n[None]
    correlations = {
        "curve": by_size,
        "rank": by_rank,
        "rank_of_mode": same_mode * by_rank,
        "change": same_mode * by_rank * by_size,
        "cell": same_mode * same_rank * same_size,
        "sample": 1 / np.maximum.outer(a.n, b.n),
    }
    return {name: EXPECTED[name] ** 2 * correlation for name, correlation in correlations.items()}


def _stretched(functions: Mapping[str, Array]) -> tuple[Array, Array]:
    """Sums of the functions that are stretched, and of those that are not."""
    smooth = sum((functions[name] for name in STRETCHED), np.zeros(()))
    rest = sum((part for name, part in functions.items() if name not in STRETCHED), np.zeros(()))
    return smooth, rest


def _covariance(a: _Sites, b: _Sites, stretch: float, last: float) -> Array:
    """Covariance of f between two lists of sites."""
    smooth, rest = _stretched(_functions(a, b))
    return _fixed(a, b, last) + stretch**2 * smooth + rest


def _stretch(sites: _Sites, cells: MeasuredCells, last: float) -> float:
    """The factor of largest posterior density.

    Minimizes (y - mu)' K^-1 (y - mu)/2 + ln det K/2 + theta^2/(2 s^2) over theta = ln(factor), s = GROWS for theta > 0
    and SHRINKS below.
    """
    smooth, rest = _stretched(_functions(sites, sites))
    base = _fixed(sites, sites, last) + rest + cells.noise
    off = cells.scaled - _centre(sites, last)

    def posterior(theta: float) -> float:
        factor = linalg.cholesky(base + math.exp(2 * theta) * smooth, lower=True)
        white = linalg.solve_triangular(factor, off, lower=True)
        within = GROWS if theta > 0 else SHRINKS
        return float(white @ white / 2 + np.log(np.diag(factor)).sum() + (theta / within) ** 2 / 2)

    found = optimize.minimize_scalar(posterior, bounds=(-5 * SHRINKS, 3 * GROWS), method="bounded")
    return math.exp(float(found.x))


def _hopeless(cells: MeasuredCells) -> dict[Candidate, float]:
    """For each candidate that diverged, the smallest size at which it did with no larger one at which it worked."""
    worked: dict[Candidate, float] = {}
    for mode, rank, n in cells.cells:
        worked[mode, rank] = max(n, worked.get((mode, rank), 0.0))
    found: dict[Candidate, float] = {}
    for mode, rank, n in cells.diverged:
        if n > worked.get((mode, rank), 0.0):
            found[mode, rank] = min(n, found.get((mode, rank), math.inf))
    return found
