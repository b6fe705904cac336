"""The object of the theorem, measured: empirical Rademacher complexity of a LoRA class (theory 11).

    Rad_S = E_s sup_B (1/N) sum_n s_n ell(f_B(x_n), y_n),  ||B_t||_F <= M for every layer,

s_n independent random signs, A frozen. Measured value and upper bound are both on Rad_S. (For the gap: E sup (R -
Rhat) <= 2 E Rad_S, by symmetrization.) Draws come in pairs s and -s, with one A per pair: both have the same
mean supremum, and whatever does not depend on B cancels. A pair counts as one draw.

A family of classes is one function, from the settings to a ``Family``; ``FAMILIES`` lists those that bring their own
network and data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from scipy import stats

from lorabound.bounds import rademacher_lower
from lorabound.stats import Exponent, growth_exponent
from lorabound.worst_case.measured.ascent import largest_signed_means
from lorabound.worst_case.measured.cells import cells
from lorabound.worst_case.measured.digits import digits
from lorabound.worst_case.measured.family import TRIVIAL, About, Family, signs_of
from lorabound.worst_case.options import ComplexityConfig

FAMILIES: tuple[Callable[[ComplexityConfig], Family], ...] = (digits, cells)

Axis = Literal["rank", "n_train"]
AXES: tuple[Axis, ...] = ("rank", "n_train")

DELTA = 0.05
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class ComplexityRow:
    """One family, rank and N.

    Attributes:
        family: name of the family.
        rank: r.
        n_train: N.
        n_params: q, number of trained entries.
        values: largest signed mean found for each pair of draws (the mean of its two).
        mean: mean of the values; an estimate from below of Rad_S (mean over A).
        low: lower end of Student's interval of the mean at LEVEL.
        high: upper end of it.
        proved: number that Rad_S (mean over the A drawn) reaches, with probability 1 - DELTA over the signs.
        upper: mean over the A drawn of the bound on Rad_S.
        supremum: mean over the same draws of the supremum; None where it is not known.
        exact: E Rad_S over samples; None where it is not known.
    """

    family: str
    rank: int
    n_train: int
    n_params: int
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    proved: float
    upper: float
    supremum: float | None = None
    exact: float | None = None

    @property
    def vacuous(self) -> bool:
        """Whether the bound says no more than Rad_S <= 1/2."""
        return self.upper >= TRIVIAL


@dataclass(frozen=True, kw_only=True)
class ComplexityGrowth:
    """How the measured complexity of a family grows along one axis.

    Attributes:
        family: name of the family.
        axis: axis along which it grows, "rank" or "n_train".
        fixed: value of the other axis, its largest.
        exponent: exponent of the power law through the measured values.
        upper: slope of ln(bound) over the same rows; nan where a bound is vacuous.
        exact: slope of ln(exact mean) over the same rows; nan where it is not known.
    """

    family: str
    axis: Axis
    fixed: int
    exponent: Exponent
    upper: float
    exact: float


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Everything ``lorabound complexity`` prints.

    Attributes:
        settings: settings it was measured with.
        families: sentences for the reader about each family, in the order of the rows.
        rows: one row per family, rank and N.
        growth: one entry per family and axis that holds two rows or more.
        notes: sentences on what was unusual about the data and the model of the user.
    """

    settings: ComplexityConfig
    families: tuple[About, ...]
    rows: list[ComplexityRow]
    growth: list[ComplexityGrowth]
    notes: tuple[str, ...] = ()

    def frame(self) -> pl.DataFrame:
        """One row per family, rank and N: what was measured and proved, the bound, and the supremum where it is known.

        The columns are those of :class:`ComplexityRow`, without the values of the single draws.
        """
        columns: dict[str, type[pl.DataType]] = {
            **{"family": pl.String, "rank": pl.Int64, "n_train": pl.Int64, "n_params": pl.Int64},
            **dict.fromkeys(("mean", "low", "high", "proved", "upper"), pl.Float64),
            **{"vacuous": pl.Boolean, "supremum": pl.Float64, "exact": pl.Float64},
        }
        return pl.DataFrame({name: [getattr(row, name) for row in self.rows] for name in columns}, schema=columns)

    def __repr__(self) -> str:
        """Families, ranks and N; ``lorabound.show`` says what was found."""
        names = ", ".join(about.name for about in self.families)
        return f"Complexity: {names}; ranks {self.settings.ranks}, N = {self.settings.n_train}"


def measure_complexity(settings: ComplexityConfig, observe: Callable[[str], None] = lambda _: None) -> Complexity:
    """Measure every rank and N of every family.

    Args:
        settings: settings of the measurement.
        observe: function that is told what is being measured.
    Raises:
        DataError: scikit-learn is not installed.
    """
    families = [make(settings) for make in FAMILIES]
    rows: list[ComplexityRow] = []
    for family in families:
        found = [row for n in sorted(settings.n_train) for row in measure_family(family, n, settings, observe)]
        rows += sorted(found, key=lambda row: (row.rank, row.n_train))
    return Complexity(
        settings=settings, families=tuple(family.about for family in families), rows=rows, growth=growth(rows)
    )


def measure_family(
    family: Family, n: int, settings: ComplexityConfig, observe: Callable[[str], None] = lambda _: None
) -> list[ComplexityRow]:
    """All ranks of a family at one N, smallest first."""
    signs = signs_of(settings, n)
    generator = torch.Generator().manual_seed(settings.seed)
    best: list[torch.Tensor] | None = None
    rows = []
    for rank in family.ranks:
        observe(f"{family.about.name}, rank {rank}, N = {n}")
        if not family.nested:
            generator, best = torch.Generator().manual_seed(settings.seed), None
        problem = family.problem(rank, n)
        known = best and [torch.nn.functional.pad(f, (0, rank - f.shape[-1])) for f in best]
        values, best = largest_signed_means(problem.members, signs, settings.steps, generator, known)
        rows.append(
            row(
                values,
                family=family.about.name,
                rank=rank,
                n_train=n,
                n_params=problem.n_params,
                upper=problem.upper,
                supremum=problem.supremum,
                exact=problem.exact,
            )
        )
    return rows


def row(values: torch.Tensor, *, n_train: int, **known: Any) -> ComplexityRow:
    """A row from the largest signed means, of every s and then of every -s; ``known`` holds its other fields."""
    pairs = values.double().numpy().reshape(2, -1).mean(axis=0)
    mean = float(pairs.mean())
    half = float(stats.t.isf((1 - LEVEL) / 2, len(pairs) - 1)) * float(pairs.std(ddof=1)) / math.sqrt(len(pairs))
    return ComplexityRow(
        n_train=n_train,
        values=tuple(map(float, pairs)),
        mean=mean,
        low=mean - half,
        high=mean + half,
        proved=float(rademacher_lower(mean, n_train, len(pairs), DELTA)),
        **known,
    )


def growth(rows: Sequence[ComplexityRow]) -> list[ComplexityGrowth]:
    """Exponents along both axes, for every family that has two rows there."""
    found = []
    families = dict.fromkeys(row.family for row in rows)
    for family, (axis, other) in product(families, permutations(AXES)):
        of_family = [row for row in rows if row.family == family]
        fixed = max(getattr(row, other) for row in of_family)
        line = [row for row in of_family if getattr(row, other) == fixed]
        if len(line) < 2:
            continue
        x = [getattr(row, axis) for row in line]
        # The draws are the seeds of the bootstrap. There is no test set: one "example", always the same.
        losses = [np.reshape(row.values, (-1, 1)) for row in line]
        found.append(
            ComplexityGrowth(
                family=family,
                axis=axis,
                fixed=fixed,
                exponent=growth_exponent(x, losses, [np.zeros(len(cell)) for cell in losses], LEVEL),
                upper=_slope(x, [None if row.vacuous else row.upper for row in line]),
                exact=_slope(x, [row.exact for row in line]),
            )
        )
    return found


def _slope(x: Sequence[int], values: Sequence[float | None]) -> float:
    """Slope of ln(values) on ln(x); nan where a value is missing."""
    known = [value for value in values if value is not None]
    return float(np.polyfit(np.log(x), np.log(known), 1)[0]) if len(known) == len(values) else math.nan
