"""Charts of single results: limits of a plan, gaps of single runs, the measured worst case, what low rank keeps.

A chart is as wide as the page, its error axis linear and from 0. What an axis has no room for is said below it. A
result without a curve has no chart. Colours of text, axes and grid are the page's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import polars as pl

from lorabound.bounds import occam_gap
from lorabound.reports.chart_parts import GREY, colour_of_mode, shade_of_rank, ticks, whole
from lorabound.reports.colours import MODE_COLOURS

if TYPE_CHECKING:
    from lorabound.plans import Plan
    from lorabound.sweeps.spread import Crossed, ModeSpread
    from lorabound.updates.costs import FreezingCosts
    from lorabound.worst_case.measured.complexity import Complexity, ComplexityRow
    from lorabound.worst_case.measured.family import About

_HEIGHT, _LOW_HEIGHT = 360, 300
# Sizes at which a curve is computed, and bars of a histogram.
_STEPS, _BARS = 40, 16
# The axis of N goes on to so many times the N at which the last limit says something.
_BEYOND = 3


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of a page.

    Attributes:
        name: id of its element.
        title: heading above it.
        said: what a reader is told who cannot see it.
        sentences: what stands below it.
        spec: Vega-Lite specification.
    """

    name: str
    title: str
    said: str
    sentences: tuple[str, ...]
    spec: dict[str, Any]


def charts(result: Any) -> list[Chart]:
    """The charts of a result; none where it has no curve."""
    return _DRAWN.get(type(result).__name__, lambda _: [])(result)


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
        spec=whole(drawn, _HEIGHT),
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
    base = alt.Chart(frame).encode(x=_rank_axis(frame["rank"]), color=colour_of_mode(frame["mode"]), tooltip=told)
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
            spec=whole(drawn, _HEIGHT),
        )
    ]


def complexity_charts(complexity: Complexity) -> list[Chart]:
    """The measured worst case of each family against the rank, or against N where one rank was measured."""
    made = []
    for about in complexity.families:
        rows = [row for row in complexity.rows if row.family == about.name]
        ranks, sizes = ({getattr(row, axis) for row in rows} for axis in ("rank", "n_train"))
        if max(len(ranks), len(sizes)) > 1:
            made.append(_complexity_chart(about, rows, by_rank=len(ranks) > 1))
    return made


def _complexity_chart(about: About, rows: Sequence[ComplexityRow], by_rank: bool) -> Chart:
    points = [
        {
            "x": row.rank if by_rank else row.n_train,
            "line": f"N = {row.n_train:,}" if by_rank else f"rank {row.rank}",
            "what": what,
            "value": value,
            "low": row.low if what == "measured" else value,
            "high": row.high if what == "measured" else value,
        }
        for row in rows
        for what, value in (
            ("measured", row.mean),
            ("largest there is", row.supremum),
            ("bound", None if row.vacuous else row.upper),
        )
        if value is not None
    ]
    frame = pl.DataFrame(points)
    names = list(dict.fromkeys(frame["line"]))
    x = _rank_axis(frame["x"]) if by_rank else _size_axis(frame["x"])
    colours = [list(MODE_COLOURS.values())[i % len(MODE_COLOURS)] for i in range(len(names))]
    colour = alt.Color("line:N", title=None, sort=names, legend=_legend()).scale(domain=names, range=colours)
    dashes = {"measured": [1, 0], "largest there is": [2, 3], "bound": [7, 4]}
    there = [what for what in dashes if what in set(frame["what"])]
    drawn_as = alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeColor=GREY)
    dash = alt.StrokeDash("what:N", title=None, sort=there, legend=drawn_as).scale(
        domain=there, range=[dashes[what] for what in there]
    )
    told = ["what:N", "line:N", alt.Tooltip("x:Q", title="rank" if by_rank else "N", format=",d")]
    told += [alt.Tooltip(f"{name}:Q", format=".4f") for name in ("value", "low", "high")]
    y = alt.Y("value:Q", title="Rademacher complexity").scale(zero=True)
    base = alt.Chart(frame).encode(x=x, color=colour, tooltip=told)
    drawn = alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.7)
        .encode(y=alt.Y("low:Q", title="Rademacher complexity"), y2="high:Q")
        .transform_filter("datum.what === 'measured'"),
        base.mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=40)).encode(y=y, strokeDash=dash),
    )
    silent = sum(row.vacuous for row in rows) if about.bounded else 0
    left_out = f"{silent} of {len(rows)} bounds are 1/2 or more, say nothing, and are not drawn."
    along = "rank" if by_rank else "training examples"
    return Chart(
        name=f"complexity-{about.name}",
        title=f"{about.name}: how well the worst adapter fits random labels",
        said=f"Line chart of the measured complexity against the {along}, with its bound where that says something; "
        "the numbers stand in the table",
        sentences=(about.sentence, *([left_out] if silent else [])),
        spec=whole(drawn, _HEIGHT),
    )


def spread_charts(crossed: Crossed) -> list[Chart]:
    """A histogram of the gaps of single runs for each mode and rank, all on one axis."""
    shown = [spread for spread in crossed.spreads if spread.loss == crossed.decides]
    every = np.concatenate([spread.gaps.ravel() for spread in shown])
    ends = [end for one in shown for end in (one.variance.single_run.low, one.variance.single_run.high)]
    low, high = (float(f([f(every), f(np.nan_to_num(ends, nan=every[0]))])) for f in (np.min, np.max))
    pad = 0.03 * max(high - low, 0.01)
    return [_histogram(spread, i, (low - pad, high + pad), crossed.n_train) for i, spread in enumerate(shown)]


def _histogram(spread: ModeSpread, number: int, span: tuple[float, float], n_train: int) -> Chart:
    gaps, run = spread.gaps.ravel(), spread.variance.single_run
    counts, edges = np.histogram(gaps, bins=_BARS, range=span)
    bars = pl.DataFrame({"from": edges[:-1], "to": edges[1:], "runs": counts})
    mean = spread.variance.mean
    x = alt.X("from:Q", title="gap of one run", bin="binned").scale(domain=span, nice=False)
    told = ["runs:Q", alt.Tooltip("from:Q", format="+.3f"), alt.Tooltip("to:Q", format="+.3f")]
    layers = [
        alt.Chart(bars)
        .mark_bar(color=MODE_COLOURS[spread.mode], opacity=0.85)
        .encode(x=x, x2="to:Q", y=alt.Y("runs:Q", title="runs", axis=alt.Axis(tickMinStep=1)), tooltip=told),
        alt.Chart(pl.DataFrame({"mean": [mean]})).mark_rule(strokeWidth=2).encode(x="mean:Q"),
    ]
    sentences = [
        f"Gap: error on test rows minus training error. Solid line: its mean over all {len(gaps)} runs, {mean:+.3f}."
    ]
    if not math.isnan(run.low):
        limits = pl.DataFrame({"end": [run.low, run.high]})
        layers.append(alt.Chart(limits).mark_rule(strokeDash=[6, 4]).encode(x="end:Q"))
        sentences.append(
            f"Dashed lines: {run.low:+.3f} and {run.high:+.3f}; between them lies the gap of one more run (95%, if "
            "effects are normal)."
        )
    if run.guarantee is not None and not math.isnan(run.sd.value):
        sentences.append(
            f"One run lies {run.sd.value:.3f} from the mean (standard deviation, test noise taken out). For the "
            f"largest gap of all adapters of this kind theory allows at most 1/(2 sqrt({n_train:,})) = "
            f"{run.guarantee:.3f}: a yardstick, no limit for a trained adapter."
        )
    return Chart(
        name=f"spread-{number}",
        title=f"{spread.mode}, rank {spread.rank}: gaps of single runs",
        said="Histogram of the gaps of all runs; what it shows stands in the sentences below and in the table",
        sentences=tuple(sentences),
        spec=whole(alt.layer(*layers), _LOW_HEIGHT),
    )


def freezing_charts(costs: FreezingCosts) -> list[Chart]:
    """What is kept of a full fine-tune against the rank, where several were asked for."""
    if len(costs.ranks) < 2:
        return []
    names = {"free": "both factors chosen", "frozen_a": "A random and frozen", "frozen_b": "B random and frozen"}
    rows = [
        (names[rule], rank, costs.kept(rule, i))  # type: ignore[arg-type]  # the names of three rules
        for rule in names
        for i, rank in enumerate(costs.ranks)
    ]
    frame = pl.DataFrame(rows, ["factors", "rank", "kept"], orient="row")
    there = list(names.values())
    frozen, other, both = list(MODE_COLOURS.values())[:3]  # in the order of the table of modes
    colours = [both, frozen, other]
    colour = alt.Color("factors:N", title=None, sort=there, legend=_legend()).scale(domain=there, range=colours)
    y = alt.Y("kept:Q", title="share kept, at most", axis=alt.Axis(format="%")).scale(domain=[0, 1])
    told = ["factors:N", "rank:Q", alt.Tooltip("kept:Q", format=".1%")]
    drawn = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45))
        .encode(x=_rank_axis(frame["rank"]), y=y, color=colour, tooltip=told)
    )
    return [
        Chart(
            name="kept",
            title="What a rank can keep of the change",
            said="Line chart of the share that is kept against the rank; the numbers stand above",
            sentences=("A frozen factor: what it lets the other keep, on average over its draws.",),
            spec=whole(drawn, _HEIGHT),
        )
    ]


def _rank_axis(there: pl.Series) -> alt.X:
    return _logarithmic("rank" if "rank" in there.name else there.name, "rank r (logarithmic)", there)


def _size_axis(there: pl.Series) -> alt.X:
    return _logarithmic(there.name, "training examples N (logarithmic)", there)


def _logarithmic(field: str, title: str, there: pl.Series) -> alt.X:
    values = sorted(set(there))
    ends = [values[0] / 1.15, values[-1] * 1.15]
    return alt.X(f"{field}:Q", title=title, axis=ticks(values)).scale(type="log", domain=ends, nice=False)


def _thousands() -> alt.Axis:
    return alt.Axis(format=",d", labelOverlap="greedy", tickCount=6)


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="top", symbolOpacity=1, symbolStrokeWidth=2)


_DRAWN: dict[str, Callable[[Any], list[Chart]]] = {
    "Complexity": complexity_charts,
    "Crossed": spread_charts,
    "FreezingCosts": freezing_charts,
    "Plan": plan_charts,
}
