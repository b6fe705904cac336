"""Everything that a certificate measures: the model is loaded, methods run, errors are counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.bounds import holdout as holdout_bound
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import adapter_sha256, rows_sha256
from lorabound.certificates.found import Asked, Found, Observe, subject_record
from lorabound.certificates.holdout import Measured, certify_holdout, gain_on_fresh_rows, measure_adapters, names_of
from lorabound.certificates.methods import METHODS, Method
from lorabound.certificates.predictions import fresh_certificate
from lorabound.certificates.rows import FreshRows, model_notes
from lorabound.certificates.sample import open_subject
from lorabound.certificates.subject import Subject, bare_errors
from lorabound.certificates.words import percent
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
    if measured is not None:
        notes += contradictions(measured, statements, zero_shot)
    gains = {m.name: m.function("gain")(one, asked.delta) for m, one in zip(methods, statements, strict=True) if m.gain}
    if measured is not None:
        record["holdout"] = _of_rows(asked.holdout, measured)
        gains = {"holdout": gain_on_fresh_rows(measured, asked.delta)} | gains
    gain_by = next((name for name, gain in gains.items() if gain is not None), None)
    return Certificate(
        name=names_of([found.path])[0],
        delta=asked.delta,
        statements=tuple(statements),
        zero_shot=zero_shot,
        gain=gains[gain_by] if gain_by else None,
        gain_by=gain_by,
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


def contradictions(measured: Measured, statements: Sequence[Statement], zero_shot: Statement) -> list[str]:
    """A sentence where fresh rows and training rows contradict one another: they are not drawn alike.

    The model without an adapter is the same on both; where its exact 95% intervals do not meet, chance does not explain
    it. A limit by training that lies below the exact lower limit (97.5%) of the adapter on fresh rows says so as well.
    """
    once = ~measured.found.repeated
    bare, own = _interval(measured.bare[once]), _interval(measured.wrong[0][once])
    trained = _interval_of(zero_shot.record["n_wrong"], zero_shot.record["n_rows"])
    why = ""
    if bare[0] > trained[1] or trained[0] > bare[1]:
        why = (
            f"the model without an adapter is wrong on {percent(measured.bare[once].mean())} of the fresh rows and on "
            f"{percent(zero_shot.error)} of the training rows"
        )
    else:
        broken = [one for one in statements if _of_this_adapter(one) and one.limit < own[0]]
        if broken:
            one = min(broken, key=lambda one: one.limit)
            why = (
                f"by the fresh rows the adapter is wrong on at least {percent(own[0], up=False)} of new data, by "
                f"{one.method} on at most {percent(one.limit, up=True)}"
            )
    if not why:
        return []
    return [
        f"Fresh rows and training rows contradict one another: {why}. That is more than chance explains, so the two "
        "are probably not drawn alike. Each limit is about new data like its own rows: take the one whose rows are "
        "like yours."
    ]


def _of_this_adapter(one: Statement) -> bool:
    """Whether training rows limit the error of the adapter itself, or of adapters that are hardly better."""
    return METHODS[one.method].needs in ("a run", "folds", "blocks") or one.method == "as-stored"


def _interval(errors: NDArray[np.bool_]) -> tuple[float, float]:
    return _interval_of(int(errors.sum()), len(errors))


def _interval_of(n_wrong: int, n_rows: int) -> tuple[float, float]:
    """Exact limits from below and above on an error, each wrong with probability 0.025 (Clopper & Pearson 1934)."""
    least = 1 - float(holdout_bound(n_rows - n_wrong, n_rows, 0.025).value)
    return least, float(holdout_bound(n_wrong, n_rows, 0.025).value)


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
    record["choices"] = [
        {"name": name, "folder": str(path), "sha256": dict(adapter_sha256(path))}
        for name, (path, _, _) in zip(names, rows.adapters, strict=True)
    ]
    record["read"] = asked.read
    made = fresh_certificate(check, record, time.perf_counter() - start)
    if len(names) > 1:
        return made
    return replace(made, gain=gain_on_fresh_rows(measured, asked.delta), gain_by="holdout")


def _of_rows(name: str | None, measured: Measured) -> dict[str, Any]:
    rows = measured.found
    return {"name": name, "n": len(rows.labels), "sha256": rows_sha256(rows.examples, rows.labels)}
