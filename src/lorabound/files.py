"""Result files, written whole or not at all: a draft beside the target, flushed to the disk, then renamed.

No other module of the package writes a result. A device or a pipe has no name to take and is written straight.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorabound.errors import InputError, OutputError, cannot_write

if TYPE_CHECKING:
    import polars as pl

Place = str | os.PathLike[str]

# Endings a table can be written under.
TABLES = (".csv", ".parquet", ".json")


@contextmanager
def drafted(path: Place) -> Iterator[Path]:
    """A free name beside ``path`` for a file or a folder, which takes the name ``path`` when the block ends well.

    A file or folder of that name is replaced; after an error it stands as it did. Folders on the way are made.

    Raises:
        OutputError: the place cannot be written.
    """
    path = Path(path)
    try:
        target = Path(os.path.realpath(path))  # what a symbolic link points at is replaced, not the link
        draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            _remove(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            for file in draft.iterdir() if draft.is_dir() else (draft,):
                _flush(file)
            if draft.is_dir():
                _remove(target)
            draft.replace(target)
        finally:
            _remove(draft)
    except OSError as error:
        raise OutputError(cannot_write(path, error)) from None


def write_bytes(path: Place, content: bytes) -> Path:
    """Write a file; returns its path.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if _is_stream(path):
        try:
            path.write_bytes(content)
        except OSError as error:
            raise OutputError(cannot_write(path, error)) from None
        return path
    with drafted(path) as draft:
        draft.write_bytes(content)
    return path


def write_text(path: Place, text: str) -> Path:
    """Write a text file in UTF-8; returns its path.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Place, record: Any) -> Path:
    """Write JSON values as a text file that ends with a line break; nan, which JSON does not know, becomes null.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_text(path, json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of JSON values with the SHA-256 of the others under "sha256": a changed bit of the file is seen."""
    plain = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(json.loads(json.dumps(plain)), sort_keys=True)
    return {**plain, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def is_whole(record: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether a record that was read is what :func:`sealed` made; one without a hash, of an older version, is.

    Args:
        names: names that such a record may hold: the hash's own name may have been changed.
    """
    known = {*names, "sha256"}
    return record.keys() <= known and ("sha256" not in record or sealed(record)["sha256"] == record["sha256"])


def write_table(path: Place, frame: pl.DataFrame) -> Path:
    """Write a data frame as CSV, Parquet or JSON (a list of rows), by the ending of the name; nan becomes empty.

    Raises:
        InputError: another ending.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    ending = ".csv" if _is_stream(path) else path.suffix.lower()
    if ending not in TABLES:
        raise InputError(f"{path} is no name for a table: it must end in {', '.join(TABLES[:-1])} or {TABLES[-1]}")
    frame = frame.fill_nan(None)
    if ending == ".parquet":
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        return write_bytes(path, buffer.getvalue())
    return write_text(path, frame.write_csv() if ending == ".csv" else frame.write_json() + "\n")


def make_folder(folder: Place) -> Path:
    """Make a folder for results, and those on the way; one that is there stays as it is.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(cannot_write(folder, error)) from None
    return Path(folder)


@contextmanager
def result_folder(folder: Place | None) -> Iterator[None]:
    """Make a folder before the work that fills it, so that one which cannot be written is told at once.

    Where the work is refused or stopped before it has written anything, no empty folder stays behind.

    Args:
        folder: folder; None for results that go nowhere.
    Raises:
        OutputError: it cannot be made.
    """
    if folder is None:
        yield
        return
    added = [path for path in (Path(folder), *Path(folder).parents) if not path.exists()]
    make_folder(folder)
    try:
        yield
    except BaseException:
        for path in added:  # the innermost first; one that holds something stays, and so do those around it
            with suppress(OSError):
                path.rmdir()
        raise


def _is_stream(path: Path) -> bool:
    """Whether ``path`` is a device or a pipe, as /dev/stdout."""
    try:
        return path.exists() and not path.is_file() and not path.is_dir()
    except OSError:  # in a folder that may not be looked into: writing says so
        return False


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value
