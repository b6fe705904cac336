"""A plan: the bounds and the forecast of every (mode, rank, N), and the N that a target gap needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lorabound.bounds import Bound
from lorabound.modes import Mode
from lorabound.plans.gap_bounds import GapBounds
from lorabound.plans.pilot import ModeForecast, Pilot
from lorabound.plans.shapes import Shapes
from lorabound.stats import Coefficient, HeldOut, Prediction

# What the forecast of one mode is worth: columns of the frame, with the type of each.
_LAW = ("law_c", "law_beta", "law_beta_low", "law_beta_high", "law_gamma", "law_gamma_low", "law_gamma_high")
_TRIALS = ("held_out", "largest_rank", "largest_n")
_SCHEMA: dict[str, Any] = {
    "mode": pl.String,
    **dict.fromkeys(("rank", "n_params", "n_train", "bits"), pl.Int64),
    "delta": pl.Float64,
    **{
        f"{name}{ending}": kind
        for name in ("guarantee", "average")
        for ending, kind in (("", pl.Float64), ("_vacuous", pl.Boolean))
    },
    **dict.fromkeys(("floor", "cells_floor", "forecast", "forecast_low", "forecast_high"), pl.Float64),
    **dict.fromkeys(("n_says_something", "n_guarantee", "n_average"), pl.Int64),
    **dict.fromkeys(("n_forecast", *_LAW), pl.Float64),
    **{
        f"{trial}_{what}": kind
        for trial in _TRIALS
        for what, kind in (("inside", pl.Int64), ("intervals", pl.Int64), ("error", pl.Float64))
    },
}


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One (mode, rank, N).

    Attributes:
        bounds: everything theory says of it.
        forecast: the gap that one more cell of the pilot would show; None without a pilot, or where its law ends.
    """

    bounds: GapBounds
    forecast: Prediction | None


@dataclass(frozen=True, kw_only=True)
class Need:
    """The smallest N for a gap, at one (mode, rank).

    Attributes:
        mode: mode of the adapter.
        rank: LoRA rank r.
        n_params: q, number of trained parameters.
        says_something: smallest N at which the guarantee is below 1; None beyond 10^15.
        guarantee: smallest N at which the guarantee is at most the target gap; None beyond 10^15, or without a target.
        average: the same for the bound on the average gap.
        forecast: N at which the power law crosses the target gap (at even odds); None without a law or a target; nan
            where the 95% interval of gamma reaches 0: the pilot then does not show a gap that falls with N.
    """

    mode: Mode
    rank: int
    n_params: int
    says_something: int | None
    guarantee: int | None
    average: int | None
    forecast: float | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The paper's guideline (section 4.3): freeze A and double the rank; equal parameters where layers are square.

    Attributes:
        frozen: bounds of freeze_a at rank 2r.
        both: bounds of train_both at rank r.
    """

    frozen: GapBounds
    both: GapBounds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What theory and a pilot say before training; made by :func:`lorabound.plan`.

    Attributes:
        shapes: (d_out, d_in) of each adapted layer, by name.
        modes: modes planned.
        ranks: ranks planned, ascending.
        n_train: training set sizes planned, ascending.
        bits: b, number of bits in which one trained parameter is stored.
        delta: failure probability of all guarantees together, at one N.
        share: failure probability of one (mode, rank), the pairs included.
        target_gap: gap that ``needs`` is about; None where none was asked for.
        rows: one row per (N, mode, rank), in this order.
        needs: one entry per (mode, rank).
        pairs: freeze_a at rank 2r beside train_both at rank r, at the largest N; one entry per rank that can double.
        pilot: the sweep the forecasts are read from; None without one.
        links: number of links of every adapter, each of the rank shown.
    """

    shapes: Shapes
    modes: tuple[Mode, ...]
    ranks: tuple[int, ...]
    n_train: tuple[int, ...]
    bits: int
    delta: float
    share: float
    target_gap: float | None
    rows: tuple[PlanRow, ...]
    needs: tuple[Need, ...]
    pairs: tuple[Pair, ...]
    pilot: Pilot | None
    links: int = 1

    def frame(self) -> pl.DataFrame:
        """Every number of the plan, one row per (N, mode, rank); null where there is none.

        Columns: ``mode``, ``rank``, ``n_params``, ``n_train``, ``bits``, ``delta``. ``guarantee`` and ``average``:
        limits on the gap, with ``..._vacuous`` where the limit is 1 or more. ``floor`` and ``cells_floor``: values that
        no guarantee for the worst adapter on every task can go below. ``forecast``, ``forecast_low``,
        ``forecast_high``. ``n_says_something``: smallest N with a guarantee below 1. ``n_guarantee``, ``n_average``,
        ``n_forecast``: N for the target gap. ``law_c``, ``law_beta``, ``law_gamma``: the mode's forecast
        c r^beta N^-gamma, with 95% intervals of the exponents. ``held_out_...``, ``largest_rank_...``,
        ``largest_n_...``: cells of the pilot that were forecast from the others, or from those of smaller rank or N:
        number ``inside`` their interval, number of ``intervals``, median relative ``error``.
        """
        needs = {(need.mode, need.rank): need for need in self.needs}
        forecasts = self.pilot.forecasts if self.pilot else {}
        records = [
            self._record(row, needs[row.bounds.mode, row.bounds.rank], forecasts.get(row.bounds.mode))
            for row in self.rows
        ]
        return pl.DataFrame(records, schema=_SCHEMA).fill_nan(None)

    def __repr__(self) -> str:
        """What is planned; ``lorabound.show`` says what is guaranteed."""
        modes, needed = ", ".join(self.modes), "" if self.target_gap is None else f", for a gap of {self.target_gap:g}"
        forecast = ", with forecasts" if self.pilot else ""
        return (
            f"Plan: {modes}; ranks {self.ranks}, N = {self.n_train}, {len(self.shapes)} adapted layers"
            f"{needed}{forecast}; guarantees with probability {1 - self.delta:g}"
        )

    def _record(self, row: PlanRow, need: Need, trained: ModeForecast | None) -> dict[str, Any]:
        limits, forecast = row.bounds, row.forecast
        record: dict[str, Any] = {
            "mode": limits.mode,
            "rank": limits.rank,
            "n_params": limits.n_params,
            "n_train": limits.n_train,
            "bits": self.bits,
            "delta": self.delta,
            **_limit("guarantee", limits.guarantee),
            **_limit("average", limits.average),
            "floor": limits.floor.value,
            "cells_floor": limits.rank_floor.value if limits.rank_floor else None,
            "n_says_something": need.says_something,
            "n_guarantee": need.guarantee,
            "n_average": need.average,
            "n_forecast": need.forecast,
        }
        if forecast:
            record |= {"forecast": forecast.value, "forecast_low": forecast.low, "forecast_high": forecast.high}
        if trained and trained.law:
            record |= {"law_c": trained.law.c.value, **_exponent("law_beta", trained.law.beta)}
            record |= _exponent("law_gamma", trained.law.gamma)
            for trial in _TRIALS:
                record |= _trial(trial, getattr(trained, trial))
        return record


def _limit(name: str, bound: Bound) -> dict[str, Any]:
    return {name: bound.value, f"{name}_vacuous": bound.vacuous}


def _exponent(name: str, found: Coefficient | None) -> Mapping[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high} if found else {}


def _trial(name: str, held: HeldOut | None) -> Mapping[str, float]:
    if held is None or not held.cells:
        return {}
    error = held.median_relative_error
    return {
        f"{name}_inside": held.n_inside,
        f"{name}_intervals": held.n_intervals,
        f"{name}_error": error if math.isfinite(error) else math.nan,
    }
