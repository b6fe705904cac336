"""A check of data in the terminal: can they be used, what to mend, which classes there are, what is worth knowing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from lorabound.data import DataCheck, counted
from lorabound.data.phrases import short
from lorabound.reports.show import Part, parts, table

# Rows of the table of classes: the largest, and the smallest where there are more.
_MOST, _LARGEST, _SMALLEST = 24, 14, 8
# Length of the bar of the largest class.
_BAR = 20


@parts.register
def _(check: DataCheck, width: int) -> Iterator[Part]:
    """The answer, the faults, the options that mend them, the classes, how a sweep divides the rows, the remarks."""
    size = check.content or f"{counted(check.n_rows, 'row')}, {counted(check.n_classes, 'class')}"
    if check.test_counts is not None:
        size += f", {counted(sum(check.test_counts.values()), 'test row')}"
    able = "can be used" if check.usable else f"cannot be used yet, {counted(len(check.faults), 'thing')} to mend"
    yield Text(f"{check.name} {able}: {size}.", style="bold")
    if check.faults:
        yield "\nTo mend"
        yield from _items([(f"{i}. ", fault) for i, fault in enumerate(check.faults, start=1)], width)
    if check.flags:
        yield "\nAdd to the command"
        yield from (f"  {flag}" for flag in check.flags)
    if not check.content:
        yield _classes(check)
    if check.sizes:
        yield check.sizes
    if check.remarks:
        yield "\nWorth knowing"
        yield from _items([("- ", remark) for remark in check.remarks], width)


def _items(marked: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Sentences behind their marks, further lines below the first word."""
    for mark, sentence in marked:
        indent = " " * (len(mark) + 2)
        yield textwrap.fill(
            sentence, width, initial_indent=f"  {mark}", subsequent_indent=indent, break_on_hyphens=False
        )


def _classes(check: DataCheck) -> Table:
    """One row per class, the largest first; of many the largest and the smallest."""
    frame = check.frame()
    tested = check.test_counts is not None
    shown = table("<class", "rows", *(["test rows"] if tested else []), "<")
    most = max(check.counts.values())
    hidden = len(frame) - _LARGEST - _SMALLEST if len(frame) > _MOST else 0
    for i, (label, rows, test_rows) in enumerate(frame.iter_rows()):
        if hidden and i == _LARGEST:
            shown.add_row(f"... {hidden:,} more")
        if hidden and _LARGEST <= i < len(frame) - _SMALLEST:
            continue
        name = Text(short(label) if label else "(no label)")
        shown.add_row(name, f"{rows:,}", *([f"{test_rows:,}"] if tested else []), "#" * round(_BAR * rows / most))
    return shown
