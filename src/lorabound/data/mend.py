"""Labels renamed, rare classes left out: what a user asks for after a check of the data. Every change is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lorabound.data.labelled import Labelled
from lorabound.data.phrases import counted, listed


def renamed(table: Labelled, names: Mapping[str, str]) -> Labelled:
    """The table with labels renamed; a note says how many rows that changed, or that a name stands nowhere."""
    if not names:
        return table
    found = Counter(label for label in table.labels if label in names)
    notes = [
        f"{table.name}: {counted(found[old], 'row')} of {old!r} renamed to {new!r}."
        if found[old]
        else f"{table.name}: no row is labelled {old!r}, so nothing was renamed to {new!r}."
        for old, new in names.items()
    ]
    return replace(table, labels=[names.get(label, label) for label in table.labels], notes=(*table.notes, *notes))


def without_rare(table: Labelled, test: Labelled | None, least: int) -> tuple[Labelled, Labelled | None]:
    """Both tables without the classes of fewer than ``least`` rows in ``table``; a note counts what was left out."""
    counts = Counter(table.labels)
    rare = {label for label, count in counts.items() if label and count < least}
    if test:
        rare |= {label for label in test.labels if label and label not in counts}
    if least <= 1 or not rare:
        return table, test
    return _without(table, rare, least), test and _without(test, rare, least)


def _without(table: Labelled, rare: set[str], least: int) -> Labelled:
    frequent = [i for i, label in enumerate(table.labels) if label not in rare]
    gone = sorted({label for label in table.labels if label in rare})
    if not gone:
        return table
    note = (
        f"{table.name}: left out {counted(len(table) - len(frequent), 'row')} of {listed(map(repr, gone))}: fewer than "
        f"{least} rows per class (--min-class-rows); every error is over rows of the other classes."
    )
    return replace(table.rows(frequent), notes=(*table.notes, note))
