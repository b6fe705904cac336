"""How every result is shown in the terminal: one function for all kinds, one style of table, one way to print a line.

A chapter of this room says one kind of result: it registers a function with :func:`parts` that yields lines (text, or
``Text`` with a style) and tables, the answer first, then the evidence, then the caveats. It is imported when a result
of its kind is shown, so that showing a sweep imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from importlib import import_module

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorabound.errors import InputError

Part = str | Text | Table

# Class of a result -> chapter that says it.
_CHAPTERS = {
    "AdapterSpectra": "spectra",
    "Bound": "bound",
    "Certificate": "certificate",
    "Complexity": "complexity",
    "Crossed": "spread",
    "DataCheck": "data",
    "Estimates": "estimates",
    "FreezingCosts": "freezing",
    "FreshCheck": "fresh",
    "LowerSimulation": "lower",
    "Outlook": "recommendation",
    "Plan": "plan",
    "Recommendation": "recommendation",
    "Repair": "repair",
    "Summary": "summary",
    "Sweep": "summary",
    "Verification": "certificate",
}
# Columns of a table that goes to a file or a pipe, which have no width to fit.
_NO_LIMIT = 1000


def show(result: object, console: Console | None = None) -> None:
    """Print any result of this package: the answer first, then the evidence, then the caveats.

    Args:
        result: result of :func:`lorabound.sweep`, ``plan``, ``certify``, ``inspect_adapter`` or of a bound.
        console: rich console to print to; by default standard output.
    Raises:
        InputError: an object of another kind.

    >>> import lorabound as lb
    >>> lb.show(lb.bounds.holdout(8, 400, delta=0.05))
    R <= 0.0357966  with probability >= 1 - 0.05
      theorem     Langford 2005, Theorem 3.3 (Clopper & Pearson 1934)
      speaks of   the predictor that was tested (single run)
      from        holdout_error + margin; holdout_error = 0.02, margin = 0.0157966
      samples     400
      assumes     the n examples are independent and identically distributed
      assumes     nothing about the predictor was chosen by looking at them
    """
    console = console or Console()
    for part in parts(result, console.width):
        fits = console.is_terminal or not isinstance(part, Table)
        (console if fits else Console(file=console.file, width=_NO_LIMIT)).print(part, markup=False, highlight=False)


@singledispatch
def parts(result: object, width: int) -> Iterator[Part]:
    """The lines and tables of a result, in the order they are printed, for a console of so many columns.

    Raises:
        InputError: an object that no chapter says.
    """
    if chapter := _CHAPTERS.get(type(result).__name__):
        import_module(f"{__package__}.{chapter}")
    said_by = parts.dispatch(type(result))
    if said_by is parts.dispatch(object):
        raise InputError(f"show: cannot show {type(result).__name__}, only {', '.join(_CHAPTERS)}")
    return said_by(result, width)


def table(*heads: str, footer: bool = False) -> Table:
    """An empty table in this project's style; columns whose head begins with "<" are aligned left, the others right.

    Args:
        footer: whether the heads stand under the last row too.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_footer=footer)
    for head in heads:
        name = head.removeprefix("<")
        left = name != head
        made.add_column(
            name, name, justify="left" if left else "right", no_wrap=True, overflow="fold" if left else "ellipsis"
        )
    return made
