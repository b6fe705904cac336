"""What adapters that were trained alike prove, each on rows it did not see: folds of one training set, or nested sizes.

A sweep keeps their errors (``--cross-fit K``, ``--blocks``). They go into one small file beside the certificate, from
which the limit is computed again. That they are the errors of such adapters, only training again shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lorabound.bounds import Bound
from lorabound.certificates.certificate import Statement
from lorabound.certificates.subject import FLIPS, Subject, bare_errors
from lorabound.errors import AdapterError, InputError
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.progressive import best_gain, block_certificate, cross_fit_certificate, stages_of
from lorabound.sweeps.row import Row

CROSS_FIT, BLOCKS = "cross-fit.safetensors", "blocks.safetensors"
_OTHER = "{} or its record holds something else than the sweep around the adapter"
_NOTE = "It speaks of adapters trained like this one on fewer rows; this one, which saw all rows, is usually better."


def certify_cross_fit(subject: Subject, delta: float, _: Callable[[str], None] = lambda _: None) -> Statement:
    """The certificate of one of K adapters, each trained without a fold; from the errors that the sweep kept.

    Raises:
        InputError: the sweep kept none.
    """
    row = subject.run.row if subject.run else None
    if row is None or row.fold_errors is None:
        raise InputError(f"{subject.path}: cross-fit needs a run of a sweep with --cross-fit K")
    bare = bare_errors(subject)
    content = save({"errors": row.fold_errors.astype(np.uint8), "bare_errors": bare.astype(np.uint8)})
    return _of_folds(content, {"n_train": row.n_train, "n_folds": row.n_folds}, delta)


def recompute_cross_fit(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The same statement from the file; beside its sweep, also that the sweep holds the same errors.

    Raises:
        AdapterError: the file is damaged, or holds other errors than the sweep around the adapter, or than the model
            without an adapter makes.
    """
    arrays, bare = _arrays(files[CROSS_FIT], CROSS_FIT), bare_errors(subject)
    if subject.run is not None:
        row = subject.run.row
        kept = arrays.get("errors")
        same = row.fold_errors is not None and kept is not None and np.array_equal(row.fold_errors, kept)
        if not same or dict(record) != {"n_train": row.n_train, "n_folds": row.n_folds}:
            raise AdapterError(_OTHER.format(CROSS_FIT))
    kept = arrays.get("bare_errors")
    if kept is None or kept.shape != bare.shape or (kept != bare).mean() > FLIPS:
        raise AdapterError(f"{CROSS_FIT}: the errors of the model without an adapter are not those that it makes")
    return _of_folds(files[CROSS_FIT], record, delta)


def gain_of_folds(statement: Statement, delta: float) -> Bound | None:
    """Least mean gain of the adapters of the folds over the model without one, row by row, from the statement's file;
    None where there are too many folds for a limit."""
    arrays, n_train = _arrays(statement.files[CROSS_FIT], CROSS_FIT), statement.record["n_train"]
    row = replace(_row(n_train), n_folds=statement.record["n_folds"], fold_errors=arrays["errors"])
    bare = replace(_row(n_train), rank=0, first_errors=arrays["bare_errors"])
    return best_gain(row, bare, SweepConfig(cross_fit=row.n_folds), delta)


def certify_blocks(subject: Subject, delta: float, _: Callable[[str], None] = lambda _: None) -> Statement:
    """The certificate of an adapter trained alike on one of the smaller sizes; from the errors that the sweep kept.

    Raises:
        InputError: the sweep kept none, or has no smaller size.
    """
    if subject.run is None:
        raise InputError(f"{subject.path}: blocks needs a run of a sweep with --blocks")
    row = subject.run.row
    stages = stages_of(row, subject.run.rows)
    if not stages:
        raise InputError(f"{subject.path}: blocks needs a sweep with --blocks and a smaller --n-train beside this one")
    content = save({str(stage.n_train): _of(stage).astype(np.uint8) for stage in stages})
    return _of_blocks(content, {"n_train": row.n_train}, delta)


def recompute_blocks(
    subject: Subject, record: Mapping[str, Any], files: Mapping[str, bytes], delta: float
) -> Statement:
    """The same statement from the file, as :func:`recompute_cross_fit`."""
    if subject.run is not None:
        _same_as_the_sweep(certify_blocks(subject, delta), record, files, BLOCKS)
    return _of_blocks(files[BLOCKS], record, delta)


def _same_as_the_sweep(made: Statement, record: Mapping[str, Any], files: Mapping[str, bytes], name: str) -> None:
    if made.files != files or dict(made.record) != dict(record):
        raise AdapterError(_OTHER.format(name))


def _of(stage: Row) -> NDArray[np.bool_]:
    assert stage.next_errors is not None
    return stage.next_errors


def _of_folds(content: bytes, record: Mapping[str, Any], delta: float) -> Statement:
    errors = _arrays(content, CROSS_FIT).get("errors")
    whole = record["n_train"] // record["n_folds"] * record["n_folds"]
    if errors is None or len(errors) != whole:
        raise AdapterError(f"{CROSS_FIT} is damaged: it does not hold the errors of {whole:,} rows")
    row = replace(_row(record["n_train"]), n_folds=record["n_folds"], fold_errors=errors)
    said = f"one of {row.n_folds} adapters trained alike without one fold each, picked at random,"
    bound = cross_fit_certificate(row, SweepConfig(), delta)
    return _statement("cross-fit", said, bound, errors, record, CROSS_FIT, content)


def _of_blocks(content: bytes, record: Mapping[str, Any], delta: float) -> Statement:
    blocks = _arrays(content, BLOCKS)
    stages = [replace(_row(int(size)), next_errors=errors) for size, errors in blocks.items() if size.isdecimal()]
    sizes = sorted(stage.n_train for stage in stages)
    ends = [*sizes[1:], record["n_train"]]
    if not stages or sizes[-1] >= record["n_train"]:
        raise AdapterError(f"{BLOCKS} is damaged: it holds no errors of smaller sizes than {record['n_train']:,}")
    bound = block_certificate(_row(record["n_train"]), stages, SweepConfig(), delta)
    parts = [blocks[str(size)][: end - size] for size, end in zip(sizes, ends, strict=True)]
    one, rows = len(sizes) == 1, sum(len(part) for part in parts)
    drawn = " or ".join(
        f"{size:,}" if one else f"{size:,} ({len(part) / rows:.1%})" for size, part in zip(sizes, parts, strict=True)
    )
    said = f"an adapter trained alike on {drawn} rows{'' if one else ', drawn at random with these shares,'}"
    return _statement("blocks", said, bound, np.concatenate(parts), record, BLOCKS, content)


def _statement(
    method: str,
    speaks_of: str,
    bound: Bound | None,
    errors: NDArray[np.bool_],
    record: Mapping[str, Any],
    name: str,
    content: bytes,
) -> Statement:
    if bound is None:
        raise AdapterError(f"{name} certifies nothing")
    return Statement(
        method=method,
        speaks_of=speaks_of,
        bound=bound,
        error=float(errors.mean()),
        record=dict(record),
        files={name: content},
        notes=(_NOTE,),
    )


def _row(n_train: int) -> Row:
    """A run of which nothing is known but its size."""
    return Row(key="", rank=1, mode="", n_train=n_train, seed=0, n_params=0, seconds=0.0, status="done")


def _arrays(content: bytes, name: str) -> dict[str, NDArray[np.bool_]]:
    try:
        found = load(content)
    except SafetensorError as error:
        raise AdapterError(f"{name} is damaged ({error})") from None
    if any(values.ndim != 1 or values.max(initial=0) > 1 for values in found.values()):
        raise AdapterError(f"{name} holds other values than 0 and 1")
    return {key: values.astype(np.bool_) for key, values in found.items()}
