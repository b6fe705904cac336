"""A certificate in a plain sentence, the answer first; then every method, the line to beat, what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from lorabound.certificates import Certificate, Statement
from lorabound.certificates.verification import Verification
from lorabound.certificates.words import answer, evidence, percent
from lorabound.reports.show import Part, parts, table

_MARKS = {"same": "ok", "differs": "DIFFERS", "not shown": "not shown"}


@parts.register
def _(certificate: Certificate, width: int) -> Iterator[Part]:
    """The answer, the line to beat, every method, what must be true, what was unusual."""
    if certificate.fresh is not None:
        yield from parts(certificate.fresh, width)
        yield from evidence(certificate)
        return
    yield Text(answer(certificate), style="bold")
    yield from evidence(certificate)
    shown = table("<", "<speaks of", "rows", "error", "new data <=")
    every = [*certificate.statements, *([certificate.zero_shot] if certificate.zero_shot else [])]
    for one in every:
        shown.add_row(*_row(one, certificate))
    yield shown
    if len(certificate.statements) > 1:
        yield Text(f"All {len(certificate.statements)} limits hold at once: delta is shared among them.", style="dim")
    yield Text("This holds if:", style="dim")
    for assumption in certificate.assumptions:
        yield Text(f"- {assumption}", style="dim")
    for note in (*certificate.notes, *(note for one in certificate.statements for note in one.notes)):
        yield Text(note, style="dim")


@parts.register
def _(found: Verification, _: int) -> Iterator[Part]:
    """Whether it holds, then every part, then what no file can show."""
    if found.holds and found.limit is not None:
        said = (
            f"The certificate of {found.name} holds: computed again, the error on new data is at most "
            f"{percent(found.limit, up=True)} ({100 * (1 - found.delta):.6g}% sure)."
        )
        yield Text(said, style="bold")
    else:
        differ = sum(part.outcome == "differs" for part in found.parts)
        why = f"{differ} of its parts differ" if differ else "no limit could be computed again"
        yield Text(f"The certificate of {found.name} does not hold as it stands: {why}.", style="bold red")
    shown = table("<", "<part", "<found")
    for part in found.parts:
        shown.add_row(_MARKS[part.outcome], part.what, part.detail)
    yield shown
    yield Text("No file can show that:", style="dim")
    for assumption in found.assumptions:
        yield Text(f"- {assumption}", style="dim")


def _row(one: Statement, certificate: Certificate) -> list[str]:
    mark = ">" if one is certificate.best else " "
    most = "says nothing" if one.vacuous else percent(one.limit, up=True)
    return [f"{mark} {one.method}", one.speaks_of, f"{int(one.bound.n_samples):,}", percent(one.error), most]
