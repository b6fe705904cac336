"""Labelled examples, texts or images: what a task is before it is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lorabound.data.columns import Meaning, Source, missing_phrase
from lorabound.data.phrases import counted, listed, one_line, quoted
from lorabound.errors import DataError

if TYPE_CHECKING:
    from lorabound.data.images import Picture

Reads = Literal["texts", "images", "dialogues"]
"""What the examples of a data set are, and so what a model must read."""
Empty = Literal["refuse", "drop", "keep"]


@dataclass(frozen=True)
class Labelled:
    """Examples and their labels, row by row.

    Attributes:
        name: name or path of the data, as messages call it.
        examples: texts or images; "" where a row has none (only with ``empty="keep"``).
        labels: class names; "" where a row has none (only with ``empty="keep"``).
        notes: sentences on what was unusual in the data and how it was read.
        marks: values that stand for no label in the data, where that is not an empty field ("-1", "NaN").
        places: place of each row ("line 12", "row 7"); None where rows have no places, as in a folder of images.
    """

    name: str
    examples: Sequence[str | Picture]
    labels: list[str]
    notes: tuple[str, ...] = ()
    places: Sequence[str] | None = None
    marks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def rows(self, numbers: Sequence[int]) -> Labelled:
        """The rows with these numbers, counted from 0, with the same name and notes."""
        return replace(
            self,
            examples=[self.examples[i] for i in numbers],
            labels=[self.labels[i] for i in numbers],
            places=None if self.places is None else [self.places[i] for i in numbers],
        )


def labelled_of(
    source: Source, found: Meaning, labels: Meaning, empty: Empty, examples: Sequence[str | Picture] | None = None
) -> Labelled:
    """The table of two columns.

    Args:
        found: texts, or what stands for the images.
        examples: the images, "" where there is none; ``found`` holds the texts otherwise.
        empty: treatment of rows without example or label: they are refused, left out and counted, or kept as "".
    Raises:
        DataError: a column cannot be used, rows are empty (all of it in one sentence), or no row is left.
    """
    faults = [*found.faults, *labels.faults]
    holes = [] if empty == "keep" else [missing_phrase(m, source.places) for m in (found, labels) if not m.faults]
    holes = [phrase for phrase in holes if phrase]
    full = [i for i, (a, b) in enumerate(zip(found.values, labels.values, strict=True)) if a and b]
    if empty == "refuse" and holes:
        leave = "leave them out of the file" if found.what == "answer" else "leave them out with --drop-empty"
        mend = f"{leave}, or fill them in" if full else "name another column, split or file"
        if labels.doubtful and full:
            mend += f"; if {listed(map(quoted, sorted(labels.doubtful)), 2)} is a class, write a word for it"
        faults.append(f"{', '.join(holes)}: {mend}")
    elif empty == "drop" and not full and not faults:
        faults.append(f"no row has both {found.what} and label ({', '.join(holes)})")
    if faults:
        raise DataError(one_line(f"{source.name}: {'; '.join(faults)}"))
    notes = [*source.notes, *found.notes, *labels.notes]
    table = Labelled(source.name, found.values if examples is None else examples, labels.values, places=source.places)
    if empty == "drop" and holes:
        dropped = counted(len(table) - len(full), "row")
        notes.append(f"left out {dropped} (--drop-empty): {', '.join(holes)}.")
        table = table.rows(full)
    if empty == "keep":
        table = replace(table, marks=tuple(sorted(set(labels.marks.values()))))
    return replace(table, notes=tuple(one_line(f"{source.name}: {note}") for note in notes))
