"""Where the spread of a single run's gap comes from: the table, its reading, and the files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from lorabound.files import write_json, write_table
from lorabound.reports.show import Part, parts, table
from lorabound.sweeps.spread import Crossed, ModeSpread

_NAMES = {"factor": "the factor", "sample": "the training sample", "interaction": "the rest", "test": "the test set"}
# What the losses of completions are called in a table.
_COMPLETIONS = {"wrong": "wrong", "error": "inexact", "risk": "risk"}
CSV, JSON = "concentration.csv", "concentration.json"


@parts.register
def _(crossed: Crossed, _: int) -> Iterator[Part]:
    """What a user may conclude from one run, what was crossed, one row per mode and loss, what its columns are."""
    for sentence in conclusions(crossed):
        yield Text(sentence, style="bold")
    config = crossed.config
    prompt = f", class prompt {config.prompt!r}" if config.head == "prompts" else ""
    if config.task is not None:
        prompt = f", labels asked for as {config.template!r}" if config.task == "labels" else ", completions"
    yield (
        f"{len(config.seeds)} draws of the frozen factor x {config.samples} training samples of {crossed.n_train} "
        f"examples, rank {', '.join(map(str, sorted(config.ranks)))}, {crossed.n_test} test examples, "
        f"{config.precision}, {config.data}{prompt}."
    )
    yield spread_table(crossed)
    yield from (Text(sentence, style="dim") for sentence in explained(crossed))
    yield from left_out(crossed)
    yield from crossed.notes


def spread_table(crossed: Crossed) -> Table:
    """One row per mode and loss, and per rank where there are several."""
    shown = table(*(f"<{head}" if head in ("mode", "loss") else head for head in spread_heads(crossed)))
    for spread in crossed.spreads:
        shown.add_row(*spread_cells(crossed, spread))
    return shown


def reading(crossed: Crossed) -> list[str]:
    """What the columns of the table are, what is guaranteed, what one run tells about the others, what is left out."""
    return [*explained(crossed), *conclusions(crossed), *left_out(crossed)]


def explained(crossed: Crossed) -> list[str]:
    """What the columns of the table are, and what is guaranteed."""
    guarantee = crossed.spreads[0].variance.single_run.guarantee
    return [
        f"loss: {_losses(crossed)}. sd of one run: of its gap around the mean over factors and "
        "samples, test noise taken out. factor, sample, rest (their interaction and the order of examples), test: "
        "shares of the variance of a measured gap.",
        f"Guarantee for another number: over samples, the largest gap of the class has a standard deviation of at most "
        f"1/(2 sqrt(N)) = {guarantee:.3f}, whatever the factor drawn (Efron & Stein 1981; a loss in [0, 1]). A trained "
        "adapter's gap is no maximum and may vary more.",
    ]


def left_out(crossed: Crossed) -> list[str]:
    """Which adapters have no row, in one sentence; none where all have one."""
    names = "; ".join(crossed.left_out)
    return [f"Left out, as runs diverged (lower --lr) or are missing: {names}."] if names else []


def _losses(crossed: Crossed) -> str:
    if crossed.config.task != "completions":
        return "error is 0-1, risk is 1 - p(correct)"
    return (
        "wrong is the share of wrong tokens of a completion, inexact 1 where any of them is wrong, risk the mean of "
        "1 - p over them"
    )


def conclusions(crossed: Crossed) -> list[str]:
    """What one run tells about the others, one line per mode and rank, for the loss that decides."""
    lines = []
    for spread in crossed.spreads:
        if spread.loss != crossed.decides:
            continue
        run = spread.variance.single_run
        most = max(run.shares, key=lambda part: run.shares[part])
        name = spread.mode if len(crossed.config.ranks) == 1 else f"{spread.mode}, rank {spread.rank}"
        if math.isnan(run.shares[most]):
            lines.append(f"{name}: every run has the same gap, {spread.variance.mean:.3f}, so nothing spreads it here.")
            continue
        lines.append(
            f"{name}: mean gap {spread.variance.mean:.3f}; the gap of another factor on another sample, "
            f"measured on these test examples, lies in [{run.low:+.3f}, {run.high:+.3f}] (95%, if effects are normal). "
            f"Most of the spread comes from {_NAMES[most]} ({run.shares[most]:.0%}), from the factor "
            f"{run.shares['factor']:.0%}."
        )
    return lines


def spread_heads(crossed: Crossed) -> list[str]:
    """Heads of the columns; the rank has one where there are several."""
    rank = ["rank"] if len(crossed.config.ranks) > 1 else []
    return ["mode", *rank, "loss", "mean\ngap", "sd of one run\n[95% interval]", "factor", "sample", "rest", "test"]


def spread_cells(crossed: Crossed, spread: ModeSpread) -> list[str]:
    """One row under these heads."""
    run = spread.variance.single_run
    rank = [str(spread.rank)] if len(crossed.config.ranks) > 1 else []
    return [
        spread.mode,
        *rank,
        _COMPLETIONS[spread.loss] if crossed.config.task == "completions" else spread.loss,
        f"{spread.variance.mean:+.3f}",
        f"{run.sd.value:.3f} [{run.sd.low:.3f}, {run.sd.high:.3f}]",
        *("-" if math.isnan(run.shares[part]) else f"{run.shares[part]:.0%}" for part in _NAMES),
    ]


def write_spread(crossed: Crossed, folder: str | Path) -> list[Path]:
    """Write ``concentration.csv`` (one row per run) and ``concentration.json`` (components) into ``folder``.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    record = {
        "settings": {
            name: None if value == math.inf else value for name, value in crossed.config.model_dump(mode="json").items()
        },
        "n_test": crossed.n_test,
        "notes": list(crossed.notes),
        "spreads": [
            {
                "mode": spread.mode,
                "rank": spread.rank,
                "loss": spread.loss,
                "mean": spread.variance.mean,
                "components": {name: vars(part) for name, part in spread.variance.components.items()},
                "test": spread.variance.test.total if spread.variance.test else None,
                "sd": vars(spread.variance.single_run.sd),
                "prediction": [spread.variance.single_run.low, spread.variance.single_run.high],
                "guarantee_uniform_gap": spread.variance.single_run.guarantee,
            }
            for spread in crossed.spreads
        ],
    }
    return [write_table(folder / CSV, crossed.frame()), write_json(folder / JSON, record)]
