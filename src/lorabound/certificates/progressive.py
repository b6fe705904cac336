"""What the first pass of a sweep's run proves: every row was tested before the update that used it. No rows are spent.

The order, the errors and those of the model without an adapter go into one small file beside the certificate. From it
the limit is computed again; the order is computed again from the seeds and the rows, the errors of the bare model by
running it. What no file can show is that the errors were those of the checkpoints: only training again does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lorabound.bounds import Bound
from lorabound.certificates.certificate import Statement
from lorabound.certificates.occam import errors_of
from lorabound.certificates.subject import FLIPS, Subject, bare_errors
from lorabound.engine.batches import epoch_batches
from lorabound.errors import AdapterError, InputError
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.grid import ZERO_SHOT, Run
from lorabound.sweeps.progressive import best_certificate, best_gain, speaks_of, why_not, window_start
from lorabound.sweeps.row import Row

FILE = "progressive.safetensors"
# Settings of the sweep that the bound depends on.
_SETTINGS = ("window", "batch_size", "epochs", "augment", "unlabelled")
# What a run counted on unlabelled examples; None without them.
_FINAL = ("final_start", "n_unlabelled", "n_differing")
# Training rows from which on the last tenth of a pass is long enough (docs/sweep.md).
_UNLABELLED_PAYS = 20_000


def certify_progressive(subject: Subject, delta: float, _: Callable[[str], None]) -> Statement:
    """The certificate of a run of a sweep, from the losses that training kept.

    Raises:
        InputError: the sweep kept none, or they prove nothing (several epochs, shots, augmented images).
    """
    assert subject.run is not None
    run, config = subject.run.row, subject.run.config
    if reason := why_not(config):
        raise InputError(f"{subject.path}: progressive cannot be had. {reason}")
    if run.first_errors is None or run.first_order is None:
        raise InputError(
            f"{subject.path} was trained by an earlier version, which kept no losses: sweep again into another --out"
        )
    _refuse_another_adapter(subject)
    bare = bare_errors(subject)
    content = save(
        {
            "order": run.first_order.astype(np.int32),
            "errors": run.first_errors.astype(np.uint8),
            "bare_errors": bare.astype(np.uint8),
        }
    )
    settings = {name: getattr(config, name) for name in _SETTINGS}
    named = {field: getattr(run, field) for field in Run.__dataclass_fields__}
    final = {name: getattr(run, name) for name in _FINAL}
    return _statement(content, {"run": named, "settings": settings, "final": final}, delta)


def recompute_progressive(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The same statement from the file, after order and errors of the bare model were computed again.

    Raises:
        AdapterError: the file is damaged, or says something else than rows, seeds and model do.
    """
    arrays = _arrays(files[FILE])
    if {name: sorted(record.get(name) or ()) for name in ("settings", "final")} != {
        "settings": sorted(_SETTINGS),
        "final": sorted(_FINAL),
    }:
        raise AdapterError("the certificate does not hold the settings of a run")
    run = Run(**record["run"])
    if subject.run is not None:
        config = subject.run.config
        settings = record["settings"]
        differ = [name for name in _SETTINGS if json.dumps(getattr(config, name)) != json.dumps(settings[name])]
        counted, kept = {**record["run"], **record["final"]}, subject.run.row
        of_run = {name: getattr(kept, name) for name in (*Run.__dataclass_fields__, *_FINAL)}
        if differ or json.dumps(counted, sort_keys=True) != json.dumps(of_run, sort_keys=True):
            raise AdapterError(
                f"the certificate was made with another {', '.join(differ) or 'run'} than the sweep around the adapter"
            )
        if kept.first_errors is None or not np.array_equal(kept.first_errors, arrays["errors"]):
            raise AdapterError(f"{FILE} holds other errors than the sweep around the adapter")
        _refuse_another_adapter(subject)
    inputs, labels = subject.sample.inputs, subject.sample.labels
    if len(arrays["order"]) != len(labels):
        raise AdapterError(f"{FILE} holds {len(arrays['order']):,} rows, the sample {len(labels):,}")
    steps = epoch_batches(inputs.lengths[: len(labels)], record["settings"]["batch_size"], [run.order_seed], 0)
    if not np.array_equal(np.concatenate([step[0] for step in steps]), arrays["order"]):
        raise AdapterError(f"{FILE}: the order of rows is not the one that the seeds of the run give")
    bare = bare_errors(subject)
    if (bare != arrays["bare_errors"]).mean() > FLIPS:
        raise AdapterError(f"{FILE}: the errors of the model without an adapter are not those that it makes")
    return _statement(files[FILE], record, delta)


def _refuse_another_adapter(subject: Subject) -> None:
    """See that the folder holds the adapter that training ended with, where the certificate is about that one.

    Raises:
        AdapterError: it errs otherwise on the training rows than when it was trained.
    """
    run = subject.run
    if run is None or run.row.train_error is None or run.config.unlabelled is None:
        return
    error = float(errors_of(subject, subject.adapter).mean())
    if abs(error - run.row.train_error) > max(FLIPS, 1.5 / len(subject.sample.labels)):
        raise AdapterError(
            f"{subject.path} is wrong on {error:.4f} of its training rows, and was on {run.row.train_error:.4f} when "
            "it was trained: something changed it, and what training kept is not about it; sweep again, or certify it "
            "by rows that nobody used, --holdout FILE"
        )


def _statement(content: bytes, record: Mapping[str, Any], delta: float) -> Statement:
    """The statement that a file and its record make."""
    row, _, config = _run(_arrays(content), record)
    bound = best_certificate(row, config, delta)
    if bound is None:
        raise AdapterError(f"{FILE}: too few rows for a window, or settings that certify nothing")
    assert row.first_errors is not None
    start = row.final_start or window_start(row.n_train, config.batch_size, config.window)
    said = (
        f"Each row was tested before it was used: {int(row.first_errors[start:].sum()):,} of the last "
        f"{row.n_train - start:,} were wrong."
    )
    if row.final_start is None:
        said += (
            " The limit is about a random checkpoint of that time, not about the final adapter, which is usually "
            "better. A sweep with --unlabelled FILE certifies that one; it gives lower limits from about "
            f"{_UNLABELLED_PAYS:,} training rows on."
        )
    else:
        said += (
            f" On {row.n_differing:,} of {row.n_unlabelled:,} examples without labels the final adapter gave another "
            "class than a checkpoint drawn for each."
        )
    return Statement(
        method="progressive",
        speaks_of=speaks_of(config),
        bound=bound,
        error=float(row.first_errors[start:].mean()),
        record={**record, "start": start},
        files={FILE: content},
        notes=(said,),
    )


def gain_of_run(statement: Statement, delta: float) -> Bound | None:
    """Least gain of the checkpoints over the model without an adapter, row by row, from the file of a statement."""
    row, zero_shot, config = _run(_arrays(statement.files[FILE]), statement.record)
    return best_gain(row, zero_shot, config, delta)


def _run(arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> tuple[Row, Row, SweepConfig]:
    """The run, the one of the model without an adapter, and the settings: what the bounds are computed from."""
    config = SweepConfig(**record["settings"])
    run, errors = Run(**record["run"]), arrays["errors"]
    row = replace(_row(run, arrays["order"], errors), **record["final"])
    bare = Run(0, ZERO_SHOT, run.n_train, 0, run.sample)
    return row, _row(bare, np.arange(len(errors)), arrays["bare_errors"]), config


def _row(run: Run, order: NDArray[np.int64], errors: NDArray[np.bool_]) -> Row:
    """A run of which nothing is known but its errors before each update."""
    return Row(
        key="",
        rank=run.rank,
        mode=run.mode,
        n_train=run.n_train,
        seed=run.seed,
        sample=run.sample,
        n_params=0,
        seconds=0.0,
        status="done",
        first_order=order,
        first_errors=errors,
        first_log_losses=np.zeros(len(errors), dtype=np.float32),
    )


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    try:
        found = load(content)
        order, errors, bare = (found[name] for name in ("order", "errors", "bare_errors"))
    except (SafetensorError, KeyError) as error:
        raise AdapterError(f"{FILE} is damaged ({error})") from None
    count = len(order)
    whole = order.ndim == 1 and np.array_equal(np.sort(order), np.arange(count))
    if not whole or any(x.shape != (count,) or x.max(initial=0) > 1 for x in (errors, bare)):
        raise AdapterError(f"{FILE} does not hold each row once, or holds other values than 0 and 1")
    return {
        "order": order.astype(np.int64),
        "errors": errors.astype(np.bool_),
        "bare_errors": bare.astype(np.bool_),
    }
