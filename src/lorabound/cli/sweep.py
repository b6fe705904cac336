"""The commands about a sweep: check its data, run it, say what it would take, show it again, write its runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabound.cli.consoles import err, out, say
from lorabound.cli.options import ConfigFile, Flags, Grouped, options, takes
from lorabound.cli.progress import kept_when_stopped, progress
from lorabound.cli.results import page_is_free, say_next
from lorabound.cli.usage import refuse_no_configuration
from lorabound.config import flag_of
from lorabound.errors import InputError
from lorabound.sweeps.config import SweepConfig, read_configs

if TYPE_CHECKING:
    from lorabound.data import Reads

# What a look at data depends on.
_OF_DATA = (
    "test_data",
    "form",
    "columns",
    "text_column",
    "image_column",
    "label_column",
    "drop_empty",
    "rename_labels",
    "min_class_rows",
    "n_train",
    "n_test",
    "max_length",
)

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
@takes(options(SweepConfig))
def sweep(
    flags: Flags,
    context: typer.Context,
    settings: Annotated[
        Path | None, typer.Argument(help="YAML file of settings; options overrule it.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the sweep; the same command goes on where it stopped.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing; say how many runs, how much storage and time it takes.")
    ] = False,
) -> None:
    """Train LoRA adapters of several ranks on your data and compare them.

    Every combination of --ranks, --modes, --n-train, --seeds and --samples is trained. The table and the page say
    which rank and which mode did best, and how far the error on new data is above the training error. The same command
    goes on where it was stopped.
    """
    refuse_no_configuration(settings, sys.argv[1:], context)
    if settings and config:
        raise InputError(f"two files of settings, {settings} and {config}: give one")
    if out_dir is None and not dry_run:
        raise InputError("say where the sweep is kept: --out DIR")
    asked = read_configs(settings or config, flags)
    if dry_run or out_dir is None:
        _say_what_it_takes(asked, out_dir)
        return
    from lorabound.sweeps.material import read_material
    from lorabound.sweeps.resume import as_resumed, runs_there

    for name, one in asked.items():
        folder = _folder_of(out_dir, name)
        if name:
            say(f"{name}: {folder}")
        material = read_material(as_resumed(one, folder))
        runs_there(material.config, folder)  # refuses the store of another sweep
        for line in material.sentences:
            say(line)
        from lorabound.reports.frame import PAGE
        from lorabound.reports.page import write_page
        from lorabound.reports.show import show
        from lorabound.sweeps.execute import run_sweep
        from lorabound.sweeps.summary import summarize

        with kept_when_stopped(out_dir), progress(folder) as observe:
            store = run_sweep(one, folder, observe, material)
        summary = summarize(store)
        page = write_page(summary, folder / PAGE)  # first: whoever reads a few lines of the table gets it too
        show(summary, out)
        say(f"Page: {page}")
        say_next(summary)


@app.command(cls=Grouped)
@takes(options(SweepConfig, _OF_DATA))
def data(
    flags: Flags,
    file: Annotated[
        str | None,
        typer.Argument(help="A file, a folder of images, a named task, or a name on the Hub.", show_default=False),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Check a data set: can it be used, and what has to be mended?"""
    if file is None and config is None:
        raise InputError("lorabound data needs FILE: see  lorabound data --help")
    from lorabound.reports.show import show
    from lorabound.sweeps.look import look_at

    looked = [look_at(asked) for asked in read_configs(config, {**flags, "data": file}).values()]
    for seen in looked:
        show(seen, out)
    if not all(seen.usable for seen in looked):
        raise typer.Exit(2)
    if file is not None:
        command = ["lorabound", "recommend", "--data", file, *_for_recommend(flags, looked[0].kind), "--out", "DIR"]
        say(f"Next: {shlex.join(command)}  says which rank")


def _for_recommend(flags: Flags, kind: Reads) -> list[str]:
    """The options with which ``recommend`` reads data as ``data`` did, and a model for what the usual one cannot read.

    Sizes are left out: recommend divides the rows by itself.
    """
    words: list[str] = []
    for name, value in flags.items():
        if name in ("n_train", "n_test"):
            continue
        option = "--holdout" if name == "test_data" else flag_of(SweepConfig, name)
        for each in value if isinstance(value, list) else [value]:
            words += ([option] if each else []) if isinstance(each, bool) else [option, str(each)]
    return words + ([] if kind == "texts" else ["--model", "MODEL"])


@app.command(cls=Grouped)
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="Folder of a sweep or of a recommendation; or of several sweeps.")
    ],
    page: Annotated[
        Path | None,
        typer.Option("--page", help="File of the page. [default: in FOLDER; of several sweeps: sweeps.html here]"),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw error and gap of a sweep against rank, to an .svg or .png file.")
    ] = None,
) -> None:
    """Print the table of a sweep or of a recommendation again and write its page; of several sweeps one page."""
    from lorabound.recommendations.stored import is_recommendation, open_recommendation
    from lorabound.reports.frame import PAGE
    from lorabound.reports.show import show

    page_is_free(page)
    if len(folders) > 1:
        _report_several(folders, page, figure)
        return
    (folder,) = folders
    if is_recommendation(folder):
        if figure:
            raise InputError(f"{folder} holds a recommendation, and --figure draws a sweep: leave it out")
        from lorabound.reports.recommendation_page import write_recommendation_page

        made = open_recommendation(folder)
        show(made, out)
        say(f"Page: {write_recommendation_page(made, page)}")
        return
    from lorabound.reports.export import write_figure
    from lorabound.reports.page import write_page
    from lorabound.sweeps import Sweep
    from lorabound.sweeps.summary import summarize

    summary = summarize(Sweep.open(folder))
    if figure:
        write_figure(summary, figure)
    show(summary, out)
    say(f"Page: {write_page(summary, page or folder / PAGE)}")
    say_next(summary)


def _report_several(folders: list[Path], page: Path | None, figure: Path | None) -> None:
    """The page of several sweeps."""
    from lorabound.recommendations.stored import is_recommendation
    from lorabound.reports.several_page import SEVERAL, write_several
    from lorabound.sweeps import Sweep
    from lorabound.sweeps.summary import summarize

    if figure:
        raise InputError("--figure draws one sweep: name one folder, or leave it out")
    if recommended := next((folder for folder in folders if is_recommendation(folder)), None):
        raise InputError(f"{recommended} holds a recommendation, and only sweeps stand side by side: leave it out")
    summaries = [summarize(Sweep.open(folder)) for folder in folders]
    say(f"Page: {write_several(summaries, page or SEVERAL)}")


@app.command(cls=Grouped)
def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep.")],
    file: Annotated[Path, typer.Argument(help="File to write, .csv, .parquet or .json.")],
) -> None:
    """Write the runs of a sweep to a CSV, Parquet or JSON file, one row per run."""
    from lorabound.reports.export import export_runs
    from lorabound.sweeps import Sweep

    count = export_runs(Sweep.open(folder), file)
    say(f"{count} runs -> {file}")


@app.command(cls=Grouped)
def repair(folder: Annotated[Path, typer.Argument(help="Folder of a sweep or of a recommendation.")]) -> None:
    """Check every run and every adapter of a folder, and mend what is damaged.

    Runs that are whole are kept, and so is the damaged file. The command that made the folder trains the others again.
    """
    from lorabound.reports.show import show
    from lorabound.sweeps.repair import repair as mend

    show(mend(folder), out)


def _folder_of(out_dir: Path, name: str) -> Path:
    folder = name.replace("/", "-").replace("\\", "-")
    return out_dir / (folder if folder.strip(".") else "data" if folder else "")


def _say_what_it_takes(asked: dict[str, SweepConfig], out_dir: Path | None) -> None:
    """Runs, memory and time of every sweep, before any of it is done."""
    from lorabound.sweeps.defaults import fitted

    for settings in asked.values():
        fitted(settings)  # what does not fit the model is refused before torch is imported
    with err.status("looking at data and machine"):
        from lorabound.reports.show import show
        from lorabound.sweeps.estimate import Estimates, estimate

        estimates = {
            name or settings.data: estimate(settings, out_dir and _folder_of(out_dir, name))
            for name, settings in asked.items()
        }
    show(Estimates(estimates), out)
