"""What Python users do with sweeps: run one, and open one that is there."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

from lorabound.errors import InputError
from lorabound.sweeps.config import SweepConfig, read_config
from lorabound.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from lorabound.sweeps.execute import Progress


def sweep(
    config: SweepConfig | str | PathLike[str] | None = None,
    *,
    out: str | PathLike[str],
    observe: Callable[[Progress], None] | None = None,
    **settings: Any,
) -> Sweep:
    """Train a grid of LoRA adapters on a frozen model and measure them. With the same ``out`` again, it goes on.

        import lorabound as lb
        done = lb.sweep(data="tickets.csv", layers="top2", ranks=[1, 4], out="tickets-sweep")
        done.frame()                             # a polars data frame, one row per run
        lb.report(done)                          # tickets-sweep/report.html

    Args:
        config: settings, or a YAML file of them; None takes the defaults.
        out: folder that holds the runs and their adapters.
        observe: function that is called with the progress, from several threads.
        settings: fields of :class:`SweepConfig`, laid over ``config``.
    Raises:
        DataError, ModelError, InputError, AdapterError: the configuration cannot be carried out; no run is written.
        StoreError: ``out`` holds a sweep with other settings, or cannot be written.

    >>> sweep(ranks=[0], out="nowhere")
    Traceback (most recent call last):
        ...
    lorabound.errors.InputError: options: ranks = 0: it must be at least 1
    """
    asked = read_config(config, settings)
    if not str(out):
        raise InputError("out is empty: name the folder that holds the runs")
    from lorabound.sweeps.execute import run_sweep  # imports torch

    return run_sweep(asked, str(out), observe or (lambda _: None))


def open_sweep(folder: str | PathLike[str]) -> Sweep:
    """The sweep of a folder, as ``lorabound sweep --out FOLDER`` or :func:`sweep` left it; nothing is trained.

    Raises:
        StoreError: there is none, or it cannot be read.

    >>> open_sweep("nowhere")
    Traceback (most recent call last):
        ...
    lorabound.errors.StoreError: nowhere holds no sweep (sweep.sqlite): run  lorabound sweep --out nowhere  first
    """
    return Sweep.open(str(folder))
