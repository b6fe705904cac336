"""Charts of sweeps as Vega-Lite specifications: errors and gaps against rank, amount of data and mode.

A page holds one table of points and one specification for each chart ("error", "gap"), axis ("rank", "N", "mode") and
scale ("linear", "log"); ``explorer.js`` shows the one that a reader chooses, with the points of the chosen loss. What a
specification calls ``$loss`` is the title of that loss. Linear axes begin at zero. On logarithmic ones points that are
not positive have no place; the page counts and names them. Colours of text and grid are the page's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from lorabound.modes import MODES
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import WORST_CASE, Cell, Loss
from lorabound.sweeps.summary import Summary

_COLOURS = ("#1b6ca8", "#5a9e4b", "#d1622b", "#7b5ea7", "#b8860b", "#2a9d8f", "#c2577f", "#6b7280")
_DARK = ("#5fb0ea", "#86cf74", "#f08d57", "#ab8fd8", "#e0b040", "#4fc9b9", "#ec8fb3", "#a7b0bd")
# The first colours of the list, in the order of the table of modes; the others wait for modes to come.
MODE_COLOURS: dict[str, str] = dict(zip(MODES, _COLOURS, strict=False))
# The same on a dark page, where they would hardly be seen.
DARK_COLOURS: dict[str, str] = dict(zip(_COLOURS, _DARK, strict=True))
# Most sweeps that one page can tell apart by colour.
MOST_SWEEPS = len(_COLOURS)

# What each chart measures: fields of a point, and their names.
MEASURES = {"error": (("test", "test"), ("train", "training")), "gap": (("gap", "gap"),)}
_TITLES = {"rank": "rank", "N": "training examples N", "mode": "mode"}
# What stands on a chart itself, so that a saved picture explains its marks.
_KEYS = {
    "error": ["filled, solid: test; open, dashed: training", "bars: 95% intervals; dotted: without an adapter"],
    "gap": ["bars: 95% intervals; grey, dashed: slope of the worst case"],
}
# Parts of it that hold only where some point has this field.
_ONLY_WITH = {"bare": "; dotted: without an adapter", "y": "; grey, dashed: slope of the worst case"}
# Points of a yardstick, and how far beside its middle a bar may reach on a logarithmic axis.
_STEPS, _CUT = 33, 10

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


@dataclass(frozen=True, kw_only=True)
class Series:
    """One sweep on a chart.

    Attributes:
        name: name in the legend; "" where a page has one sweep, whose lines are modes or ranks.
        summary: the sweep.
    """

    name: str
    summary: Summary


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
    axes = [_Axis(name=name, xs=values[name], cells=cells, several=several) for name in names]
    return {
        "rows": [*_points(cells, losses), *_yardsticks(axes, cells, losses)],
        "specs": {
            f"{measure}-{axis.name}-{scale}": _spec(measure, axis, scale == "log")
            for measure, axis, scale in product(MEASURES, axes, ("linear", "log"))
        },
        "axes": [{"name": axis.name, "title": _TITLES[axis.name], "panels": axis.panels} for axis in axes],
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
        for field, said in _ONLY_WITH.items():
            if not any(field in point for point in points):
                chart["title"]["text"] = [line.replace(said, "") for line in chart["title"]["text"]]
    return {"$schema": _SCHEMA, "datasets": {"points": points}, "vconcat": charts}


def chart_sentences(*summaries: Summary) -> dict[str, Any]:
    """What stands above the charts: of the errors, the gaps, the slopes by axis, and of logarithmic axes."""
    bare = _BARE if any(cell.mode == ZERO_SHOT for summary in summaries for cell in summary.cells) else ""
    slopes = {"rank": _SLOPE.format(slope="sqrt(r)"), "N": _SLOPE.format(slope="1/sqrt(N)"), "log": _LOG}
    return {"error": _ERRORS.format(bare=bare), "gap": _GAPS, "slopes": slopes, "log": _LOG}


class _Axis:
    """One axis of a chart: its values, and the panels and lines that the cells fall into.

    Against rank a panel is a training size and a line a mode; against N a panel is a mode and a line a rank; against
    the mode a panel is a training size and the points are ranks. With several sweeps a line is a sweep, and a panel
    holds fixed whatever else varies.
    """

    def __init__(self, *, name: str, xs: list[Any], cells: Sequence[tuple[Series, Cell]], several: bool) -> None:
        self.name, self.xs, self.several = name, xs, several
        keys = sorted({self.key(cell) for _, cell in cells}, key=lambda key: tuple((len(str(k)), str(k)) for k in key))
        self.panels = [self.titled(key) for key in keys]
        self.line = "sweep" if several else "mode" if name == "rank" else "rank"
        lines = dict.fromkeys(str(_line(one, cell, self.line)) for one, cell in cells)
        self.lines = list(lines) if several else sorted(lines, key=lambda line: (len(line), line))
        if self.line == "mode":
            self.lines = [mode for mode in MODES if mode in lines]

    def key(self, cell: Cell) -> tuple[Any, ...]:
        """What the panel of a cell holds fixed."""
        if self.name == "rank":
            return (cell.mode, cell.n_train) if self.several else (cell.n_train,)
        if self.name == "N":
            return (cell.mode, cell.rank) if self.several else (cell.mode,)
        return (cell.rank, cell.n_train) if self.several else (cell.n_train,)

    def titled(self, key: tuple[Any, ...]) -> str:
        """The title of a panel."""
        own = {"rank": ("N",), "N": ("mode",), "mode": ("N",)}
        every = {"rank": ("mode", "N"), "N": ("mode", "rank"), "mode": ("rank", "N")}
        fixed: tuple[str, ...] = (every if self.several else own)[self.name]
        return ", ".join(
            str(value) if name == "mode" else f"{name} = {value:,}" for name, value in zip(fixed, key, strict=True)
        )

    def x(self, cell: Cell) -> Any:
        """Place of a cell on the axis."""
        return {"rank": cell.rank, "N": cell.n_train, "mode": cell.mode}[self.name]


def _line(one: Series, cell: Cell, line: str) -> Any:
    return {"sweep": one.name, "mode": cell.mode, "rank": cell.rank}[line]


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
            "test_low": test.low,
            "test_high": test.high,
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
    axes: Sequence[_Axis], cells: Sequence[tuple[Series, Cell]], losses: Iterable[Loss]
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


_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def _titled(part: Any, title: str) -> Any:
    """A part of a specification with the title of its loss."""
    if isinstance(part, dict):
        return {name: _titled(value, title) for name, value in part.items()}
    if isinstance(part, list):
        return [_titled(value, title) for value in part]
    return part.replace("$loss", title) if isinstance(part, str) else part


def _panel_words(axis: _Axis) -> str:
    """Vega's expression for the panel of a point, as :meth:`_Axis.titled`."""
    n, rank = "'N = ' + format(datum.N, ',')", "'rank = ' + datum.rank"
    one, several = {
        "rank": (n, f"datum.mode + ', ' + {n}"),
        "N": ("datum.mode", f"datum.mode + ', ' + {rank}"),
        "mode": (n, f"{rank} + ', ' + {n}"),
    }[axis.name]
    return f"datum.kind == 'yard' ? datum.panel : {several if axis.several else one}"


def _spec(measure: str, axis: _Axis, log: bool) -> dict[str, Any]:
    """Vega-Lite of one chart, axis and scale; ``explorer.js`` sets columns and widths, and drops the layers whose field
    (``needs``) no point has."""
    layers = _errors(axis, log) if measure == "error" else _gaps(axis, log)
    return {
        "$schema": _SCHEMA,
        "usermeta": {"needs": [field for field, _ in layers], "only_with": _ONLY_WITH},
        "data": {"name": "points"},
        "title": {"text": _KEYS[measure], "anchor": "start", "fontSize": 11, "fontWeight": "normal", "offset": 12},
        "transform": [
            {"calculate": _panel_words(axis), "as": "panel"},
            *({"calculate": _interval(name), "as": f"{name}_interval"} for name in ("test", "gap")),
        ],
        "facet": {"field": "panel", "type": "nominal", "sort": axis.panels, "title": None},
        "columns": 1,
        "spec": {"width": 300, "height": 250, "layer": [layer for _, layer in layers]},
    }


def _interval(name: str) -> str:
    """Vega's expression for an interval in words."""
    return f"format(datum.{name}_low, '.4f') + ' to ' + format(datum.{name}_high, '.4f')"


def _errors(axis: _Axis, log: bool) -> list[tuple[str, dict[str, Any]]]:
    """Test errors filled and joined, with intervals; training errors open and dashed; the bare model dotted."""
    y = {"type": "quantitative", "title": "$loss", "scale": _scale(log)}
    base = {"x": _x(axis, log), "color": _colour(axis)} | _offset(axis)
    told = {"tooltip": _tooltip(axis)}
    bars = {"y": y | {"field": "test_low"}, "y2": {"field": "test_high"}}
    dotted = {
        "transform": [_only("cell"), *_above(log, "bare")],
        "mark": {"type": "rule", "strokeDash": [1, 4], "strokeWidth": 1.5},
        "encoding": {
            "y": y | {"field": "bare", "aggregate": "mean"},
            "color": _colour(axis) if axis.several else {"value": "#777"},
        },
    }
    layers = [("bare", dotted), ("test", _bars(log, "test", base | bars))]
    if axis.name != "mode":
        layers += [
            ("test", _joined(log, "test", [1, 0], base, y)),
            ("train", _joined(log, "train", [5, 4], base, y)),
        ]
    return [
        *layers,
        ("train", _dots(log, "train", base | told, y, filled=False)),
        ("test", _dots(log, "test", base | told, y, filled=True)),
    ]


def _gaps(axis: _Axis, log: bool) -> list[tuple[str, dict[str, Any]]]:
    """Gaps with intervals, and the theory's slope dashed."""
    y = {"type": "quantitative", "title": "gap in $loss", "scale": _scale(log)}
    base = {"x": _x(axis, log), "color": _colour(axis)} | _offset(axis)
    bars = {"y": y | {"field": "gap_low"}, "y2": {"field": "gap_high"}}
    layers: list[tuple[str, dict[str, Any]]] = []
    if axis.name != "mode":
        dashed = {
            "transform": [_only("yard")],
            "mark": {"type": "line", "strokeDash": [6, 4], "strokeWidth": 1.5},
            "encoding": {"x": _x(axis, log) | {"field": "x"}, "y": y | {"field": "y"}, "color": {"value": "#777"}},
        }
        layers.append(("y", dashed))
    layers.append(("gap", _bars(log, "gap", base | bars)))
    if axis.name != "mode":
        layers.append(("gap", _joined(log, "gap", [1, 0], base, y)))
    return [*layers, ("gap", _dots(log, "gap", base | {"tooltip": _tooltip(axis)}, y, filled=True))]


def _only(kind: str) -> dict[str, str]:
    return {"filter": f"datum.kind == '{kind}'"}


def _above(log: bool, field: str) -> list[dict[str, str]]:
    """What a logarithmic axis has a place for."""
    return [{"filter": f"datum.{field} > 0"}] if log else []


def _bars(log: bool, field: str, encoding: dict[str, Any]) -> dict[str, Any]:
    """Intervals; on a logarithmic axis they are cut at a tenth of their mean."""
    low = f"{field}_low"
    cut = [{"calculate": f"max(datum.{low}, datum.{field} / {_CUT})", "as": low}] if log else []
    return {
        "transform": [_only("cell"), *_above(log, field), *cut],
        "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.65},
        "encoding": encoding,
    }


def _joined(log: bool, field: str, dash: list[int], base: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "transform": [_only("cell"), *_above(log, field)],
        "mark": {"type": "line", "strokeDash": dash, "strokeWidth": 2 if dash[1] == 0 else 1.3},
        "encoding": base | {"y": y | {"field": field}},
    }


def _dots(log: bool, field: str, base: dict[str, Any], y: dict[str, Any], *, filled: bool) -> dict[str, Any]:
    return {
        "transform": [_only("cell"), *_above(log, field)],
        "mark": {"type": "point", "filled": filled, "size": 55 if filled else 40, "opacity": 1},
        "encoding": base | {"y": y | {"field": field}},
    }


def _scale(log: bool) -> dict[str, Any]:
    return {"type": "log", "nice": False} if log else {"zero": True, "nice": True}


def _x(axis: _Axis, log: bool) -> dict[str, Any]:
    title = _TITLES[axis.name]
    if axis.name == "mode":
        return {"field": "mode", "type": "nominal", "title": None, "sort": axis.xs, "axis": {"labelAngle": 0}}
    place = {"domain": [axis.xs[0] / 1.15, axis.xs[-1] * 1.15]} if log else {"domain": [0, axis.xs[-1] * 1.05]}
    return {
        "field": axis.name,
        "type": "quantitative",
        "title": title,
        "axis": {"values": axis.xs, "format": ",d", "labelOverlap": "greedy"},
        "scale": {"type": "log" if log else "linear", "nice": False, **place},
    }


def _offset(axis: _Axis) -> dict[str, Any]:
    """Points of one mode stand side by side."""
    return {"xOffset": {"field": axis.line, "sort": axis.lines}} if axis.name == "mode" else {}


def _colour(axis: _Axis) -> dict[str, Any]:
    """Modes in the colours they have everywhere, sweeps in the order they were named, ranks from dark to light."""
    scale: dict[str, Any] = {"domain": axis.lines}
    if axis.line == "mode":
        scale["range"] = [MODE_COLOURS[name] for name in axis.lines]
    elif axis.line == "sweep":
        scale["range"] = list(_COLOURS[: len(axis.lines)])
    else:
        scale |= {"domain": [int(line) for line in axis.lines], "scheme": {"name": "viridis", "extent": [0.1, 0.85]}}
    legend = {"orient": "top", "direction": "horizontal", "columns": 4, "symbolType": "circle", "symbolStrokeWidth": 3}
    kind = "ordinal" if axis.line == "rank" else "nominal"
    return {"field": axis.line, "type": kind, "title": axis.line, "scale": scale, "legend": legend, "sort": None}


def _tooltip(axis: _Axis) -> list[dict[str, Any]]:
    """All numbers of a cell."""
    first = [{"field": "sweep", "title": "sweep"}] if axis.several else []
    numbers = (("train", "training $loss", ".4f"), ("test", "test $loss", ".4f"))
    return [
        *first,
        {"field": "mode", "title": "mode"},
        {"field": "rank", "title": "rank"},
        {"field": "N", "title": "training examples N", "format": ","},
        *({"field": field, "title": title, "format": form} for field, title, form in numbers),
        {"field": "test_interval", "title": "its 95% interval"},
        {"field": "gap", "title": "gap (test - training)", "format": "+.4f"},
        {"field": "gap_interval", "title": "its 95% interval "},
        {"field": "bare", "title": "without an adapter", "format": ".4f"},
        {"field": "limit", "title": "on new data at most (95%)", "format": ".4f"},
        {"field": "parameters", "title": "trained parameters", "format": ","},
        {"field": "seeds", "title": "seeds"},
        {"field": "samples", "title": "training samples"},
    ]
