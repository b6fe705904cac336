"""Sentences on what a model made of its examples and on time, for stores, tables and pages, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from lorabound.models.locate import NO_LIMIT


def cut_note(cut: Mapping[str, Any]) -> str | None:
    """How many texts were cut, at how many tokens, and whether --max-length can mend it; None where none was.

    Args:
        cut: ``test`` and ``train``: [cut, all] texts; ``max_tokens``: tokens that are kept; ``model_tokens``: tokens
            that the model could take; ``by``: what sets those; ``end``: whether texts lose their end.
    """
    words = {"test": "test", "train": "training"}
    parts = [f"{cut[name][0]:,} of {cut[name][1]:,} {word} texts" for name, word in words.items() if cut[name][0]]
    if not parts:
        return None
    kept, most = cut["max_tokens"], cut["model_tokens"]
    if kept < most:
        remedy = "raise max_length (--max-length)" + (f", up to {most:,}" if most < NO_LIMIT else "")
    else:
        remedy = f"the model takes no more ({cut['by']})"
    lost = "end" if cut["end"] else "beginning"
    return f"{' and '.join(parts)} are longer than {kept:,} tokens and lost their {lost}: {remedy}."


def about_time(seconds: float) -> str:
    """ "about 40 seconds", "about 12 minutes", "about 3 hours", "about 5 days": in the unit that fits."""
    if seconds < 5:
        return "a few seconds"
    units = ((90.0, "seconds", 1.0), (5400.0, "minutes", 60.0), (172_800.0, "hours", 3600.0), (inf, "days", 86_400.0))
    unit, size = next((unit, size) for limit, unit, size in units if seconds < limit)
    count = seconds / size
    rounded = 5 * round(count / 5) if unit == "seconds" or count >= 20 else round(count)
    return f"about {rounded:,} {unit}"
