"""A certificate of an adapter computed again: adapter, model, rows, then every limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import adapter_sha256
from lorabound.certificates.found import Asked, Found, find_adapter, read_sample, refuse_changed
from lorabound.certificates.measure import zero_shot_of
from lorabound.certificates.methods import METHODS, Method
from lorabound.certificates.recompute_fresh import Checked, on_fresh_rows, same_gain, same_model
from lorabound.certificates.sample import open_subject
from lorabound.certificates.stored import Stored
from lorabound.certificates.subject import Subject
from lorabound.certificates.verification import Part, compared, hashes
from lorabound.data import Labelled
from lorabound.errors import LoraboundError, ModelError
from lorabound.sweeps.choices import n_candidates
from lorabound.sweeps.records import read_task


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
    yield from _task(of, found, moved=places["model"] is not None)
    yield from _choice(certificate, found)
    on_sample = [one for one in certificate.statements if METHODS[one.method].needs != "fresh rows"]
    try:
        refuse_changed(found, [METHODS[one.method] for one in on_sample])
    except LoraboundError as error:
        yield Part(what="adapter of the sweep", outcome="differs", detail=str(error)), None
        return
    try:
        table = read_sample(found, asked.data, asked.text_column, asked.label_column, asked.empty, asked.rename_labels)
    except LoraboundError as error:
        table = None
        if on_sample:
            yield Part(what="rows of the sample", outcome="not shown", detail=str(error)), None
            on_sample = []
    by_task = [read_task(stored.path.parent / one["folder"]) for one in of.get("choices", ())]
    if len(by_task) > 1 and all(by_task):  # each may have a model of its own
        asked = replace(asked, model=places["model"])
    yield from on_fresh_rows(stored, str(folder), asked, table, observe)
    if on_sample:
        yield from _on_sample(certificate, on_sample, found, asked, table, memory, observe)


def _task(of: Mapping[str, Any], found: Found, moved: bool) -> Iterator[Checked]:
    """How the adapter reads an example, and which classes its sweep left out."""
    left_out = {"model"} if moved else set[str]()
    said, now = {**of["task"]}, found.task.model_dump(mode="json")
    what, rare = "use of the adapter", found.sweep.config.min_class_rows if found.sweep and found.run else 1
    if json.dumps(said, sort_keys=True) != json.dumps(
        {**now, **{name: said[name] for name in left_out}}, sort_keys=True
    ):
        detail = "the adapter reads examples otherwise (prompt, classes, length or model) than the certificate says"
        yield Part(what=what, outcome="differs", detail=detail), None
    if of.get("data") and found.run is not None and of.get("min_class_rows", 1) != rare:
        detail = f"its sweep left out classes of fewer than {rare} rows, the certificate says another number"
        yield Part(what="classes left out", outcome="differs", detail=detail), None


def _choice(certificate: Certificate, found: Found) -> Iterator[Checked]:
    """Among how many runs of its sweep an adapter was chosen."""
    if (said := certificate.record.get("candidates")) is None:
        return
    what = "number of runs to choose from"
    if found.sweep is None or found.run is None:
        detail = f"that there were {said:,}: the sweep that trained the adapter is not around it"
        yield Part(what=what, outcome="not shown", detail=detail), None
        return
    count = n_candidates(found.sweep.rows(), found.sweep.config, found.run.n_train)
    detail = f"the sweep has {count:,} at N = {found.run.n_train:,}" + (f", not {said:,}" if said != count else "")
    yield Part(what=what, outcome="same" if said == count else "differs", detail=detail), None


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
        base=task.get("base"),
        memory=memory,
        **of["read"],
    )


def _not_shown(method: Method, subject: Subject) -> Iterator[Checked]:
    """What only training again could show of a method."""
    if method.needs == "a run":
        detail = "which rows were wrong before they were used: only training again, with the same seeds, shows it"
        yield Part(what="losses before each update", outcome="not shown", detail=detail), None
        if subject.run is None:
            detail = (
                "the sweep that trained the adapter is not around it: that its window, batch size and seeds were those "
                "recorded, and how many examples without labels it predicted otherwise"
            )
            yield Part(what="settings of the run", outcome="not shown", detail=detail), None
    elif method.needs in ("folds", "blocks"):
        detail = "that these are the errors of such adapters: only training again, with the same seeds, shows it"
        if subject.run is None:
            detail += "; nor the sizes, as the sweep that trained the adapter is not around it"
        yield Part(what=f"errors of {method.name}", outcome="not shown", detail=detail), None


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
            data = certificate.record["data"]
            if (sample.record["sha256"], sample.record["n"]) != (data["sha256"], data["n"]):
                said = f"{sample.name} holds other rows, labels or another order than the certificate was made with"
                yield Part(what="rows of the sample", outcome="differs", detail=said), None
                return
            count = f"{len(sample.labels):,} rows of {sample.name}"
            yield Part(what="rows of the sample", outcome="same", detail=count), None
            same = same_model(certificate, model_sha256)
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
        yield from _not_shown(METHODS[one.method], subject)
        if certificate.gain is not None and certificate.gain_by == one.method:
            assert certificate.gain.delta is not None
            yield same_gain(certificate.gain, METHODS[one.method].function("gain")(again, certificate.gain.delta)), None
    if certificate.zero_shot is not None:
        assert certificate.zero_shot.bound.delta is not None
        again = zero_shot_of(subject, certificate.zero_shot.bound.delta)
        yield compared(certificate.zero_shot, again, "limit without an adapter"), None
