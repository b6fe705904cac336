"""A certificate of an adapter computed again: adapter, model, rows, then every limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lorabound.bounds import Bound
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import adapter_sha256, rows_sha256
from lorabound.certificates.found import Asked, Found, find_adapter, read_fresh, read_sample
from lorabound.certificates.holdout import Measured, gain_on_fresh_rows, measure_adapters
from lorabound.certificates.measure import zero_shot_of
from lorabound.certificates.methods import METHODS
from lorabound.certificates.progressive import gain_of_run
from lorabound.certificates.sample import open_subject
from lorabound.certificates.stored import Stored
from lorabound.certificates.subject import Subject
from lorabound.certificates.verification import Part, compared, hashes
from lorabound.data import Labelled
from lorabound.errors import LoraboundError, ModelError

Checked = tuple[Part, float | None]


def recompute(
    stored: Stored, places: dict[str, str | None], memory: float | None, observe: Callable[[str], None]
) -> Iterator[Checked]:
    """Every part of a certificate of an adapter, with the limit where one was computed again.

    Args:
        stored: what was read.
        places: "data", "holdout", "adapter", "model": where each is now; None takes what the certificate names.
        memory: budget of the whole process in GiB; None takes what is free.
        observe: function that is told what goes on.
    """
    certificate = stored.certificate
    of = certificate.record
    folder = Path(places["adapter"] or stored.path.parent / of["adapter"]["folder"])
    asked = _asked(of, places, memory)
    try:
        found = find_adapter(folder, asked.use)
    except ModelError as error:
        yield Part(what="base model", outcome="not shown", detail=str(error)), None
        return
    except LoraboundError as error:
        yield Part(what="adapter", outcome="differs" if folder.exists() else "not shown", detail=str(error)), None
        return
    same = hashes("adapter", of["adapter"]["sha256"], adapter_sha256(folder))
    yield same, None
    if same.outcome == "differs":
        return
    on_sample = [one for one in certificate.statements if METHODS[one.method].needs != "fresh rows"]
    try:
        table = read_sample(found, asked.data, asked.text_column, asked.label_column, asked.empty, asked.rename_labels)
    except LoraboundError as error:
        table = None
        if on_sample:
            yield Part(what="rows of the sample", outcome="not shown", detail=str(error)), None
            on_sample = []
    yield from _on_fresh_rows(certificate, str(folder), asked, table, observe)
    if on_sample:
        yield from _on_sample(certificate, on_sample, found, asked, table, memory, observe)


def _asked(of: Mapping[str, Any], places: dict[str, str | None], memory: float | None) -> Asked:
    """The rows and the use of the adapter, as they were when the certificate was made."""
    task = of["task"]
    return Asked(
        data=places["data"] or of.get("data", {}).get("name"),
        holdout=places["holdout"] or of.get("holdout", {}).get("name"),
        model=places["model"] or task["model"],
        prompt=task["prompt"] or None,
        classes=task["classes"],
        max_length=task["max_length"],
        memory=memory,
        **of["read"],
    )


def _on_fresh_rows(
    certificate: Certificate, folder: str, asked: Asked, table: Labelled | None, observe: Callable[[str], None]
) -> Iterator[Checked]:
    statements = [one for one in certificate.statements if METHODS[one.method].needs == "fresh rows"]
    if not statements:
        return
    try:
        measured = measure_adapters(read_fresh([folder], asked, table, observe), observe)
    except LoraboundError as error:
        yield Part(what="hold-out rows", outcome="not shown", detail=str(error)), None
        return
    rows, recorded = measured.found, certificate.record["holdout"]["sha256"]
    if rows_sha256(rows.examples, rows.labels) != recorded:
        said = f"{asked.holdout} holds other fresh rows or labels than the certificate was made with"
        yield Part(what="hold-out rows", outcome="differs", detail=said), None
        return
    yield Part(what="hold-out rows", outcome="same", detail=f"{len(rows.labels):,} rows of {asked.holdout}"), None
    yield _model(certificate, measured.model_sha256), None
    for one in statements:
        assert one.bound.delta is not None
        again = METHODS[one.method].function("recompute")(measured, one.record, one.files, one.bound.delta)
        yield compared(one, again), again.limit
    yield from _gain(certificate, measured)


def _gain(certificate: Certificate, measured: Measured) -> Iterator[Checked]:
    if certificate.gain is None or not certificate.gain.theorem.startswith("paired differences on fresh rows"):
        return
    assert certificate.gain.delta is not None
    again = gain_on_fresh_rows(measured, certificate.gain.delta)
    yield compared(_as_statement(certificate.gain), _as_statement(again), "gain over no adapter"), None


def _gain_of_run(certificate: Certificate, again: Statement) -> Iterator[Checked]:
    detail = "which rows were wrong before they were used: only training again, with the same seeds, shows it"
    yield Part(what="losses before each update", outcome="not shown", detail=detail), None
    if certificate.gain is None or not certificate.gain.theorem.startswith("progressive"):
        return
    assert certificate.gain.delta is not None
    gain = gain_of_run(again, certificate.gain.delta)
    if gain is not None:
        yield compared(_as_statement(certificate.gain), _as_statement(gain), "gain over no adapter"), None


def _as_statement(gain: Bound) -> Statement:
    """A gain with the mean gain in the place of the error, for comparison alone."""
    seen = gain.terms.get("mean_gain", gain.terms.get("checkpoint", gain.value))
    return Statement(method="gain", speaks_of="the adapter", bound=gain, error=-float(seen))


def _on_sample(
    certificate: Certificate,
    statements: list[Statement],
    found: Found,
    asked: Asked,
    table: Labelled | None,
    memory: float | None,
    observe: Callable[[str], None],
) -> Iterator[Checked]:
    moved = asked.data if found.run is not None else None
    try:
        with open_subject(found, moved, table, memory, observe) as (subject, sample, model_sha256):
            if sample.record["sha256"] != certificate.record["data"]["sha256"]:
                said = f"{sample.name} holds other rows, labels or another order than the certificate was made with"
                yield Part(what="rows of the sample", outcome="differs", detail=said), None
                return
            count = f"{len(sample.labels):,} rows of {sample.name}"
            yield Part(what="rows of the sample", outcome="same", detail=count), None
            same = _model(certificate, model_sha256)
            yield same, None
            if same.outcome == "differs":
                return
            yield from _limits(certificate, statements, subject, observe)
    except ModelError as error:
        yield Part(what="base model", outcome="not shown", detail=str(error)), None
    except LoraboundError as error:
        yield Part(what="rows of the sample", outcome="differs", detail=str(error)), None


def _limits(
    certificate: Certificate, statements: list[Statement], subject: Subject, observe: Callable[[str], None]
) -> Iterator[Checked]:
    for one in statements:
        assert one.bound.delta is not None
        observe(f"computing {one.method} again")
        try:
            again = METHODS[one.method].function("recompute")(subject, one.record, one.files, one.bound.delta)
        except LoraboundError as error:
            yield Part(what=f"limit by {one.method}", outcome="differs", detail=str(error)), None
            continue
        yield compared(one, again), again.limit
        if METHODS[one.method].needs in ("folds", "blocks"):
            detail = "that these are the errors of such adapters: only training again, with the same seeds, shows it"
            yield Part(what=f"errors of {one.method}", outcome="not shown", detail=detail), None
        if one.method == "progressive":
            yield from _gain_of_run(certificate, again)
    if certificate.zero_shot is not None:
        assert certificate.zero_shot.bound.delta is not None
        again = zero_shot_of(subject, certificate.zero_shot.bound.delta)
        yield compared(certificate.zero_shot, again, "limit without an adapter"), None


def _model(certificate: Certificate, found: str) -> Part:
    model = certificate.record["model"]
    return hashes("base model", {model["name"]: model["sha256"]}, {model["name"]: found})
