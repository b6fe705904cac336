"""The command that speaks before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorabound.cli.options import ConfigFile, Flags, Grouped, options, takes
from lorabound.cli.results import PageFile, give, page_is_free
from lorabound.config import checked, read_record
from lorabound.errors import InputError
from lorabound.plans.config import PlanConfig

_ASKED = (
    "model",
    "shapes",
    "targets",
    "layers",
    "encoder",
    "ranks",
    "modes",
    "subspace_size",
    "links",
    "n_train",
    "classes",
    "pilot",
    "target_gap",
    "delta",
    "bits",
)

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Grouped)
@takes(options(PlanConfig, _ASKED, defaults={"model": ""}))
def plan(
    flags: Flags,
    config: ConfigFile = None,
    csv: Annotated[Path | None, typer.Option(help="Also write every number to this CSV file.")] = None,
    page: PageFile = None,
) -> None:
    """Before training: how far the error on new data can be above the training error.

    For every rank, mode and number of examples: what is guaranteed, and with --pilot what is to be expected. What is
    guaranteed counts what is trained; it is the same for every --law and --base of a sweep.
    """
    given = read_record(PlanConfig, config, flags)
    if isinstance(given.get("data"), list):  # of a sweep over several data sets, which a plan does not read
        del given["data"]
    asked = checked(PlanConfig, given, config, flags)
    if asked.shots:
        raise InputError("a plan counts all training examples: give n_train in place of shots, as --n-train 500")
    page_is_free(page)
    from lorabound.files import write_table
    from lorabound.plans.verbs import plan as make_plan

    made = make_plan(**{name: getattr(asked, name) for name in _ASKED if name in given})
    if csv:
        write_table(csv, made.frame())
    give(made, page)
