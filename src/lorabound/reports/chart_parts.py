"""What charts made with Altair have in common: the colour of a mode, shades of ranks, axes, legends, one size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from lorabound.modes import MODES
from lorabound.reports.colours import MODE_COLOURS

# Of what a legend shows where colour says something else.
GREY = "#808893"
# Of a chart with lines, in pixels.
HEIGHT = 360


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


def colour_of_mode(there: Collection[str]) -> alt.Color:
    """The colour of the mode, as on every page."""
    names = [mode for mode in MODES if mode in there]
    legend = alt.Legend(title=None, orient="top", symbolOpacity=1, symbolType="circle", symbolStrokeWidth=0)
    return alt.Color("mode:N", title=None, sort=names, legend=legend).scale(
        domain=names, range=[MODE_COLOURS[mode] for mode in names]
    )


def shade_of_rank(there: Collection[int], palest: float) -> alt.Opacity:
    """The higher the rank, the darker; one rank needs no legend.

    Args:
        there: ranks of the chart.
        palest: opacity of the lowest one.
    """
    ranks, several = sorted(set(there)), len(set(there)) > 1
    legend = alt.Legend(
        title="rank",
        titleOrient="left",
        orient="top",
        values=ranks,
        columns=6,
        symbolType="circle",
        symbolFillColor=GREY,
        symbolStrokeColor=GREY,  # of marks that are open
        symbolStrokeWidth=3,
    )
    return alt.Opacity("rank:Q", legend=legend if several else None).scale(
        type="log" if several else "linear", domain=[ranks[0], ranks[-1]], range=[palest, 1.0]
    )


def ticks(values: Sequence[float]) -> alt.Axis:
    """An axis with these values, those left out that would touch."""
    return alt.Axis(values=list(values), format=",d", labelOverlap="greedy")


def whole(drawn: Any, height: int) -> dict[str, Any]:
    """The specification of a chart as wide as the page."""
    return dict(drawn.properties(width="container", height=height).to_dict())


def rank_axis(there: pl.Series) -> alt.X:
    """The axis of these ranks, logarithmic."""
    return _logarithmic("rank r (logarithmic)", there)


def size_axis(there: pl.Series) -> alt.X:
    """The axis of these training sizes, logarithmic."""
    return _logarithmic("training examples N (logarithmic)", there)


def _logarithmic(title: str, there: pl.Series) -> alt.X:
    values = sorted(set(there))
    ends = [values[0] / 1.15, values[-1] * 1.15]
    return alt.X(f"{there.name}:Q", title=title, axis=ticks(values)).scale(type="log", domain=ends, nice=False)


def legend_above() -> alt.Legend:
    """A legend above the chart, its marks in full colour."""
    return alt.Legend(title=None, orient="top", symbolOpacity=1, symbolStrokeWidth=2)
