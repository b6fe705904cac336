"""The commands about adapters that are trained: how bad they can be on new data, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.cli.consoles import out, say
from lorabound.cli.options import Grouped

app = typer.Typer(rich_markup_mode=None)


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
