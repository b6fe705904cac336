"""The commands about adapters that are trained: how bad they can be on new data, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.certificates.config import CheckConfig
from lorabound.cli.consoles import out, say, telling
from lorabound.cli.options import ConfigFile, Flags, Grouped, flag_of, options, takes
from lorabound.config import read_settings
from lorabound.errors import InputError

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
@takes(options(CheckConfig, leave_out=("adapters", "image_column")))
def check(
    flags: Flags,
    adapters: Annotated[
        list[str] | None,
        typer.Argument(help="Folders of PEFT LoRA adapters; or one table of answers.", show_default=False),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Say how bad adapters, or any model, can be on new data.

    Give labelled rows that nobody used for training or for a choice. Of several adapters the best may be chosen by
    these rows: the limits count the choice.
    """
    from lorabound.certificates import check_predictions
    from lorabound.reports.show import show

    asked = read_settings(CheckConfig, config, {**flags, "adapters": adapters})
    named, predictions = asked.adapters, asked.predictions
    if not (predictions or asked.data) and len(named) == 1 and Path(named[0]).is_file():
        predictions, named = named[0], []
    if bool(predictions) == bool(asked.data) or bool(named) != bool(asked.data):
        raise InputError(
            "say what is checked: lorabound check ADAPTER --data FILE with rows it has not seen, or "
            "lorabound check --predictions FILE with the columns label and predicted"
        )
    if predictions:
        if needless := [name for name in ("drop_empty", "rename_labels") if getattr(asked, name)]:
            raise InputError(
                f"{flag_of(CheckConfig, needless[0])} is for --data: mend such rows in the table of answers itself"
            )
        show(check_predictions(predictions, asked.predicted, asked.label_column, asked.delta), out)
        return
    from lorabound.certificates.rows import AdapterUse, read_fresh_rows

    use = AdapterUse(
        model=asked.model or None,
        prompt=asked.prompt or None,
        classes=asked.classes or None,
        max_length=asked.max_length,
    )
    with telling() as tell:
        rows = read_fresh_rows(
            named,
            asked.data,
            asked.text_column or None,
            asked.label_column,
            use,
            tell,
            "drop" if asked.drop_empty else "refuse",
            asked.rename_labels,
        )
        from lorabound.certificates.holdout import run_adapters

        found = run_adapters(rows, asked.delta, tell)
    show(found, out)


@app.command(cls=Grouped)
def inspect(
    adapter: Annotated[Path, typer.Argument(help="Folder of a PEFT LoRA adapter, or its safetensors file.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write one row per layer to this CSV file.")] = None,
) -> None:
    """Show how large each layer's update is, and how much of its rank is used."""
    from lorabound.adapters import inspect_adapter
    from lorabound.files import write_table
    from lorabound.reports.show import show

    spectra = inspect_adapter(adapter)
    if csv:
        write_table(csv, spectra.frame())
    show(spectra, out)
    if csv:
        say(f"{len(spectra.layers)} layers -> {csv}")
