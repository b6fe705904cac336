"""Charts of a recommendation as Vega-Lite specifications: errors against training rows, forecasts against rank.

Colours of text, axes and grid are the page's, light or dark: the specifications name none. Charts are as wide as the
page. An error axis is linear and begins where the errors do; the chart's sentence says what lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import altair as alt
import polars as pl

from lorabound.modes import MODES
from lorabound.recommendations import Recommendation
from lorabound.reports.chart_parts import colour_of_mode, shade_of_rank, ticks, whole
from lorabound.reports.colours import MODE_COLOURS

# Candidates of one size stand side by side: at most so far apart, in ln(rows), and within this share of the room.
_STEP, _SHARE = 0.035, 0.42
# The error without an adapter is left out where it would take more than half of the axis.
_MOST_FOR_ZERO_SHOT = 1.0
# An error axis begins at zero unless more than this share of it would be empty.
_FROM_ZERO = 1 / 3


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A chart.

    Attributes:
        spec: Vega-Lite specification.
        outside: sentence on what the axis leaves out; "" for nothing.
    """

    spec: dict[str, Any]
    outside: str


def error_against_rows(made: Recommendation) -> Drawn:
    """What the pilots measured and what is forecast: test error and training error against training rows."""
    points, forecast = _points(made), _forecast(made)
    errors = [*points["low"], *points["high"], *points["train"], *forecast["low"], *forecast["high"]]
    span, outside = _span(errors, made)
    rows = sorted({point.test.n_train for point in made.points} | {value.n_train for value in made.more_data})
    room = (min(float(x) for x in points["x"]) / 1.08, rows[-1] * 1.1)
    x = alt.X("x:Q", title="training rows (logarithmic)", axis=ticks(rows)).scale(type="log", domain=room, nice=False)
    y = partial(_error_axis, title=made.error_name, span=span)
    shade = shade_of_rank(points["rank"], 0.4)
    level = f"{made.best.measured.level:.0%}"
    told = [
        alt.Tooltip("what:N", title="pilots of"),
        alt.Tooltip("rows:Q", title="training rows", format=","),
        alt.Tooltip("test:Q", title=f"{made.error_name} on test rows", format=".4f"),
        *_interval_told(level),
        alt.Tooltip("train:Q", title=f"{made.error_name} on training rows", format=".4f"),
    ]
    base = alt.Chart(points).encode(x=x, color=colour_of_mode(set(points["mode"])), opacity=shade, tooltip=told)
    own = base.transform_filter("datum.recommended").encode(opacity=alt.value(1), y=y("test"))
    others = base.transform_filter("!datum.recommended").encode(y=y("test"))
    layers = [
        *_of_forecast(forecast, made, y),
        others.encode(detail="what:N").mark_line(strokeWidth=1),
        base.encode(y=y("low"), y2="high:Q").mark_rule(strokeWidth=1.2, clip=True),
        base.encode(y=y("train"), detail="what:N").mark_line(strokeWidth=0.8, strokeDash=[2, 3], clip=True),
        base.encode(y=y("train")).mark_point(size=16, strokeWidth=1, clip=True),
        others.mark_point(size=34, filled=True),
        own.mark_line(strokeWidth=3),
        own.mark_point(size=95, filled=True),
        *_zero_shot(made, span, y),
        *_lettered(
            alt.Chart(points.filter(pl.col("recommended")).tail(1)).encode(x=x, y=y("test")),
            f"rank {made.rank}",
            dy=-16,
            fontWeight="bold",
        ),
    ]
    return Drawn(spec=whole(alt.layer(*layers), 420), outside=outside)


def forecast_against_rank(made: Recommendation) -> Drawn:
    """The forecast at the size that the recommendation is for, by rank and mode, with the public rules."""
    candidates, rules = _candidates(made), _rules(made)
    known = [rule.forecast for rule in made.rules if rule.forecast]
    errors = [*candidates["low"], *candidates["high"], *(end for value in known for end in (value.low, value.high))]
    span, outside = _span(errors, made)
    ranks = sorted({*candidates["rank"], *(rule.rank for rule in made.rules)})
    x = alt.X("rank:Q", title="rank (logarithmic)", axis=ticks(ranks)).scale(
        type="log", base=2, domain=[ranks[0] / 1.25, ranks[-1] * 1.35], nice=False
    )
    title = f"forecast {made.error_name}"
    y = partial(_error_axis, title=title, span=span)
    told = [
        alt.Tooltip("mode:N"),
        alt.Tooltip("rank:Q"),
        alt.Tooltip("forecast:Q", title=title, format=".4f"),
        *_interval_told(f"{made.best.forecast.level:.0%}"),
        alt.Tooltip("close:Q", title="chance that none is clearly better", format=".0%"),
        alt.Tooltip("parameters:Q", title="trained parameters", format=","),
        alt.Tooltip("alike:N", title="within noise of the lowest"),
    ]
    base = alt.Chart(candidates).encode(x=x, color=colour_of_mode(set(candidates["mode"])), tooltip=told)
    best = base.transform_filter("datum.recommended").encode(y=y("forecast"))
    at_best = alt.Chart(candidates.filter(pl.col("recommended"))).encode(x=x, y=y("forecast"))
    layers = [
        base.encode(y=y("low"), y2="high:Q").mark_area(opacity=0.13, clip=True),
        base.encode(y=y("low"), y2="high:Q").mark_rule(strokeWidth=1, opacity=0.6, clip=True),
        *_of_rules(rules, x, y, title),
        *_zero_shot(made, span, y),
        base.encode(y=y("forecast")).mark_line(strokeWidth=2),
        base.encode(y=y("forecast")).mark_point(size=45, filled=True, opacity=1),
        best.mark_point(size=260, strokeWidth=2.5, filled=False, opacity=1),
        *_lettered(at_best, "recommended", dy=24, fontWeight="bold"),
    ]
    return Drawn(spec=whole(alt.layer(*layers), 360), outside=outside)


def _error_axis(field: str, title: str, span: tuple[float, float]) -> alt.Y:
    """The error axis, the same in every layer."""
    return alt.Y(f"{field}:Q", title=title).scale(domain=span, nice=False, zero=False)


def _interval_told(level: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("low:Q", title=f"{level} interval from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
    ]


def _lettered(at: alt.Chart, text: str, **options: Any) -> list[alt.Chart]:
    """A text at a mark, on a ground of its own: what lies under it does not cut through it."""
    said = at.encode(text=alt.value(text))
    return [said.mark_text(style="ground", **options), said.mark_text(opacity=1, **options)]


def _points(made: Recommendation) -> pl.DataFrame:
    """All pilots, those of one size side by side in the order of modes and ranks."""
    order: list[str] = list(MODES)
    sizes = sorted({point.test.n_train for point in made.points})
    gap = min((math.log(b / a) for a, b in pairwise(sizes)), default=1.0)
    rows = []
    for n_train, group in groupby(
        sorted(made.points, key=lambda one: (one.test.n_train, order.index(one.mode), one.rank)),
        key=lambda one: one.test.n_train,
    ):
        side_by_side = list(group)
        step = min(_STEP, _SHARE * gap / len(side_by_side))
        for place, one in enumerate(side_by_side):
            rows.append(
                {
                    "what": f"{one.mode}, rank {one.rank}",
                    "mode": one.mode,
                    "rank": one.rank,
                    "rows": n_train,
                    "x": n_train * math.exp((place - (len(side_by_side) - 1) / 2) * step),
                    "test": one.test.value,
                    "low": one.test.low,
                    "high": one.test.high,
                    "train": one.train,
                    "recommended": (one.mode, one.rank) == (made.mode, made.rank),
                }
            )
    return pl.DataFrame(rows)


def _forecast(made: Recommendation) -> pl.DataFrame:
    return pl.DataFrame(
        [{"x": one.n_train, "forecast": one.value, "low": one.low, "high": one.high} for one in made.more_data]
    )


def _candidates(made: Recommendation) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "mode": one.mode,
                "rank": one.rank,
                "forecast": one.forecast.value,
                "low": one.forecast.low,
                "high": one.forecast.high,
                "close": one.close,
                "parameters": one.n_params,
                "recommended": one is made.best,
                "alike": "yes" if one is made.best or one.within_noise else "no",
            }
            for one in sorted(made.options, key=lambda one: (one.mode, one.rank))
        ]
    )


def _of_forecast(forecast: pl.DataFrame, made: Recommendation, y: Callable[[str], alt.Y]) -> list[alt.Chart]:
    """Band, dashed line and points of the recommended candidate's forecasts."""
    told = [
        alt.Tooltip("x:Q", title="forecast for training rows", format=","),
        alt.Tooltip("forecast:Q", title=f"forecast {made.error_name}", format=".4f"),
        *_interval_told(f"{made.best.forecast.level:.0%}"),
    ]
    base = alt.Chart(forecast).encode(x="x:Q", color=alt.value(MODE_COLOURS[made.mode]), tooltip=told)
    middle = base.encode(y=y("forecast"))
    return [
        base.encode(y=y("low"), y2="high:Q").mark_area(opacity=0.16, clip=True),
        middle.mark_line(strokeWidth=2.5, strokeDash=[6, 4]),
        middle.mark_point(size=60, strokeWidth=2, filled=False),
    ]


def _zero_shot(made: Recommendation, span: tuple[float, float], y: Callable[[str], alt.Y]) -> list[alt.Chart]:
    """A rule at the error of the model without an adapter, where the axis reaches it."""
    if not span[0] <= made.zero_shot <= span[1]:
        return []
    base = alt.Chart(pl.DataFrame({"error": [made.zero_shot]})).encode(
        y=y("error"), tooltip=[alt.Tooltip("error:Q", title="without an adapter", format=".4f")]
    )
    text = f"without an adapter {made.zero_shot:.3f}"
    at = base.encode(x=alt.value("width"))
    return [base.mark_rule(strokeDash=[2, 2], strokeWidth=1.5), *_lettered(at, text, align="right", dx=-4, dy=-9)]


def _rules(made: Recommendation) -> pl.DataFrame:
    """One row per rank that public rules give, the names of its rules together."""
    rows = []
    for rank in sorted({rule.rank for rule in made.rules}):
        own = [rule for rule in made.rules if rule.rank == rank]
        value = own[0].forecast
        rows.append(
            {
                "rules": ", ".join(rule.name for rule in own),
                "rank": rank,
                "forecast": value and value.value,
                "low": value and value.low,
                "high": value and value.high,
            }
        )
    kinds = {"rules": pl.String, "rank": pl.Int64, "forecast": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema=kinds)


def _of_rules(rules: pl.DataFrame, x: alt.X, y: Callable[[str], alt.Y], title: str) -> list[alt.Chart]:
    """A line with names at the top of the chart, and the forecast of the rank where there is one."""
    if rules.is_empty():
        return []
    told = [
        alt.Tooltip("rules:N", title="public rule"),
        alt.Tooltip("rank:Q", title="says rank"),
        alt.Tooltip("forecast:Q", title=f"{title} (A and B trained)", format=".4f"),
        alt.Tooltip("low:Q", title="interval from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
    ]
    base = alt.Chart(rules).encode(x=x, tooltip=told)
    there = base.transform_filter("isValid(datum.forecast)")
    return [
        base.mark_rule(strokeDash=[1, 4], strokeWidth=1.2),
        base.mark_text(baseline="top", align="left", dx=4).encode(y=alt.value(4), text="rules:N"),
        there.encode(y=y("low"), y2="high:Q").mark_rule(strokeWidth=1, clip=True),
        there.encode(y=y("forecast")).mark_point(shape="triangle-down", size=70, filled=True),
    ]


def _span(errors: Iterable[float], made: Recommendation) -> tuple[tuple[float, float], str]:
    """Ends of the error axis, and what lies outside."""
    kept = [min(max(error, 0.0), 1.0) for error in errors]
    low, high = min(kept), max(kept)
    width, zero = max(high - low, 0.02), made.zero_shot
    outside = []
    if max(zero - high, low - zero) <= _MOST_FOR_ZERO_SHOT * width:
        low, high = min(low, zero), max(high, zero)
    else:
        where = "above" if zero > high else "below"
        outside.append(f"Without an adapter it is {zero:.3f}, {where} this axis.")
    pad = 0.06 * max(high - low, 0.02)
    start, end = max(low - pad, 0.0), min(high + pad, 1.0)
    if start < _FROM_ZERO * end:
        start = 0.0
    if start:
        outside.append("The axis does not begin at zero.")
    return (start, end), " ".join(outside)
