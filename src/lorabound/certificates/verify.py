"""Checking a certificate: everything that files can show is computed again; what they cannot show is said."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import Path

from lorabound.certificates.predictions import certify_predictions
from lorabound.certificates.stored import Stored, read_certificate
from lorabound.certificates.verification import Part, Verification, compared
from lorabound.errors import LoraboundError


def verify(
    certificate: str | PathLike[str],
    data: str | PathLike[str] | None = None,
    *,
    holdout: str | PathLike[str] | None = None,
    adapter: str | PathLike[str] | None = None,
    model: str | None = None,
    memory: float | None = None,
    observe: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compute a certificate again from the files it speaks of, and compare.

    Args:
        certificate: ``certificate.json``, or its folder.
        data: rows that the adapter was trained on, or the table of answers; None takes what the certificate names.
        holdout: fresh rows; None takes what the certificate names.
        adapter: folder of the adapter, where it has moved.
        model: frozen model, where it has moved.
        memory: budget of the whole process in GiB; None takes what is free.
        observe: function that is told what goes on.
    Raises:
        InputError: no certificate, or one that was changed after it was written.
    """
    stored = read_certificate(certificate)
    made, parts = stored.certificate, list[Part]()
    shares = math.fsum(float(one.bound.delta or 1.0) for one in made.statements)
    parts.append(
        Part(
            what="certificate.json",
            outcome="same" if shares <= made.delta * (1 + 1e-9) else "differs",
            detail="whole, with every file it names"
            if shares <= made.delta * (1 + 1e-9)
            else f"its limits have {shares:g} of delta together, more than the {made.delta:g} it says",
        )
    )
    again: list[float] = []
    for part, limit in _parts(
        stored,
        {
            name: None if place is None else fspath(place)
            for name, place in (("data", data), ("holdout", holdout), ("adapter", adapter), ("model", model))
        },
        memory,
        observe,
    ):
        parts.append(part)
        again += [] if limit is None or part.outcome == "differs" else [limit]
    return Verification(
        name=made.name,
        limit=min(again, default=None),
        delta=made.delta,
        parts=tuple(parts),
        assumptions=made.assumptions,
    )


def _parts(
    stored: Stored, places: dict[str, str | None], memory: float | None, observe: Callable[[str], None]
) -> Iterator[tuple[Part, float | None]]:
    """Everything beside the record itself: each part with the limit that was computed again, if one was."""
    if "table" in stored.certificate.record:
        yield _table(stored, places["data"])
        return
    from lorabound.certificates.recompute import recompute  # imports torch

    yield from recompute(stored, places, memory, observe)


def _table(stored: Stored, data: str | None) -> tuple[Part, float | None]:
    """A table of answers, read and counted again."""
    certificate = stored.certificate
    table = certificate.record["table"]
    name = data or table["name"]
    if not Path(name).is_file():
        return Part(what="table of answers", outcome="not shown", detail=f"{name} is not there: name it, --data"), None
    try:
        again = certify_predictions(name, table["predicted"], table["label_column"], certificate.delta)
    except LoraboundError as error:
        return Part(what="table of answers", outcome="differs", detail=str(error)), None
    if again.record["table"]["sha256"] != table["sha256"]:
        said = f"{name} holds other rows, labels or answers"
        return Part(what="table of answers", outcome="differs", detail=said), None
    return compared(certificate.best, again.best), again.best.limit
