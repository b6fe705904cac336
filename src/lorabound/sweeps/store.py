"""The file of a sweep: how it is made and opened, what is looked at before it is believed, who may write to it."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorabound.errors import StoreError, cannot_write
from lorabound.sweeps import tables
from lorabound.sweeps.tables import ABOUT, FORMAT, HASH, SEAL, Seal, Total, content_sha256

FILE = "sweep.sqlite"
# Seconds that a writer waits for readers, and a reader for a writer.
_PATIENCE = 60.0
# What no store holds: code that SQLite would run.
_FOREIGN = """select name from sqlite_master where type not in ('table', 'index') or (type = 'index' and sql not null)
or sql like '%virtual%' or sql like '%check%' or sql like '%generated%' or sql like '% as %' limit 1"""


class DamagedStore(StoreError):
    """A store that is not what was written; ``what`` says the damage in a clause."""

    def __init__(self, path: Path, what: object, sentence: str | None = None) -> None:
        super().__init__(
            sentence
            or f"{path} is damaged ({what}): run  lorabound repair {path.parent}  which keeps the damaged file and "
            "every run that is whole; the command of the sweep then trains the others again"
        )
        self.what = str(what)


def create(path: Path, about: Mapping[str, Any]) -> sqlite3.Connection:
    """Make the file of a store that holds no runs yet.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    connection = sqlite3.connect(path, timeout=_PATIENCE)
    connection.execute("pragma secure_delete = on")
    with connection:
        connection.execute("begin immediate")
        tables.create(connection)
        tables.put(connection, {name: json.dumps(value) for name, value in {"format": FORMAT, **about}.items()})
    return connection


def opened(path: Path) -> sqlite3.Connection:
    """Open the file of a store and look at it.

    Raises:
        DamagedStore: it is not what was written.
        StoreError: it is no store, or one of a later version.
    """
    connection = sqlite3.connect(path, timeout=_PATIENCE)
    try:
        with snapshot(connection):
            fault = _fault(connection, path)
    except StoreError:
        connection.close()
        raise
    except (sqlite3.Error, ValueError, TypeError, IndexError) as error:
        connection.close()
        raise unreadable(path, error) from None
    if fault:
        connection.close()
        raise DamagedStore(path, fault)
    return connection


def _fault(connection: sqlite3.Connection, path: Path) -> str | None:
    """What is wrong with a file, as far as SQLite and the format tell; None for nothing.

    Raises:
        StoreError: a later version of lorabound wrote it.
        sqlite3.Error: it cannot be read.
    """
    if connection.execute(_FOREIGN).fetchone() is not None:
        raise sqlite3.DatabaseError("it holds more than the tables of a sweep")
    entry = connection.execute(f"select * from {ABOUT} where name = 'format'").fetchone()
    said = str(connection.execute("pragma quick_check").fetchone()[0])
    if said != "ok":
        return " ".join(said.split())
    version = str(entry[1]) if entry else ""
    columns, known = columns_of(connection), {*tables.columns()}
    if version.isdecimal() and int(version) > FORMAT:
        if len(entry) < 3 or entry[2] == content_sha256({"name": "format", "value": version}):
            raise StoreError(f"{path} was written in another format: read it with the version that wrote it")
        return "its entry 'format' is not what was written"
    if version not in map(str, range(1, FORMAT + 1)) or (HASH in columns) != (version == str(FORMAT)):
        return "it does not say its format"
    return f"it has a column {min(columns - known)[:20]!r}" if columns - known else None


def check_entries(found: Mapping[str, tuple[str, bytes]]) -> None:
    """See that the entries of ``about``, each with its hash, are what was written.

    Raises:
        ValueError: one is not, or is missing.
    """
    hashes = {name: content_sha256({"name": name, "value": text}) for name, (text, _) in found.items()}
    if changed := [name for name, (_, stored) in found.items() if hashes[name] != stored]:
        raise ValueError(f"its entry {changed[0][:20]!r} is not what was written")
    if Total().plus(one for name, one in hashes.items() if name != SEAL) != Seal.read(found[SEAL][0]).about:
        raise ValueError("an entry on settings, data or model is missing")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read within is of one moment, whatever another process writes; keep it short, since it waits."""
    if connection.in_transaction:
        yield
        return
    connection.execute("begin")
    try:
        yield
    finally:
        connection.rollback()


def unreadable(path: Path, error: Exception) -> StoreError:
    """The error on a store that cannot be read."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return StoreError(f"{path} is being written by another process: try again when it has stopped")
    said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    if not isinstance(error, sqlite3.Error):
        return DamagedStore(path, said)
    return DamagedStore(
        path,
        said,
        f"{path} is not a readable sweep store ({said}): if a sweep wrote it,  lorabound repair {path.parent}  keeps "
        "the runs in it that are whole; else move it away and run again",
    )


def columns_of(connection: sqlite3.Connection) -> set[str]:
    """Names of the columns of the runs."""
    return {name for (name,) in map(tuple, connection.execute("select name from pragma_table_info('runs')"))}


@contextmanager
def only_writer(folder: str | Path) -> Iterator[None]:
    """Hold the directory's lock, so that two sweeps never write to it at once.

    Raises:
        StoreError: another process holds it, or the directory cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("w")
    except OSError as error:
        raise StoreError(cannot_write(folder, error)) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"another sweep is writing to {folder}: wait for it or choose another --out") from None
        yield
