"""Checking a certificate: everything that files can show is computed again; what they cannot show is said."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import Path

from lorabound.bounds import Bound
from lorabound.certificates.certificate import Certificate
from lorabound.certificates.predictions import certify_predictions
from lorabound.certificates.stored import Stored, read_certificate
from lorabound.certificates.training import recompute_training
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
    parts.append(_levels(made))
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
        parts += [] if part in parts else [part]
        again += [] if limit is None or part.outcome == "differs" else [limit]
    parts += _unchecked(made, {part.what for part in parts})
    return Verification(
        name=made.name,
        limit=min(again, default=None),
        delta=made.delta,
        parts=tuple(parts),
        assumptions=made.assumptions,
    )


def _levels(made: Certificate) -> Part:
    """Whether the limits share delta as they are made to, choices among runs or predictors counted."""
    shares = [made.n_choices * math.fsum(_delta(one.bound) for one in made.statements)]
    shares += [made.n_choices * _delta(made.gain)] if made.gain else []
    shares += [_delta(made.zero_shot.bound)] if made.zero_shot else []
    odd = [share for share in shares if abs(share - made.delta) > 1e-9 * made.delta]
    if not odd:
        return Part(what="certificate.json", outcome="same", detail="whole, with every file it names")
    said = f"its limits have {odd[0]:g} of delta, not the {made.delta:g} it says (choices among runs counted)"
    return Part(what="certificate.json", outcome="differs", detail=said)


def _delta(bound: Bound) -> float:
    assert bound.delta is not None
    return bound.delta


def _unchecked(made: Certificate, checked: set[str]) -> list[Part]:
    """Numbers that nothing computed again, and what nothing can compute."""
    beside = ["gain over no adapter"] if made.gain is not None else []
    beside += ["limit without an adapter"] if made.zero_shot is not None else []
    limits = [] if "table" in made.record else [f"limit by {one.method}" for one in made.statements]
    said = "nothing computes them again; how rows were read shows in their hash alone"
    return [
        *(
            Part(what=what, outcome="not shown", detail="not computed again")
            for what in (*limits, *beside)
            if what not in checked
        ),
        Part(what="names, notes, times and version", outcome="not shown", detail=said),
    ]


def _parts(
    stored: Stored, places: dict[str, str | None], memory: float | None, observe: Callable[[str], None]
) -> Iterator[tuple[Part, float | None]]:
    """Everything beside the record itself: each part with the limit that was computed again, if one was."""
    try:
        if "table" in stored.certificate.record:
            yield _table(stored, places["data"])
            return
        if "training" in stored.certificate.record:
            yield from recompute_training(stored)
            return
        from lorabound.certificates.recompute import recompute  # imports torch

        yield from recompute(stored, places, memory, observe)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        said = f"the record holds a value that nothing can be computed from ({type(error).__name__}: {error})"
        yield Part(what="certificate.json", outcome="differs", detail=said), None


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
    if any(again.record["table"][name] != table[name] for name in ("sha256", "n")):
        said = f"{name} holds other rows, labels or answers"
        return Part(what="table of answers", outcome="differs", detail=said), None
    if certificate.name != again.name:
        said = f"the best column is {again.name}, not {certificate.name}"
        return Part(what="table of answers", outcome="differs", detail=said), None
    return compared(certificate.best, again.best), again.best.limit
