"""What the directory of a sweep holds already, before any model is loaded."""

from __future__ import annotations

from pathlib import Path

from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.sweep import FILE, Sweep, refuse_other_blocks, refuse_other_settings


def as_resumed(config: SweepConfig, out: str | Path | None) -> SweepConfig:
    """A sweep that goes on keeps the prompt, test size and number format it began with, where none is given now.

    Another version may ask for a class otherwise; what is fast may be measured otherwise on another machine or day.

    Raises:
        StoreError: ``out`` holds a store that cannot be read.
    """
    open_ones = {
        "prompt": config.prompt is None, "n_test": config.n_test is None, "precision": config.precision == "auto",
    }  # fmt: skip
    if not any(open_ones.values()) or (store := _store_at(out)) is None:
        return config
    try:
        begun = store.config
        return config.model_copy(update={name: getattr(begun, name) for name, left in open_ones.items() if left})
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
        have = {(row.rank, row.mode, row.n_train, row.seed, row.sample) for row in store.rows()}
    finally:
        store.close()
    return {run for run in runs_of(config) if (run.rank, run.mode, run.n_train, run.seed, run.sample) in have}


def _store_at(out: str | Path | None) -> Sweep | None:
    path = Path(out) / FILE if out is not None else None
    return Sweep.open(path.parent) if path and path.is_file() and path.stat().st_size else None
