"""Adapters run on rows they have not seen: prompt classifiers, classifiers with a trained head, CLIP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters import Adapter, load_adapter
from lorabound.adapters.peft_folder import open_adapter
from lorabound.checks.fresh import FreshCheck, check_errors
from lorabound.data import Empty, load_examples, renamed
from lorabound.data.phrases import listed
from lorabound.engine import evaluate, keep_freed_memory
from lorabound.errors import AdapterError, DataError, InputError
from lorabound.models import LoadedClassifier, default_device, find_kind, load_classifier, resolve_precision
from lorabound.stack import Stack
from lorabound.sweeps.records import ADAPTERS, AdapterTask, fingerprint, read_rows, read_task

# Where an adapter from elsewhere does not say it: the model's own limit, at most this.
_MAX_LENGTH = 512


@dataclass(frozen=True)
class AdapterUse:
    """How an adapter that no sweep of ours made reads an example; what an adapter of a sweep records wins.

    Attributes:
        model: the frozen model, in place of the one the adapter names.
        prompt: class prompt with one ``{}``, for an adapter without a head.
        classes: names of the classes; with a head, in the order of its rows.
        max_length: tokens a text is cut to; None takes the model's limit, at most 512.
    """

    model: str | None = None
    prompt: str | None = None
    classes: Sequence[str] | None = None
    max_length: int | None = None


def check_adapters(
    folders: Sequence[str | Path],
    data: str,
    text_column: str | None = None,
    label_column: str = "label",
    delta: float = 0.05,
    use: AdapterUse | None = None,
    observe: Callable[[str], None] = lambda _: None,
    empty: Empty = "refuse",
    rename_labels: Mapping[str, str] | None = None,
) -> FreshCheck:
    """Run adapters on labelled rows and limit their errors on new data, the choice among them counted.

    Rows that stand in the training or test set of the sweep that made an adapter are left out, and counted in the
    notes: the limit is on the error of rows outside them. A label that an adapter has no class for counts as wrong.

    Args:
        folders: PEFT LoRA folders, ours or anybody's.
        data: labelled rows, as a sweep takes them.
        text_column: column of texts or images; None takes text or image.
        label_column: column of labels.
        delta: probability that one of the limits is wrong, in (0, 1).
        use: what adapters from elsewhere do not say.
        observe: is told what goes on.
        empty: what becomes of rows without text, image or label: "refuse" or "drop" them.
        rename_labels: label in the data -> label as the adapters know it.
    Raises:
        AdapterError, ModelError, DataError, InputError: an adapter, its model or the data cannot be used, or no row
            is fresh.
    """
    keep_freed_memory()
    paths = [Path(folder) for folder in folders]
    if len(set(paths)) != len(paths):
        raise InputError("an adapter is named twice: name each once, as every one of them is paid for")
    loaded = [(path, load_adapter(path)) for path in paths]
    tasks = [_task(path, adapter, use or AdapterUse()) for path, adapter in loaded]
    kinds = {task.takes for task in tasks}
    if len(kinds) > 1:
        raise InputError("some of the adapters read texts and others images: check them apart")
    observe("reading the data")
    table = renamed(load_examples(kinds.pop(), data, text_column, label_column, empty), rename_labels or {})
    prints = [fingerprint(example) for example in table.examples]
    fresh, notes = _fresh(prints, paths, tasks, data)
    rows = [table.examples[i] for i in fresh]
    labels = [table.labels[i] for i in fresh]
    notes += table.notes
    wrong, models = [], dict[str, tuple[LoadedClassifier, Any]]()
    for (path, adapter), task in zip(loaded, tasks, strict=True):
        key = task.model_copy(update={"n_train": 0}).model_dump_json()
        if key not in models:
            observe(f"loading {task.model}")
            classifier = _classifier(task, path)
            models = {key: (classifier, classifier.prepare(rows))}  # one model at a time in memory
        observe(f"{path.name} on {len(rows)} rows")
        wrong.append(_errors(*models[key], adapter, task, path, labels))
        notes += _unknown(labels, task, path)
    first = {prints[i]: i for i in reversed(fresh)}
    repeated = np.array([first[prints[i]] != i for i in fresh])
    known = all(_sweep_of(path) is not None for path in paths)
    return check_errors(
        _names(paths), np.array(wrong), delta, repeated, [adapter.n_params for _, adapter in loaded],
        tuple(dict.fromkeys(notes)),
        "nobody used them to train or to choose" if not known else "nobody used them to choose before",
    )  # fmt: skip


def _task(path: Path, adapter: Adapter, use: AdapterUse) -> AdapterTask:
    """What the folder records, or what the caller says."""
    recorded = read_task(path)
    if recorded:
        return recorded.model_copy(update={"model": use.model}) if use.model else recorded
    model = use.model or open_adapter(path).config.get("base_model_name_or_path")
    if not model:
        raise InputError(f"{path} does not say which model it belongs to: name it with --model")
    head: Literal["prompts", "trained"] = "trained" if adapter.head else "prompts"
    classes = list(use.classes or ())
    if adapter.head:
        classes = classes or _names_of_rows(str(model))
        if len(classes) != len(adapter.head.bias):
            raise InputError(
                f"{path} has a head of {len(adapter.head.bias)} classes and "
                f"{f'{len(classes)} names: ' if classes else 'no names for them: '}"
                "name them in the order of its rows, --classes NAME,NAME,..."
            )
    elif not classes or not use.prompt:
        raise InputError(
            f"{path} has no head and was not made by a sweep: say how its classes are asked for, "
            '--classes NAME,NAME,... and --prompt "A {} review."'
        )
    return AdapterTask(
        model=str(model), model_sha256="", takes=find_kind(str(model), head).reads, head=head,
        prompt=use.prompt or "", classes=classes, logit_scale=None, max_length=use.max_length or _MAX_LENGTH,
        precision=resolve_precision("float32", default_device()), n_train=0,
    )  # fmt: skip


def _names_of_rows(model: str) -> list[str]:
    """The labels of a checkpoint in the order of its rows; nothing where it only counts them (LABEL_0, ...)."""
    import transformers

    from lorabound.models import locate_model

    names: dict[int, str] = transformers.AutoConfig.from_pretrained(locate_model(model)).id2label or {}
    ordered = [str(names[row]) for row in sorted(names)]
    return [] if any(name.startswith("LABEL_") for name in ordered) else ordered


def _classifier(task: AdapterTask, path: Path) -> LoadedClassifier:
    """The classifier that an adapter belongs to.

    Raises:
        AdapterError: its weights are not those the adapter was trained on.
    """
    classifier = load_classifier(
        task.model, task.classes, task.prompt, task.logit_scale, task.max_length, default_device(), task.precision,
        task.head, head_by_name=bool(task.model_sha256),  # the rows of others are named in their order
    )  # fmt: skip
    if task.model_sha256 and classifier.sha256 != task.model_sha256:
        raise AdapterError(
            f"{path} was trained on another {task.model} than the one found now (SHA-256 "
            f"{task.model_sha256[:12]}... against {classifier.sha256[:12]}...): name the right one with --model"
        )
    return classifier


def _sweep_of(path: Path) -> Path | None:
    """The folder of the sweep that made an adapter, where it still stands in it."""
    folder = path.resolve().parent.parent
    return folder if path.resolve().parent.name == ADAPTERS and read_rows(folder) else None


def _fresh(prints: list[str], paths: list[Path], tasks: list[AdapterTask], data: str) -> tuple[list[int], list[str]]:
    """Indices of the rows that no adapter has seen in training and no sweep in its test set; and what was left out."""
    trained: set[str] = set()
    tested: set[str] = set()
    for path, task in zip(paths, tasks, strict=True):
        folder = _sweep_of(path)
        rows = read_rows(folder) if folder else None
        if rows:
            trained |= set(rows.train[: task.n_train or None])  # without its task any of them may have been
            tested |= set(rows.test)
    tested -= trained
    fresh = [i for i, mark in enumerate(prints) if mark not in trained and mark not in tested]
    n_trained = sum(mark in trained for mark in prints)
    n_tested = len(prints) - len(fresh) - n_trained
    counts = [f"{n_trained:,} it was trained on"] if n_trained else []
    counts += [f"{n_tested:,} of the test set of its sweep, by which it may have been chosen"] if n_tested else []
    if not fresh:
        raise DataError(
            f"{data} holds no fresh row: of {len(prints):,} rows {' and '.join(counts)}. They prove nothing about new "
            "data: give rows that the sweep has not seen"
        )
    if not counts:
        return fresh, []
    first = next(i for i in range(len(prints)) if prints[i] in trained or prints[i] in tested)
    return fresh, [
        f"Left out of {data}: {' and '.join(counts)} (the first is row {first + 1}). With them the limit would not be "
        "valid."
    ]


def _errors(
    classifier: LoadedClassifier, inputs: Any, adapter: Adapter, task: AdapterTask, path: Path, labels: list[str]
) -> NDArray[np.bool_]:
    """Which rows an adapter gets wrong."""
    index = {name: i for i, name in enumerate(task.classes)}
    if not set(labels) & set(index):
        raise DataError(
            f"no label of the data is a class of {path} ({listed(map(repr, sorted(set(labels))), 3)} against "
            f"{listed(map(repr, task.classes), 3)}): write the labels as the adapter knows them"
        )
    known = np.array([label in index for label in labels])
    target = np.array([index.get(label, 0) for label in labels], dtype=np.int64)
    with Stack(classifier.module, [adapter], classifier.towers):
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
    return [
        f"{count:,} rows have a label that {path.name} has no class for ({listed(map(repr, missing), 3)}); they count "
        "as wrong." + (f" {'; '.join(near[:3])}: mend the spelling if so." if near else "")
    ]


def _names(paths: list[Path]) -> list[str]:
    """Folder names, whole paths where two are equal."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
