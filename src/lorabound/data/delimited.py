"""Tables as text: columns separated by commas, semicolons, tabs or bars, with or without quotes.

Python's csv module reads a record. What it cannot know is decided here: which character separates columns, and whether
a quote that opens in one line and closes in a later one holds a text of several lines, or is an inch mark, or stands in
a file whose quotes mean nothing. It means nothing where each of those lines is a whole row by itself.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

from lorabound.data.columns import Choose, Column, Source
from lorabound.data.phrases import counted, listed, quoted
from lorabound.errors import DataError

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_delimited(
    name: str, text: str, usual: str, choose: Choose, expected: Sequence[str], blanks: bool = False
) -> Source:
    """Columns of a table; empty ones where the header lacks one of them (the caller says so).

    Args:
        text: the content, whose lines end in a line feed.
        usual: the delimiter that the file's ending stands for.
        choose: the columns to read: that of examples, that of labels or answers, and others.
        expected: names that the header may hold, by which the delimiter is recognized.
        blanks: whether blanks right behind a delimiter belong to the text, unless the header has them too, or a quote
            follows them somewhere.
    Raises:
        DataError: no row, two columns of one name, lines with too many or too few columns.
    """
    lines = text.split("\n")
    filled = (i for i, line in enumerate(lines) if line.strip())
    first = next(filled, None)
    declared = "" if first is None else lines[first].strip()
    if declared.lower().startswith("sep=") and len(declared) == 5:  # Excel's own first line
        usual, first = declared[4], next(filled, None)
    if first is None:
        raise DataError(f"{name} is empty")
    delimiter = _delimiter(lines[first], usual, expected)
    header = [entry.strip() for entry in _entries(lines[first], delimiter)]
    wanted = choose(header)
    for column in wanted:
        if header.count(column) > 1:
            raise DataError(f"{name}: {header.count(column)} columns are called {quoted(column)}: rename all but one")
        if column not in header:
            return Source(
                name, {entry: Column(()) for entry in header}, (), _first_line_is_data(lines[first:], delimiter)
            )
    notes = []
    if delimiter != usual:
        notes.append(f"the columns are separated by {_DELIMITERS.get(delimiter, quoted(delimiter))}.")
    places = [header.index(column) for column in wanted]
    label_at = places[min(1, len(places) - 1)]
    found = _Reading(lines, delimiter, len(header), max(places), label_at)
    found.skip_blanks = not blanks or any(entry.startswith(" ") for entry in lines[first].split(delimiter))
    found.read(first + 1)
    if not found.skip_blanks and any(
        entry.startswith(" ") and entry.lstrip().startswith('"') for entry in chain(*found.rows)
    ):
        found = _Reading(lines, delimiter, len(header), max(places), label_at)
        found.read(first + 1)
    if blanks and found.skip_blanks:
        notes.append(f"blanks right behind {_DELIMITERS.get(delimiter, quoted(delimiter))} are not read.")
    if found.faults:
        raise DataError(f"{name}: {found.fault()}")
    if not found.rows:
        raise DataError(f"{name} has a header but no rows")
    columns = {column: Column([row[header.index(column)] for row in found.rows]) for column in wanted}
    return Source(name, columns, [f"line {start + 1}" for start in found.starts], (*notes, *found.notes()))


def _delimiter(header: str, usual: str, wanted: Sequence[str]) -> str:
    """The one by which the header holds most of these columns; otherwise the one that makes most columns."""
    candidates = [usual, *(mark for mark in _DELIMITERS if mark != usual)]
    entries = {mark: [entry.strip() for entry in _entries(header, mark)] for mark in candidates}
    return max(candidates, key=lambda mark: (sum(column in entries[mark] for column in wanted), len(entries[mark])))


def _entries(line: str, delimiter: str) -> list[str]:
    """The columns of one line; quotes that do not pair up are characters."""
    return _paired(line, delimiter) or _unpaired(line, delimiter)


def _paired(line: str, delimiter: str) -> list[str]:
    """The columns of one line whose quotes pair up, none where they do not."""
    try:
        with _long_fields():
            records = list(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        return []
    return records[0] if records else []


def _unpaired(line: str, delimiter: str) -> list[str]:
    """The columns of one line with odd quotes: split at each delimiter, or, where every column seems to stand between
    quotes, at each delimiter between quotes."""
    entries = line.split(delimiter)
    between = line.strip()[1:-1].split(f'"{delimiter}"')
    if len(line.strip()) > 1 and line.strip()[0] == line.strip()[-1] == '"' and 1 < len(between) <= len(entries):
        return [entry.replace('""', '"') for entry in between]
    return ["".join(_paired(entry, "\x1f")) or entry for entry in entries]


def _first_line_is_data(lines: list[str], delimiter: str) -> tuple[str, ...]:
    """A hint where a value of the first line stands again below it, as no name of a column does."""
    head, *rows = [_entries(line, delimiter) for line in lines[:200] if line.strip()]
    again = [entry for i, entry in enumerate(head) if entry and any(i < len(row) and row[i] == entry for row in rows)]
    return ("its first line looks like data: put a line with the names of the columns above it",) if again else ()


@contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module refuses fields of more than 131,072 characters unless told otherwise."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@dataclass
class _Reading:
    lines: list[str]
    delimiter: str
    width: int
    last: int  # of the columns that are read
    label_at: int
    rows: list[list[str]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # the line where each row begins, from 0
    long: list[tuple[int, int]] = field(default_factory=list)  # first and last line of rows over several lines
    skip_blanks: bool = True  # right behind a delimiter
    plain: list[int] = field(default_factory=list)  # lines whose quotes are read as they stand
    faults: list[tuple[int, str]] = field(default_factory=list)
    _labels: set[str] | None = None
    _begin: int = 0

    def read(self, begin: int) -> None:
        self._begin = begin
        with _long_fields():
            while begin < len(self.lines):
                begin = self._read_until_a_quote_is_odd(begin)

    def _read_until_a_quote_is_odd(self, begin: int) -> int:
        """Read on from a line; returns the line to go on with."""
        records = csv.reader(
            self._feed(begin), delimiter=self.delimiter, strict=True, skipinitialspace=self.skip_blanks
        )
        start = begin
        try:
            for entries in records:
                end = begin + records.line_num
                if end - start > 1:
                    if self._each_line_is_a_row(start, end):
                        break
                    if len(entries) == self.width:
                        self.long.append((start, end - 1))
                self._add(start, entries, end - start)
                start = end
            else:
                return len(self.lines)
        except csv.Error:
            pass
        entries = _unpaired(self.lines[start], self.delimiter)
        if len(entries) == self.width:
            self.plain.append(start)
            self._add(start, entries)
        else:
            self.faults.append((start, "has quotes that do not pair up"))
        return start + 1

    def _feed(self, begin: int) -> Iterator[str]:
        for start in range(begin, len(self.lines)):
            yield self.lines[start] + "\n"

    def _add(self, start: int, entries: list[str], n_lines: int = 1) -> None:
        if not any(entry.strip() for entry in entries) and len(entries) < 2:
            return  # a blank line
        if len(entries) <= self.last or any(entry.strip() for entry in entries[self.width :]):
            columns = f"{counted(len(entries), 'column')} instead of {self.width}"
            until = f" (up to line {start + n_lines}, where its quote closes)" if n_lines > 1 else ""
            self.faults.append((start, f"has {columns}{until}"))
            return
        self.rows.append(entries)
        self.starts.append(start)

    def _each_line_is_a_row(self, begin: int, end: int) -> bool:
        """Whether lines that one pair of quotes joins are rows: each has all columns, and their labels are those of
        other rows or stand again among them (at most one new label in four lines)."""
        others = (_entries(line, self.delimiter) for line in self.lines[begin + 1 : end])
        rows = [_unpaired(self.lines[begin], self.delimiter), *others]
        if any(len(row) != self.width for row in rows):
            return False
        return 4 * len({row[self.label_at].strip() for row in rows} - self._known_labels()) <= len(rows)

    def _known_labels(self) -> set[str]:
        if self._labels is None:
            records = csv.reader(self._feed(self._begin), delimiter=self.delimiter, skipinitialspace=True)
            self._labels, before = set(), 0  # an empty one tells nothing
            for entries in records:
                if records.line_num - before == 1 and len(entries) == self.width:
                    self._labels |= {entries[self.label_at].strip()} - {""}
                before = records.line_num
        return self._labels

    def notes(self) -> list[str]:
        """How quotes were read, where that changes the number of rows."""
        made = []
        if self.plain:
            lines = "line" if len(self.plain) == 1 else "lines"
            where = f"{lines} {listed((start + 1 for start in self.plain), 3)}"
            made.append(f"quotes that do not pair up within {where} are read as characters.")
        if self.long:
            n_lines = sum(last - first + 1 for first, last in self.long)
            first, last = self.long[0]
            made.append(
                f"{counted(len(self.rows), 'row')}, fewer than lines: {n_lines:,} lines belong to "
                f"{counted(len(self.long), 'text')} between quotes (the first from line {first + 1} to {last + 1})."
            )
        return made

    def fault(self) -> str:
        """All faults in one sentence."""
        first, reason = self.faults[0]
        if not self.rows and len({reason for _, reason in self.faults}) == 1 and len(self.faults) > 1:
            return f"every line {reason}, as the header has: give each column a name in line {self._begin}"
        others = len(self.faults) - 1
        more = f" ({counted(others, 'more line')} like it)" if others else ""
        return (
            f"line {first + 1} {reason}{more}: put double quotes around a text that holds {quoted(self.delimiter)} or "
            'a line break, and write a quote inside it twice ("")'
        )
