"""How a command ends: its result on the terminal, and as a page where one was asked for."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from lorabound.cli.consoles import out, say

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
    """Show a result, and write its page."""
    from lorabound.reports.show import show

    show(result, out)
    if page is not None:
        from lorabound.reports.result_page import write_result_page

        say(f"Page: {write_result_page(result, page, shlex.join(['lorabound', *sys.argv[1:]]))}")
