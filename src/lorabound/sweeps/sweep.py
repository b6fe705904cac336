"""The sweep's memory: one SQLite file, one row per run, written whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from lorabound.config import checked
from lorabound.errors import InputError, StoreError, cannot_write
from lorabound.sweeps import tables
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.places import holds_recommendation, is_free, refuse_folder_of_recommendation
from lorabound.sweeps.records import ADAPTERS
from lorabound.sweeps.row import MEASURED, Row, pack, unpack
from lorabound.sweeps.store import FILE, DamagedStore, check_entries, columns_of, create, opened, snapshot, unreadable
from lorabound.sweeps.tables import ABOUT, HASH, SEAL, Total, content_sha256

if TYPE_CHECKING:
    from lorabound.adapters import Adapter
    from lorabound.sweeps.summary import Summary

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
COLUMNS = (*MEASURED, *PROVED)
_TYPES: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("rank", "n_train", "seed", "sample", "n_params"), pl.Int64),
    **dict.fromkeys(("final_start", "n_unlabelled", "n_differing", "n_folds", "n_next"), pl.Int64),
    **dict.fromkeys(("mode", "status"), pl.String),
}


_NAMED = {"mode": "", "rank": "r", "n_train": "n", "seed": "seed", "sample": "sample"}


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
        connection.execute("pragma secure_delete = on")  # what was replaced must not come back from the file

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
            inside = min(Path(folder).glob(f"*/{FILE}"), default=None)
            none = f"{folder} holds no sweep ({FILE})"
            if holds_recommendation(folder):
                raise StoreError(
                    f"{none} but a recommendation: give the folder that  lorabound sweep --out FOLDER  wrote"
                )
            if inside is not None:
                raise StoreError(f"{none}, its folder {inside.parent.name} does: give {inside.parent}")
            if not is_free(folder):
                raise StoreError(f"{none}: give the folder that  lorabound sweep --out FOLDER  wrote")
            raise StoreError(f"{none}: run  lorabound sweep --out {folder}  first")
        store = cls(folder, opened(path))
        _ = store.about  # every entry as it was written
        return store

    @classmethod
    def open_or_create(cls, folder: str | Path, about: dict[str, Any]) -> Sweep:
        """Open a store, or make one for a sweep described by ``about`` (JSON values).

        Raises:
            StoreError: the directory cannot be written, or its store is not readable.
        """
        path = Path(folder) / FILE
        if path.exists() and path.stat().st_size:  # an empty file is what a kill while creating it leaves
            return cls.open(folder)
        refuse_folder_of_recommendation(folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(folder, create(path, about))
        except (OSError, sqlite3.Error) as error:
            raise StoreError(cannot_write(path, error)) from None

    def frame(self) -> pl.DataFrame:
        """One row per run: cell, seed, training sample, trained parameters, losses on training and test set, seconds.

        Errors are shares of examples, risks the mean of 1 - p(correct), ``ce`` cross-entropies in nats; those of a run
        that diverged are null. The run with rank 0 and mode "zero_shot" is the model without an adapter. The last
        columns are what the first pass over the training examples proves (:mod:`lorabound.sweeps.progressive`), each
        run on its own, sure to 95%: null where it proves nothing, as with several epochs.
        """
        from lorabound.sweeps.choices import proved_columns

        rows = self.rows()
        measured = {name: [getattr(row, name) for row in rows] for name in MEASURED}
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
        with self._reading():
            found = list(map(tuple, self._connection.execute(f"select * from {ABOUT}").fetchall()))
            if any(len(entry) == 3 for entry in found):  # a store of an older format has names and values
                check_entries({name: (text, sha256) for name, text, sha256 in found})
            return {entry[0]: json.loads(entry[1]) for entry in found if entry[0] != SEAL}

    @property
    def sealed(self) -> bool:
        """Whether every row carries the hash of its contents; a store of an older format gets them with the first runs
        that are added, by whichever process."""
        return HASH in columns_of(self._connection)

    @property
    def config(self) -> SweepConfig:
        """The configuration, with the axes of the grid as last extended."""
        about = self.about
        with self._reading():
            record = dict(about["config"])
        return checked(SweepConfig, record, str(self.folder / FILE))

    def note(self, name: str, value: Any) -> None:
        """Record a JSON value in ``about``, in place of one of the same name."""
        text = json.dumps(value)
        with self._writing():
            self._connection.execute("begin immediate")
            if self.sealed:
                tables.put(self._connection, {name: text})
            else:
                self._connection.execute(f"insert or replace into {ABOUT} (name, value) values (?, ?)", (name, text))

    def set_config(self, config: SweepConfig) -> None:
        """Record an extended grid."""
        self.note("config", config.model_dump(mode="json"))

    def keys(self) -> set[str]:
        """Keys of the runs that are there, each as it was written.

        Raises:
            StoreError: the file is damaged; the message says which run, and names the command that mends it.
        """
        with self._reading():
            return {record["key"] for record in self._records()}

    def add(self, rows: Sequence[Row]) -> None:
        """Write runs in one transaction: all of them or none.

        Raises:
            StoreError: the disk is full or the file cannot be written; what was there stays readable.
        """
        with self._writing():
            self._connection.execute("begin immediate")  # or a new column would be written before the rest
            if not self.sealed:
                tables.upgrade(self._connection, int(self.about["format"]))
            tables.add(self._connection, [pack(row) for row in rows])

    def rows(self) -> list[Row]:
        """All runs, ordered by training size, mode, rank, sample and seed; each is checked against its hash.

        Raises:
            StoreError: the file is damaged; the message says which run, and names the command that mends it.
        """
        with self._reading():
            found = [unpack(record) for record in self._records()]
            return sorted(found, key=lambda row: (row.n_train, row.mode, row.rank, row.sample, row.seed))

    def close(self) -> None:
        """Close the file of the runs; the sweep cannot be read afterwards."""
        self._connection.close()

    def _records(self) -> list[dict[str, Any]]:
        """Rows of the table of runs without their hashes, which are compared first.

        Raises:
            ValueError: a row that is not what was written, or fewer or more rows than were.
        """
        with snapshot(self._connection):
            found = list(map(dict, self._connection.execute("select * from runs").fetchall()))
            seal = tables.seal_of(self._connection).runs if self.sealed else None
        if seal is not None:
            hashes = []
            for record in found:
                hashes.append(content_sha256(record))
                if record.pop(HASH) != hashes[-1]:
                    raise ValueError(f"the row of the run {_name(record)} is not what was written")
            if (there := Total().plus(hashes)) != seal:
                raise ValueError(f"{there.count} runs are there, {seal.count} were written")
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
            raise unreadable(self.folder / FILE, error) from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            remedy = "the runs already there are safe, make room and run the same command again to go on"
            raise StoreError(cannot_write(self.folder / FILE, error, remedy)) from None
        except (ValueError, TypeError, KeyError) as error:  # of a damaged seal
            raise DamagedStore(self.folder / FILE, error) from None


def _name(record: Mapping[str, Any]) -> str:
    """What a row calls its run, right or wrong."""
    return "-".join(f"{mark}{record.get(name)}"[:30] for name, mark in _NAMED.items())
