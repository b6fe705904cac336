"""A plan as CSV, one row a (mode, rank, N)."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from lorabound.errors import InputError, StoreError
from lorabound.plans.plan import Plan


def write_csv(plan: Plan, path: str | Path) -> Path:
    """Write every number of the plan.

    Columns: mode, rank, n_params, n_train; ``guarantee`` and ``average`` (bounds on the gap) with ``..._vacuous``;
    ``floor`` and ``cells_floor`` (no guarantee for the worst adapter and task can be lower); ``forecast`` with
    ``forecast_low`` and ``forecast_high``; ``n_guarantee``, ``n_average``, ``n_forecast`` (N for the target gap). Empty
    where there is none.

    Raises:
        InputError: another ending than .csv.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise InputError(f"cannot write {path}: the file must end in .csv")
    needs = {(need.mode, need.rank): need for need in plan.needs}
    records = []
    for row in plan.rows:
        at, forecast = row.bounds, row.forecast
        need = needs.get((at.mode, at.rank))
        records.append(
            {
                "mode": at.mode, "rank": at.rank, "n_params": at.n_params, "n_train": at.n_train,
                "guarantee": at.guarantee.value, "guarantee_vacuous": at.guarantee.vacuous,
                "average": at.average.value, "average_vacuous": at.average.vacuous,
                "floor": at.floor.value, "cells_floor": at.cells.value if at.cells else None,
                "forecast": forecast.value if forecast else None,
                "forecast_low": forecast.low if forecast else None,
                "forecast_high": forecast.high if forecast else None,
                "n_guarantee": need.guarantee if need else None, "n_average": need.average if need else None,
                "n_forecast": need.forecast if need else None,
            }
        )  # fmt: skip
    try:
        pl.DataFrame(records, infer_schema_length=None).fill_nan(None).write_csv(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from None
    return path
