"""How far a sweep is, on standard error."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lorabound.cli.consoles import err, note

if TYPE_CHECKING:
    from lorabound.sweeps.execute import Observer


# Seconds from which on a training is worth watching in the browser.
_WATCHED = 60.0


@contextmanager
def kept_when_stopped(folder: Path) -> Iterator[None]:
    """Ctrl-C within, and SIGTERM, end the command with one sentence: what is kept in ``folder``, and how to go on."""
    status = 128 + signal.SIGINT

    def stop(number: int, _: object) -> None:
        nonlocal status
        status = 128 + number
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)  # what batch systems send before they kill
    try:
        yield
    except KeyboardInterrupt:
        again = shlex.join(["lorabound", *sys.argv[1:]])
        note(f"Stopped. What was finished is kept in {folder}; the same command goes on: {again}")
        raise typer.Exit(status) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress(folder: Path) -> Iterator[Observer]:
    """On standard error: a bar with the time left on a terminal, a line for every batch of runs elsewhere.

    Before a long training it says how to watch what comes into ``folder``.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from lorabound.data import counted
    from lorabound.sweeps.estimate import LONG
    from lorabound.sweeps.execute import Progress as SweepProgress
    from lorabound.sweeps.notes import about_time

    announced = False

    def announce(state: SweepProgress) -> None:
        nonlocal announced
        if state.seconds is not None and not announced:
            announced = True
            runs_left = counted(state.runs_total - state.runs_done, "run")
            hint = (
                f"; {shlex.join(['lorabound', 'serve', str(folder)])}  shows results"
                if state.seconds > _WATCHED
                else ""
            )
            hint += "; --dry-run names quicker ways" if state.seconds > LONG else ""
            note(f"{runs_left}, {about_time(state.seconds)} on this machine if nothing else runs{hint}")

    if not err.is_terminal:
        seen = -1

        def count(state: SweepProgress) -> None:
            nonlocal seen
            announce(state)
            if state.runs_total > 1 and state.runs_done != seen:
                seen = state.runs_done
                note(f"{state.runs_done}/{state.runs_total} runs; {state.now}")

        yield count
        return

    columns = (
        BarColumn(bar_width=16),
        TextColumn("{task.fields[runs]}"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left; {task.description}"),
    )
    with Progress(*columns, console=err, transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task("", total=None, runs="")

        def observe(state: SweepProgress) -> None:
            announce(state)
            runs = f"{state.runs_done}/{state.runs_total} runs" if state.runs_total > 1 else ""
            total = state.work_total if state.runs_total > 1 else None
            bar.update(task, completed=state.work_done, total=total, description=state.now, runs=runs)

        yield observe
