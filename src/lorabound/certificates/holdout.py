"""Adapters run on rows they have not seen: prompt classifiers, classifiers with a trained head, CLIP."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters import Adapter
from lorabound.bounds import Bound, paired_gain
from lorabound.certificates.certificate import Statement
from lorabound.certificates.fresh import FreshCheck, check_errors
from lorabound.certificates.rows import FreshRows, unusable_model
from lorabound.data.phrases import counted, listed
from lorabound.engine import evaluate, keep_freed_memory
from lorabound.errors import AdapterError, DataError, ModelError
from lorabound.models import LoadedClassifier, default_device, load_classifier
from lorabound.stack import Stack, modules_of
from lorabound.sweeps.records import AdapterTask, read_task

# What many trainings call the folder of their adapter, so that it names none of them.
_OF_ANY_TRAINING = re.compile(r"adapter|checkpoint-\d+|final|output|lora", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What K adapters and the bare model got wrong on n fresh rows.

    Attributes:
        found: adapters and rows.
        wrong: (K, n) bool.
        bare: (n,) bool, the model without an adapter, of the last adapter's model.
        model_sha256: hash over the files of that model.
        notes: sentences on rows and labels.
    """

    found: FreshRows
    wrong: NDArray[np.bool_]
    bare: NDArray[np.bool_]
    model_sha256: str
    notes: tuple[str, ...]

    def check(self, delta: float) -> FreshCheck:
        """Limits for all adapters, the choice among them counted."""
        found = self.found
        return check_errors(
            names_of([path for path, _, _ in found.adapters]),
            self.wrong,
            delta,
            repeated=found.repeated,
            n_params=[adapter.n_params for _, adapter, _ in found.adapters],
            notes=self.notes,
            origin="nobody used them to choose before" if found.of_sweeps else "nobody used them to train or to choose",
        )


def measure_adapters(found: FreshRows, observe: Callable[[str], None] = lambda _: None) -> Measured:
    """Run adapters, and the model without one, on rows that have been read.

    A label that an adapter has no class for counts as wrong.

    Raises:
        AdapterError, ModelError, DataError: an adapter, its model or the labels cannot be used.
    """
    keep_freed_memory()
    rows, labels, notes = found.examples, found.labels, list(found.notes)
    wrong, models = [], dict[str, tuple[LoadedClassifier, Any]]()
    for path, adapter, task in found.adapters:
        key = task.model_copy(update={"n_train": 0, "first_row": 0}).model_dump_json()
        if key not in models:
            observe(f"loading {task.model}")
            classifier = classifier_of(task, path)
            models = {key: (classifier, classifier.prepare(rows))}  # one model at a time in memory
        observe(f"{names_of([path])[0]} on {counted(len(rows), 'row')}")
        refuse_other_layers(classifier, adapter, task, path)
        wrong.append(_errors(*models[key], adapter, task, path, labels))
        notes += _unknown(labels, task, path)
    bare = _errors(*models[key], None, task, path, labels)
    sha256 = models[key][0].sha256
    return Measured(
        found=found, wrong=np.array(wrong), bare=bare, model_sha256=sha256, notes=tuple(dict.fromkeys(notes))
    )


def certify_holdout(measured: Measured, delta: float) -> Statement:
    """What fresh rows say about one adapter: the exact limit of :func:`lorabound.certificates.check_errors`."""
    start = time.perf_counter()
    checked = measured.check(delta).best
    assert len(measured.wrong) == 1
    n_rows = len(measured.bare)
    return Statement(
        method="holdout",
        speaks_of="the adapter as stored",
        bound=checked.limit,
        error=checked.n_wrong / n_rows,
        seconds=time.perf_counter() - start,
        record={
            "n_rows": n_rows,
            "n_wrong": checked.n_wrong,
            "n_repeated": int(measured.found.repeated.sum()),
        },
    )


def recompute_holdout(measured: Measured, _: Mapping[str, Any], __: Mapping[str, bytes], delta: float) -> Statement:
    """The same statement from rows that were read and measured again."""
    return certify_holdout(measured, delta)


def gain_on_fresh_rows(measured: Measured, delta: float) -> Bound:
    """Least gain of one adapter over the model without one, from the rows on which the two differ.

    The bet a of :func:`lorabound.bounds.paired_gain` depends on the number of rows alone.
    """
    differences = measured.bare.astype(np.float64) - measured.wrong[0]
    once = differences[~measured.found.repeated]
    share = min(0.5, math.sqrt(8 * math.log(1 / delta) / len(once)))
    gains = [paired_gain(some, delta, a=share) for some in (differences, once)]  # copies prove nothing new
    least = min(gains, key=lambda bound: float(bound.value))
    return replace(
        least,
        predictor="the adapter, against the model without one",
        theorem="paired differences on fresh rows (ours; Ville 1939)",
        assumptions=(
            "the rows are independent and identically distributed",
            "nothing about the adapter was chosen by looking at them",
        ),
    )


def classifier_of(task: AdapterTask, path: Path) -> LoadedClassifier:
    """The classifier that an adapter belongs to.

    Raises:
        ModelError: it cannot be loaded.
        AdapterError: its weights are not those the adapter was trained on.
    """
    recorded = read_task(path)
    own = recorded.model if recorded else task.model
    try:
        classifier = load_classifier(
            task.model,
            task.classes,
            task.prompt,
            task.logit_scale,
            task.max_length,
            default_device(),
            task.precision,
            task.head,
            head_by_name=bool(task.model_sha256),  # the rows of others are named in their order
            base=task.base,
        )
    except ModelError as error:
        raise unusable_model(path, own, error) if own == task.model else error from None
    if task.model_sha256 and classifier.sha256 != task.model_sha256:
        now = "are not those that are found now" if own == task.model else f"are not those of {task.model}"
        raise AdapterError(
            f"{path} was trained on {own}, whose weights {now} (SHA-256 {task.model_sha256[:12]}... against "
            f"{classifier.sha256[:12]}...): name the right model with --model"
        )
    return classifier


def refuse_other_layers(classifier: LoadedClassifier, adapter: Adapter, task: AdapterTask, path: Path) -> None:
    """See that the model has the layers that an adapter changes, and is quantized as it was, before anything runs.

    Raises:
        AdapterError: it lacks a layer, has it in another shape, or has other weights once they are rounded.
    """
    if adapter.base and adapter.base.sha256 not in (None, classifier.sha256):
        raise AdapterError(
            f"{path} was trained on a model rounded to {adapter.base.format} (SHA-256 {adapter.base.sha256:.12}...), "
            f"and {task.model} rounded to {task.base} has other weights ({classifier.sha256[:12]}...): name the model "
            "it was trained on, --model NAME"
        )
    there = modules_of(classifier.module).linears
    for name, shape in adapter.shapes.items():
        if there.get(name) != shape:
            has = f"is {there[name][0]} x {there[name][1]} there" if name in there else "is not there"
            raise AdapterError(
                f"{path} was not trained on {task.model}: it changes a layer {name} of {shape[0]} x {shape[1]}, which "
                f"{has}; name the model it was trained on, --model NAME"
            )


def _errors(
    classifier: LoadedClassifier,
    inputs: Any,
    adapter: Adapter | None,
    task: AdapterTask,
    path: Path,
    labels: list[str],
) -> NDArray[np.bool_]:
    """(n,) bool, whether the adapter, or the model without one, gets a row wrong."""
    index = {name: i for i, name in enumerate(task.classes)}
    if not set(labels) & set(index):
        raise DataError(
            f"no label of the data is a class of {path} ({listed(map(repr, sorted(set(labels))), 3)} against "
            f"{listed(map(repr, task.classes), 3)}): write the labels as the adapter knows them"
        )
    known = np.array([label in index for label in labels])
    target = np.array([index.get(label, 0) for label in labels], dtype=np.int64)
    with Stack(classifier.module, [adapter], classifier.towers) if adapter else nullcontext():
        losses = evaluate(classifier, inputs, target)[0]
    if not losses.finite:
        raise AdapterError(f"{path}: its scores are not finite numbers: the adapter or its model is damaged")
    return np.asarray(losses.errors | ~known, dtype=np.bool_)


def _unknown(labels: list[str], task: AdapterTask, path: Path) -> list[str]:
    """A sentence on labels the adapter has no class for."""
    missing = sorted({label for label in labels if label not in task.classes})
    if not missing:
        return []
    count = sum(label not in task.classes for label in labels)
    folded = {name.casefold(): name for name in task.classes}
    near = [f"{label!r} may be {folded[label.casefold()]!r}" for label in missing if label.casefold() in folded]
    (name,) = names_of([path])
    return [
        f"{count:,} rows have a label that {name} has no class for ({listed(map(repr, missing), 3)}); they count as "
        "wrong." + (f" {'; '.join(near[:3])}: mend the spelling if so." if near else "")
    ]


def names_of(paths: Sequence[Path]) -> list[str]:
    """A short name for each of several adapters, no two alike: the name of its folder, with the folder above it where
    every training calls its own so; with more of the path where two would be equal.

    >>> names_of([Path("/home/tickets/adapter"), Path("/home/rank8")])
    ['tickets/adapter', 'rank8']
    """
    parts = [path.resolve().parts[1:] for path in paths]
    least = [2 if _OF_ANY_TRAINING.fullmatch(part[-1]) else 1 for part in parts]
    for more in range(max(map(len, parts))):
        names = ["/".join(part[-count - more :]) for part, count in zip(parts, least, strict=True)]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
