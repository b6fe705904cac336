"""A check of any model from a file of its answers: a column of true labels, one or more of predicted ones. No torch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.fingerprints import rows_sha256
from lorabound.certificates.fresh import FreshCheck, check_errors, one_class
from lorabound.data import identity, read_answers
from lorabound.data.phrases import listed
from lorabound.errors import DataError, InputError

LABEL, PREDICTED = "label", "predicted"


def check_predictions(
    path: str | Path, predicted: Sequence[str] = (PREDICTED,), label_column: str = LABEL, delta: float = 0.05
) -> FreshCheck:
    """Limits on the error of the models whose answers stand in a CSV, TSV, JSONL or Parquet file.

    Args:
        path: the file, one row per fresh example.
        predicted: columns of answers, one per model; with several, the choice among them is counted.
        label_column: the column of true labels.
        delta: probability that one of the limits is wrong, in (0, 1).
    Raises:
        DataError: the file cannot be read, lacks a column, has an empty field, or a column of answers that never
            equals any label.
        InputError: a delta outside (0, 1).
    """
    if not Path(path).is_file():
        raise DataError(
            f"no file {path}: --predictions takes a table with the columns {label_column} and {predicted[0]}"
        )
    names = list(predicted)
    if len(set(names)) != len(names):
        raise InputError("--predicted names a column twice: name each once, as every one of them is paid for")
    wrong, notes, labels = [], list[str](), list[str]()
    for name in names:
        answers, labels = _columns(path, name, label_column)
        known = set(labels)
        if not known & set(answers):
            raise DataError(
                f"{path}: {name} and {label_column} share no value ({_most(answers)} against {_most(labels)}): "
                "write both in the same words"
            )
        notes += _near_misses(path, name, answers, known)
        wrong.append([answer != label for answer, label in zip(answers, labels, strict=True)])
    notes += one_class(str(path), labels)
    return check_errors(
        names,
        np.array(wrong),
        delta,
        notes=tuple(notes),
        origin="no row stands in the file twice, and nobody used them to train or to choose the model",
    )


def certify_predictions(
    path: str | Path, predicted: Sequence[str] = (PREDICTED,), label_column: str = LABEL, delta: float = 0.05
) -> Certificate:
    """As :func:`check_predictions`, as a certificate of the model that is best by these rows."""
    start = time.perf_counter()
    check = check_predictions(path, predicted, label_column, delta)
    answers = [_columns(path, name, label_column) for name in dict.fromkeys(predicted)]
    record = {
        "table": {
            "name": str(path),
            "n": check.n_rows,
            "sha256": [rows_sha256(rows, labels) for rows, labels in answers],
            "predicted": list(dict.fromkeys(predicted)),
            "label_column": label_column,
        }
    }
    return fresh_certificate(check, record, time.perf_counter() - start, "the model that gave the answers")


def fresh_certificate(
    check: FreshCheck, record: Mapping[str, Any], seconds: float, speaks_of: str = "the adapter as stored"
) -> Certificate:
    """A check of K predictors on fresh rows, as a certificate of the best of them."""
    best = check.best
    statement = Statement(
        method="holdout",
        speaks_of=speaks_of,
        bound=best.limit,
        error=best.n_wrong / check.n_rows,
        seconds=seconds,
        record={"n_rows": check.n_rows, "n_wrong": best.n_wrong, "n_repeated": check.n_repeated},
    )
    return Certificate(
        name=best.name, delta=check.delta, statements=(statement,), fresh=check, notes=check.notes, record=record
    )


def _columns(path: str | Path, name: str, label_column: str) -> tuple[list[str], list[str]]:
    """The answers and the labels, as texts."""
    table = read_answers(path, name, label_column)
    return [str(example) for example in table.examples], table.labels


def _near_misses(path: str | Path, name: str, answers: list[str], known: set[str]) -> list[str]:
    """A sentence on answers that are a label but for case or white space; they count as wrong."""
    plain = {identity(label): label for label in known}
    near = Counter(answer for answer in answers if answer not in known and identity(answer) in plain)
    if not near:
        return []
    shown = ", ".join(f"{answer!r} for {plain[identity(answer)]!r}" for answer, _ in near.most_common(3))
    return [
        f"{path}: {sum(near.values())} answers in {name} differ from a label in case or spaces only ({shown}) and "
        "count as wrong."
    ]


def _most(values: list[str]) -> str:
    """The most frequent values."""
    return listed((repr(value) for value, _ in Counter(values).most_common()), 3)
