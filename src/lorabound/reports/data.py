"""A check of data in the terminal: its own report, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from lorabound.data import DataCheck
from lorabound.reports.show import Part, parts


@parts.register
def _(check: DataCheck, width: int) -> Iterator[Part]:
    """Whether the data can be used, what to mend, the classes and their rows, what is worth knowing."""
    yield check.report(width=min(width, 80))
