"""What a repair found and did: per store whether it was whole, what was kept, what the command of the sweep trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from lorabound.data import counted
from lorabound.reports.show import Part, parts
from lorabound.sweeps.repair import MOVED, Mended, Repair

_NAMED = 5


@parts.register
def _(repair: Repair, width: int) -> Iterator[Part]:  # noqa: ARG001 (lines are not cut)
    """One store after the other, the answer first."""
    for store in repair.stores:
        yield Text(_answer(store), style="bold")
        yield from (f"  {line}" for line in _lines(store))


def _answer(store: Mended) -> str:
    runs = counted(store.n_runs, "run")
    if store.whole:
        checked = "each as it was written" if store.hashed else "of a format that keeps no hash of a run"
        return f"{store.path} is whole: {runs}, {checked}."
    if store.fault is None:
        return f"{store.path} is whole, {counted(len(store.damaged), 'adapter')} beside it not: {runs} stay."
    lost = "" if store.n_lost is None else f" of {store.n_runs + store.n_lost + len(store.damaged):,}"
    return (
        f"{store.path} was damaged and is mended: {store.n_runs:,}{lost} runs are there again, each as it was written."
    )


def _lines(store: Mended) -> Iterator[str]:
    if store.fault is not None:
        yield f"The damage: {store.fault}."
    if store.kept:
        yield f"The file as it was is kept: {store.kept}"
    if store.damaged:
        yield (
            f"Not what their runs left: {_named(store.damaged)}. They were moved to {Path(store.path).parent / MOVED}, "
            "and their runs were taken out."
        )
    if store.absent:
        yield f"Not there, and their runs stay: {_named(store.absent)}."
    if store.n_adapters:
        yield f"{counted(store.n_adapters, 'adapter')} as training left them."
    if store.missing and not store.whole:
        yield (
            f"The command that made it trains {counted(len(store.missing), 'run')} with the same --out, and no other: "
            f"{_named(store.missing)}."
        )


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
