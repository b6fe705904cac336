"""Charts of a sweep as Vega-Lite specifications: the gap against rank, and against the amount of data."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import polars as pl

from lorabound.report.summary import LOSSES, Cell, Summary
from lorabound.report.words import WORST_CASE
from lorabound.sweep import ZERO_SHOT

_COLOURS = {"freeze_a": "#1b6ca8", "freeze_b": "#5a9e4b", "train_both": "#d1622b"}
_SIZE = {"width": 250, "height": 230}


def gap_against_rank(summary: Summary) -> dict[str, Any] | None:
    """A panel a loss and training size: gap against rank, one line a mode; None with fewer than two ranks."""
    return _chart(summary, "rank", panel="n_train", panel_title="N", line="mode")


def gap_against_size(summary: Summary) -> dict[str, Any] | None:
    """A panel a loss and mode: gap against N, one line a rank; None with fewer than two sizes."""
    return _chart(summary, "n_train", panel="mode", panel_title="mode", line="rank")


def _chart(summary: Summary, axis: str, panel: str, panel_title: str, line: str) -> dict[str, Any] | None:
    cells = [cell for cell in summary.cells if cell.mode != ZERO_SHOT and cell.gaps["error"].mean > 0]
    xs = sorted({getattr(cell, axis) for cell in cells})
    if len(xs) < 2:
        return None
    rows = []
    for panel_value in sorted({getattr(cell, panel) for cell in cells}):
        here = [cell for cell in cells if getattr(cell, panel) == panel_value]
        for loss in LOSSES:
            rows.append(
                [_panel(here, axis, line, loss.column, f"gap in {loss.title}", f"{panel_title} = {panel_value}", xs)]
            )
    n_losses = len(LOSSES)
    grid = [alt.hconcat(*(p for [p] in rows[i : i + n_losses])) for i in range(0, len(rows), n_losses)]
    chart = alt.vconcat(*grid).configure_axis(gridColor="#eee", labelFontSize=11, titleFontSize=11)
    return dict(chart.configure_view(stroke="#ddd").to_dict())


def _panel(
    cells: list[Cell], axis: str, line: str, loss: str, title: str, subtitle: str, xs: list[int]
) -> alt.LayerChart:
    points = []
    for cell in cells:
        gap = cell.gaps[loss]
        if gap.mean > 0:
            low = max(gap.low, gap.mean / 10)  # a logarithmic axis has no zero; the table has the interval
            points.append(
                {"x": getattr(cell, axis), "line": str(getattr(cell, line)), "gap": gap.mean, "low": low,
                 "high": gap.high, "seeds": cell.n_seeds, "parameters": cell.n_params}
            )  # fmt: skip
    frame = pl.DataFrame(points)
    names = sorted(frame["line"].unique(), key=lambda name: (len(name), name)) if points else []
    colour = alt.Color("line:N", title=line.replace("n_train", "N"), sort=names)
    if line == "mode":
        colour = colour.scale(domain=names, range=[_COLOURS[name] for name in names])
    else:
        colour = colour.scale(scheme="viridis")
    x_title = "rank r" if axis == "rank" else "training examples N"
    x = alt.X("x:Q", title=x_title, axis=alt.Axis(values=xs, format="d")).scale(
        type="log", domain=[xs[0] / 1.15, xs[-1] * 1.15], nice=False
    )
    y = alt.Y("gap:Q", title=title).scale(type="log", nice=False)
    base = alt.Chart(frame).encode(x=x, color=colour)
    marks = base.mark_line(point=alt.OverlayMarkDef(size=45, filled=True)).encode(
        y=y, tooltip=["line:N", "x:Q", alt.Tooltip("gap:Q", format=".4f"), "parameters:Q", "seeds:Q"]
    )
    intervals = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    slope = WORST_CASE[axis]
    layers = [_reference(points, xs, slope, x_title, title), intervals, marks] if points else [marks]
    return alt.layer(*layers).properties(title=alt.Title(subtitle, fontSize=12, anchor="start"), **_SIZE)


def _reference(points: list[dict[str, Any]], xs: list[int], slope: float, x_title: str, title: str) -> alt.Chart:
    """The theory's slope, dashed, through the geometric mean of the points: a direction, not a bound."""
    at = math.exp(sum(math.log(p["x"]) for p in points) / len(points))
    level = math.exp(sum(math.log(p["gap"]) for p in points) / len(points))
    line = pl.DataFrame({"x": [xs[0], xs[-1]], "gap": [level * (x / at) ** slope for x in (xs[0], xs[-1])]})
    return (
        alt.Chart(line)
        .mark_line(strokeDash=[5, 4], color="#777")
        .encode(x=alt.X("x:Q", title=x_title), y=alt.Y("gap:Q", title=title))
    )
