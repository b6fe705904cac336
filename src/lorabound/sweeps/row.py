"""One run as it is stored: its columns in their order, its arrays as bytes, and what no run can hold.

Errors are one bit each, as many as there are losses beside them; losses are float32, orders int32. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.modes import MODES
from lorabound.sweeps.grid import ZERO_SHOT


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run as it is stored.

    ``status`` is "done" or "diverged"; a diverged run has no measurements. ``test_errors`` (n_test,) bool and
    ``test_log_losses`` (n_test,) float32 are the losses of the test examples, in the split's order.
    ``first_errors`` (n_train,) bool and ``first_log_losses`` (n_train,) float32 are losses of the training examples
    before the update that used them, in the order ``first_order`` (n_train,) in which the first pass took them
    (:class:`lorabound.engine.FirstPass`); those of the model without an adapter are in the order of the pool. They are
    None for runs of older stores, and with ``augment``. ``n_differing`` of ``n_unlabelled`` unlabelled examples got
    another class from the final adapter than from a checkpoint of their own, drawn from the places from
    ``final_start`` of the first pass on. ``fold_errors`` are errors of ``n_folds`` adapters trained like this one, each
    on the fold it was trained without: bools in the order of the pool, fold after fold, all folds of one size (rows
    that are left over belong to none). ``fold_test_error`` is the mean error of these adapters on the test set.
    ``next_errors`` (n_next,) bool are errors on the rows of the pool that follow the training set, up to the next
    training size. ``adapter_sha256`` is the hash over the files of the adapter that training ended with
    (:func:`lorabound.adapters.folder_sha256`); None without one, and for runs of older stores.

    Of completions an error is one of which any token is wrong, a log-loss the mean of -ln p over its tokens, a risk the
    mean of 1 - p over them, and ``train_wrong``, ``test_wrong`` are the share of wrong tokens, averaged over examples;
    ``test_misses`` and ``test_wrongs`` (n_test,) float32 are risks and shares of the test examples, ``first_wrongs``
    (n_train,) float32 shares of the training examples before the update that used them. They are None for classes.
    """

    key: str
    rank: int
    mode: str
    n_train: int
    seed: int
    sample: int = 0
    n_params: int
    train_error: float | None = None
    test_error: float | None = None
    train_risk: float | None = None
    test_risk: float | None = None
    train_ce: float | None = None
    test_ce: float | None = None
    seconds: float
    status: str
    test_errors: NDArray[np.bool_] | None = None
    test_log_losses: NDArray[np.float32] | None = None
    first_order: NDArray[np.int64] | None = None
    first_errors: NDArray[np.bool_] | None = None
    first_log_losses: NDArray[np.float32] | None = None
    final_start: int | None = None
    n_unlabelled: int | None = None
    n_differing: int | None = None
    n_folds: int | None = None
    fold_test_error: float | None = None
    fold_errors: NDArray[np.bool_] | None = None
    n_next: int | None = None
    next_errors: NDArray[np.bool_] | None = None
    adapter_sha256: str | None = None
    train_wrong: float | None = None
    test_wrong: float | None = None
    test_misses: NDArray[np.float32] | None = None
    test_wrongs: NDArray[np.float32] | None = None
    first_wrongs: NDArray[np.float32] | None = None


FIELDS = tuple(field.name for field in fields(Row))
# How an array is written; errors are one bit each, as many as there are losses beside them, or as other columns say.
_ARRAYS = {
    "test_log_losses": "<f4",
    "first_log_losses": "<f4",
    "first_order": "<i4",
    "test_misses": "<f4",
    "test_wrongs": "<f4",
    "first_wrongs": "<f4",
}
_BITS = {"test_errors": "test_log_losses", "first_errors": "first_log_losses"}
_COUNTED: dict[str, Callable[[dict[str, Any]], int]] = {
    "fold_errors": lambda values: int(values["n_train"] // values["n_folds"] * values["n_folds"]),
    "next_errors": lambda values: int(values["n_next"]),
}
_TEXTS = ("key", "mode", "status", "adapter_sha256")
# Columns by what stands in them, and whether it may be null.
_INTEGERS = {
    **dict.fromkeys(("rank", "n_train", "seed", "sample", "n_params"), False),
    **dict.fromkeys(("final_start", "n_unlabelled", "n_differing", "n_folds", "n_next"), True),
}
_LARGEST = 1e30
_LOSSES = ("train_error", "test_error", "train_risk", "test_risk", "train_ce", "test_ce")
BLOBS = (*_ARRAYS, *_BITS, *_COUNTED)
MEASURED = tuple(name for name in FIELDS[1:] if name not in (*BLOBS, "adapter_sha256"))
REALS = tuple(name for name in FIELDS if name not in (*_TEXTS, *_INTEGERS, *BLOBS))


def pack(row: Row) -> dict[str, Any]:
    """The row as SQLite gives it back: arrays as bytes, NaN as null, zero without a sign."""
    record = {name: getattr(row, name) for name in FIELDS}
    for name in REALS:
        value = record[name]
        record[name] = None if value is None or value != value else float(value) + 0.0
    for name, form in _ARRAYS.items():
        record[name] = None if record[name] is None else record[name].astype(form).tobytes()
    for name in (*_BITS, *_COUNTED):
        record[name] = None if record[name] is None else np.packbits(record[name]).tobytes()
    return record


def unpack(record: Mapping[str, Any]) -> Row:
    """The row of a record; columns that an older store does not have are None.

    Raises:
        ValueError: it is none that :func:`pack` makes: arrays cut off, a value of another type, no such mode.
    """
    values = dict(record)
    _check(values)
    for name, form in _ARRAYS.items():
        if values.get(name) is not None:
            values[name] = np.frombuffer(values[name], dtype=form)
    for name, beside in _BITS.items():
        count = len(values[beside]) if values.get(beside) is not None else 0
        if len(values.get(name) or b"") != -(-count // 8):  # NumPy would add zeros: no errors
            examples = "test" if name.startswith("test") else "training"
            raise ValueError(
                f"a run has errors and losses of different numbers of {examples} examples: {values['key']}"
            )
        if count:
            bits = np.unpackbits(np.frombuffer(values[name], dtype=np.uint8), count=count)
            values[name] = bits.astype(np.bool_)
    for name, count_of in _COUNTED.items():
        if values.get(name) is None:
            continue
        count = count_of(values)
        if len(values[name]) != -(-count // 8):
            where = "its folds" if name == "fold_errors" else "the next block"
            raise ValueError(f"a run has errors of too few examples in {where}: {values['key']}")
        values[name] = np.unpackbits(np.frombuffer(values[name], dtype=np.uint8), count=count).astype(np.bool_)
    first, n_train = values.get("first_log_losses"), values["n_train"]
    if first is not None:
        order = values["first_order"] = values["first_order"].astype(np.int64)
        if len(first) != n_train or not np.array_equal(np.sort(order), np.arange(n_train)):
            raise ValueError(f"the first pass of a run does not hold each training example once: {values['key']}")
    return Row(**values)


def _check(values: Mapping[str, Any]) -> None:
    """See that every value is of the type of its column, and that a mode and a status are known.

    Raises:
        ValueError: the first that is not.
    """
    for name, value in values.items():
        null = name not in ("key", "mode", "status", "seconds") and _INTEGERS.get(name, True)
        kind = str if name in _TEXTS else int if name in _INTEGERS else bytes if name in BLOBS else float
        if not (isinstance(value, kind) or (value is None and null)):
            raise ValueError(f"{name} of a run is {str(value)[:20]!r}")
    if values["mode"] not in (*MODES, ZERO_SHOT) or values["status"] not in ("done", "diverged"):
        raise ValueError(f"a run has mode {values['mode'][:20]!r} and status {values['status'][:20]!r}")
    if min(values["rank"], values["seed"], values.get("sample", 0), values["n_train"] - 1) < 0:
        raise ValueError("rank, training size, seed or sample of a run is out of range")
    if values["rank"] and values["n_params"] < 1:
        raise ValueError("a trained run trains no parameter")
    if any(not -_LARGEST < values[name] < _LARGEST for name in REALS if values.get(name) is not None):
        raise ValueError("a number of a run is not finite")
    if values["status"] == "done" and any(values.get(name) is None for name in _LOSSES):
        raise ValueError("a run that is done has no losses")
    if min(values.get("n_folds") or 1, values.get("n_next") or 0) < 0:
        raise ValueError("a number of folds or of rows of a run is out of range")
