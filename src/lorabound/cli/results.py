"""How a command ends: its result on the terminal, as a page where one was asked for, and what to do next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorabound.cli.consoles import out, say

if TYPE_CHECKING:
    from lorabound.sweeps.summary import Summary

PageFile = Annotated[
    Path | None,
    typer.Option("--page", help="Also write the result to this file as a page: HTML that works offline, with charts."),
]


def page_is_free(page: Path | None) -> None:
    """Refuse a page that could not be written, before anything is computed.

    Raises:
        InputError: a file of this name that is no page of ours.
    """
    if page is not None:
        from lorabound.reports.frame import refuse_other_file

        refuse_other_file(page)


def give(result: object, page: Path | None) -> None:
    """Write the page of a result, and show it: the file is there even for whoever reads only the first lines."""
    from lorabound.reports.show import show

    if page is not None:
        from lorabound.reports.result_page import write_result_page

        write_result_page(result, page, shlex.join(["lorabound", *sys.argv[1:]]))
    show(result, out)
    if page is not None:
        say(f"Page: {page}")


def say_next(summary: Summary) -> None:
    """After a sweep: the command that limits the error of its best adapter on new data."""
    from lorabound.reports.use import use_of

    use = use_of(summary)
    if use and use.command:
        say(f"Next: {use.command}  {use.purpose}")
