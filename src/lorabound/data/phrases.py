"""How counts of rows, names of classes and places of rows are said in messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lorabound.data.table import Table

_SHOWN = 3


def places_of(table: Table, rows: Sequence[int]) -> str:
    shown = [table.places[i] if table.places else f"row {i + 1}" for i in rows[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(rows) > _SHOWN else "")


def quoted(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN + 1 else ""
    return ", ".join(repr(shortened(name, 40)) for name in (listed[:_SHOWN] if more else listed)) + more


def rows_of(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
