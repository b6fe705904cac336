"""Labelled examples, texts or images: what a task is before it is split."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from lorabound.errors import DataError

if TYPE_CHECKING:
    from lorabound.data.images import Picture

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
    ".tsv": lambda path: pl.read_csv(path, infer_schema=False, separator="\t"),
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
    ".parquet": pl.read_parquet,
}
FORMATS = tuple(_READERS)


Empty = Literal["refuse", "drop", "keep"]


@dataclass(frozen=True)
class Table:
    """Examples and their labels, row by row.

    Attributes:
        name: name or path of the data, as messages call it.
        examples: texts or images; "" where a row has none (only with ``empty="keep"``).
        labels: class names; "" where a row has none (only with ``empty="keep"``).
        notes: sentences on what was unusual in the data and how it was read.
        places: where each row stands ("line 12", "row 7"); None where rows have no places, as in a folder of images.
    """

    name: str
    examples: Sequence[str | Picture]
    labels: list[str]
    notes: tuple[str, ...] = ()
    places: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def rows(self, kept: Sequence[int]) -> Table:
        """The rows with these numbers, counted from 0, with the same name and notes."""
        return replace(
            self,
            examples=[self.examples[i] for i in kept],
            labels=[self.labels[i] for i in kept],
            places=None if self.places is None else [self.places[i] for i in kept],
        )


def read_table(path: str | Path, text_column: str = "text", label_column: str = "label") -> Table:
    """Read a CSV, TSV, JSONL or Parquet file with a column of texts and a column of labels.

    Raises:
        DataError: no such file, an unknown format, an unreadable or empty file, a missing column, or a row
            without text or label (the message names the row, counted from 1 without the header).
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    frame = read_frame(path, text_column, label_column, "--text-column")
    return Table(str(path), text_column_of(frame, path, text_column), class_names(frame, path, label_column))


def read_frame(path: Path, column: str, label_column: str, flag: str) -> pl.DataFrame:
    """The table in a file, which has both columns and at least one row; ``flag`` names the first one."""
    if not path.is_file():
        raise DataError(f"no data file {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown format {path.suffix!r}, use {', '.join(_READERS)}")
    try:
        frame = reader(path)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} is empty") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as {path.suffix} in UTF-8: {str(error).strip().splitlines()[0]}"
        ) from None
    for name in (column, label_column):
        if name not in frame.columns:
            other = {"--text-column": "image", "--image-column": "text"}[flag]
            hint = f"; {other}s need another --model" if name == column and other in frame.columns else ""
            raise DataError(
                f"{path} has no column {name!r}, only {', '.join(frame.columns)}: "
                f"name the columns with {flag} and --label-column{hint}"
            )
    if frame.is_empty():
        raise DataError(f"{path} has a header but no rows")
    return frame


def text_column_of(frame: pl.DataFrame, path: Path, column: str) -> list[str]:
    """A column as texts, none of them empty."""
    if frame[column].dtype.is_nested():
        raise DataError(f"{path}: column {column!r} holds lists or records, it must hold plain text")
    values = frame[column].cast(pl.String, strict=False).str.strip_chars()
    missing = (values.is_null() | (values == "")).arg_true()
    if len(missing):
        raise DataError(f"{path}: {column} is empty in {len(missing)} rows, the first is data row {missing[0] + 1}")
    return values.to_list()


def class_names(frame: pl.DataFrame, path: Path, column: str) -> list[str]:
    """A column of labels; numbers become names where a Parquet file written by Hugging Face tells them."""
    names = _recorded_names(path, column) if path.suffix.lower() == ".parquet" else None
    if names and frame[column].dtype.is_integer() and not frame[column].null_count():
        numbers = frame[column].to_list()
        if min(numbers) >= 0 and max(numbers) < len(names):
            return [names[number] for number in numbers]
    return text_column_of(frame, path, column)


def _recorded_names(path: Path, column: str) -> list[str] | None:
    try:
        record: Any = json.loads(pl.read_parquet_metadata(path).get("huggingface", "null"))
        names = record["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, OSError, pl.exceptions.PolarsError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
