"""The commands about adapters that are trained: how bad they can be on new data, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabound.cli.consoles import say, telling
from lorabound.cli.options import Flags, Grouped, options, takes
from lorabound.cli.results import PageFile, give, page_is_free
from lorabound.config import checked, flag_of
from lorabound.errors import InputError
from lorabound.updates.config import AgainstConfig

if TYPE_CHECKING:
    from lorabound.adapters import AdapterSpectra
    from lorabound.updates import FreezingCosts

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
@takes(options(AgainstConfig))
def inspect(
    flags: Flags,
    adapter: Annotated[
        Path | None, typer.Argument(help="Folder of a PEFT LoRA adapter, or its safetensors file.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write one row per layer to this CSV file.")] = None,
    page: PageFile = None,
) -> None:
    """Show how large each layer's update is, and how much of its rank is used.

    With --against, a fully fine-tuned checkpoint: how much of what that changed the adapter keeps, what any adapter of
    its rank could keep, and what a frozen factor costs. Without an adapter: the same for --ranks.
    """
    asked = checked(AgainstConfig, flags, None, flags)
    page_is_free(page)
    from lorabound.files import write_table

    found: AdapterSpectra | FreezingCosts
    if asked.against:
        from lorabound.updates import freezing_costs

        with telling() as observe:
            found = freezing_costs(adapter, **asked.model_dump(exclude_none=True), observe=observe)
    elif flags:
        first = flag_of(AgainstConfig, next(iter(flags)))
        raise InputError(f"{first} goes with --against CHECKPOINT, the model after full fine-tuning")
    elif adapter is None:
        raise InputError("inspect wants the folder of an adapter, or --against CHECKPOINT --base MODEL, or both")
    else:
        from lorabound.adapters import inspect_adapter

        found = inspect_adapter(adapter)
    if csv:
        write_table(csv, found.frame())
    give(found, page)
    if csv:
        say(f"{len(found.layers)} layers -> {csv}")
