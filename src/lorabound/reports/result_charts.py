"""Charts of single results: gaps of single runs, the measured worst case, what low rank keeps.

A chart is as wide as the page, its error axis linear and from 0. What an axis has no room for is said below it. A
result without a curve has no chart. Colours of text, axes and grid are the page's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np
import polars as pl

from lorabound.reports.chart_parts import GREY, HEIGHT, Chart, legend_above, rank_axis, size_axis, whole
from lorabound.reports.colours import MODE_COLOURS
from lorabound.reports.plan_charts import plan_charts

if TYPE_CHECKING:
    from lorabound.sweeps.spread import Crossed, ModeSpread
    from lorabound.updates.costs import FreezingCosts
    from lorabound.worst_case.measured.complexity import Complexity, ComplexityRow
    from lorabound.worst_case.measured.family import About

# Height and bars of a histogram.
_LOW_HEIGHT, _BARS = 300, 16


def charts(result: Any) -> list[Chart]:
    """The charts of a result; none where it has no curve."""
    return _DRAWN.get(type(result).__name__, lambda _: [])(result)


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
    x = rank_axis(frame["x"]) if by_rank else size_axis(frame["x"])
    colours = [list(MODE_COLOURS.values())[i % len(MODE_COLOURS)] for i in range(len(names))]
    colour = alt.Color("line:N", title=None, sort=names, legend=legend_above()).scale(domain=names, range=colours)
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
        spec=whole(drawn, HEIGHT),
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
    colour = alt.Color("factors:N", title=None, sort=there, legend=legend_above()).scale(domain=there, range=colours)
    y = alt.Y("kept:Q", title="share kept, at most", axis=alt.Axis(format="%")).scale(domain=[0, 1])
    told = ["factors:N", "rank:Q", alt.Tooltip("kept:Q", format=".1%")]
    drawn = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45))
        .encode(x=rank_axis(frame["rank"]), y=y, color=colour, tooltip=told)
    )
    return [
        Chart(
            name="kept",
            title="What a rank can keep of the change",
            said="Line chart of the share that is kept against the rank; the numbers stand above",
            sentences=("A frozen factor: what it lets the other keep, on average over its draws.",),
            spec=whole(drawn, HEIGHT),
        )
    ]


_DRAWN: dict[str, Callable[[Any], list[Chart]]] = {
    "Complexity": complexity_charts,
    "Crossed": spread_charts,
    "FreezingCosts": freezing_charts,
    "Plan": plan_charts,
}
