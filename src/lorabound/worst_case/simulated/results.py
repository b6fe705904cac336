"""What the simulation of Theorem 2 returns: frequencies beside probabilities, one record per row of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import polars as pl
from scipy import stats

from lorabound.bounds import Bound
from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated.cells import CellsRow

# Level of the intervals of frequencies.
FREQUENCY_LEVEL = 0.99


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """How often an event was seen, beside the probability the theory gives: exactly, or at least.

    Attributes:
        hits: number of trials in which it was seen.
        trials: number of trials.
        low: lower end of the Clopper & Pearson 1934 interval at FREQUENCY_LEVEL.
        high: upper end of it.
        theory: probability of the event.
        exact: whether ``theory`` is the probability itself; otherwise it is a lower bound.
    """

    hits: int
    trials: int
    low: float
    high: float
    theory: float
    exact: bool

    @classmethod
    def of(cls, hits: int, trials: int, theory: float, exact: bool = True) -> Frequency:
        """The frequency with its interval."""
        interval = stats.binomtest(hits, trials).proportion_ci(FREQUENCY_LEVEL, method="exact")
        return cls(
            hits=hits, trials=trials, low=float(interval.low), high=float(interval.high), theory=theory, exact=exact
        )

    @property
    def value(self) -> float:
        """hits / trials."""
        return self.hits / self.trials

    @property
    def agrees(self) -> bool:
        """Whether the interval holds the exact probability, or reaches above the lower bound."""
        return self.theory <= self.high and (not self.exact or self.low <= self.theory)


@dataclass(frozen=True, kw_only=True)
class AdmissionRow:
    """One construction at one rank.

    Attributes:
        rank: r.
        construction: name of the construction.
        frequency: frequency of draws whose factors all fit the ball; None where the construction does not exist.
        max_error: largest |f(x) - x e_1| over complete draws and a grid of [0, 1]; nan where it does not exist.
        n_complete: number of networks that were run for ``max_error``.
    """

    rank: int
    construction: str
    frequency: Frequency | None
    max_error: float
    n_complete: int


@dataclass(frozen=True, kw_only=True)
class CoinRow:
    """The gap |mean - 1/2| of f(x) = x on N tosses of a fair coin.

    Attributes:
        n_train: N.
        bound: lower bound c_p(N)/sqrt(N) on the gap.
        frequency: frequency of a gap that large, beside its exact probability.
        exact_mean: E |mean - 1/2|, exactly.
        mean: mean of |mean - 1/2| in the simulation.
        standard_error: standard error of that mean.
    """

    n_train: int
    bound: Bound
    frequency: Frequency
    exact_mean: float
    mean: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class TheoremRow:
    """Theorem 2 beside Theorem 1, for the same network, ball and laws.

    Attributes:
        rank: r.
        n_train: N.
        lower: lower bound on the largest gap G of the class, with probability admissible x p.
        frequency: frequency of draws of A and sample where the ball holds f(x) = x and its gap is that large, beside
            its exact probability, admissible x attained.
        upper: upper bound on |R - Rhat| by chaining (ours), with probability 1 - DELTA over A and the sample.
        published: upper bound on |R - Rhat| by Theorem 1 as published.
    """

    rank: int
    n_train: int
    lower: Bound
    frequency: Frequency
    upper: Bound
    published: Bound


@dataclass(frozen=True, kw_only=True)
class LowerSimulation:
    """Everything ``lorabound lower-bound`` prints.

    Attributes:
        settings: settings of the simulation.
        admissions: one row per rank and construction.
        coins: one row per N.
        theorem: one row per rank and N.
        cells: one row per rank and N.
    """

    settings: LowerConfig
    admissions: list[AdmissionRow]
    coins: list[CoinRow]
    theorem: list[TheoremRow]
    cells: list[CellsRow]

    def frame(self) -> pl.DataFrame:
        """One row per row of the four parts, named by the column ``part``; columns that a part has not are null.

        A frequency is spread over the columns ``hits``, ``trials``, ``low``, ``high``, ``theory`` and ``exact``; of a
        bound the value is given.
        """
        each: dict[str, Sequence[AdmissionRow | CoinRow | TheoremRow | CellsRow]]
        each = {"admission": self.admissions, "coin": self.coins, "theorem": self.theorem, "cells": self.cells}
        return pl.concat(
            [pl.DataFrame([{"part": part, **_flat(row)} for row in rows]) for part, rows in each.items()],
            how="diagonal_relaxed",
        )

    def __repr__(self) -> str:
        """Ranks, N and trials; ``lorabound.show`` says what was found."""
        config = self.settings
        return f"LowerSimulation: ranks {config.ranks}, N = {config.n_train}, {config.trials:,} trials"


def _flat(row: AdmissionRow | CoinRow | TheoremRow | CellsRow) -> dict[str, Any]:
    """The fields of a row as numbers and text."""
    record: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if field.name == "frequency":
            record |= dict.fromkeys(part.name for part in fields(Frequency)) if value is None else asdict(value)
        else:
            record[field.name] = float(value.value) if isinstance(value, Bound) else value
    return record
