"""A certificate in a plain sentence, the answer first; then every method, the line to beat, what it rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from lorabound.certificates import Certificate, Statement
from lorabound.certificates.plain import exact, plain
from lorabound.certificates.verification import Verification
from lorabound.certificates.words import answer, at_most, evidence, percent
from lorabound.notation import says_nothing
from lorabound.reports.show import Part, parts, table

_NARROWEST = 24  # columns of text that is broken into lines
_MARKS = {"same": "ok", "differs": "DIFFERS", "not shown": "not shown"}


@parts.register
def _(certificate: Certificate, width: int) -> Iterator[Part]:
    """The answer, the line to beat, what was unusual, every method, what must be true."""
    if certificate.fresh is not None:
        yield from parts(certificate.fresh, width)
        yield from evidence(certificate)
        return
    yield Text(answer(certificate), style="bold")
    yield from evidence(certificate)
    yield from certificate.notes
    every = [*certificate.statements, *([certificate.zero_shot] if certificate.zero_shot else [])]
    yield _table(
        ("<", "<speaks of", "rows", "error", "new data <="), [_row(one, certificate) for one in every], 1, width
    )
    if (count := len(certificate.statements)) > 1:
        both = "Both" if count == 2 else f"All {count}"
        yield Text(f"> the least limit. {both} limits hold at once: delta is shared among them.", style="dim")
    for note in dict.fromkeys(note for one in certificate.statements for note in one.notes):
        yield Text(note, style="dim")
    yield Text("This holds if:", style="dim")
    for sentence in plain(certificate.assumptions):
        yield Text(f"- {sentence}", style="dim")
    if terms := exact(certificate.assumptions):
        yield Text(terms, style="dim")


@parts.register
def _(found: Verification, width: int) -> Iterator[Part]:
    """Whether it holds, then every part, then what no file can show."""
    if found.holds and found.limit is not None:
        limited = (
            f"the error on new data is at most {percent(found.limit, up=True)}"
            if not says_nothing(found.limit)
            else "it limits nothing, as it says"
        )
        said = (
            f"The certificate of {found.name} holds: computed again, {limited} ({100 * (1 - found.delta):.6g}% sure)."
        )
        yield Text(said, style="bold")
    else:
        differ = sum(part.outcome == "differs" for part in found.parts)
        why = f"{differ} of its parts differ" if differ else "no limit could be computed again"
        yield Text(f"The certificate of {found.name} does not hold as it stands: {why}.", style="bold red")
    rows = [[_MARKS[part.outcome], part.what, part.detail] for part in found.parts]
    yield _table(("<", "<part", "<found"), rows, 2, width)
    yield Text("No file can show that (in exact terms: certificate.json):", style="dim")
    for sentence in plain(found.assumptions):
        yield Text(f"- {sentence}", style="dim")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], broken: int, width: int) -> Table:
    """A table that fits ``width``: the words of the column ``broken`` go on in the next line."""
    others = [
        max(len(cell) for cell in (head.removeprefix("<"), *cells)) for head, *cells in zip(heads, *rows, strict=True)
    ]
    room = max(width - sum(others) + others[broken] - len(heads) - 2, _NARROWEST)
    shown = table(*heads)
    for row in rows:
        shown.add_row(*(textwrap.fill(cell, room) if i == broken else cell for i, cell in enumerate(row)))
    return shown


def _row(one: Statement, certificate: Certificate) -> list[str]:
    several = len(certificate.statements) > 1
    mark = "" if not several else "> " if one is certificate.best else "  "
    most = at_most(one.bound)
    return [f"{mark}{one.method}", one.speaks_of.rstrip(","), f"{int(one.bound.n_samples):,}", percent(one.error), most]
