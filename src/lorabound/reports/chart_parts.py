"""What charts made with Altair have in common: the colour of a mode, shades of ranks, ticks, one size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import altair as alt

from lorabound.modes import MODES
from lorabound.reports.colours import MODE_COLOURS

# Of what a legend shows where colour says something else.
GREY = "#808893"


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
