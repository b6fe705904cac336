"""The figure, against rank on the left and against N on the right: worst cases by family, trained gaps, single runs.

All axes but that of single runs are logarithmic.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from lorabound.paper.make import Evidence
from lorabound.reports.colours import MODE_COLOURS
from lorabound.sweeps.cells import LOSSES
from lorabound.worst_case.measured.family import TRIVIAL, About

_SERIES = {
    "upper bound": "#b03a2e",
    "exact": "#222222",
    "measured": "#1b6ca8",
    **MODE_COLOURS,
    "slope": "#999999",
}
_RISK = next(loss for loss in LOSSES if loss.column == "risk")
PlotRow = tuple[float, str, float, float, float]
_SCHEMA = {"x": pl.Float64, "what": pl.String, "y": pl.Float64, "low": pl.Float64, "high": pl.Float64}


def paper_figure(evidence: Evidence) -> dict[str, Any]:
    """The Vega-Lite specification of the whole figure."""
    rows = [
        *(
            alt.hconcat(_worst(evidence, about, "rank"), _worst(evidence, about, "n_train"))
            for about in evidence.families
        ),
        alt.hconcat(_trained(evidence, "rank"), _trained(evidence, "n_train")),
        _spread(evidence),
    ]
    chart = alt.vconcat(*rows).resolve_scale(color="independent").configure_view(stroke="#ddd")
    return dict(chart.configure_axis(gridColor="#eee").to_dict())


def _worst(evidence: Evidence, about: About, axis: str) -> alt.LayerChart:
    """Complexity of the worst case: measured, exact where it is known, and the bound where it says something."""
    rows = [row for row in evidence.complexity.rows if row.family == about.name]
    other = "n_train" if axis == "rank" else "rank"
    fixed = max(getattr(row, other) for row in rows)
    points: list[PlotRow] = []
    for row in rows:
        if getattr(row, other) == fixed:
            x = float(getattr(row, axis))
            points.append((x, "measured", row.mean, max(row.low, row.mean / 10), row.high))
            if row.exact is not None:
                points.append((x, "exact", row.exact, row.exact, row.exact))
            if row.upper < TRIVIAL:
                points.append((x, "upper bound", row.upper, row.upper, row.upper))
    names = ["upper bound", "measured"] if rows[0].exact is None else ["upper bound", "exact", "measured"]
    fixed_at = f"{'N' if axis == 'rank' else 'r'} = {fixed}"
    return _panel(points, names, axis, f"{about.title}, {fixed_at}", "Rademacher complexity")


def _trained(evidence: Evidence, axis: str) -> alt.LayerChart:
    """Gaps of trained adapters of the sentence encoder, in the loss 1 - p(correct)."""
    cells = [cell for cell in evidence.trained.cells if cell.rank]
    other = "n_train" if axis == "rank" else "rank"
    fixed = max(getattr(cell, other) for cell in cells)
    points: list[PlotRow] = []
    for cell in cells:
        gap = cell.gaps[_RISK.column]
        if getattr(cell, other) == fixed and gap.mean > 0:
            points.append((float(getattr(cell, axis)), cell.mode, gap.mean, max(gap.low, gap.mean / 10), gap.high))
    fixed_at = f"{'N' if axis == 'rank' else 'r'} = {fixed}"
    names = [name for name in _SERIES if name in {cell.mode for cell in cells}]
    return _panel(points, names, axis, f"Trained adapters of MiniLM, {fixed_at}", f"gap in {_RISK.title}")


def _panel(points: list[PlotRow], names: list[str], axis: str, title: str, y_title: str) -> alt.LayerChart:
    """One panel; panels of one row have the same ``names``, and so one legend."""
    slope = 0.5 if axis == "rank" else -0.5
    table = pl.DataFrame(points, _SCHEMA, orient="row")
    xs = sorted(set(table["x"]))
    middle, level = table.select(pl.col("x", "y").log().mean().exp()).row(0)
    ends = pl.DataFrame({"x": [xs[0], xs[-1]]}).with_columns(y=level * (pl.col("x") / middle).pow(slope))
    colour = alt.Color("what:N", title=None, sort=names).scale(domain=names, range=[_SERIES[name] for name in names])
    x = alt.X("x:Q", title="rank r" if axis == "rank" else "examples N", axis=alt.Axis(values=xs, format="d")).scale(
        type="log", domain=[xs[0] / 1.15, xs[-1] * 1.15], nice=False
    )
    y = alt.Y("y:Q", title=y_title).scale(type="log", nice=False)
    base = alt.Chart(table).encode(x=x, color=colour)
    return alt.layer(
        alt.Chart(ends).mark_line(strokeDash=[5, 4], color=_SERIES["slope"]).encode(x=x, y=y),
        base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q"),
        base.mark_line(point=alt.OverlayMarkDef(size=40, filled=True)).encode(y=y),
    ).properties(title=alt.Title(title, fontSize=12, anchor="start"), width=330, height=200)


def _spread(evidence: Evidence) -> alt.LayerChart:
    """Every single run's gap, and the mean of its mode."""
    rows = [(mode, gap) for mode, gaps in evidence.gaps.items() for gap in gaps]
    table = pl.DataFrame(rows, {"mode": pl.String, "gap": pl.Float64}, orient="row")
    names = list(evidence.gaps)
    colour = alt.Color("mode:N", legend=None).scale(domain=names, range=[_SERIES[name] for name in names])
    base = alt.Chart(table).encode(y=alt.Y("mode:N", title=None), color=colour)
    runs = base.mark_tick(opacity=0.5).encode(x=alt.X("gap:Q", title="gap in 0-1 error of one run").scale(zero=False))
    means = base.mark_point(filled=True, size=70, color="#222").encode(x="mean(gap):Q")
    return alt.layer(runs, means).properties(
        title=alt.Title("Single runs: draws of A x draws of the sample", fontSize=12, anchor="start"),
        width=740,
        height=90,
    )
