"""Vega-Lite specifications of the charts of sweeps: axes, panels, layers, what a touch shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorabound.modes import MODES
from lorabound.reports.colours import COLOURS, MODE_COLOURS
from lorabound.sweeps.cells import Cell
from lorabound.sweeps.summary import Summary

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
TITLES = {"rank": "rank", "N": "training examples N", "mode": "mode"}
# What stands on a chart itself, so that a saved picture explains its marks.
_KEYS = {
    "error": ["filled, solid: test; open, dashed: training", "bars: 95% intervals; dotted: without an adapter"],
    "gap": ["bars: 95% intervals; grey, dashed: slope of the worst case"],
}
# Parts of it that hold only where some point has this field.
ONLY_WITH = {"bare": "; dotted: without an adapter", "y": "; grey, dashed: slope of the worst case"}
# How far below its middle a bar may reach on a logarithmic axis.
_CUT = 10


@dataclass(frozen=True, kw_only=True)
class Series:
    """One sweep on a chart.

    Attributes:
        name: name in the legend; "" where a page has one sweep, whose lines are modes or ranks.
        summary: the sweep.
    """

    name: str
    summary: Summary


class Axis:
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


def _panel_words(axis: Axis) -> str:
    """Vega's expression for the panel of a point, as :meth:`Axis.titled`."""
    n, rank = "'N = ' + format(datum.N, ',')", "'rank = ' + datum.rank"
    one, several = {
        "rank": (n, f"datum.mode + ', ' + {n}"),
        "N": ("datum.mode", f"datum.mode + ', ' + {rank}"),
        "mode": (n, f"{rank} + ', ' + {n}"),
    }[axis.name]
    return f"datum.kind == 'yard' ? datum.panel : {several if axis.several else one}"


def spec_of(measure: str, axis: Axis, log: bool) -> dict[str, Any]:
    """Vega-Lite of one chart, axis and scale; ``explorer.js`` sets columns and widths, and drops the layers whose field
    (``needs``) no point has."""
    layers = _errors(axis, log) if measure == "error" else _gaps(axis, log)
    return {
        "$schema": SCHEMA,
        "usermeta": {"needs": [field for field, _ in layers], "only_with": ONLY_WITH},
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


def _errors(axis: Axis, log: bool) -> list[tuple[str, dict[str, Any]]]:
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


def _gaps(axis: Axis, log: bool) -> list[tuple[str, dict[str, Any]]]:
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


def _x(axis: Axis, log: bool) -> dict[str, Any]:
    title = TITLES[axis.name]
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


def _offset(axis: Axis) -> dict[str, Any]:
    """Points of one mode stand side by side."""
    return {"xOffset": {"field": axis.line, "sort": axis.lines}} if axis.name == "mode" else {}


def _colour(axis: Axis) -> dict[str, Any]:
    """Modes in the colours they have everywhere, sweeps in the order they were named, ranks from dark to light."""
    scale: dict[str, Any] = {"domain": axis.lines}
    if axis.line == "mode":
        scale["range"] = [MODE_COLOURS[name] for name in axis.lines]
    elif axis.line == "sweep":
        scale["range"] = list(COLOURS[: len(axis.lines)])
    else:
        scale |= {"domain": [int(line) for line in axis.lines], "scheme": {"name": "viridis", "extent": [0.1, 0.85]}}
    legend = {"orient": "top", "direction": "horizontal", "columns": 4, "symbolType": "circle"}
    legend |= {"symbolStrokeWidth": 3, "symbolOpacity": 1}
    kind = "ordinal" if axis.line == "rank" else "nominal"
    return {"field": axis.line, "type": kind, "title": axis.line, "scale": scale, "legend": legend, "sort": None}


def _tooltip(axis: Axis) -> list[dict[str, Any]]:
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
