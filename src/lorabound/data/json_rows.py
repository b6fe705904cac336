"""Tables as JSON: one record per line, or one list of records."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from lorabound.data.columns import Choose, Column, Source
from lorabound.data.phrases import counted, quoted
from lorabound.errors import DataError

# One of the two codes that JSON writes for an emoji, without the other: a text that was cut there.
_HALF = re.compile("[\ud800-\udfff]")


class _Doubled(dict[str, Any]):
    """A record that holds a name more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.names = {name for name, count in counts.items() if count > 1}


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    return record if len(record) == len(pairs) else _Doubled(pairs)


_decode = json.JSONDecoder(object_pairs_hook=_record).decode


def doubled_names(record: Any) -> set[str]:
    """Names that a record holds more than once."""
    return record.names if isinstance(record, _Doubled) else set()


def has_half(text: str) -> bool:
    """Whether a text holds half of a character, which no tokenizer takes."""
    return _HALF.search(text) is not None


def read_json(name: str, text: str, choose: Choose) -> Source:
    """Columns of JSON records; a record that lacks a column has no value there. Types are read row by row.

    Args:
        text: the content, whose lines end in a line feed.
        choose: the columns to read; empty ones come back where the file lacks one of them.
    Raises:
        DataError: no record, or lines that are none (with the first line and what to do).
    """
    if text.lstrip().startswith("["):
        records, places = _from_list(name, text)
        notes: tuple[str, ...] = ("the file is one JSON list, which is read record by record.",)
    else:
        records, places = _from_lines(name, text)
        notes = ()
    if not records:
        raise DataError(f"{name} is empty")
    found = dict.fromkeys(column for record in records for column in record)
    wanted = choose(list(found))
    if any(column not in found for column in wanted):
        return Source(name, {column: Column(()) for column in found}, ())
    for column in wanted:
        doubled = [place for record, place in zip(records, places, strict=True) if column in doubled_names(record)]
        if doubled:
            raise DataError(
                f"{name}: {doubled[0]} holds {quoted(column)} twice{_more(len(doubled) - 1)}: leave one of them out"
            )
        halves = [
            place
            for record, place in zip(records, places, strict=True)
            if isinstance(record.get(column), str) and has_half(record[column])
        ]
        if halves:
            raise DataError(
                f"{name}: {halves[0]} holds half of a character in {quoted(column)} (such as \\ud83d without its other "
                f"half){_more(len(halves) - 1)}: no tokenizer takes it; leave it out"
            )
    return Source(name, {c: Column([record.get(c) for record in records]) for c in wanted}, places, notes)


def _from_lines(name: str, text: str) -> tuple[list[dict[str, Any]], list[str]]:
    records, places = [], []
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = _decode(line)
        except (ValueError, RecursionError) as error:
            faults.append((number, _reason(line, error)))
            continue
        if isinstance(record, dict):
            records.append(record)
            places.append(f"line {number}")
        else:
            faults.append((number, f'holds {quoted(record)}, not a record such as {{"COLUMN": "value", ...}}'))
    if faults:
        number, reason = faults[0]
        raise DataError(f"{name}: line {number} {reason}{_more(len(faults) - 1)}")
    return records, places


def _from_list(name: str, text: str) -> tuple[list[dict[str, Any]], list[str]]:
    try:
        records = _decode(text)
    except (ValueError, RecursionError) as error:
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "it"
        raise DataError(f"{name}: {line} is not JSON ({_brief(error)}); the file begins as a list with [") from None
    wrong = next((i for i, record in enumerate(records, start=1) if not isinstance(record, dict)), None)
    if wrong:
        raise DataError(
            f"{name}: entry {wrong} of its list is {quoted(records[wrong - 1])}, not a record such as "
            '{"COLUMN": "value", ...}'
        )
    return records, [f"record {i}" for i in range(1, len(records) + 1)]


def _reason(line: str, error: Exception) -> str:
    """What is wrong with a line that is not JSON, and what to do."""
    stripped = line.strip()
    if stripped.endswith(","):
        try:
            _decode(stripped[:-1])
        except (ValueError, RecursionError):
            pass
        else:
            return "ends with a comma: take the commas at the ends of lines away"
    if stripped.startswith("{") and not stripped.endswith("}"):
        return "begins a record and does not end it: write each record on one line (jq -c . FILE > NEW.jsonl)"
    if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data" and stripped.startswith("{"):
        return "holds more than one record: write each on a line of its own"
    return f"is not JSON ({_brief(error)})"


def _brief(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return "records too deep" if isinstance(error, RecursionError) else str(error)[:80]


def _more(n: int) -> str:
    return f" ({counted(n, 'more line')} with faults)" if n else ""
