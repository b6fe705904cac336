"""Labelled texts: what a task is before it is split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from lorabound.errors import DataError

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
    ".tsv": lambda path: pl.read_csv(path, infer_schema=False, separator="\t"),
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
    ".parquet": pl.read_parquet,
}


@dataclass(frozen=True)
class Table:
    """Texts and their labels, row by row, and the name they go by."""

    name: str
    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        return len(self.texts)


def read_table(path: str | Path, text_column: str = "text", label_column: str = "label") -> Table:
    """Read a CSV, TSV, JSONL or Parquet file with a column of texts and a column of labels.

    Raises:
        DataError: no such file, an unknown format, an unreadable or empty file, a missing column, or a row
            without text or label (the message names the row, counted from 1 without the header).
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
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
    for column in (text_column, label_column):
        if column not in frame.columns:
            raise DataError(
                f"{path} has no column {column!r}, only {', '.join(frame.columns)}: "
                "name the columns with --text-column and --label-column"
            )
    if frame.is_empty():
        raise DataError(f"{path} has a header but no rows")
    columns = []
    for column in (text_column, label_column):
        if frame[column].dtype.is_nested():
            raise DataError(f"{path}: column {column!r} holds lists or records, it must hold plain text")
        values = frame[column].cast(pl.String, strict=False).str.strip_chars()
        missing = (values.is_null() | (values == "")).arg_true()
        if len(missing):
            raise DataError(f"{path}: {column} is empty in {len(missing)} rows, the first is data row {missing[0] + 1}")
        columns.append(values.to_list())
    return Table(str(path), *columns)
