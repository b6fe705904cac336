"""The sweep's memory: one SQLite file, one row per run, written whole or not at all."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lorabound.config import checked
from lorabound.errors import InputError, StoreError, cannot_write
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.records import ADAPTERS

if TYPE_CHECKING:
    from lorabound.adapters import Adapter
    from lorabound.sweeps.summary import Summary

FILE = "sweep.sqlite"
FORMAT = 5
# An older store is read as it is; with the first runs that are added it gets the columns that came after its format.
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
}

_SCHEMA = """
create table about (name text primary key, value text not null);
create table runs (
    key text primary key,
    rank integer not null, mode text not null, n_train integer not null, seed integer not null,
    sample integer not null, n_params integer not null, seconds real not null, status text not null,
    train_error real, test_error real, train_risk real, test_risk real, train_ce real, test_ce real,
    test_errors blob, test_log_losses blob,
    first_order blob, first_errors blob, first_log_losses blob,
    final_start integer, n_unlabelled integer, n_differing integer,
    n_folds integer, fold_test_error real, fold_errors blob,
    n_next integer, next_errors blob,
    adapter_sha256 text,
    train_wrong real, test_wrong real, test_misses blob, test_wrongs blob, first_wrongs blob
);
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run as it is stored.

    ``status`` is "done" or "diverged"; a diverged run has no measurements. ``test_errors`` (n_test,) bool and
    ``test_log_losses`` (n_test,) float32 are the losses of the test examples, in the split's order.
    ``first_errors`` (n_train,) bool and ``first_log_losses`` (n_train,) float32 are losses of the training examples
    before the update that used them, in the order ``first_order`` (n_train,) in which the first pass took them
    (:class:`lorabound.engine.FirstPass`); those of the model without an adapter are in the order of the pool. They are
    None for runs of older stores, and with ``augment``. ``n_differing`` of ``n_unlabelled`` unlabelled examples got
    another class from the final adapter than from a checkpoint of their own, drawn from the places from
    ``final_start`` of the first pass on. ``fold_errors`` are errors of ``n_folds`` adapters trained like this one, each
    on the fold it was trained without: bools in the order of the pool, fold after fold, all folds of one size (rows
    that are left over belong to none). ``fold_test_error`` is the mean error of these adapters on the test set.
    ``next_errors`` (n_next,) bool are errors on the rows of the pool that follow the training set, up to the next
    training size. ``adapter_sha256`` is the hash over the files of the adapter that training ended with
    (:func:`lorabound.adapters.folder_sha256`); None without one, and for runs of older stores.

    Of completions an error is one of which any token is wrong, a log-loss the mean of -ln p over its tokens, a risk the
    mean of 1 - p over them, and ``train_wrong``, ``test_wrong`` are the share of wrong tokens, averaged over examples;
    ``test_misses`` and ``test_wrongs`` (n_test,) float32 are risks and shares of the test examples, ``first_wrongs``
    (n_train,) float32 shares of the training examples before the update that used them. They are None for classes.
    """

    key: str
    rank: int
    mode: str
    n_train: int
    seed: int
    sample: int = 0
    n_params: int
    train_error: float | None = None
    test_error: float | None = None
    train_risk: float | None = None
    test_risk: float | None = None
    train_ce: float | None = None
    test_ce: float | None = None
    seconds: float
    status: str
    test_errors: NDArray[np.bool_] | None = None
    test_log_losses: NDArray[np.float32] | None = None
    first_order: NDArray[np.int64] | None = None
    first_errors: NDArray[np.bool_] | None = None
    first_log_losses: NDArray[np.float32] | None = None
    final_start: int | None = None
    n_unlabelled: int | None = None
    n_differing: int | None = None
    n_folds: int | None = None
    fold_test_error: float | None = None
    fold_errors: NDArray[np.bool_] | None = None
    n_next: int | None = None
    next_errors: NDArray[np.bool_] | None = None
    adapter_sha256: str | None = None
    train_wrong: float | None = None
    test_wrong: float | None = None
    test_misses: NDArray[np.float32] | None = None
    test_wrongs: NDArray[np.float32] | None = None
    first_wrongs: NDArray[np.float32] | None = None


_FIELDS = tuple(field.name for field in fields(Row))
# How an array is written; errors are one bit each, as many as there are losses beside them, or as other columns say.
_ARRAYS = {
    "test_log_losses": "<f4",
    "first_log_losses": "<f4",
    "first_order": "<i4",
    "test_misses": "<f4",
    "test_wrongs": "<f4",
    "first_wrongs": "<f4",
}
_BITS = {"test_errors": "test_log_losses", "first_errors": "first_log_losses"}
_COUNTED: dict[str, Callable[[dict[str, Any]], int]] = {
    "fold_errors": lambda values: int(values["n_train"] // values["n_folds"] * values["n_folds"]),
    "next_errors": lambda values: int(values["n_next"]),
}
_MEASURED = tuple(name for name in _FIELDS[1:] if name not in (*_ARRAYS, *_BITS, *_COUNTED, "adapter_sha256"))
PROVED = (
    "progressive_error",
    "progressive_at_most",
    "final_at_most",
    "cross_fit_error",
    "cross_fit_at_most",
    "block_error",
    "block_at_most",
    "gain_at_least",
)
# The public columns of a run, in the order of `lorabound export`: all but the key, the hash and the arrays, then what
# the first pass proves.
COLUMNS = (*_MEASURED, *PROVED)
_TYPES: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("rank", "n_train", "seed", "sample", "n_params"), pl.Int64),
    **dict.fromkeys(("final_start", "n_unlabelled", "n_differing", "n_folds", "n_next"), pl.Int64),
    **dict.fromkeys(("mode", "status"), pl.String),
}


class Sweep:
    """The runs of one sweep, kept in a folder; :func:`lorabound.sweep` and :func:`lorabound.open_sweep` return it.

    Attributes:
        folder: folder of the sweep, with the adapters beside the runs.
        config: settings of the sweep, with the grid as last extended.
        about: facts about the whole sweep: fingerprints of data and model, classes, what the split removed.

    >>> import lorabound as lb
    >>> done = lb.open_sweep("tickets-sweep")
    >>> sorted(set(done.frame()["mode"]))  # frame(): one row per run
    ['freeze_a', 'zero_shot']
    >>> done.cells().select("mode", "rank", "n_train").rows()  # cells(): means over seeds and training samples
    [('zero_shot', 0, 12), ('freeze_a', 1, 12)]
    >>> done.adapter(rank=1, mode="freeze_a", n_train=12, seed=0).mode
    'freeze_a'
    """

    def __init__(self, folder: str | Path, connection: sqlite3.Connection) -> None:
        self.folder = Path(folder)
        self._connection = connection
        self._connection.row_factory = sqlite3.Row

    @classmethod
    def open(cls, folder: str | Path) -> Sweep:
        """Open an existing store.

        Raises:
            StoreError: nothing there, or not a readable store.
        """
        path = Path(folder) / FILE
        if Path(folder).is_file():
            raise StoreError(f"{folder} is a file: give the folder that  lorabound sweep --out FOLDER  wrote")
        if not path.is_file():
            raise StoreError(f"{folder} holds no sweep ({FILE}): run  lorabound sweep --out {folder}  first")
        try:
            connection = sqlite3.connect(path)
            intact = connection.execute("pragma quick_check").fetchone()[0] == "ok"
            version = connection.execute("select value from about where name = 'format'").fetchone()
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} is not a readable sweep store ({error}): move it away and run again") from None
        if not intact:
            raise StoreError(f"{path} is damaged: move it away and run again; adapters beside it are untouched")
        if version is None or int(version[0]) not in range(1, FORMAT + 1):
            raise StoreError(f"{path} was written in another format: read it with the version that wrote it")
        return cls(folder, connection)

    @classmethod
    def open_or_create(cls, folder: str | Path, about: dict[str, Any]) -> Sweep:
        """Open a store, or make one for a sweep described by ``about`` (JSON values).

        Raises:
            StoreError: the directory cannot be written, or its store is not readable.
        """
        path = Path(folder) / FILE
        if path.exists() and path.stat().st_size:  # an empty file is what a kill while creating it leaves
            return cls.open(folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path)
            with connection:
                connection.execute("begin")
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.executemany(
                    "insert into about values (?, ?)",
                    [(name, json.dumps(value)) for name, value in {"format": FORMAT, **about}.items()],
                )
        except (OSError, sqlite3.Error) as error:
            raise StoreError(cannot_write(path, error)) from None
        return cls(folder, connection)

    def frame(self) -> pl.DataFrame:
        """One row per run: cell, seed, training sample, trained parameters, losses on training and test set, seconds.

        Errors are shares of examples, risks the mean of 1 - p(correct), ``ce`` cross-entropies in nats; those of a run
        that diverged are null. The run with rank 0 and mode "zero_shot" is the model without an adapter. The last
        columns are what the first pass over the training examples proves (:mod:`lorabound.sweeps.progressive`), each
        run on its own, sure to 95%: null where it proves nothing, as with several epochs.
        """
        from lorabound.sweeps.progressive import proved_columns

        rows = self.rows()
        measured = {name: [getattr(row, name) for row in rows] for name in _MEASURED}
        return pl.DataFrame(
            {**measured, **proved_columns(rows, self.config)},
            schema={name: _TYPES.get(name, pl.Float64) for name in COLUMNS},
        )

    def cells(self) -> pl.DataFrame:
        """One row per mode, rank and training size: means over its seeds and training samples, the 95% interval of the
        gap in 0-1 error (with several samples it covers the chance of the sample too), and the limit on the error on
        new data that the test set proves for one of its adapters (sure to 95%), and the one that training itself proves
        for one of its checkpoints (null with several epochs)."""
        return self.summary().frame()

    def summary(self) -> Summary:
        """Everything a report says: verdicts, cells, comparisons, growth exponents."""
        from lorabound.sweeps.summary import summarize

        return summarize(self)

    def adapter(self, rank: int, mode: str, n_train: int, seed: int, sample: int = 0) -> Adapter:
        """The trained adapter of one run.

        Raises:
            InputError: no such run is done; the message says how to see which are.
            AdapterError: its folder is damaged or was moved away.
        """
        from lorabound.adapters import load_adapter

        name = Run(rank, mode, n_train, seed, sample).name  # type: ignore[arg-type]
        done = {(row.rank, row.mode, row.n_train, row.seed, row.sample) for row in self.rows() if row.status == "done"}
        if not rank or (rank, mode, n_train, seed, sample) not in done:
            raise InputError(f"{self.folder} holds no trained adapter {name}: the runs that are there stand in frame()")
        return load_adapter(self.folder / ADAPTERS / name)

    def __repr__(self) -> str:
        """The folder, what was trained on what, how many runs there are; ``lorabound.show`` says which to take."""
        config = self.config
        there, planned = len(self.keys()), len(runs_of(config))
        runs = f"{there} runs" if there >= planned else f"{there} of {planned} runs"
        return (
            f"Sweep {str(self.folder)!r}: {config.model} on {config.data}, {runs}; modes {', '.join(config.modes)}, "
            f"ranks {', '.join(map(str, config.ranks))}, N = {', '.join(map(str, config.sizes))}"
        )

    def _repr_html_(self) -> str:
        """For notebooks: what ``repr`` says, and the frame of runs."""
        return f"<p>{escape(repr(self))}</p>{self.frame()._repr_html_()}"

    @property
    def about(self) -> dict[str, Any]:
        """What the sweep records about itself, by name: its settings, its data, its model."""
        rows = self._connection.execute("select name, value from about").fetchall()
        return {name: json.loads(value) for name, value in rows}

    @property
    def config(self) -> SweepConfig:
        """The configuration, with the axes of the grid as last extended."""
        return checked(SweepConfig, self.about["config"], str(self.folder / FILE))

    def note(self, name: str, value: Any) -> None:
        """Record a JSON value in ``about``, in place of one of the same name."""
        with self._writing():
            self._connection.execute("insert or replace into about values (?, ?)", (name, json.dumps(value)))

    def set_config(self, config: SweepConfig) -> None:
        """Record an extended grid."""
        self.note("config", config.model_dump(mode="json"))

    def keys(self) -> set[str]:
        """Keys of the runs that are there."""
        return {key for (key,) in self._connection.execute("select key from runs")}

    def add(self, rows: Sequence[Row]) -> None:
        """Write runs in one transaction: all of them or none.

        Raises:
            StoreError: the disk is full or the file cannot be written; what was there stays readable.
        """
        with self._writing():
            into, values = ", ".join(_FIELDS), ", ".join(f":{name}" for name in _FIELDS)
            statement = f"insert or replace into runs ({into}) values ({values})"
            self._connection.execute("begin immediate")  # or a new column would be written before the rest
            if (stored := self.about["format"]) < FORMAT:
                for column in (column for number in range(stored + 1, FORMAT + 1) for column in _ADDED[number]):
                    self._connection.execute(f"alter table runs add column {column}")
                self._connection.execute("update about set value = ? where name = 'format'", (str(FORMAT),))
            self._connection.executemany(statement, [_pack(row) for row in rows])

    def rows(self) -> list[Row]:
        """All runs, ordered by training size, mode, rank, sample and seed.

        Raises:
            StoreError: the losses of a run are cut off.
        """
        try:
            found = [_unpack(record) for record in self._connection.execute("select * from runs").fetchall()]
        except ValueError as error:
            raise StoreError(f"{self.folder / FILE} is damaged ({error}): move it away and run again") from None
        return sorted(found, key=lambda row: (row.n_train, row.mode, row.rank, row.sample, row.seed))

    def close(self) -> None:
        """Close the file of the runs; the sweep cannot be read afterwards."""
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            remedy = "the runs already there are safe, make room and run the same command again to go on"
            raise StoreError(cannot_write(self.folder / FILE, error, remedy)) from None


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


def _pack(row: Row) -> dict[str, Any]:
    record = {name: getattr(row, name) for name in _FIELDS}
    for name, form in _ARRAYS.items():
        record[name] = None if record[name] is None else record[name].astype(form).tobytes()
    for name in (*_BITS, *_COUNTED):
        record[name] = None if record[name] is None else np.packbits(record[name]).tobytes()
    return record


def _unpack(record: sqlite3.Row) -> Row:
    values = dict(record)
    for name, form in _ARRAYS.items():
        if values.get(name) is not None:
            values[name] = np.frombuffer(values[name], dtype=form)
    for name, beside in _BITS.items():
        count = len(values[beside]) if values.get(beside) is not None else 0
        if len(values.get(name) or b"") != -(-count // 8):  # NumPy would add zeros: no errors
            examples = "test" if name.startswith("test") else "training"
            raise ValueError(
                f"a run has errors and losses of different numbers of {examples} examples: {values['key']}"
            )
        if count:
            bits = np.unpackbits(np.frombuffer(values[name], dtype=np.uint8), count=count)
            values[name] = bits.astype(np.bool_)
    for name, count_of in _COUNTED.items():
        if values.get(name) is None:
            continue
        count = count_of(values)
        if len(values[name]) != -(-count // 8):
            where = "its folds" if name == "fold_errors" else "the next block"
            raise ValueError(f"a run has errors of too few examples in {where}: {values['key']}")
        values[name] = np.unpackbits(np.frombuffer(values[name], dtype=np.uint8), count=count).astype(np.bool_)
    first, n_train = values.get("first_log_losses"), values["n_train"]
    if first is not None:
        order = values["first_order"] = values["first_order"].astype(np.int64)
        if len(first) != n_train or not np.array_equal(np.sort(order), np.arange(n_train)):
            raise ValueError(f"the first pass of a run does not hold each training example once: {values['key']}")
    return Row(**values)
