"""Where commands write: results to standard output, everything else to standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

# Lines are printed as they are written: no markup, no colours of numbers.
out = Console(highlight=False, markup=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

_SECONDS_BETWEEN_LINES = 10.0


def say(line: str, style: str | None = None) -> None:
    """One line of a result, without line breaks."""
    out.print(line, soft_wrap=True, style=style)


def note(line: str, style: str | None = None) -> None:
    """As :func:`say`, on standard error."""
    err.print(line, style=style)


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """What goes on now, on standard error: one line that changes on a terminal, a line every few seconds elsewhere."""
    if err.is_terminal:
        with err.status("") as status:
            yield status.update
        return
    stage, told = "", 0.0

    def observe(now: str) -> None:
        nonlocal stage, told
        what = now.rstrip("0123456789 ").lstrip("0123456789 ")
        if what != stage or time.monotonic() - told >= _SECONDS_BETWEEN_LINES:
            note(now)
            stage, told = what, time.monotonic()

    yield observe
