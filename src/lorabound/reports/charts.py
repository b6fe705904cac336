"""Charts of sweeps: errors and gaps against rank, amount of data and mode.

A page holds one table of points and one specification for each chart ("error", "gap"), axis ("rank", "N", "mode") and
scale ("linear", "log"); ``explorer.js`` shows the one that a reader chooses, with the points of the chosen loss. What a
specification calls ``$loss`` is the title of that loss. Linear axes begin at zero. On logarithmic ones points that are
not positive have no place; the page counts and names them. Colours of text and grid are the page's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from lorabound.modes import MODES
from lorabound.reports.chart_specs import ONLY_WITH, SCHEMA, TITLES, Axis, Series, spec_of
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import WORST_CASE, Cell, Loss
from lorabound.sweeps.summary import Summary

# What each chart measures: fields of a point, and their names.
MEASURES = {"error": (("test", "test"), ("train", "training")), "gap": (("gap", "gap"),)}
# Points of a yardstick.
_STEPS = 33
# What the charts show, and what they do not.
_ERRORS = (
    "Filled points: test examples, with 95% intervals; open points, dashed lines: training examples of the same runs. "
    "{bare}Points are means over seeds and training samples. Touch or point at one for its numbers."
)
_BARE = "Dotted: test examples without an adapter. "
_GAPS = "Points are means over seeds and training samples, bars 95% intervals."
_SLOPE = (
    "Dashed: {slope}, the slope of the worst case of the theory, drawn through the middle of the points; a direction, "
    "not a bound."
)
_LOG = "On these axes a bar that reaches below a tenth of its mean is cut there."


def explorer(sweeps: Sequence[Series]) -> dict[str, Any] | None:
    """Points and specifications for ``explorer.js``; None where there are not two cells to compare.

    Args:
        sweeps: one sweep, or several with names, of the same losses.
    """
    losses = sweeps[0].summary.losses
    cells = [(one, cell) for one in sweeps for cell in one.summary.cells if cell.mode != ZERO_SHOT]
    values: dict[str, list[Any]] = {
        "rank": sorted({cell.rank for _, cell in cells}),
        "N": sorted({cell.n_train for _, cell in cells}),
        "mode": [mode for mode in MODES if any(cell.mode == mode for _, cell in cells)],
    }
    names = [axis for axis in values if len(values[axis]) > 1]
    if not names and len(sweeps) > 1 and cells:
        names = ["mode"]
    if not names:
        return None
    several = len(sweeps) > 1
    axes = [Axis(name=name, xs=values[name], cells=cells, several=several) for name in names]
    return {
        "rows": [*_points(cells, losses), *_yardsticks(axes, cells, losses)],
        "specs": {
            f"{measure}-{axis.name}-{scale}": spec_of(measure, axis, scale == "log")
            for measure, axis, scale in product(MEASURES, axes, ("linear", "log"))
        },
        "axes": [{"name": axis.name, "title": TITLES[axis.name], "panels": axis.panels} for axis in axes],
        "losses": [{"column": loss.column, "title": loss.title} for loss in losses],
        "measures": {measure: [list(field) for field in fields] for measure, fields in MEASURES.items()},
    }


def figure(summary: Summary) -> dict[str, Any] | None:
    """Error and gap against rank in one picture, in the loss that decides, on linear axes; None with one rank."""
    made = explorer([Series(name="", summary=summary)])
    if made is None or made["axes"][0]["name"] != "rank":
        return None
    loss = made["losses"][0]
    points = [r for r in made["rows"] if r["loss"] == loss["column"] and r.get("axis", "rank") == "rank"]
    charts = [_titled(made["specs"][f"{measure}-rank-linear"], loss["title"]) for measure in MEASURES]
    for chart in charts:
        needs = chart.pop("usermeta")["needs"]
        there = [any(field in point for point in points) for field in needs]
        layers = [layer for layer, drawn in zip(chart["spec"]["layer"], there, strict=True) if drawn]
        chart.pop("$schema")
        chart["columns"] = 3
        chart["spec"] |= {"width": 260, "layer": layers}
        for field, said in ONLY_WITH.items():
            if not any(field in point for point in points):
                chart["title"]["text"] = [line.replace(said, "") for line in chart["title"]["text"]]
    return {"$schema": SCHEMA, "datasets": {"points": points}, "vconcat": charts}


def chart_sentences(*summaries: Summary) -> dict[str, Any]:
    """What stands above the charts: of the errors, the gaps, the slopes by axis, and of logarithmic axes."""
    bare = _BARE if any(cell.mode == ZERO_SHOT for summary in summaries for cell in summary.cells) else ""
    slopes = {"rank": _SLOPE.format(slope="sqrt(r)"), "N": _SLOPE.format(slope="1/sqrt(N)"), "log": _LOG}
    return {"error": _ERRORS.format(bare=bare), "gap": _GAPS, "slopes": slopes, "log": _LOG}


def _points(cells: Sequence[tuple[Series, Cell]], losses: Sequence[Loss]) -> Iterator[dict[str, Any]]:
    """One point per cell and loss, with all the numbers that a touch shows."""
    series = {one.name: one for one, _ in cells}
    bare = {(name, cell.n_train): cell for name, one in series.items() for cell in _bare(one)}
    for (one, cell), loss in product(cells, losses):
        test, gap = cell.tests[loss.column], cell.gaps[loss.column]
        without = bare.get((one.name, cell.n_train))
        numbers = {
            "train": cell.train[loss.column],
            "test": test.mean,
            "test_low": max(test.low, 0.0),  # no loss lies below 0, no share above 1
            "test_high": test.high if loss.column == "ce" else min(test.high, 1.0),
            "gap": gap.mean,
            "gap_low": gap.low,
            "gap_high": gap.high,
        }
        if without is not None:
            numbers["bare"] = without.test[loss.column]
        if loss.column == cell.metric:
            numbers["limit"] = float(cell.holdout.value)
        yield {
            "kind": "cell",
            "loss": loss.column,
            **({"sweep": one.name} if len(series) > 1 else {}),
            "mode": cell.mode,
            "rank": cell.rank,
            "N": cell.n_train,
            **{name: float(f"{value:.6g}") for name, value in numbers.items()},
            "parameters": cell.n_params,
            "seeds": cell.n_seeds,
            "samples": cell.n_samples,
        }


def _bare(one: Series) -> list[Cell]:
    return [cell for cell in one.summary.cells if cell.mode == ZERO_SHOT]


def _yardsticks(
    axes: Sequence[Axis], cells: Sequence[tuple[Series, Cell]], losses: Iterable[Loss]
) -> Iterator[dict[str, Any]]:
    """The theory's slope in every panel, x^beta through the geometric mean of the positive gaps: no bound."""
    for axis, loss in product([axis for axis in axes if axis.name != "mode"], losses):
        slope = WORST_CASE["rank" if axis.name == "rank" else "n_train"]
        for panel in axis.panels:
            inside = [cell for _, cell in cells if axis.titled(axis.key(cell)) == panel]
            positive = [(axis.x(cell), gap) for cell in inside if (gap := cell.gaps[loss.column].mean) > 0]
            if len({axis.x(cell) for cell in inside}) < 2 or len(positive) < 2:
                continue
            middle = np.log(positive).mean(axis=0)
            for x in np.geomspace(axis.xs[0], axis.xs[-1], _STEPS):
                y = float(f"{math.exp(float(middle[1] + slope * (math.log(x) - middle[0]))):.6g}")
                place = {"x": float(f"{x:.6g}"), "y": y}
                yield {"kind": "yard", "axis": axis.name, "loss": loss.column, "panel": panel, **place}


def _titled(part: Any, title: str) -> Any:
    """A part of a specification with the title of its loss."""
    if isinstance(part, dict):
        return {name: _titled(value, title) for name, value in part.items()}
    if isinstance(part, list):
        return [_titled(value, title) for value in part]
    return part.replace("$loss", title) if isinstance(part, str) else part
