"""Labelled texts in one file: CSV, TSV, JSON or Parquet."""

from __future__ import annotations

import codecs
import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from lorabound.data.columns import Choose, Column, Source, classes_of, exactly, texts_of
from lorabound.data.delimited import read_delimited
from lorabound.data.json_rows import read_json
from lorabound.data.labelled import Empty, Labelled, labelled_of
from lorabound.data.phrases import counted, listed, one_line, quoted, row_places
from lorabound.errors import DataError, first_line

_DELIMITED = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")
# Of a value as a Python object in a list, at least.
_BYTES_OF_VALUE = 64
FORMATS = (*_DELIMITED, *_JSON, ".parquet")
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MENDS = {
    ".txt": "; if it holds a table, rename it to .csv: the delimiter is recognized",
    ".xlsx": "; save the sheet as CSV",
    ".xls": "; save the sheet as CSV",
}
_NO_TEXT = {b"PK\x03\x04": "a zip archive or an Excel workbook", b"\x1f\x8b": "compressed", b"PAR1": "Parquet"}


def read_table(
    path: str | Path, text_column: str = "text", label_column: str = "label", empty: Empty = "refuse"
) -> Labelled:
    """Read a file with a column of texts and a column of labels.

    Raises:
        DataError: no such file, an unknown format, an unreadable or empty file, a missing column, or rows without text
            or label (unless ``empty`` says otherwise); the message names the line or row.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    source = read_file(path, text_column, label_column, "--text-column")
    return labelled_of(source, texts_of(source, text_column), classes_of(source, label_column), empty)


def read_answers(path: str | Path, answer_column: str, label_column: str) -> Labelled:
    """A file with a column of a model's answers and one of labels, both read as class names.

    Raises:
        DataError: as :func:`read_table`.
    """
    source = read_file(Path(path), answer_column, label_column, "--predicted")
    answers = replace(classes_of(source, answer_column), what="answer")
    return labelled_of(source, answers, classes_of(source, label_column), "refuse")


def read_unlabelled(path: str | Path, text_column: str = "text") -> list[str]:
    """The texts of a file whose labels, where it has any, are not read; rows without text are left out.

    Raises:
        DataError: as :func:`read_table`.
    """
    source = read_file(Path(path), text_column, None, "")
    found = texts_of(source, text_column)
    if found.faults:
        raise DataError(f"{path}: {'; '.join(found.faults)}")
    return [text for text in found.values if text]


def read_file(path: Path, column: str, label_column: str | None, flag: str) -> Source:
    """Both columns of a file with at least one row, or one; ``flag`` names the first one, "" where none can.

    Raises:
        DataError: as :func:`read_table`, except for what columns hold.
    """
    if column == label_column:
        raise DataError(f"column {quoted(column)} is to hold examples and labels: {flag} or --label-column is wrong")
    wanted = column, label_column or column
    source = read_columns(path, exactly(*wanted), wanted)
    for name in wanted:
        if name not in source.columns:
            raise DataError(_no_column(source, name, column, flag))
    if not source.places:
        raise DataError(f"{path} has a header but no rows")
    return source


def read_columns(path: Path, choose: Choose, expected: Sequence[str], blanks: bool = False) -> Source:
    """The chosen columns of a file; empty ones where it lacks one of them.

    Args:
        expected: names of columns by which the delimiter of a table is recognized.
        blanks: whether blanks at the beginning of a text belong to it, in a table too.
    Raises:
        DataError: no such file, an unknown format, or an unreadable file; what ``choose`` raises.
    """
    if not path.is_file():
        raise DataError(f"no data file {path}{_meant(path)}")
    ending = path.suffix.lower()
    if ending not in FORMATS:
        packed = _MENDS.get(ending, "; unpack it first" if ending in (".gz", ".zip", ".bz2", ".xz", ".zst") else "")
        raise DataError(f"{path}: unknown format {path.suffix!r}, use {', '.join(FORMATS)}{packed}")
    if ending == ".parquet":
        return _parquet(path, choose)
    text, notes = _decoded(path)
    if ending in _DELIMITED:
        source = read_delimited(str(path), text, _DELIMITED[ending], choose, expected, blanks)
    else:
        source = read_json(str(path), text, choose)
    return replace(source, notes=(*notes, *source.notes)) if source.places else source


def _meant(path: Path) -> str:
    """The file that a mistyped path seems to stand for, or what else data may be."""
    try:
        beside = sorted(file.name for file in path.parent.iterdir() if file.suffix.lower() in FORMATS)
    except OSError:
        beside = []
    same = [name for name in beside if Path(name).stem == path.name]
    near = same or difflib.get_close_matches(path.name, beside, 1, 0.75)
    if near:
        return f": did you mean {path.with_name(near[0])}?"
    return "" if path.suffix else ": give a file, words, or a hub name of the form owner/name"


def _no_column(source: Source, name: str, column: str, flag: str) -> str:
    other = {"--text-column": "image", "--image-column": "text"}.get(flag)
    hint = f"; {other}s need another --model" if name == column and other and other in source.columns else ""
    mend = f"name the columns with {flag} and --label-column{hint}" if flag else f"rename the one that holds {name}s"
    return one_line(
        f"{source.name} has no column {quoted(name)}, only {listed(source.columns, 8)}: "
        + (source.notes[0] if source.notes else mend)
    )


def _decoded(path: Path) -> tuple[str, list[str]]:
    """The text of a file, whose lines end in a line feed.

    Raises:
        DataError: it cannot be read, or is no text in UTF-8 or, with a byte order mark, UTF-16 or UTF-32.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    for mark, what in _NO_TEXT.items():
        if content.startswith(mark):
            raise DataError(f"{path} is {what}, not text: write it as CSV in UTF-8, or name it by its right ending")
    mark, encoding = next(((m, e) for m, e in _MARKS.items() if content.startswith(m)), (b"", "utf-8"))
    notes = [] if encoding == "utf-8" else [f"the file is encoded in {encoding.upper()}."]
    try:
        text = content[len(mark) :].decode("utf-8") if encoding == "utf-8" else content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} cannot be read: line {line} is not {encoding.upper()}; convert it (iconv -f WINDOWS-1252 -t UTF-8 "
            f"{path.name} > new{path.suffix}, if it was written on Windows)"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(
            f"{path} cannot be read: line {line} holds zero bytes; if it is UTF-16, convert it (iconv -f UTF-16LE -t "
            f"UTF-8 {path.name} > new{path.suffix})"
        )
    text = re.sub(r"\r+\n", "\n", text)
    stray = text.count("\r")
    if stray and "\n" in text:
        notes.append(f"read as spaces: {counted(stray, 'carriage return')} within lines.")
        text = text.replace("\r", " ")
    return text.replace("\r", "\n"), notes


def _parquet(path: Path, choose: Choose) -> Source:
    try:
        names = list(pl.read_parquet_schema(path))
        wanted = list(dict.fromkeys(choose(names)))
        if any(name not in names for name in wanted):
            return Source(str(path), {name: Column(()) for name in names}, ())
        count = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        _refuse_bomb(path, count * len(wanted) * _BYTES_OF_VALUE)
        frame = pl.read_parquet(path, columns=wanted, glob=False)  # [1] in a name is no pattern
        _refuse_bomb(path, sum(_n_bytes(frame[name]) for name in wanted))
    except DataError:
        raise
    except BaseException as error:
        # A panic of the library, for files that it takes to be impossible, is no Exception.
        if not isinstance(error, pl.exceptions.PolarsError | OSError) and type(error).__name__ != "PanicException":
            raise
        raise DataError(one_line(f"{path} cannot be read as Parquet: {first_line(error)}", 300)) from None
    columns = {name: Column(_values(frame[name]), _recorded_names(path, name)) for name in wanted}
    return Source(str(path), columns, row_places(len(frame)))


def _refuse_bomb(path: Path, size: float) -> None:
    """See that so many bytes fit into the memory: a small file may stand for more than there is.

    Raises:
        DataError: they take more than half of what is free.
    """
    free = psutil.virtual_memory().available
    if size > free / 2:
        raise DataError(
            f"{path} takes {size / 2**30:.1f} GiB when it is unpacked, and {free / 2**30:.1f} GiB are free: write "
            "fewer rows, or shorter texts"
        )


def _n_bytes(series: pl.Series) -> int:
    """Bytes of all texts of a column; a long one may stand in the file once, for all rows."""
    if isinstance(series.dtype, pl.Categorical | pl.Enum):
        of_each = series.drop_nulls().alias("value").value_counts(name="number")
        return int((of_each["value"].cast(pl.String).str.len_bytes().cast(pl.Int64) * of_each["number"]).sum() or 0)
    return int(series.str.len_bytes().cast(pl.Int64).sum() or 0) if series.dtype == pl.String else 0


def _values(series: pl.Series) -> Any:
    """Python values; images, which are bytes or records of bytes, stay where they are."""
    return series if isinstance(series.dtype, pl.Binary | pl.Struct) else series.to_list()


def _recorded_names(path: Path, column: str) -> list[str] | None:
    """Class names as the datasets library writes them into Parquet."""
    try:
        record: Any = json.loads(pl.read_parquet_metadata(path).get("huggingface", "null"))
        names = record["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, OSError, pl.exceptions.PolarsError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
