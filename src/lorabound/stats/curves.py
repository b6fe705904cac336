"""Learning curves of many candidates at once, and what they say about training sizes that were not tried.

A candidate is a mode and a rank. Pilots train candidates on nested parts of a training set and test them on the same
examples; :func:`fit_curves` finds the curves that fit, :meth:`Curves.forecast` says what the true risks of candidates
will be at a larger size, all together, so that differences and the chance of being best can be read off.

The model is a Gaussian process for f = ln(true risk) over mode, ln r and ln N. Measured logarithms are y = f + noise
(:mod:`lorabound.stats.cells`). With t = ln N - ln N_max, N_max the largest size measured,

    f = level + beta t + curve(t)                                  one learning curve for all candidates
        + rank(ln r) + mode + rank_of_mode(ln r)                   how candidates differ
        + rank_by_size(ln r, ln N) + mode_by_size(ln N)            how these differences change with more data
        + cell + sample                                            what no smooth function says

beta ~ N(-0.25, 0.25^2). Every named function is a Gaussian process of mean 0, smooth in ln r (length: a factor of 8)
and in ln N (length: a factor of 16), and independent by mode where the mode stands in its name. ``cell`` is independent
from cell to cell. ``sample`` is the chance in which examples the training set holds: the same shift for all cells of
one N; as an average over the examples of nested sets its covariance is s^2/max(N, N'). Each standard deviation s is
found by maximizing its posterior density, under a log-normal prior around the value of ``EXPECTED``.

A forecast is a belief under this model, no guarantee: a curve that bends after the last pilot shows nothing of it
before. What guards a user is the measurement that follows.

Source: Gaussian processes on learning curves are those of Swersky, Snoek & Adams 2014 (freeze-thaw); learning curves
over training sizes, shared by settings, are those of Klein et al. 2017 (Fabolas); the logarithm and the power law
follow Hestness et al. 2017. The terms, the noise and the priors are ours. EXPECTED was fixed by judgement, and is not
calibrated yet.
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

LEVEL, LEVEL_SD = math.log(0.3), 1.5
SLOPE, SLOPE_SD = -0.25, 0.25
RANK_LENGTH, SIZE_LENGTH = math.log(8.0), math.log(16.0)
# Standard deviation of each function that is expected before anything is measured, in units of ln(risk) (of ``sample``:
# at N = 1), and the standard deviation of its logarithm.
EXPECTED: Mapping[str, float] = {
    "curve": 0.1,
    "rank": 0.2,
    "mode": 0.2,
    "rank_of_mode": 0.07,
    "rank_by_size": 0.1,
    "mode_by_size": 0.07,
    "cell": 0.02,
    "sample": 0.5,
}
EXPECTED_WITHIN = 0.7

Candidate = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Learning curves fitted to the cells of a pilot.

    Attributes:
        measured: means and noise of the cells that did not diverge, and which diverged.
        scales: standard deviation of each function of the model, by name.
        hopeless: candidates whose largest pilots diverged, with the smallest training size of these.
    """

    measured: MeasuredCells
    scales: Mapping[str, float]
    hopeless: Mapping[Candidate, float]
    _cholesky: Array
    _weights: Array

    def forecast(self, candidates: Sequence[Candidate], n: float, level: float = 0.8) -> Forecast:
        """True risks of candidates at training size n, jointly.

        Ranks between or beyond those of the pilots are allowed, modes without any pilot are not. A candidate that
        diverged at n or a smaller size, and worked at no size between, is forecast to have risk 1.

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
        across = _covariance(there, here, self.scales, last)
        solved = linalg.solve_triangular(self._cholesky, across.T, lower=True)
        centre = _centre(there, last) + across @ self._weights
        return Forecast.of(
            candidates=tuple(asked),
            n=size,
            level=level,
            centre=centre,
            covariance=_covariance(there, there, self.scales, last) - solved.T @ solved,
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
    Raises:
        InputError: shapes that do not agree, losses outside [0, 1], a cell given twice, or only diverged cells.
    """
    cells = measured_cells(modes, ranks, n_train, losses, shared_test=shared_test)
    sites = _Sites(cells.cells)
    last = float(sites.log_n.max())
    scales = _most_likely(sites, cells, last)
    covariance = _covariance(sites, sites, scales, last) + cells.noise
    cholesky = linalg.cholesky(covariance, lower=True)
    return Curves(
        measured=cells,
        scales=scales,
        hopeless=_hopeless(cells),
        _cholesky=cholesky,
        _weights=linalg.cho_solve((cholesky, True), cells.logs - _centre(sites, last)),
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
    return np.asarray(LEVEL + SLOPE * (sites.log_n - last), dtype=np.float64)


def _fixed(a: _Sites, b: _Sites, last: float) -> Array:
    """Covariance of level and slope, whose standard deviations are not fitted."""
    return np.asarray(LEVEL_SD**2 + SLOPE_SD**2 * np.outer(a.log_n - last, b.log_n - last), dtype=np.float64)


def _functions(a: _Sites, b: _Sites) -> dict[str, Array]:
    """Correlation of each function of the model between two lists of sites (of ``sample``: 1/max(N, N'))."""
    by_rank = np.exp(-0.5 * (np.subtract.outer(a.log_rank, b.log_rank) / RANK_LENGTH) ** 2)
    by_size = np.exp(-0.5 * (np.subtract.outer(a.log_n, b.log_n) / SIZE_LENGTH) ** 2)
    same_mode = (a.mode[:, None] == b.mode[None]).astype(np.float64)
    same_rank = a.log_rank[:, None] == b.log_rank[None]
    return {
        "curve": by_size,
        "rank": by_rank,
        "mode": same_mode,
        "rank_of_mode": same_mode * by_rank,
        "rank_by_size": by_rank * by_size,
        "mode_by_size": same_mode * by_size,
        "cell": same_mode * same_rank * (a.n[:, None] == b.n[None]),
        "sample": 1 / np.maximum.outer(a.n, b.n),
    }


def _covariance(a: _Sites, b: _Sites, scales: Mapping[str, float], last: float) -> Array:
    """Covariance of f between two lists of sites."""
    total = _fixed(a, b, last)
    for name, correlation in _functions(a, b).items():
        total = total + scales[name] ** 2 * correlation
    return total


def _most_likely(sites: _Sites, cells: MeasuredCells, last: float) -> dict[str, float]:
    """Standard deviations of the functions that maximize the posterior density.

    Minimizes, over theta = ln s, -ln p(y | theta) = (y - mu)' K^-1 (y - mu)/2 + ln det K/2 plus
    sum (theta - ln EXPECTED)^2/(2 EXPECTED_WITHIN^2), by its
    gradient s_k^2 ( tr(K^-1 P_k) - w' P_k w ), w = K^-1 (y - mu).
    """
    functions = _functions(sites, sites)
    stacked = np.stack(list(functions.values()))
    expected = np.log([EXPECTED[name] for name in functions])
    rest = cells.logs - _centre(sites, last)
    base = _fixed(sites, sites, last) + cells.noise

    def posterior(theta: Array) -> tuple[float, Array]:
        squares = np.exp(2 * theta)
        factor = linalg.cholesky(base + np.tensordot(squares, stacked, 1), lower=True)
        inverse = linalg.cho_solve((factor, True), np.eye(len(rest)))
        weights = inverse @ rest
        value = 0.5 * float(rest @ weights) + float(np.log(np.diag(factor)).sum())
        slope = squares * np.tensordot(stacked, inverse - np.outer(weights, weights), 2)
        off = (theta - expected) / EXPECTED_WITHIN
        return value + 0.5 * float(off @ off), slope + off / EXPECTED_WITHIN

    bounds = [(one - 4 * EXPECTED_WITHIN, one + 4 * EXPECTED_WITHIN) for one in expected]
    found = optimize.minimize(posterior, expected, jac=True, method="L-BFGS-B", bounds=bounds)
    return dict(zip(functions, np.exp(found.x).tolist(), strict=True))


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
