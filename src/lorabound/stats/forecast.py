"""Forecasts of a gap from a pilot: gap = c r^beta N^-gamma, fitted to cells and put to the test on cells held out.

What is predicted is the mean gap that would be MEASURED in one more cell like those of the pilot: over as many
seeds, on the same test examples, with training sets from the same pool. Chance that cells share (the test examples,
the training sample of one N, seeds used in every cell) appears in no residual: it bends the law as a whole, most
where the gap is small. Its size must be given (``shared_test``, ``shared_sample``), or the intervals are too narrow.
Nothing in this file is a guarantee: outside the pilot's range a power law is an assumption, and
:func:`leave_largest_out` shows how it fared at the edge of the range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lorabound.arguments import probability, real
from lorabound.errors import InputError

Array = NDArray[np.float64]
Axis = Literal["rank", "n_train"]


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """A fitted number with its interval.

    Attributes:
        value: fitted number.
        low, high: limits of the interval; nan when there are as many cells as coefficients.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A forecast and its prediction interval, in the units of the gap.

    Attributes:
        value: median of the forecast.
        low, high: limits of the prediction interval; nan when there are as many cells as coefficients, as nothing then
            tells the error.
        level: coverage of the interval.
    """

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """gap = c r^beta N^-gamma, fitted by least squares on logarithms.

    Attributes:
        c: gap of the law at r = 1, N = 1 (without the factor of an axis that could not be fitted).
        beta: exponent of the rank; None where the pilot has one rank.
        gamma: exponent of N, its sign turned; None where the pilot has one training size.
        level: coverage of the three intervals (Student, n_cells - coefficients degrees of freedom).
        residual_sd: standard deviation of ln(mean gap) around the law; nan without degrees of freedom.
        noise_sd: root mean square of the standard errors relative to the mean gaps: the part of ``residual_sd`` that
            they explain; nan without them. A ``residual_sd`` well above it says that the gap is no power law.
        n_cells: number of cells.
        dof: degrees of freedom left.
        ranks, sizes: distinct ranks and training sizes of the pilot, sorted.
        standard_error: root mean square of the standard errors over the cells that have one, 0 where none has.
        shared_test, shared_sample: standard deviations of the shared shifts, as given to :func:`fit_power_law`.
    """

    c: Coefficient
    beta: Coefficient | None
    gamma: Coefficient | None
    level: float
    residual_sd: float
    noise_sd: float
    n_cells: int
    dof: int
    ranks: tuple[float, ...]
    sizes: tuple[float, ...]
    standard_error: float
    shared_test: float
    shared_sample: float
    _theta: Array
    _inverse: Array
    _pull: Array
    _n: Array

    def predict(self, rank: float, n_train: float, level: float = 0.8) -> Prediction:
        """The mean gap of one more cell: exp(x theta -+ half), x = (1, ln r, -ln N).

        half^2 = t_dof^2 ( sigma^2 x (X'X)^-1 x' + max(sigma, se/gap)^2 ) + z^2 v. The maximum is for gaps so small that
        the pilot's standard error (root mean square) outweighs sigma. v is the variance of ln(forecast) -
        ln(measured) that shared chance makes, to first order: a shift b of cell i moves the forecast by b k_i, k_i =
        x (X'X)^-1 x_i' / gap_i, and the new cell, where it has the shift too, by b/gap.

        Args:
            rank, n_train: r > 0, N > 0.
            level: coverage of the prediction interval, in (0, 1).
        Raises:
            InputError: an argument outside its range, or off an axis on which the pilot has one value only.
        Source: prediction interval of normal regression (Draper & Smith 1998, sec. 3.1), on logarithms; v is ours
            (delta method).
        """
        r = float(real("predict", "rank", rank, open_low=True, open_high=True))
        n = float(real("predict", "n_train", n_train, open_low=True, open_high=True))
        for name, wanted, seen in (("rank", r, self.ranks), ("n_train", n, self.sizes)):
            if len(seen) == 1 and wanted != seen[0]:
                raise InputError(
                    f"predict: the pilot has one {name} ({seen[0]:g}) and cannot be extrapolated along {name} to "
                    f"{wanted:g}: add a second {name} to the pilot"
                )
        tail = (1 - probability("predict", "level", level)) / 2
        x = _row(math.log(r), math.log(n), self.beta is not None, self.gamma is not None)
        centre = float(x @ self._theta)
        half = math.nan
        if self.dof:
            alone = max(self.residual_sd, self.standard_error / _exp(centre))
            spread = math.hypot(self.residual_sd * math.sqrt(float(x @ self._inverse @ x)), alone)
            own = -float(special.stdtrit(self.dof, tail)) * spread
            shared = _shared_sd(self._pull @ x, self._n, n, 1 / _exp(centre), self.shared_test, self.shared_sample)
            half = math.hypot(own, -float(special.ndtri(tail)) * shared)
        return Prediction(value=_exp(centre), low=_exp(centre - half), high=_exp(centre + half), level=level)

    def n_train_for(self, gap: float, rank: float) -> float:
        """N at which the law (the median, so at even odds) gives this gap: (c r^beta / gap)^(1/gamma).

        inf where the pilot's gap does not fall with N (gamma <= 0).

        Raises:
            InputError: ``gap`` not positive, or a pilot with one training size, or one other rank.
        """
        real("n_train_for", "gap", gap, open_low=True, open_high=True)
        if self.gamma is None:
            raise InputError(
                f"n_train_for: the pilot has one n_train ({self.sizes[0]:g}) and cannot be extrapolated along n_train: "
                "add a second n_train to the pilot"
            )
        start = math.log(self.predict(rank, self.sizes[0]).value)
        if self.gamma.value <= 0:
            return math.inf
        return _exp(math.log(self.sizes[0]) + (start - math.log(gap)) / self.gamma.value)


def fit_power_law(
    rank: ArrayLike,
    n_train: ArrayLike,
    gaps: Sequence[ArrayLike],
    standard_errors: ArrayLike | None = None,
    level: float = 0.95,
    shared_test: float = 0.0,
    shared_sample: float = 0.0,
) -> PowerLaw:
    """Least squares of ln(mean gap) on ln(rank) and ln(N), all cells with the same weight.

    Every residual counts alike, whether it comes from few seeds or from a gap that is no power law. Weights from
    standard errors of two or three seeds were simulated beside it and covered worse (0.84 to 0.99 instead of 0.80
    with six cells or fewer; this: 0.77 to 0.84, where the noise of a cell is the same on every gap instead of the
    same share of it).

    Args:
        rank, n_train: (cells,), positive. An axis with one value is left out of the law.
        gaps: per cell (S,), the gap of each seed; cells may differ in S.
        standard_errors: (cells,), standard errors of the mean gaps; by default from the spread over seeds. They set
            ``noise_sd`` and ``standard_error``, not the weights.
        level: coverage of the coefficients' intervals, in (0, 1).
        shared_test: standard deviation of a shift that all mean gaps share, >= 0, in units of the gap: the sampling
            of the test examples, and seeds common to all cells.
        shared_sample: the cells of one N share a shift of standard deviation shared_sample/sqrt(N), >= 0: the sampling
            of their training examples.
    Raises:
        InputError: shapes that do not agree; a mean gap that is not positive (its cell is named); fewer cells than
            coefficients, or cells in which rank and N move together.
    """
    name = "fit_power_law"
    r = np.atleast_1d(real(name, "rank", rank, open_low=True, open_high=True))
    n = np.atleast_1d(real(name, "n_train", n_train, open_low=True, open_high=True))
    cells = [np.atleast_1d(real(name, "gaps", cell, -np.inf, open_low=True, open_high=True)) for cell in gaps]
    if (
        r.ndim != 1
        or not r.size
        or r.shape != n.shape
        or len(cells) != len(r)
        or any(c.ndim != 1 or not c.size for c in cells)
    ):
        raise InputError(
            f"{name}: rank, n_train and gaps must have one entry per cell, gaps one number per seed, got {r.shape}, "
            f"{n.shape}, {len(cells)}"
        )
    means = np.array([cell.mean() for cell in cells])
    if np.any(means <= 0):
        bad = ", ".join(f"rank {a:g} N {b:g} ({m:+.3g})" for a, b, m in zip(r, n, means, strict=True) if m <= 0)
        raise InputError(
            f"{name}: the mean gap is not positive at {bad}, and a power law is fitted to its logarithm: measure these "
            "cells with more seeds or test examples, or with longer training"
        )
    if standard_errors is None:
        errors = np.array([cell.std(ddof=1) / math.sqrt(cell.size) if cell.size > 1 else math.nan for cell in cells])
    else:
        errors = real(name, "standard_errors", standard_errors, open_high=True)
        if errors.shape != r.shape:
            raise InputError(f"{name}: standard_errors must have one entry per cell, {len(r)}, got {errors.shape}")
    tail = (1 - probability(name, "level", level)) / 2
    along_rank, along_n = len(set(r)) > 1, len(set(n)) > 1
    design = np.stack([_row(a, b, along_rank, along_n) for a, b in zip(np.log(r), np.log(n), strict=True)])
    n_cells, width = design.shape
    if np.linalg.matrix_rank(design) < width:
        raise InputError(
            f"{name}: {n_cells} cells in which rank and N move together cannot tell beta from gamma: add cells that "
            "change one of them alone"
        )
    inverse = np.asarray(np.linalg.inv(design.T @ design), dtype=np.float64)
    theta = inverse @ design.T @ np.log(means)
    dof = n_cells - width
    residual_sd = math.sqrt(float(np.sum((np.log(means) - design @ theta) ** 2)) / dof) if dof else math.nan
    test_sd = float(real(name, "shared_test", shared_test, open_high=True))
    sample_sd = float(real(name, "shared_sample", shared_sample, open_high=True))
    pull = (design @ inverse) / means[:, None]  # how far a shift of cell i moves each coefficient
    own = (
        -float(special.stdtrit(dof, tail)) * residual_sd * np.sqrt(np.diag(inverse))
        if dof
        else np.full(width, math.nan)
    )
    shared = [_shared_sd(column, n, math.nan, 0.0, test_sd, sample_sd) for column in pull.T]
    reach = np.hypot(own, -float(special.ndtri(tail)) * np.array(shared))
    fitted = [
        Coefficient(value=float(v), low=float(v - h), high=float(v + h)) for v, h in zip(theta, reach, strict=True)
    ]
    first = fitted[0]
    return PowerLaw(
        c=Coefficient(value=_exp(first.value), low=_exp(first.low), high=_exp(first.high)),
        beta=fitted[1] if along_rank else None,
        gamma=fitted[-1] if along_n else None,
        level=level,
        residual_sd=residual_sd,
        noise_sd=float(np.sqrt(np.mean((errors / means) ** 2))),
        n_cells=n_cells,
        dof=dof,
        ranks=tuple(float(v) for v in np.unique(r)),
        sizes=tuple(float(v) for v in np.unique(n)),
        standard_error=float(np.sqrt(np.mean(known**2))) if (known := errors[~np.isnan(errors)]).size else 0.0,
        shared_test=test_sd,
        shared_sample=sample_sd,
        _theta=theta,
        _inverse=inverse,
        _pull=pull,
        _n=n,
    )


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Cells forecast from other cells, beside what was measured in them.

    Attributes:
        cells: (rank, N) of each cell that could be forecast.
        predictions: forecast of each of these cells.
        measured: mean gap of each of these cells.
    """

    cells: tuple[tuple[float, float], ...]
    predictions: tuple[Prediction, ...]
    measured: tuple[float, ...]

    @property
    def n_intervals(self) -> int:
        """How many forecasts have an interval."""
        return sum(not math.isnan(p.low) for p in self.predictions)

    @property
    def n_inside(self) -> int:
        """How many of the cells fell into their interval."""
        return sum(p.low <= m <= p.high for p, m in zip(self.predictions, self.measured, strict=True))

    @property
    def coverage(self) -> float:
        """Share of cells inside their intervals; nan without intervals."""
        return self.n_inside / self.n_intervals if self.n_intervals else math.nan

    @property
    def median_relative_error(self) -> float:
        """Median of |forecast - measured| / measured; nan without cells."""
        errors = [abs(p.value - m) / m for p, m in zip(self.predictions, self.measured, strict=True)]
        return float(np.median(errors)) if errors else math.nan


def leave_one_cell_out(
    rank: ArrayLike,
    n_train: ArrayLike,
    gaps: Sequence[ArrayLike],
    level: float = 0.8,
    shared_test: float = 0.0,
    shared_sample: float = 0.0,
) -> HeldOut:
    """Each cell forecast from all the others.

    A cell without which the law cannot be fitted, or does not reach the cell, is left out of the record. If the
    law is right, a share ``level`` of the cells falls inside on average; the intervals lean on the same
    cells, so the share scatters more than a binomial count.

    Args, Raises: as :func:`fit_power_law`.
    """
    fit_power_law(rank, n_train, gaps)
    n_cells = len(np.atleast_1d(np.asarray(rank)))
    return _held_out(
        rank, n_train, gaps, [np.arange(n_cells) == cell for cell in range(n_cells)], level, shared_test, shared_sample
    )


def leave_largest_out(
    rank: ArrayLike,
    n_train: ArrayLike,
    gaps: Sequence[ArrayLike],
    axis: Axis,
    level: float = 0.8,
    shared_test: float = 0.0,
    shared_sample: float = 0.0,
) -> HeldOut:
    """All cells of the largest rank (or N) forecast from the smaller: one step of the extrapolation a plan asks for.

    A gap that saturates passes :func:`leave_one_cell_out` more easily than this.

    Args:
        axis: "rank" or "n_train"; with fewer than three values on it there is nothing to extrapolate from, and the
            record is empty.
        rank, n_train, gaps, level, shared_test, shared_sample: arguments of :func:`leave_one_cell_out`.
    Raises:
        InputError: as :func:`fit_power_law`; or another axis.
    """
    if axis not in ("rank", "n_train"):
        raise InputError(f"leave_largest_out: axis must be 'rank' or 'n_train', got {axis!r}")
    fit_power_law(rank, n_train, gaps)
    along = np.atleast_1d(np.asarray(rank if axis == "rank" else n_train, dtype=np.float64))
    return _held_out(
        rank, n_train, gaps, [along == along.max()] if len(set(along)) > 2 else [], level, shared_test, shared_sample
    )


def _held_out(
    rank: ArrayLike,
    n_train: ArrayLike,
    gaps: Sequence[ArrayLike],
    groups: Sequence[NDArray[np.bool_]],
    level: float,
    shared_test: float,
    shared_sample: float,
) -> HeldOut:
    r, n = np.atleast_1d(np.asarray(rank, dtype=np.float64)), np.atleast_1d(np.asarray(n_train, dtype=np.float64))
    records = []
    for out in groups:
        others = np.flatnonzero(~out)
        try:
            law = fit_power_law(
                r[others], n[others], [gaps[i] for i in others.tolist()], None, 0.95, shared_test, shared_sample
            )
            records += [
                (
                    (float(r[i]), float(n[i])),
                    law.predict(r[i], n[i], level),
                    float(np.mean(np.asarray(gaps[i], dtype=np.float64))),
                )
                for i in np.flatnonzero(out).tolist()
            ]
        except InputError:  # the other cells do not determine the law
            continue
    cells, predictions, measured = zip(*records, strict=True) if records else ((), (), ())
    return HeldOut(cells=tuple(cells), predictions=tuple(predictions), measured=tuple(measured))


def _shared_sd(pull: Array, n: Array, new_n: float, own_pull: float, test_sd: float, sample_sd: float) -> float:
    """Standard deviation of sum_i pull_i b_i - own_pull b_new, b the shared shifts of the cells and the new cell."""
    variance = (test_sd * (float(pull.sum()) - own_pull)) ** 2
    for size in np.unique(np.append(n, new_n)):
        moved = float(pull[n == size].sum()) - (own_pull if size == new_n else 0.0)
        variance += (sample_sd * moved) ** 2 / size if moved else 0.0
    return math.sqrt(variance)


def _row(log_rank: float, log_n: float, along_rank: bool, along_n: bool) -> Array:
    return np.array([1.0, *([log_rank] if along_rank else []), *([-log_n] if along_n else [])])


def _exp(exponent: float) -> float:
    """exp, inf beyond the range of floats."""
    with np.errstate(over="ignore"):
        return float(np.exp(exponent))
