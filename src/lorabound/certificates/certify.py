"""From adapters to a certificate: what can be certified, by which methods, on which rows; read from the top."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lorabound.bounds import holdout as holdout_bound
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import rows_sha256
from lorabound.certificates.holdout import Measured, certify_holdout, gain_on_fresh_rows, measure_adapters
from lorabound.certificates.methods import METHODS, Method, chosen
from lorabound.certificates.predictions import fresh_certificate
from lorabound.certificates.progressive import gain_of_run
from lorabound.certificates.rows import AdapterUse, read_fresh_rows
from lorabound.certificates.sample import Found, find_adapter, kept, open_subject, read_sample, subject_record
from lorabound.certificates.subject import Subject
from lorabound.data import Empty, Labelled
from lorabound.engine import evaluate
from lorabound.errors import InputError
from lorabound.sweeps.grid import Run
from lorabound.sweeps.progressive import choices, why_not
from lorabound.sweeps.records import ADAPTERS, fingerprint
from lorabound.sweeps.sweep import FILE as STORE
from lorabound.sweeps.sweep import Sweep

Observe = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What :func:`lorabound.certify` was asked for, beside the adapters; its arguments say what each is."""

    data: str | None = None
    holdout: str | None = None
    methods: Sequence[str] | None = None
    delta: float = 0.05
    text_column: str | None = None
    label_column: str = "label"
    empty: Empty = "refuse"
    rename_labels: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    prompt: str | None = None
    classes: Sequence[str] | None = None
    max_length: int | None = None
    memory: float | None = None

    @property
    def read(self) -> dict[str, Any]:
        """How the rows of a file are read, as JSON values."""
        return {
            "text_column": self.text_column,
            "label_column": self.label_column,
            "empty": self.empty,
            "rename_labels": dict(self.rename_labels),
        }

    @property
    def use(self) -> AdapterUse:
        """How an adapter from elsewhere reads an example."""
        return AdapterUse(model=self.model, prompt=self.prompt, classes=self.classes, max_length=self.max_length)


def certify_adapters(folders: Sequence[str], asked: Asked, observe: Observe = lambda _: None) -> Certificate:
    """The certificate of one adapter, or of the best of several on fresh rows. Raises as :func:`lorabound.certify`."""
    if len(folders) > 1:
        return _best_on_fresh_rows(folders, asked, observe)
    if (Path(folders[0]) / STORE).is_file():
        return _best_of_sweep(folders[0], asked, observe)
    found = find_adapter(folders[0], asked.use)
    methods = chosen(asked.methods, {"fresh rows": asked.holdout is not None, **kept(found)})
    only_fresh = all(method.needs == "fresh rows" for method in methods)
    table: Labelled | None = None
    if not only_fresh or asked.data is not None:
        table = read_sample(found, asked.data, asked.text_column, asked.label_column, asked.empty, asked.rename_labels)
    if only_fresh:
        return _best_on_fresh_rows(folders, asked, observe, table)
    measured = measured_on(folders, asked, table, observe) if asked.holdout is not None else None
    return _certificate(found, methods, asked, table, measured, asked.delta / len(methods), observe)


def _certificate(
    found: Found,
    methods: Sequence[Method],
    asked: Asked,
    table: Labelled | None,
    measured: Measured | None,
    share: float,
    observe: Observe,
) -> Certificate:
    """The certificate of one adapter, each method at a ``share`` of delta."""
    with open_subject(found, asked.data, table, asked.memory, observe) as (subject, sample, model_sha256):
        statements = [_statement(method, subject, measured, share, observe) for method in methods]
        zero_shot = zero_shot_of(subject, asked.delta)
        record = subject_record(found, model_sha256) | {"data": sample.record, "read": asked.read}
    notes = [*sample.notes, *(measured.notes if measured else ())]
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


def _best_of_sweep(folder: str, asked: Asked, observe: Observe) -> Certificate:
    """The run of a sweep with the least certificate at its largest size, at delta/K for the K runs there."""
    if asked.holdout is not None or asked.methods not in (None, ["progressive"]):
        raise InputError(
            f"{folder} is a sweep, which is certified by progressive: name one of its adapters for other methods, as "
            f"{folder}/{ADAPTERS}/NAME"
        )
    sweep = Sweep.open(folder)
    if reason := why_not(sweep.config):
        raise InputError(f"{folder}: progressive cannot be had. {reason}")
    found = choices(sweep.rows(), sweep.config.model_copy(update={"cross_fit": None}), asked.delta)
    if not found:
        raise InputError(f"{folder} holds no run that kept its losses: finish it, or sweep again into another --out")
    choice = found[max(found)]
    row = choice.row
    run = Run(**{name: getattr(row, name) for name in Run.__dataclass_fields__})
    adapter = find_adapter(Path(folder) / ADAPTERS / run.name, asked.use)
    share = asked.delta / choice.n_candidates
    made = _certificate(adapter, [METHODS["progressive"]], asked, None, None, share, observe)
    note = (
        f"The best of {choice.n_candidates} runs at N = {row.n_train:,} by this certificate. The choice is counted: "
        f"each has delta / {choice.n_candidates}."
    )
    return replace(
        made, notes=(note, *made.notes), record={**made.record, "candidates": choice.n_candidates}, gain=choice.gain
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
    errors = evaluate(subject.pool.workers[0], subject.sample.inputs, subject.sample.labels)[0].errors
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


def _best_on_fresh_rows(
    folders: Sequence[str], asked: Asked, observe: Observe, table: Labelled | None = None
) -> Certificate:
    """The best of K adapters by fresh rows, at delta/K each."""
    if asked.holdout is None:
        raise InputError(
            "several adapters are compared on rows that nobody used: give them with --holdout FILE, or name one adapter"
        )
    if asked.methods is not None and list(asked.methods) != ["holdout"]:
        raise InputError("several adapters are certified by holdout only: name one adapter for other methods")
    start = time.perf_counter()
    measured = measured_on(folders, asked, table, observe)
    check = measured.check(asked.delta)
    names = [one.name for one in check.predictors]
    path, adapter, task = measured.found.adapters[names.index(check.best.name)]
    found = Found(path=path, adapter=adapter, task=task, sweep=None, run=None)
    record: dict[str, Any] = subject_record(found, measured.model_sha256)
    record["holdout"] = _of_rows(asked.holdout, measured)
    record |= {"choices": names, "read": asked.read}
    made = fresh_certificate(check, record, time.perf_counter() - start)
    return replace(made, gain=gain_on_fresh_rows(measured, asked.delta)) if len(names) == 1 else made


def measured_on(folders: Sequence[str], asked: Asked, table: Labelled | None, observe: Observe) -> Measured:
    """The adapters on fresh rows; rows of ``table``, which the adapter was trained on, are not fresh."""
    assert asked.holdout is not None
    seen: Collection[str] = {fingerprint(example) for example in table.examples} if table else ()
    found = read_fresh_rows(
        folders,
        asked.holdout,
        asked.text_column,
        asked.label_column,
        asked.use,
        observe,
        asked.empty,
        asked.rename_labels,
        seen,
    )
    return measure_adapters(found, observe)


def _of_rows(name: str | None, measured: Measured) -> dict[str, Any]:
    rows = measured.found
    return {"name": name, "n": len(rows.labels), "sha256": rows_sha256(rows.examples, rows.labels)}
