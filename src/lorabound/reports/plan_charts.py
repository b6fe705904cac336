"""Charts of a plan: from how many examples on a guarantee says something, and what a pilot forecasts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import polars as pl

from lorabound.bounds import occam_gap
from lorabound.reports.chart_parts import HEIGHT, Chart, colour_of_mode, rank_axis, shade_of_rank, whole

if TYPE_CHECKING:
    from lorabound.plans import Plan

# Sizes at which a curve is computed.
_STEPS = 40
# The axis of N goes on to so many times the N at which the last limit says something.
_BEYOND = 3


def plan_charts(plan: Plan) -> list[Chart]:
    """The guaranteed limit against N, from the smallest N planned to where each limit says something; forecasts."""
    first = min(plan.n_train)
    firsts = [need.says_something for need in plan.needs if need.says_something is not None]
    if not firsts:
        return _forecasts(plan)
    sizes = np.geomspace(first, max(*plan.n_train, _BEYOND * max(firsts)), _STEPS)
    lines = []
    for need in plan.needs:
        grid = sorted({math.ceil(n) for n in sizes} | ({need.says_something} if need.says_something else set()))
        limits = np.atleast_1d(occam_gap(grid, need.n_params * plan.bits, plan.share).value)
        adapter = f"{need.mode}, rank {need.rank}"
        lines += [
            (adapter, need.mode, need.rank, n, float(limit))
            for n, limit in zip(grid, limits, strict=True)
            if limit <= 1
        ]
    frame = pl.DataFrame(lines, ["adapter", "mode", "rank", "n", "limit"], orient="row")
    planned = pl.DataFrame({"n": list(plan.n_train)})
    x = alt.X("n:Q", title="training examples N (logarithmic)", axis=_thousands()).scale(
        type="log", domain=[float(sizes[0]), float(sizes[-1])], nice=False
    )
    y = alt.Y("limit:Q", title="guaranteed: gap at most").scale(domain=[0, 1])
    told = ["adapter:N", alt.Tooltip("n:Q", title="N", format=",d")]
    told += [alt.Tooltip("limit:Q", title="gap at most", format=".3f")]
    drawn = alt.layer(
        alt.Chart(planned).mark_rule(strokeDash=[3, 3]).encode(x=x),
        alt.Chart(frame)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=12))
        .encode(
            x=x,
            y=y,
            color=colour_of_mode(frame["mode"]),
            detail="adapter:N",
            opacity=shade_of_rank(frame["rank"], 0.55),
            tooltip=told,
        ),
    )
    none = sum(bool(row.bounds.guarantee.vacuous) for row in plan.rows)
    wanted = f"{none} of the {len(plan.rows)} limits of this plan are 1 or more, say nothing, and have no place here."
    chart = Chart(
        name="limits",
        title="From how many examples on a guarantee says something",
        said="Line chart of the guaranteed limit on the gap against the number of training examples, a line for each "
        "mode and rank; the numbers stand in the table",
        sentences=(
            "Upright lines: the N of this plan. The fewer parameters are trained (lower rank, paler), the fewer "
            "examples a guarantee takes; it says nothing about which rank fits best.",
            *([wanted] if none else []),
        ),
        spec=whole(drawn, HEIGHT),
    )
    return [chart, *_forecasts(plan)]


def _forecasts(plan: Plan) -> list[Chart]:
    """What a pilot forecasts at the largest N, against the rank."""
    n = plan.n_train[-1]
    rows = [
        (row.bounds.mode, row.bounds.rank, row.forecast.value, row.forecast.low, row.forecast.high)
        for row in plan.rows
        if row.forecast is not None and row.bounds.n_train == n
    ]
    if len({rank for _, rank, *_ in rows}) < 2:
        return []
    frame = pl.DataFrame(rows, ["mode", "rank", "gap", "low", "high"], orient="row").with_columns(
        pl.col("low", "high").fill_nan(pl.col("gap"))
    )
    told = ["mode:N", "rank:Q", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("gap", "low", "high"))]
    base = alt.Chart(frame).encode(x=rank_axis(frame["rank"]), color=colour_of_mode(frame["mode"]), tooltip=told)
    y = alt.Y("gap:Q", title="forecast gap").scale(zero=True)
    drawn = alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(y=alt.Y("low:Q", title="forecast gap"), y2="high:Q"),
        base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45)).encode(y=y),
    )
    return [
        Chart(
            name="forecasts",
            title=f"Forecast gap at N = {n:,}",
            said="Line chart of the forecast gap against the rank, a line for each mode; the table has the numbers",
            sentences=("From the pilot, no guarantee. Bars: 80% intervals.",),
            spec=whole(drawn, HEIGHT),
        )
    ]


def _thousands() -> alt.Axis:
    return alt.Axis(format=",d", labelOverlap="greedy", tickCount=6)
