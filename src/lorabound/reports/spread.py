"""Where the spread of a single run's gap comes from: the table, its reading, and the files."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lorabound.files import write_json, write_table
from lorabound.sweeps.spread import Crossed, ModeSpread

_NAMES = {"factor": "the factor", "sample": "the training sample", "interaction": "the rest", "test": "the test set"}
CSV, JSON = "concentration.csv", "concentration.json"


def print_spread(crossed: Crossed, console: Console) -> None:
    """Print one row per mode and loss, and what a user may conclude from one run."""
    config, n = crossed.settings.base, crossed.settings.base.sizes[0]
    console.print(
        f"{crossed.settings.n_factors} draws of the frozen factor x {crossed.settings.n_samples} training samples of "
        f"{n} examples, rank {config.ranks[0]}, {crossed.n_test} test examples, {crossed.precision}, "
        f"{config.data}, class prompt {config.prompt!r}.",
        highlight=False,
        markup=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("mode", "loss", "mean\ngap", "sd of one run\n[95% interval]", "factor", "sample", "rest", "test"):
        table.add_column(name, justify="left" if name in ("mode", "loss") else "right", no_wrap=True)
    for spread in crossed.spreads:
        table.add_row(*_cells(spread))
    console.print(table)
    guarantee = crossed.spreads[0].variance.single_run.guarantee
    console.print(
        "loss: error is 0-1, risk is 1 - p(correct). sd of one run: of its gap around the mean over factors and "
        "samples, test noise taken out. factor, sample, rest (their interaction and the order of examples), test: "
        "shares of the variance of a measured gap.",
        highlight=False,
    )
    console.print(
        f"Guarantee for another number: over samples, the largest gap of the class has a standard deviation of at most "
        f"1/(2 sqrt(N)) = {guarantee:.3f}, whatever the factor drawn (Efron & Stein 1981; a loss in [0, 1]). A trained "
        "adapter's gap is no maximum and may vary more.",
        highlight=False,
    )
    for sentence in conclusions(crossed):
        console.print(sentence, highlight=False)
    if crossed.left_out:
        console.print(f"Left out, as runs diverged: {', '.join(crossed.left_out)} (lower --lr).", highlight=False)
    for note in crossed.notes:
        console.print(note, highlight=False, markup=False)


def conclusions(crossed: Crossed) -> list[str]:
    """What one run tells about the others, one line per mode, for the 0-1 error."""
    lines = []
    for spread in crossed.spreads:
        if spread.loss != "error":
            continue
        run = spread.variance.single_run
        most = max(run.shares, key=lambda part: run.shares[part])
        lines.append(
            f"{spread.mode}: mean gap {spread.variance.mean:.3f}; the gap of another factor on another sample, "
            f"measured on these test examples, lies in [{run.low:+.3f}, {run.high:+.3f}] (95%, if effects are normal). "
            f"Most of the spread comes from {_NAMES[most]} ({run.shares[most]:.0%}), from the factor "
            f"{run.shares['factor']:.0%}."
        )
    return lines


def write_spread(crossed: Crossed, folder: str | Path) -> list[Path]:
    """Write ``concentration.csv`` (one row per run) and ``concentration.json`` (components) into ``folder``.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    record = {
        "settings": crossed.settings.record, "n_test": crossed.n_test, "precision": crossed.precision,
        "notes": list(crossed.notes),
        "spreads": [
            {
                "mode": spread.mode, "loss": spread.loss, "mean": spread.variance.mean,
                "components": {name: vars(part) for name, part in spread.variance.components.items()},
                "test": spread.variance.test.total if spread.variance.test else None,
                "sd": vars(spread.variance.single_run.sd),
                "prediction": [spread.variance.single_run.low, spread.variance.single_run.high],
                "guarantee_uniform_gap": spread.variance.single_run.guarantee,
            }
            for spread in crossed.spreads
        ],
    }  # fmt: skip
    return [write_table(folder / CSV, crossed.frame()), write_json(folder / JSON, record)]


def _cells(spread: ModeSpread) -> list[str]:
    run = spread.variance.single_run
    return [
        spread.mode, spread.loss, f"{spread.variance.mean:+.3f}",
        f"{run.sd.value:.3f} [{run.sd.low:.3f}, {run.sd.high:.3f}]",
        *(f"{run.shares[part]:.0%}" for part in ("factor", "sample", "interaction", "test")),
    ]  # fmt: skip
