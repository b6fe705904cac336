"""A bound in the terminal: as it prints itself."""

from __future__ import annotations

from collections.abc import Iterator

from lorabound.notation import Bound
from lorabound.reports.show import Part, parts


@parts.register
def _(bound: Bound, _: int) -> Iterator[Part]:
    """The number with its level, the theorem, of which predictor it speaks, its terms and assumptions."""
    yield str(bound)
