"""The page of a sweep or of a recommendation while it runs: read from its folder again whenever its runs have changed.

Nothing is written into the folder. What is served is the page that ``lorabound report`` writes, with a line that says
how far the sweep is and a script that loads the page anew when there is more, and keeps place, order and choices.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl

from lorabound.data import counted
from lorabound.errors import InputError, LoraboundError
from lorabound.recommendations.recommendation import PILOTS
from lorabound.recommendations.stored import FILE, is_recommendation, open_recommendation
from lorabound.reports.frame import framed, rows_of
from lorabound.reports.page import page_of
from lorabound.reports.recommendation_page import recommendation_page
from lorabound.sweeps import Sweep
from lorabound.sweeps.grid import runs_of
from lorabound.sweeps.store import FILE as STORE

# Where the line and the script go into a page.
_END = "</body>"


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a sweep is.

    Attributes:
        version: name of what the page shows; another one where runs have come since.
        said: sentence on the runs that are there.
    """

    version: str
    said: str


class LivePage:
    """The page of a folder, made when it is asked for and runs have changed since it was last made.

    Attributes:
        folder: folder of a sweep, or of a recommendation.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lock = Lock()
        self._version, self._page, self._shows_runs = "", "", False
        self._state = State(version="", said="")

    def state(self) -> State:
        """How far it is now; while that cannot be read the version stays, and the sentence says so."""
        version = self._fingerprint()
        if version != self._state.version:
            try:
                self._state = State(version=version, said=self._said())
            except (LoraboundError, sqlite3.Error) as error:
                return State(version=self._state.version, said=_unread(error))
        return self._state

    def page(self) -> bytes:
        """The page as it is now, in UTF-8; while the runs cannot be read the last page, with a line that says so."""
        with self._lock:
            state = self.state()
            if not self._page or state.version != self._version:
                try:
                    made, state = self._made(), State(version=state.version, said=self._said())
                    (self._page, self._shows_runs), self._version, self._state = made, state.version, state
                except (LoraboundError, sqlite3.Error) as error:
                    state = self._state = State(version=state.version, said=_unread(error))
                    if not self._shows_runs:
                        self._page = self._waiting(state.said)
            return followed(self._page, state).encode("utf-8")

    def _fingerprint(self) -> str:
        """A name for the state of the files that a page is made from."""
        seen = []
        for path in self._sources():
            try:
                facts = path.stat()
            except OSError:
                continue
            seen.append((str(path), facts.st_mtime_ns, facts.st_size))
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def _sources(self) -> list[Path]:
        return sorted([self.folder / STORE, self.folder / FILE, *(self.folder / PILOTS).glob(f"*/{STORE}")])

    def _stores(self) -> Iterator[Sweep]:
        """Every sweep in the folder: its own, or those of pilots."""
        for path in self._sources():
            if path.name == STORE and path.is_file() and path.stat().st_size:
                store = Sweep.open(path.parent)
                try:
                    yield store
                finally:
                    store.close()

    def _said(self) -> str:
        if (self.folder / FILE).is_file():
            return "The recommendation is made."
        counts = [(len(store.keys()), len(runs_of(store.config))) for store in self._stores()]
        there = sum(count for count, _ in counts)
        if not there:
            return "No run is there yet."
        if is_recommendation(self.folder):  # of the pilots that are planned, few are trained
            return f"{counted(there, 'run')} so far."
        planned = sum(count for _, count in counts)
        return f"All {planned} runs are there." if there >= planned else f"{there} of {planned} runs are there."

    def _made(self) -> tuple[str, bool]:
        """The page, and whether it shows results."""
        if (self.folder / FILE).is_file():
            return recommendation_page(open_recommendation(self.folder)), True
        if is_recommendation(self.folder):
            return self._waiting("", self._pilots()), False
        for store in self._stores():
            if any(row.rank for row in store.rows()):
                return page_of(store.summary()), True
            return self._waiting(f"Planned: {repr(store).partition(': ')[2]}."), False
        return self._waiting(""), False

    def _pilots(self) -> pl.DataFrame | None:
        """One row per mode, rank and number of training rows: pilots so far, and their mean error on test rows."""
        rows = [row for store in self._stores() for row in store.rows() if row.status == "done"]
        if not rows:
            return None
        frame = pl.DataFrame(
            [(row.mode, row.rank, row.n_train, row.test_error) for row in rows], _COLUMNS, orient="row"
        )
        means = frame.group_by(_COLUMNS[:3]).agg(pl.len().alias("pilots"), pl.col("test error").mean())
        return means.sort("test error").with_columns(pl.col("test error").round(3))

    def _waiting(self, said: str, pilots: pl.DataFrame | None = None) -> str:
        return framed(
            "waiting.html.j2",
            {},
            folder=str(self.folder),
            said=said,
            recommends=is_recommendation(self.folder),
            heads=pilots.columns if pilots is not None else [],
            rows=rows_of(pilots.rows()) if pilots is not None else [],
        )


def _unread(error: Exception) -> str:
    return f"The runs cannot be read now: {error}"


_COLUMNS = ["mode", "rank", "training rows", "test error"]


def followed(page: str, state: State) -> str:
    """A page with the line that says how far it is, and the script that follows the sweep."""
    script = (files("lorabound.reports") / "live.js").read_text(encoding="utf-8")
    start: dict[str, Any] = {"version": state.version, "said": state.said}
    told = json.dumps(start).replace("<", "\\u003c")
    added = f'<link rel="icon" href="data:,">\n<script>\n"use strict";\n{script.strip()}\nfollow({told});\n</script>\n'
    before, _, after = page.rpartition(_END)
    return f"{before}{added}{_END}{after}"


def refuse_no_folder(folder: str | Path) -> None:
    """Refuse what can have no page.

    Raises:
        InputError: no folder, or one that holds several sweeps.
    """
    folder = Path(folder)
    if folder.is_file():
        raise InputError(f"{folder} is a file: give the folder that  lorabound sweep --out FOLDER  writes")
    if not folder.is_dir():
        raise InputError(f"{folder} is not there: give the folder that  lorabound sweep --out FOLDER  writes")
    if not (folder / STORE).exists() and not is_recommendation(folder):
        inside = sorted(path.parent for path in folder.glob(f"*/{STORE}"))
        if inside:
            raise InputError(
                f"{folder} holds {counted(len(inside), 'sweep')}: name one, as  lorabound serve {inside[0]}"
            )
