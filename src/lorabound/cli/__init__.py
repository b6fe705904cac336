"""The command line: thin commands that import heavy rooms only when they run."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorabound import __version__
from lorabound.cli.consoles import note, out, say, telling
from lorabound.cli.sweep import PAGE, data, sweep
from lorabound.cli.theory import complexity, concentration, lower_bound, paper
from lorabound.cli.usage import UsageError, explain_usage
from lorabound.errors import InputError, LoraboundError
from lorabound.modes import MODES

app = typer.Typer(
    help="How far the true risk of a LoRA fine-tune can be from its training risk, and what would change it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line; an error of ours becomes one sentence and exit status 2."""
    gc.set_threshold(100_000, 50, 50)  # imports make 400,000 objects that live to the end: a second spent on them
    try:
        sys.exit(typer.main.get_command(app).main(prog_name="lorabound", standalone_mode=False) or 0)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            sentence = explain_usage(error, sys.argv[1:])
            note(f"lorabound: {sentence}", "red")
        sys.exit(2)
    except LoraboundError as error:
        note(f"lorabound: {error}", "red")
        sys.exit(2)
    finally:
        gc.freeze()  # and another at exit


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        out.print(__version__, highlight=False)
        raise typer.Exit


app.command()(sweep)
app.command()(data)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Directory of a sweep.")],
    page: Annotated[Path | None, typer.Option("--page", help=f"Where to write the page. [DIR/{PAGE}]")] = None,
    figure: Annotated[Path | None, typer.Option(help="Also draw the gap against rank: .svg or .png.")] = None,
) -> None:
    """Print the table of a sweep and write its page."""
    from lorabound.reports import print_summary, write_figure, write_page
    from lorabound.sweeps import Sweep
    from lorabound.sweeps.summary import summarize

    summary = summarize(Sweep.open(folder))
    if figure:
        write_figure(summary, figure)
    print_summary(summary, out)
    say(f"Page: {write_page(summary, page or folder / PAGE)}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Directory of a sweep.")],
    file: Annotated[Path, typer.Argument(help="File to write, .csv, .parquet or .json.")],
) -> None:
    """Write the runs of a sweep as CSV, Parquet or JSON."""
    from lorabound.reports import export_runs
    from lorabound.sweeps import Sweep

    count = export_runs(Sweep.open(folder), file)
    say(f"{count} runs -> {file}")


@app.command()
def check(
    adapters: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of PEFT LoRA adapters; or one table of answers.", show_default=False),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Labelled rows the adapters have not seen, as in sweep.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Or a table of answers of any model: columns label and predicted.")
    ] = None,
    predicted: Annotated[str, typer.Option(help="Its columns of answers, one per model, as a,b,c.")] = "predicted",
    text_column: Annotated[str | None, typer.Option(help="Column of texts, or of images. [text; CLIP: image]")] = None,
    label_column: Annotated[str, typer.Option(help="Column of labels.")] = "label",
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="With --data: leave out rows without text, image or label.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="The frozen model, where the adapter's folder does not say.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Class prompt with one {}, for an adapter from elsewhere.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Its classes; with a head, in the order of its rows: a,b,c.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens its texts are cut to. [the model's limit]")] = None,
    delta: Annotated[float, typer.Option(help="Probability that a limit is wrong.")] = 0.05,
) -> None:
    """Say how bad adapters, or any model, can be on new data."""
    from lorabound.checks import check_predictions
    from lorabound.reports.check import print_check

    named = list(adapters or [])
    if predictions is None and data is None and len(named) == 1 and named[0].is_file():
        predictions, named = named[0], []
    if (predictions is None) == (data is None) or bool(named) != (data is not None):
        raise InputError(
            "say what is checked: lorabound check ADAPTER --data FILE with rows it has not seen, or "
            "lorabound check --predictions FILE with the columns label and predicted"
        )
    if predictions is not None:
        if drop_empty:
            raise InputError("--drop-empty is for --data: leave such rows out of the table of answers, or fill them in")
        columns = [part.strip() for part in predicted.split(",") if part.strip()] or ["predicted"]
        print_check(check_predictions(predictions, columns, label_column, delta), out)
        return
    from lorabound.checks.adapters import AdapterUse, check_adapters

    assert data is not None
    listed = [part.strip() for part in classes.split(",") if part.strip()] if classes else None
    use = AdapterUse(model, prompt, listed, max_length)
    with telling() as tell:
        found = check_adapters(
            named, data, text_column, label_column, delta, use, tell, "drop" if drop_empty else "refuse"
        )
    print_check(found, out)


@app.command()
def inspect(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA adapter, or its safetensors file.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write one row per layer to this CSV file.")] = None,
) -> None:
    """Show size and used rank of every update of a LoRA adapter."""
    from lorabound.adapters import inspect_adapter
    from lorabound.files import write_table
    from lorabound.reports.spectra import print_spectra

    spectra = inspect_adapter(adapter)
    if csv:
        write_table(csv, spectra.frame())
    print_spectra(spectra, out)
    if csv:
        say(f"{len(spectra.layers)} layers -> {csv}")


@app.command()
def plan(
    shapes: Annotated[str | None, typer.Option(help="Layers to adapt, d_out x d_in: 384x384,384x384.")] = None,
    model: Annotated[str | None, typer.Option(help="Or the encoder they are read from, as in sweep.")] = None,
    targets: Annotated[
        str | None, typer.Option(help="With --model: linear layers to adapt. [query,key,value; CLIP: q,k,v]")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="With a CLIP: vision, text or both. [both]")] = None,
    layers: Annotated[str | None, typer.Option(help="With --model: layer indices, as 4,5, or all. [all]")] = None,
    ranks: Annotated[str | None, typer.Option(help="LoRA ranks. [1,2,4,8, or the pilot's]")] = None,
    modes: Annotated[
        str | None, typer.Option(help=f"Any of {', '.join(MODES)}. [freeze_a,train_both, or the pilot's]")
    ] = None,
    n_train: Annotated[str | None, typer.Option(help="Training set sizes. [1000,10000,100000, or the pilot's]")] = None,
    target_gap: Annotated[float | None, typer.Option(help="Also say how many examples this gap needs.")] = None,
    delta: Annotated[float, typer.Option(help="Failure probability of the guarantees.")] = 0.05,
    bits: Annotated[int, typer.Option(help="Bits in which a trained parameter is stored.")] = 32,
    pilot: Annotated[Path | None, typer.Option(help="Directory of a small sweep to forecast from.")] = None,
    classes: Annotated[
        int | None, typer.Option(help="Classes of the task, to refuse an N below. [the pilot's]")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write every number to this .csv file.")] = None,
) -> None:
    """Before training: the gap guaranteed, and the gap forecast."""
    given = {name: value for name, value in locals().items() if name != "csv"}
    from lorabound.files import write_table
    from lorabound.plans.verbs import plan as make_plan
    from lorabound.reports.plan import print_plan

    made = make_plan(**given)
    if csv:
        write_table(csv, made.frame())
    print_plan(made, out)


app.command("lower-bound")(lower_bound)
app.command()(complexity)
app.command()(concentration)
app.command()(paper)
