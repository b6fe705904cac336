"""Mend the folder of a sweep or of a recommendation: damage is looked for, and what is whole is kept.

DIR/sweep.sqlite.damaged    the damaged file as it was
DIR/damaged-adapters/       adapters that are not what their runs left
DIR/sweep.sqlite            every run that is whole; the command of the sweep trains the others again
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from lorabound.adapters import folder_sha256
from lorabound.config import checked
from lorabound.errors import AdapterError, OutputError, StoreError, cannot_write
from lorabound.files import drafted, make_folder, write_bytes
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.records import ADAPTERS
from lorabound.sweeps.row import Row, unpack
from lorabound.sweeps.salvage import salvage
from lorabound.sweeps.store import FILE, DamagedStore, create, only_writer
from lorabound.sweeps.sweep import Sweep
from lorabound.sweeps.tables import FORMAT, Seal, Total, content_sha256

MOVED = "damaged-adapters"
# Without these nobody can tell what the runs of a store are.
_NEEDED = ("format", "config")


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What :func:`repair` found in one store.

    Attributes:
        path: file of the store.
        fault: what was wrong with the file; None for a file that is whole.
        kept: file in which the damaged one is kept; None where none was damaged.
        n_runs: runs that are there now.
        n_lost: runs that the damaged file had and the new one does not; None where nobody can tell.
        missing: names of the runs of the grid that are not there, which the command of the sweep trains.
        n_adapters: adapters that are as their runs left them.
        damaged: names of the adapters that are not, which were moved away; their runs are among the missing ones.
        absent: names of the adapters that are not there; their runs were kept.
        hashed: whether the rows carry hashes; those of a store of an older format do not before runs are added.
    """

    path: str
    fault: str | None
    kept: str | None
    n_runs: int
    n_lost: int | None
    missing: tuple[str, ...]
    n_adapters: int
    damaged: tuple[str, ...]
    absent: tuple[str, ...]
    hashed: bool

    @property
    def whole(self) -> bool:
        """Whether nothing was damaged."""
        return self.fault is None and not self.damaged


@dataclass(frozen=True)
class Repair:
    """All stores of a folder, as :func:`repair` left them."""

    folder: str
    stores: tuple[Mended, ...]


def repair(folder: str | PathLike[str]) -> Repair:
    """Check every store of a folder and its adapters, and write those anew that are damaged, with every run that is
    whole. What is damaged is kept beside it; a store that is whole is not touched.

    Raises:
        StoreError: no store is there, another process writes to it, or nothing in it can be told apart.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    places = sorted(path.parent for path in folder.rglob(FILE)) if folder.is_dir() else []
    if not places:
        raise StoreError(f"{folder} holds no sweep ({FILE}): give the folder that --out named")
    return Repair(str(folder), tuple(map(_mend, places)))


def _mend(folder: Path) -> Mended:
    path = folder / FILE
    with only_writer(folder):
        fault: str | None = None
        kept: Path | None = None
        lost: int | None = 0
        try:
            store = Sweep.open(folder)
            try:
                about, rows, sealed = store.about, store.rows(), store.sealed
            finally:
                store.close()
        except DamagedStore as error:
            fault = error.what
            about, rows, lost = _salvaged(path)
            sealed = True
        adapters = {place.name: _state(place, row) for row in rows if (place := _place(folder, row))}
        bad = [name for name, state in adapters.items() if state == "damaged"]
        whole = [row for row in rows if not (place := _place(folder, row)) or place.name not in bad]
        if fault is not None or bad:
            kept = _keep(path)
            _write(path, about, whole)
            sealed = True
        for name in bad:
            _move(folder / ADAPTERS / name, folder / MOVED)
        there = {_run(row) for row in whole}
        planned = runs_of(checked(SweepConfig, about["config"], str(path)))
        return Mended(
            path=str(path),
            fault=fault,
            kept=None if kept is None else str(kept),
            n_runs=len(whole),
            n_lost=lost,
            missing=tuple(run.name for run in planned if run not in there),
            n_adapters=sum(state == "whole" for state in adapters.values()),
            damaged=tuple(bad),
            absent=tuple(name for name, state in adapters.items() if state == "absent"),
            hashed=sealed,
        )


def _salvaged(path: Path) -> tuple[dict[str, Any], list[Row], int]:
    """What the store says about itself, its runs, and how many are lost.

    Raises:
        StoreError: what it says about itself is lost as well, or it is of a format whose rows carry no hash.
    """
    try:
        found = salvage(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror})") from None
    hashes = [content_sha256({"name": name, "value": text}) for name, text in found.about.items()]
    seal = max((one for one in found.seals if one.about == Total().plus(hashes)), key=_n_runs, default=None)
    if seal is None or not {*found.about} >= {*_NEEDED}:
        raise StoreError(
            f"{path} cannot be repaired: what it says of settings, data and model is not as a store of format "
            f"{FORMAT} has it (older ones carry no hashes): move it away and give the command of the sweep again; the "
            f"adapters beside it are not touched, {len(found.runs)} runs in it are whole"
        )
    rows = []
    for record in found.runs.values():
        try:
            rows.append(unpack(record))
        except (ValueError, TypeError, KeyError, ArithmeticError):
            continue
    return {name: json.loads(text) for name, text in found.about.items()}, rows, max(seal.runs.count - len(rows), 0)


def _n_runs(seal: Seal) -> int:
    return seal.runs.count


def _run(row: Row) -> Run:
    return Run(row.rank, row.mode, row.n_train, row.seed, row.sample)  # type: ignore[arg-type]


def _place(folder: Path, row: Row) -> Path | None:
    """The folder of the adapter that a run left; None where its row does not say which it was."""
    return folder / ADAPTERS / _run(row).name if row.adapter_sha256 else None


def _state(place: Path, row: Row) -> Literal["whole", "damaged", "absent"]:
    if not place.exists():
        return "absent"
    try:
        return "whole" if folder_sha256(place) == row.adapter_sha256 else "damaged"
    except AdapterError:
        return "damaged"


def _keep(path: Path) -> Path:
    """A copy of the file, and of the journal beside it, under a name that is free; returns its path.

    Raises:
        OutputError: it cannot be written.
    """
    kept = _free(path.with_name(f"{path.name}.damaged"))
    journal = path.with_name(f"{path.name}-journal")
    for source, target in ((path, kept), (journal, kept.with_name(f"{kept.name}-journal"))):
        if source.is_file():
            write_bytes(target, source.read_bytes())
    return kept


def _write(path: Path, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write a store in place of the one that is there.

    Raises:
        OutputError: it cannot be written; the one that is there stands as it did.
    """
    try:
        with drafted(path) as draft:
            connection = create(draft, {name: value for name, value in about.items() if name != "format"})
            made = Sweep(path.parent, connection)
            made.add(rows)
            made.close()
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)  # it belongs to the damaged file
    except sqlite3.Error as error:
        raise OutputError(cannot_write(path, error)) from None


def _move(source: Path, into: Path) -> None:
    """Move an adapter away, under a name that is free.

    Raises:
        OutputError: it cannot be moved.
    """
    make_folder(into)
    try:
        source.replace(_free(into / source.name))
    except OSError as error:
        raise OutputError(cannot_write(into, error)) from None


def _free(path: Path) -> Path:
    """The path itself, or the first that is free with -2, -3, ... behind it."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 10_000)))
    return next(name for name in names if not name.exists())
