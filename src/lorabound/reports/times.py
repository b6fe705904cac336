"""Times in words."""

from __future__ import annotations

from math import inf


def about_time(seconds: float) -> str:
    """ "about 40 seconds", "about 12 minutes", "about 3 hours", "about 5 days": in the unit that fits."""
    if seconds < 5:
        return "a few seconds"
    units = ((90.0, "seconds", 1.0), (5400.0, "minutes", 60.0), (172_800.0, "hours", 3600.0), (inf, "days", 86_400.0))
    unit, size = next((unit, size) for limit, unit, size in units if seconds < limit)
    count = seconds / size
    rounded = 5 * round(count / 5) if unit == "seconds" or count >= 20 else round(count)
    return f"about {rounded:,} {unit}"
