"""Colours of charts, by day and by night."""

from __future__ import annotations

from lorabound.modes import MODES

COLOURS = ("#1b6ca8", "#5a9e4b", "#d1622b", "#7b5ea7", "#b8860b", "#2a9d8f", "#c2577f", "#6b7280")
_DARK = ("#5fb0ea", "#86cf74", "#f08d57", "#ab8fd8", "#e0b040", "#4fc9b9", "#ec8fb3", "#a7b0bd")
# The first colours of the list, in the order of the table of modes; the others wait for modes to come.
MODE_COLOURS: dict[str, str] = dict(zip(MODES, COLOURS, strict=False))
# The same on a dark page, where they would hardly be seen.
DARK_COLOURS: dict[str, str] = dict(zip(COLOURS, _DARK, strict=True))
# Most sweeps that one page can tell apart by colour.
MOST_SWEEPS = len(COLOURS)
