"""How an estimate is said: runs, time and memory, for one sweep in sentences and for several in a table."""

from __future__ import annotations

from collections.abc import Iterator

from lorabound.data import counted
from lorabound.reports.show import Part, parts, table
from lorabound.sweeps.estimate import Estimate, Estimates
from lorabound.sweeps.notes import about_time


@parts.register
def _(estimates: Estimates, _: int) -> Iterator[Part]:
    """What one sweep takes, in sentences; or one line per sweep, and the sum."""
    each = estimates.each
    if len(each) == 1:
        ((name, only),) = each.items()
        yield from _sentences(name, only)
        return
    shown = table("<data", "runs", "N", "test", "parameters", "stored", "time")
    for name, one in each.items():
        shown.add_row(
            name,
            f"{one.n_runs - one.n_there}",
            ",".join(map(str, one.n_train)),
            str(one.n_test),
            _parameters(one),
            f"{one.stored_gib:.2f} GiB",
            about_time(one.seconds).removeprefix("about "),
        )
    yield shown
    n_runs = sum(one.n_runs - one.n_there for one in each.values())
    total = sum(one.seconds for one in each.values())
    precision = next(iter(each.values())).precision
    yield f"{n_runs} runs, {about_time(total)} on this machine ({precision}) if nothing else runs."
    unread = [name for name, one in each.items() if one.seen is None]
    if unread:
        yield f"Not looked at, because it would be downloaded: {', '.join(unread)}. Their sizes are taken as given."


def _sentences(name: str, each: Estimate) -> list[str]:
    there = f" ({each.n_there} more are there already)" if each.n_there else ""
    sizes = " and ".join(f"{n:,}" for n in each.n_train)
    sizes = f"{each.samples} samples of {sizes}" if each.samples > 1 else sizes
    bare = counted(each.samples * len(each.n_train), "run")
    quicker = ", or ".join(f"{flags} takes {about_time(seconds)}" for flags, seconds in each.quicker.items())
    beside = [f"{bare} of the bare model"]
    if each.folds:
        trainings = counted(each.folds * (each.n_runs - each.n_there), "training")
        beside.append(f"{trainings} without a fold (--cross-fit)")
    measured = [f"tested on {each.n_test:,}"]
    measured += ["on the rows up to the next size (--blocks)"] if each.blocks else []
    measured += [f"compared on {each.n_unlabelled:,} without labels (--unlabelled)"] if each.n_unlabelled else []
    return [
        *([f"{name} is not looked at, because it would be downloaded."] if each.seen is None else each.seen),
        f"{counted(each.n_runs - each.n_there, 'run')}{there} on {sizes} examples, {' and '.join(measured)}, beside "
        f"{' and '.join(beside)}: {about_time(each.seconds)} on this machine ({each.precision}) if nothing else runs.",
        *([f"Quicker: {quicker}."] if quicker else []),
        f"Each run trains {_parameters(each)} parameters. The model takes {each.weights_gib:.2f} GiB, what is computed "
        f"once per example {each.stored_gib:.2f} GiB (on disk beyond half of the memory).",
    ]


def _parameters(each: Estimate) -> str:
    low, high = (f"{count:,}" for count in each.n_params)
    return low if low == high else f"{low} to {high}"
