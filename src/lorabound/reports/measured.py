"""Heads and entries of tables whose CSV file has every digit, as the macro ``measured`` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Lines of a head, names of its columns in the CSV file, term of the glossary that explains it ("" for none).
Head = tuple[tuple[str, ...], str, str]


def heads(named: Iterable[Head], left: int = 1) -> list[dict[str, Any]]:
    """The heads of a table; the first ``left`` columns are aligned left, the others right."""
    return [{"lines": lines, "csv": csv, "word": word, "left": i < left} for i, (lines, csv, word) in enumerate(named)]


def text(shown: str) -> dict[str, Any]:
    """An entry that the file holds as the page shows it."""
    return {"lines": (shown,), "raw": None}


def number(value: float | None, form: str) -> dict[str, Any]:
    """An entry that the page shows in a format, as ".3f", and the file with all digits; empty for None."""
    return {"lines": ("" if value is None else format(value, form),), "raw": digits(value)}


def digits(value: float | None) -> str:
    """A number with all its digits; "" for None."""
    return "" if value is None else str(value) if isinstance(value, int) else repr(float(value))
