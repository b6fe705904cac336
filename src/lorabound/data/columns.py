"""What a column of labels or of texts means: one rule, whatever file it comes from.

Every value is spelled first as a CSV file would spell it; the rule reads the spellings only. So a file gives the same
classes, or the same refusal, as CSV, JSON lines, Parquet and a data set on disk.

Missing are: nothing, NaN, white space, and for labels also

- ``-1`` where the file records class names, as the datasets library marks unlabelled rows;
- ``-1`` or ``-100`` where it is the only negative number beside two or more others, or the only number beside words;
- the words that programs write for a missing value (:data:`NULL_WORDS`), unless the file records class names.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from lorabound.data.phrases import counted, listed, listed_places, quoted

NULL_WORDS = frozenset(
    ("nan", "NaN", "NAN", "<NA>", "null", "NULL", "Null", "None", "NaT", "NA", "N/A", "n/a", "#N/A", "\\N")
)
# Classes in some data, marks for a missing value in other.
_DOUBTFUL = frozenset(
    ("none", "?", "-", "--", ".", "unlabeled", "unlabelled", "missing", "undefined", "blank", "empty")
)
_UNLABELLED = ("-1", "-100")
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_BLANK = "\u200b\u200c\u200d\u2060\ufeff"  # white space that str.strip does not know


@dataclass(frozen=True)
class Column:
    """A column as its file holds it.

    Attributes:
        values: one Python value per row; images in Parquet stay a series of bytes or of records.
        class_names: names of the numbers 0, 1, ..., where the datasets library recorded them.
    """

    values: Sequence[Any] | pl.Series
    class_names: list[str] | None = None


@dataclass(frozen=True)
class Source:
    """Columns as a file holds them.

    Attributes:
        name: name or path of the data.
        columns: columns by their names.
        places: place of each row: "line 12", "row 7".
        notes: sentences on how the file was read.
    """

    name: str
    columns: dict[str, Column]
    places: Sequence[str]
    notes: tuple[str, ...] = ()


Choose = Callable[[Sequence[str]], Sequence[str]]
"""The columns to read, of those that a file has; raises a DataError where it has not what is needed."""


def exactly(*wanted: str) -> Choose:
    """These columns, whatever a file has."""
    return lambda _: wanted


@dataclass
class Meaning:
    """What a column means.

    Attributes:
        what: kind of the values: "text", "label" or "image".
        values: one value per row, "" where it is missing.
        marks: content of the rows that are read as missing though they hold something ("-1", "NaN"), by row.
        doubtful: marks that may be classes after all.
        faults: reasons why the column cannot be used.
        notes: sentences on how the column was read, where that is not plain.
    """

    what: str
    values: list[str]
    marks: dict[int, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[int]:
        """Rows without a value, counted from 0."""
        return [row for row, value in enumerate(self.values) if not value]


def spelled(value: Any) -> str | None:
    """A value as CSV spells it, "" where it is missing; None for lists, records and bytes, which are not one value."""
    if isinstance(value, str):
        return value.strip().strip(_BLANK).strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict | bytes):
        return None
    return str(value).strip()


def texts_of(source: Source, name: str) -> Meaning:
    """A column of texts. Numbers among texts are texts; a column of nothing but numbers is none."""
    meaning = _read(source, name, "text")
    present = {value for value in meaning.values if value and value not in NULL_WORDS}
    for kind, is_one in (("numbers", _NUMBER.fullmatch), ("true or false", _is_boolean)):
        if present and all(map(is_one, present)):
            meaning.faults.append(
                f"column {quoted(name)} holds {kind}, not texts: name the column of texts with --text-column"
            )
    empty_words = Counter(value for value in meaning.values if value in NULL_WORDS)
    if empty_words:
        held = listed(map(quoted, empty_words))
        meaning.notes.append(f"{held} is read as a text, in {counted(empty_words.total(), 'row')}.")
    return meaning


def paths_of(source: Source, name: str) -> Meaning:
    """A column of paths of images."""
    return _read(source, name, "image")


def classes_of(source: Source, name: str) -> Meaning:
    """A column of labels as class names: see the top of this file. Booleans become true and false; whole numbers
    become 0, 1, ..., also where they are written 1.0; other numbers are refused."""
    column = source.columns[name]
    if column.class_names:
        numbers = [_whole(value) for value in column.values]
        if all(
            number is not None or spelled(value) == "" for number, value in zip(numbers, column.values, strict=True)
        ):
            return _by_number(numbers, column.class_names, source.places)
    meaning = _read(source, name, "label")
    if meaning.faults:
        return meaning
    pairs = zip(column.values, meaning.values, strict=True)
    padded = sum(isinstance(raw, str) and bool(value) and raw != value for raw, value in pairs)
    if padded:
        meaning.notes.append(f"white space around {counted(padded, 'label')} was taken off.")
    named = set(column.class_names or ())
    _miss(meaning, {value for value in meaning.values if value in NULL_WORDS and value not in named})
    present = {value for value in meaning.values if value}
    if present and all(map(_is_boolean, present)):
        _rewrite(meaning, str.lower, "true or false in other letters")
    elif present and all(map(_NUMBER.fullmatch, present)):
        _as_numbers(meaning, name, source.places, present)
    else:
        alone = {value for value in present if _NUMBER.fullmatch(value)}
        if len(alone) == 1 and alone <= set(_UNLABELLED):
            _miss(meaning, alone)
        doubtful = Counter(value for value in meaning.values if value.casefold() in _DOUBTFUL and value not in named)
        if doubtful:
            meaning.notes.append(
                f"the label {listed(map(quoted, doubtful))} is read as a class, in {counted(doubtful.total(), 'row')}: "
                "leave such rows out if they have no label."
            )
    return meaning


def _read(source: Source, name: str, what: str) -> Meaning:
    values = [spelled(value) for value in source.columns[name].values]
    meaning = Meaning(what, [value or "" for value in values])
    nested = [row for row, value in enumerate(values) if value is None]
    if nested:
        first = source.columns[name].values[nested[0]]
        kind = "lists" if isinstance(first, list) else "records" if isinstance(first, dict) else "bytes"
        held = "" if kind == "bytes" else f": {quoted(first)}"
        meaning.faults.append(
            f"column {quoted(name)} holds {kind} in {counted(len(nested), 'row')} ({source.places[nested[0]]}{held}), "
            f"it must hold one {what} per row"
        )
    return meaning


def _by_number(numbers: list[int | None], names: list[str], places: Sequence[str]) -> Meaning:
    meaning = Meaning("label", ["" if n is None or not 0 <= n < len(names) else names[n].strip() for n in numbers])
    meaning.marks.update({row: "-1" for row, number in enumerate(numbers) if number == -1})
    wrong = [row for row, number in enumerate(numbers) if number is not None and not -1 <= number < len(names)]
    if wrong:
        meaning.faults.append(
            f"no name for {counted(len(wrong), 'label')} ({places[wrong[0]]}: {numbers[wrong[0]]}): the data set "
            f"records the names of 0 to {len(names) - 1}"
        )
    meaning.notes.append(
        "the labels are numbers and are read as the class names that the data set records: "
        f"{listed((f'{i} = {name}' for i, name in enumerate(names)), 3)}."
    )
    return meaning


def _as_numbers(meaning: Meaning, name: str, places: Sequence[str], present: set[str]) -> None:
    broken = {value for value in present if not _as_whole(value)}
    if broken:
        first = next(row for row, value in enumerate(meaning.values) if value in broken)
        meaning.faults.append(
            f"column {quoted(name)} looks like a number to predict, not a class ({places[first]}: "
            f"{quoted(meaning.values[first])}): name the column of labels with --label-column, or write words for the "
            "classes"
        )
        return
    _rewrite(meaning, _as_whole, "whole numbers with a decimal point or a power of ten")
    present = {value for value in meaning.values if value}
    negative = {value for value in present if value.startswith("-")}
    if len(negative) == 1 and negative <= set(_UNLABELLED) and len(present) > 2:
        _miss(meaning, negative)


def _rewrite(meaning: Meaning, rule: Callable[[str], str], what: str) -> None:
    changed = Counter(value for value in meaning.values if value and rule(value) != value)
    if changed:
        first = next(iter(changed))
        meaning.notes.append(
            f"{quoted(first)} is read as {quoted(rule(first))}: {counted(changed.total(), 'label')} written as {what}."
        )
        meaning.values = [rule(value) if value else value for value in meaning.values]


def _miss(meaning: Meaning, marks: set[str]) -> None:
    meaning.doubtful |= marks
    for row, value in enumerate(meaning.values):
        if value in marks:
            meaning.marks[row], meaning.values[row] = value, ""


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1:
        return None
    return int(value)


def _as_whole(value: str) -> str:
    """ "1" for "1.0", "100000" for "1e+05", what has digits only as it stands ("007"); "" for 1.5."""
    if value.lstrip("+-").isdigit():
        return value
    try:  # exactly: a float would make one number of two above 2^53
        return str(int(Decimal(value))) if float(value).is_integer() and Decimal(value) % 1 == 0 else ""
    except (ValueError, ArithmeticError):  # a decimal comma; more digits than a remainder can have
        return ""


def _is_boolean(value: str) -> bool:
    return value.lower() in ("true", "false")


def missing_phrase(meaning: Meaning, places: Sequence[str]) -> str:
    """ "3 rows have no label (lines 2, 5, 9; '-1' in 2 of them)", "" where none is missing."""
    rows = meaning.missing
    if not rows:
        return ""
    marks = Counter(meaning.marks.values()).most_common(3)
    held = "".join(f"; {quoted(mark)} in {n:,} of them" for mark, n in marks)
    if marks and marks[0][1] == len(rows):
        held = f"; {'it holds' if len(rows) == 1 else 'all hold'} {quoted(marks[0][0])}"
    which = "every row" if len(rows) == len(meaning.values) else counted(len(rows), "row")
    has = "has" if which in ("every row", "1 row") else "have"
    return f"{which} {has} no {meaning.what} ({listed_places(rows, places)}{held})"
