"""How a sweep goes on: what its folder holds already, and what may be added to it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lorabound.errors import StoreError
from lorabound.modes import foreign_settings
from lorabound.sweeps.config import AXES, SweepConfig
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.places import refuse_folder_of_recommendation
from lorabound.sweeps.store import FILE
from lorabound.sweeps.sweep import Sweep


def as_resumed(config: SweepConfig, out: str | Path | None) -> SweepConfig:
    """A sweep that goes on keeps prompt or template, test size and number format it began with, where none is given.

    Another version may ask for a class otherwise; what is fast may be measured otherwise on another machine or day.

    Raises:
        StoreError: ``out`` holds a store that cannot be read.
    """
    open_settings = [name for name in ("prompt", "template", "n_test") if getattr(config, name) is None]
    open_settings += ["precision"] if config.precision == "auto" else []
    if not open_settings or (store := _store_at(out)) is None:
        return config
    try:
        earlier = store.config
        if earlier.template is not None:  # it stands in the place of a prompt as well
            open_settings = [name for name in open_settings if name != "prompt"]
        return config.model_copy(update={name: getattr(earlier, name) for name in open_settings})
    finally:
        store.close()


def runs_there(config: SweepConfig, out: str | Path | None) -> set[Run]:
    """Runs of a settled ``config`` that ``out`` holds already; data, weights and engine are compared later.

    Raises:
        StoreError: ``out`` was made with other settings, or cannot be read.
    """
    if (store := _store_at(out)) is None:
        return set()
    try:
        # Known when the model is loaded only, where they are not given.
        unknown = {name for name in ("logit_scale", "head_lr") if getattr(config, name) is None}
        unknown |= {"precision"} if config.precision == "auto" else set()
        refuse_other_settings(store, config, unknown)
        refuse_other_blocks(store, config)
        stored = {(row.rank, row.mode, row.n_train, row.seed, row.sample) for row in store.rows()}
    finally:
        store.close()
    return {run for run in runs_of(config) if (run.rank, run.mode, run.n_train, run.seed, run.sample) in stored}


def refuse_other_settings(store: Sweep, config: SweepConfig, unknown: Collection[str] = ()) -> None:
    """Check that a store and a configuration agree in all that decides results but the ``unknown`` settings.

    Raises:
        StoreError: another configuration made the store.
    """
    settings = config.settings
    # A setting that no mode of the store has read may still change.
    unread = set.intersection(*(foreign_settings(mode) for mode in store.config.modes))
    for name, value in store.config.settings.items():
        if name not in unknown and name not in unread and settings[name] != value:
            now = f"{store.folder} was made with {name} = {value!r}, now it is {settings[name]!r}"
            if store.config.data != config.data:  # what was changed, perhaps all: sizes and prompts follow from data
                raise StoreError(f"{now}; its data were {store.config.data}, now {config.data}: choose another --out")
            raise StoreError(f"{now}: choose another --out, or the old value to go on")


def refuse_other_blocks(store: Sweep, config: SweepConfig) -> None:
    """Check that every sample stays where it is: sample s begins at row s N, with N the largest training size.

    Raises:
        StoreError: with several samples, another largest training size.
    """
    earlier = store.config
    largest = max(earlier.sizes)
    if (earlier.samples > 1 and max(config.sizes) > largest) or (config.samples > 1 and max(config.sizes) < largest):
        raise StoreError(
            f"{store.folder} has training sets of up to {largest:,} rows, now it is {max(config.sizes):,}: with "
            f"several samples the largest stays, or their rows would move; give --n-train {largest} too, or choose "
            "another --out"
        )


def extend(store: Sweep, config: SweepConfig, about: dict[str, Any]) -> None:
    """Check that a store belongs to this sweep, and record the union of both grids.

    Raises:
        StoreError: another configuration, other data, another model or engine made it.
    """
    stored = store.about
    earlier = store.config
    refuse_other_settings(store, config)
    refuse_other_blocks(store, config)
    for name, what in {
        "data_sha256": f"other data than {config.data} now holds",
        "model_sha256": f"other weights than {config.model} now has",
        "engine": "another version of the engine",
    }.items():
        if stored[name] != about[name]:
            raise StoreError(f"{store.folder} was made with {what}: choose another --out")
    union: dict[str, Any] = {
        axis: list(dict.fromkeys([*getattr(earlier, axis), *getattr(config, axis)])) for axis in AXES
    }
    union["samples"] = max(earlier.samples, config.samples)
    if any(value != getattr(earlier, axis) for axis, value in union.items()):
        if any(row.rank for row in store.rows()):
            store.note("extended", True)  # what was added may have been chosen by what was there
        store.set_config(config.model_copy(update=union))
    if about["cut"] and stored.get("cut") and about["cut"]["train"][1] > stored["cut"]["train"][1]:
        store.note("cut", about["cut"])  # of the largest training set


def _store_at(out: str | Path | None) -> Sweep | None:
    if out is not None:
        refuse_folder_of_recommendation(out)
    path = Path(out) / FILE if out is not None else None
    return Sweep.open(path.parent) if path and path.is_file() and path.stat().st_size else None
