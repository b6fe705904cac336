"""Phrases of the messages about data: they stay short, whatever a file holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LONGEST = 400


def counted(n: int, one: str) -> str:
    """ "1 row", "2 rows", "2 classes"."""
    return f"{n:,} {one}{'' if n == 1 else 'es' if one.endswith('s') else 's'}"


def short(text: str, longest: int = 30) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def quoted(value: object, longest: int = 40) -> str:
    """A value between quotes on one line, cut where it is long."""
    written = repr(value)
    return written if len(written) <= longest else f"{written[: longest - 4]}...{written[-1]}"


def listed(values: Iterable[object], most: int = 6, longest: int = 30) -> str:
    """ "a, b, c and 4 more"."""
    texts = [str(value) for value in values]
    shown = [short(text, longest) for text in texts[:most]]
    rest = len(texts) - len(shown)
    return ", ".join(shown).replace("\n", " ") + (f" and {rest:,} more" if rest > 0 else "")


def listed_places(rows: Sequence[int], places: Sequence[str], most: int = 3) -> str:
    """Where rows stand: "lines 3, 8, 12 and 4 more"; all places begin with the same word."""
    named = [places[row] for row in rows[:most]]
    words = {place.rpartition(" ")[0] for place in named}
    if len(rows) == 1 or len(words) != 1:
        shown = ", ".join(named)
    else:
        shown = f"{words.pop()}s {', '.join(place.rpartition(' ')[2] for place in named)}"
    rest = len(rows) - len(named)
    return shown + (f" and {rest:,} more" if rest > 0 else "")


def row_places(n: int) -> list[str]:
    """ "row 1", "row 2", ...: places in data that have no lines."""
    return [f"row {i + 1}" for i in range(n)]


def one_line(message: str, longest: int = LONGEST) -> str:
    """The message on one line; its middle is left out where it is longer than ``longest`` characters."""
    message = " ".join(message.split())
    if len(message) <= longest:
        return message
    half = (longest - 5) // 2
    return f"{message[:half]} ... {message[-half:]}"
