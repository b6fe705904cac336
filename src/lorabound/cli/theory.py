"""The commands about theory: the worst case simulated and measured, what spreads the gap, the one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lorabound.cli.consoles import say, telling
from lorabound.cli.options import ConfigFile, Flags, Grouped, options, takes
from lorabound.cli.progress import kept_when_stopped, progress
from lorabound.cli.results import PageFile, give, page_is_free
from lorabound.config import checked, flag_of, read_record, read_settings
from lorabound.errors import InputError
from lorabound.modes import PEFT_MODES
from lorabound.sweeps.config import SweepConfig
from lorabound.worst_case.options import ComplexityConfig, LowerConfig

# What of a sweep's settings the worst case on a model depends on.
_ON_A_MODEL = (
    "model",
    "data",
    "layers",
    "task",
    "prompt",
    "template",
    "max_length",
    "text_column",
    "label_column",
    "form",
    "columns",
    "drop_empty",
    "drop_long",
    "rename_labels",
    "min_class_rows",
    "memory",
)
_LAYERS = "top1"
# What is crossed where nothing is given.
_CROSSED: dict[str, Any] = {
    "seeds": 8,
    "samples": 8,
    "ranks": [8],
    "n_train": [128],
    "n_test": 1000,
    "modes": list(PEFT_MODES),
}

app = typer.Typer(rich_markup_mode=None)


@app.command("lower-bound", cls=Grouped)
@takes(options(LowerConfig))
def lower_bound(flags: Flags, config: ConfigFile = None, page: PageFile = None) -> None:
    """Simulate Theorem 2: how small the largest gap cannot be.

    The gap is the error on new data minus the training error. The theorem says how large it is at least for the worst
    adapter of a rank; this draws the random matrices and counts.
    """
    asked = read_settings(LowerConfig, config, flags)
    page_is_free(page)
    from lorabound.worst_case.simulated import simulate_lower_bound

    give(simulate_lower_bound(asked), page)


@app.command(cls=Grouped)
@takes(
    options(ComplexityConfig),
    options(SweepConfig, _ON_A_MODEL, group="On a model", defaults={"model": "a small network", "layers": _LAYERS}),
)
def complexity(
    flags: Flags,
    config: ConfigFile = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder for complexity.csv and .json.")] = None,
    page: PageFile = None,
) -> None:
    """Measure the worst case over all adapters of a rank, and its bound.

    How well can the worst adapter match random labels (Rademacher complexity)? The better, the further the error on new
    data can be above the training error. On a small network in about a minute; with --model on yours, where the time it
    takes is told first.
    """
    record = read_record(ComplexityConfig, config, flags)
    own = {name: record.pop(name) for name in list(record) if name in ComplexityConfig.model_fields}
    settings = checked(ComplexityConfig, own, config, flags)
    if record:
        record.setdefault("layers", _LAYERS)
        sweep = checked(SweepConfig, record, config, flags)
        if "model" not in record:
            name = next(name for name in record if name != "layers" or name in flags)
            raise InputError(f"{flag_of(SweepConfig, name)} is for the adapters of a model: name it with --model")
        if sweep.links > 1:
            raise InputError(
                "links: the worst case is over all adapters of a rank, however they are trained: leave it out, and "
                "give links times the rank as --ranks"
            )
    page_is_free(page)
    from lorabound.reports.complexity import write_complexity
    from lorabound.worst_case.measured.complexity import measure_complexity

    with telling() as tell:
        if record:
            from lorabound.worst_case.measured.transformer import measure_transformer

            measured = measure_transformer(sweep, settings, tell)
        else:
            measured = measure_complexity(settings, tell)
    paths = write_complexity(measured, out_dir) if out_dir else []
    give(measured, page)
    for path in paths:
        say(f"-> {path}")


@app.command(cls=Grouped)
@takes(options(SweepConfig, leave_out=("ranks", "seeds", "shots"), defaults=_CROSSED))
def concentration(
    flags: Flags,
    factors: Annotated[
        int | None,
        typer.Option(help=f"Number of draws of the frozen factor, at least 3. [default: {_CROSSED['seeds']}]"),
    ] = None,
    rank: Annotated[int | None, typer.Option(help=f"LoRA rank. [default: {_CROSSED['ranks'][0]}]")] = None,
    config: ConfigFile = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder of the runs; the same command goes on where it stopped.")
    ] = Path("concentration-out"),
    page: PageFile = None,
) -> None:
    """Measure what chance does to the gap of a single run.

    The gap is the error on new data minus the training error. Every draw of the frozen factor is trained on every
    training sample, so that what comes from the one can be told from what comes from the other.
    """
    flags |= {name: value for name, value in (("seeds", factors), ("ranks", rank)) if value is not None}
    asked = checked(SweepConfig, _CROSSED | read_record(SweepConfig, config, flags), config, flags)
    from lorabound.sweeps.spread import read_spread, refuse_unfit_designs

    refuse_unfit_designs(asked)
    page_is_free(page)
    from lorabound.sweeps.material import read_material
    from lorabound.sweeps.resume import as_resumed, runs_there

    material = read_material(as_resumed(asked, out_dir))
    runs_there(material.config, out_dir)  # refuses the folder of another sweep
    from lorabound.reports.spread import write_spread
    from lorabound.sweeps.execute import run_sweep

    with kept_when_stopped(out_dir), progress(out_dir) as observe:
        sweep = run_sweep(asked, out_dir, observe, material)
    crossed = read_spread(sweep, material.config)  # the folder may hold runs of other ranks, with other factors
    paths = write_spread(crossed, out_dir)
    give(crossed, page)
    for path in paths:
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
