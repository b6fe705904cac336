"""Charts of a sweep as Vega-Lite specifications: the gap against rank, and against the amount of data."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from lorabound.modes import MODES
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import WORST_CASE, Cell, Loss
from lorabound.sweeps.summary import Summary

# The first colours of the list, in the order of the table of modes; the others wait for modes to come.
MODE_COLOURS: dict[str, str] = dict(
    zip(MODES, ("#1b6ca8", "#5a9e4b", "#d1622b", "#7b5ea7", "#b8860b", "#2a9d8f"), strict=False)
)
# The same on a dark page, where they would hardly be seen.
DARK_COLOURS: dict[str, str] = dict(
    zip(MODE_COLOURS.values(), ("#5fb0ea", "#86cf74", "#f08d57", "#ab8fd8", "#e0b040", "#4fc9b9"), strict=False)
)


def gap_against_rank(summary: Summary) -> dict[str, Any] | None:
    """One panel per loss and training size: gap against rank, one line per mode; None with fewer than two ranks."""
    return _chart(summary, "rank", panel="n_train", panel_title="N", line="mode")


def gap_against_size(summary: Summary) -> dict[str, Any] | None:
    """One panel per loss and mode: gap against N, one line per rank; None with fewer than two sizes."""
    return _chart(summary, "n_train", panel="mode", panel_title="mode", line="rank")


def _chart(summary: Summary, axis: str, panel: str, panel_title: str, line: str) -> dict[str, Any] | None:
    cells = [cell for cell in summary.cells if cell.mode != ZERO_SHOT]
    xs = sorted({getattr(cell, axis) for cell in cells})
    if len(xs) < 2:
        return None
    rows = []
    for value in sorted({getattr(cell, panel) for cell in cells}):
        in_panel = [cell for cell in cells if getattr(cell, panel) == value]
        three = [loss for loss in summary.losses if loss.column in (summary.losses[0].column, "risk", "ce")]
        panels = [_panel(in_panel, axis, line, loss, f"{panel_title} = {value}", xs) for loss in three]
        rows.append(alt.hconcat(*panels))
    chart = alt.vconcat(*rows).configure_axis(gridColor="#eee", labelFontSize=11, titleFontSize=11)
    return dict(chart.configure_view(stroke="#ddd").to_dict())


def _panel(cells: list[Cell], axis: str, line: str, loss: Loss, title: str, xs: list[int]) -> alt.LayerChart:
    points = _points(cells, axis, line, loss)
    title = title if points.height else f"{title}: no positive gap"
    names = sorted({str(getattr(cell, line)) for cell in cells}, key=lambda name: (len(name), name))
    colour = alt.Color("line:N", title=line, sort=names)
    if line == "mode":
        colour = colour.scale(domain=names, range=[MODE_COLOURS[name] for name in names])
    else:
        colour = colour.scale(domain=names, scheme="viridis")
    x_title = "rank r" if axis == "rank" else "training examples N"
    x = alt.X("x:Q", title=x_title, axis=alt.Axis(values=xs, format="d")).scale(
        type="log", domain=[xs[0] / 1.15, xs[-1] * 1.15], nice=False
    )
    y_title = f"gap in {loss.title}"
    base = alt.Chart(points).encode(x=x, color=colour)
    intervals = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q")
    means = base.mark_line(point=alt.OverlayMarkDef(size=45, filled=True)).encode(
        y=alt.Y("gap:Q", title=y_title).scale(type="log", nice=False),
        tooltip=["line:N", "x:Q", alt.Tooltip("gap:Q", format=".4f"), "parameters:Q", "seeds:Q"],
    )
    reference = _reference(points, xs, WORST_CASE[axis]).encode(
        x=alt.X("x:Q", title=x_title), y=alt.Y("gap:Q", title=y_title)
    )
    return alt.layer(reference, intervals, means).properties(
        title=alt.Title(title, fontSize=12, anchor="start"), width=250, height=230
    )


def _points(cells: list[Cell], axis: str, line: str, loss: Loss) -> pl.DataFrame:
    """Cells whose gap has a place on a logarithmic axis; bars that reach below a tenth of their mean are cut there."""
    points = [
        (
            getattr(cell, axis),
            str(getattr(cell, line)),
            gap.mean,
            max(gap.low, gap.mean / 10),
            gap.high,
            cell.n_seeds,
            cell.n_params,
        )
        for cell in cells
        if (gap := cell.gaps[loss.column]).mean > 0
    ]
    schema = {
        "x": pl.Int64,
        "line": pl.String,
        "gap": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "seeds": pl.Int64,
        "parameters": pl.Int64,
    }
    return pl.DataFrame(points, schema, orient="row")


def _reference(points: pl.DataFrame, xs: list[int], slope: float) -> alt.Chart:
    """The theory's slope, dashed, through the geometric mean of the points: a direction, not a bound."""
    ends = pl.DataFrame({"x": [float(xs[0]), float(xs[-1])]})
    if points.height > 1:
        centre = points.select(pl.col("x", "gap").log().mean().exp())
        x, gap = centre.row(0)
        ends = ends.with_columns(gap=gap * (pl.col("x") / x).pow(slope))
    return alt.Chart(ends).mark_line(strokeDash=[5, 4], color="#777")
