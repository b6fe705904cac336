"""Everything that a certificate measures: the model is loaded, methods run, errors are counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lorabound.bounds import holdout as holdout_bound
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import rows_sha256
from lorabound.certificates.found import Asked, Found, Observe, subject_record
from lorabound.certificates.holdout import Measured, certify_holdout, gain_on_fresh_rows, measure_adapters
from lorabound.certificates.methods import Method
from lorabound.certificates.predictions import fresh_certificate
from lorabound.certificates.progressive import gain_of_run
from lorabound.certificates.rows import FreshRows, model_notes
from lorabound.certificates.sample import open_subject
from lorabound.certificates.subject import Subject, bare_errors
from lorabound.data import Labelled


def certificate_of(
    found: Found,
    methods: Sequence[Method],
    asked: Asked,
    table: Labelled | None,
    rows: FreshRows | None,
    share: float,
    observe: Observe,
) -> Certificate:
    """The certificate of one adapter, each method at a ``share`` of delta."""
    measured = measure_adapters(rows, observe) if rows else None
    with open_subject(found, asked.data, table, asked.memory, observe) as (subject, sample, model_sha256):
        statements = [_statement(method, subject, measured, share, observe) for method in methods]
        zero_shot = zero_shot_of(subject, asked.delta)
        record = subject_record(found, model_sha256) | {"data": sample.record, "read": asked.read}
    notes = [*model_notes(found.path, asked.use), *sample.notes, *(measured.notes if measured else ())]
    gain = next((gain_of_run(one, asked.delta) for one in statements if one.method == "progressive"), None)
    if measured is not None:
        record["holdout"] = _of_rows(asked.holdout, measured)
        gain = gain_on_fresh_rows(measured, asked.delta)
    return Certificate(
        name=found.path.name,
        delta=asked.delta,
        statements=tuple(statements),
        zero_shot=zero_shot,
        gain=gain,
        notes=tuple(dict.fromkeys(notes)),
        record=record,
    )


def _statement(
    method: Method, subject: Subject, measured: Measured | None, delta: float, observe: Observe
) -> Statement:
    start = time.perf_counter()
    observe(f"{method.name}: {method.sentence}")
    made: Statement
    if method.needs == "fresh rows":
        assert measured is not None
        made = certify_holdout(measured, delta)
    else:
        made = method.function("certify")(subject, delta, observe)
    return replace(made, method=method.name, seconds=time.perf_counter() - start)


def zero_shot_of(subject: Subject, delta: float) -> Statement:
    """The model without an adapter, on the sample: nothing about it depends on these rows, so they are fresh to it."""
    start = time.perf_counter()
    errors = bare_errors(subject)
    bound = replace(
        holdout_bound(int(errors.sum()), len(errors), delta),
        predictor="the model without an adapter",
        assumptions=(
            "examples are independent and identically distributed",
            "the model was not trained on them",
        ),
    )
    return Statement(
        method="zero-shot",
        speaks_of="the model without an adapter",
        bound=bound,
        error=float(np.mean(errors)),
        seconds=time.perf_counter() - start,
        record={"n_rows": len(errors), "n_wrong": int(errors.sum())},
    )


def best_on_fresh_rows(rows: FreshRows, asked: Asked, observe: Observe) -> Certificate:
    """The best of K adapters by fresh rows, at delta/K each."""
    start = time.perf_counter()
    measured = measure_adapters(rows, observe)
    check = measured.check(asked.delta)
    names = [one.name for one in check.predictors]
    path, adapter, task = rows.adapters[names.index(check.best.name)]
    found = Found(path=path, adapter=adapter, task=task, sweep=None, run=None)
    record: dict[str, Any] = subject_record(found, measured.model_sha256)
    record["holdout"] = _of_rows(asked.holdout, measured)
    record |= {"choices": names, "read": asked.read}
    made = fresh_certificate(check, record, time.perf_counter() - start)
    return replace(made, gain=gain_on_fresh_rows(measured, asked.delta)) if len(names) == 1 else made


def _of_rows(name: str | None, measured: Measured) -> dict[str, Any]:
    rows = measured.found
    return {"name": name, "n": len(rows.labels), "sha256": rows_sha256(rows.examples, rows.labels)}
