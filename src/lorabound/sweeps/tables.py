"""The tables of a store, and what proves that nothing in them was changed by anything but :class:`Sweep`.

    runs           one row per run, with the SHA-256 of its contents
    about          name and JSON value, with the SHA-256 of both; twice, so that one damaged page costs neither
    about "seal"   how many rows runs and about have, and the sum of their hashes: no row is missing, none is too many

The hash is over names and values, so that a column that is added later, and null, leaves it as it was. It tells damage;
whoever writes a store on purpose can write hashes too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

FORMAT = 6
# An older store is read as it is, without hashes; with the first runs that are added it gets what came after it.
_ADDED = {
    2: ("sample integer not null default 0",),
    3: (
        "first_order blob",
        "first_errors blob",
        "first_log_losses blob",
        "final_start integer",
        "n_unlabelled integer",
        "n_differing integer",
        "n_folds integer",
        "fold_test_error real",
        "fold_errors blob",
        "n_next integer",
        "next_errors blob",
    ),
    4: ("adapter_sha256 text",),
    5: ("train_wrong real", "test_wrong real", "test_misses blob", "test_wrongs blob", "first_wrongs blob"),
    6: ("sha256 blob",),
}
_RUNS = (
    "key text primary key",
    "rank integer not null",
    "mode text not null",
    "n_train integer not null",
    "seed integer not null",
    "sample integer not null default 0",
    "n_params integer not null",
    "seconds real not null",
    "status text not null",
    *(f"{name} real" for name in ("train_error", "test_error", "train_risk", "test_risk", "train_ce", "test_ce")),
    "test_errors blob",
    "test_log_losses blob",
    *(column for number in range(3, FORMAT + 1) for column in _ADDED[number]),
)
ABOUT, AGAIN, SEAL = "about", "about_again", "seal"
HASH = "sha256"
_PAIRS = "(name text primary key, value text not null, sha256 blob)"


@dataclass(frozen=True)
class Total:
    """Number of rows, and the sum of their hashes modulo 2^256: the same in whatever order they were written."""

    count: int = 0
    digest: int = 0

    def plus(self, hashes: Iterable[bytes], sign: int = 1) -> Total:
        """With further rows; with ``sign`` -1 without them."""
        found = list(hashes)
        digest = self.digest + sign * sum(int.from_bytes(one) for one in found)
        return Total(self.count + sign * len(found), digest % 2**256)


class Seal(NamedTuple):
    """What a store holds by its own account."""

    runs: Total = Total()
    about: Total = Total()

    def text(self) -> str:
        """The JSON value under "seal"."""
        return json.dumps({name: [total.count, f"{total.digest:064x}"] for name, total in self._asdict().items()})

    @classmethod
    def read(cls, text: str) -> Seal:
        """Raises ValueError, TypeError or KeyError for a text that is none."""
        record = json.loads(text)
        return cls(*(Total(int(record[name][0]), int(record[name][1], 16)) for name in cls._fields))


def columns(with_sample_last: bool = False) -> list[str]:
    """Columns of ``runs`` in the order in which they lie in the file; the sample of a store that began with format 1
    lies after the losses."""
    names = [column.split()[0] for column in _RUNS]
    if with_sample_last:
        names.remove("sample")
        names.insert(names.index("test_log_losses") + 1, "sample")
    return names


def content_sha256(values: Mapping[str, Any]) -> bytes:
    """SHA-256 over the names and values of a row that are not null, sorted by name; the hash itself is left out."""
    digest = hashlib.sha256()
    for name in sorted(values):
        value = values[name]
        if value is None or name == HASH:
            continue
        if isinstance(value, str):
            value, kind = value.encode("utf-8", "surrogatepass"), "t"
        elif isinstance(value, float):
            value, kind = struct.pack("<d", value), "f"
        elif isinstance(value, int):
            value, kind = str(value).encode(), "i"
        else:
            kind = "b"
        digest.update(f"{name}\0{kind}{len(value)}\0".encode())
        digest.update(value)
    return digest.digest()


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, within a transaction of the caller."""
    connection.execute(f"create table {ABOUT} {_PAIRS}")
    connection.execute(f"create table {AGAIN} {_PAIRS}")
    connection.execute(f"create table runs ({', '.join(_RUNS)})")
    _write_pair(connection, SEAL, Seal().text())


def upgrade(connection: sqlite3.Connection, stored: int) -> None:
    """Bring an older store to this format, within a transaction of the caller: from here on its rows are what they are
    now."""
    for number in range(stored + 1, FORMAT + 1):
        for column in _ADDED[number]:
            connection.execute(f"alter table runs add column {column}")
    connection.execute(f"alter table {ABOUT} add column sha256 blob")
    connection.execute(f"create table {AGAIN} {_PAIRS}")
    names = columns()
    records = map(tuple, connection.execute(f"select {', '.join(names)} from runs").fetchall())
    hashes = [(content_sha256(dict(zip(names, record, strict=True))), record[0]) for record in records]
    connection.executemany("update runs set sha256 = ? where key = ?", hashes)
    for name, value in connection.execute(f"select name, value from {ABOUT}").fetchall():
        _write_pair(connection, name, str(FORMAT) if name == "format" else value)
    _write_pair(connection, SEAL, Seal(Total().plus(one for one, _ in hashes), _about_total(connection)).text())


def put(connection: sqlite3.Connection, entries: Mapping[str, str]) -> None:
    """Write entries of ``about``, and seal them."""
    for name, text in entries.items():
        _write_pair(connection, name, text)
    _reseal(connection, seal_of(connection).runs)


def add(connection: sqlite3.Connection, records: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of ``runs``, in place of those of the same keys, and seal them."""
    sealed = [{**record, HASH: content_sha256(record)} for record in records]
    total = seal_of(connection).runs
    for record in sealed:
        replaced = connection.execute("select sha256 from runs where key = ?", (record["key"],)).fetchall()
        total = total.plus((one for (one,) in map(tuple, replaced)), -1)
    if sealed:
        names = list(sealed[0])
        into, values = ", ".join(names), ", ".join(f":{name}" for name in names)
        connection.executemany(f"insert or replace into runs ({into}) values ({values})", sealed)
    _reseal(connection, total.plus(record[HASH] for record in sealed))


def seal_of(connection: sqlite3.Connection) -> Seal:
    """Raises ValueError, TypeError or KeyError where there is none that can be read."""
    found = connection.execute(f"select value from {ABOUT} where name = ?", (SEAL,)).fetchone()
    return Seal.read(found[0])


def _reseal(connection: sqlite3.Connection, runs: Total) -> None:
    _write_pair(connection, SEAL, Seal(runs, _about_total(connection)).text())


def _about_total(connection: sqlite3.Connection) -> Total:
    found = connection.execute(f"select sha256 from {ABOUT} where name <> ?", (SEAL,)).fetchall()
    return Total().plus(one for (one,) in map(tuple, found))


def _write_pair(connection: sqlite3.Connection, name: str, text: str) -> None:
    sealed = name, text, content_sha256({"name": name, "value": text})
    for table in (ABOUT, AGAIN):
        connection.execute(f"insert or replace into {table} values (?, ?, ?)", sealed)
