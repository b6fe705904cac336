"""What a check works on, looked at before any model is loaded: the adapters, how each is used, the rows that are fresh.

This file imports neither torch nor transformers, so that a mistake is told within a second or two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters import Adapter, load_adapter
from lorabound.adapters.peft_folder import open_adapter
from lorabound.certificates.fresh import one_class
from lorabound.data import Empty, Example, load_examples, renamed
from lorabound.errors import AdapterError, DataError, InputError, ModelError, OtherAdapter
from lorabound.models.kinds import find_kind
from lorabound.models.locate import read_configuration
from lorabound.notation import Base
from lorabound.sweeps.places import holds_recommendation
from lorabound.sweeps.records import (
    ADAPTERS,
    ROWS,
    TASK,
    AdapterTask,
    SeenRows,
    fingerprint,
    read_rows,
    read_task,
)

# Where an adapter from elsewhere does not say it: the model's own limit, at most this.
_MAX_LENGTH = 512


@dataclass(frozen=True, kw_only=True)
class AdapterUse:
    """How an adapter that no sweep of ours made reads an example; what an adapter of a sweep records wins.

    Attributes:
        model: frozen model, in place of the one that the adapter names.
        prompt: class prompt with one ``{}``, for an adapter without a head.
        classes: names of the classes; with a head, in the order of its rows.
        max_length: number of tokens after which a text is cut; None takes the model's limit, at most 512.
        base: format that the weights of the model were rounded to when the adapter was trained; None takes what the
            adapter's folder says, else weights as they are.
    """

    model: str | None = None
    prompt: str | None = None
    classes: Sequence[str] | None = None
    max_length: int | None = None
    base: Base | None = None


@dataclass(frozen=True, kw_only=True)
class FreshRows:
    """Adapters and the rows they are checked on.

    Attributes:
        adapters: folder, factors and use of each adapter.
        examples: texts or images that no adapter has seen.
        labels: labels of the examples.
        repeated: (n,) bool, true for an example that repeats an earlier one.
        of_sweeps: whether it is recorded for every adapter which rows it was trained on.
        notes: sentences on rows that were left out, and on how the data were read.
    """

    adapters: list[tuple[Path, Adapter, AdapterTask]]
    examples: Sequence[Example]
    labels: list[str]
    repeated: NDArray[np.bool_]
    of_sweeps: bool
    notes: list[str]


def read_fresh_rows(
    folders: Sequence[str | Path],
    data: str,
    text_column: str | None = None,
    label_column: str = "label",
    use: AdapterUse | None = None,
    observe: Callable[[str], None] = lambda _: None,
    empty: Empty = "refuse",
    rename_labels: Mapping[str, str] | None = None,
    seen: Collection[str] = (),
) -> FreshRows:
    """Read adapters and rows; leave out the rows that stand in the training or test set of an adapter's sweep.

    Args:
        folders: PEFT LoRA folders, ours or anybody's.
        data: labelled rows, as a sweep takes them.
        text_column: column of texts or images; None takes text or image.
        label_column: column of labels.
        use: facts that adapters record only when a sweep made them.
        observe: function that is called with what goes on.
        empty: treatment of rows without text, image or label: "refuse" or "drop" them.
        rename_labels: label in the data -> label as the adapters know it.
        seen: fingerprints of other rows that are known to have been trained on.
    Raises:
        AdapterError, DataError, InputError: an adapter or the data cannot be used, or no row is fresh.
    """
    paths = [Path(folder) for folder in folders]
    if len(set(paths)) != len(paths):
        raise InputError("an adapter is named twice: name each once, as every one of them is paid for")
    loaded = [(path, read_adapter(path)) for path in paths]
    tasks = [task_of(path, adapter, use or AdapterUse()) for path, adapter in loaded]
    kinds = {task.takes for task in tasks}
    if len(kinds) > 1:
        raise InputError("some of the adapters read texts and others images: check them apart")
    observe("reading the data")
    table = renamed(load_examples(kinds.pop(), data, text_column, label_column, empty), rename_labels or {})
    prints = [fingerprint(example) for example in table.examples]
    fresh, notes = _fresh(prints, paths, tasks, data, seen)
    notes += one_class(data, [table.labels[i] for i in fresh])
    first = {prints[i]: i for i in reversed(fresh)}
    return FreshRows(
        adapters=[(path, adapter, task) for (path, adapter), task in zip(loaded, tasks, strict=True)],
        examples=[table.examples[i] for i in fresh],
        labels=[table.labels[i] for i in fresh],
        repeated=np.array([first[prints[i]] != i for i in fresh]),
        of_sweeps=all(_rows_of(path) is not None for path in paths),
        notes=[*(note for path in paths for note in model_notes(path, use)), *notes, *table.notes],
    )


def read_adapter(path: Path) -> Adapter:
    """As :func:`lorabound.adapters.load_adapter`; of an adapter that nothing here runs, how its answers are certified.

    Raises:
        AdapterError: it cannot be read, or nothing here runs it.
    """
    try:
        return load_adapter(path)
    except OtherAdapter as error:
        raise OtherAdapter(
            f"{error}. Its answers can be certified: write them for rows that nobody used to a file with the columns "
            "label and predicted, then  lorabound certify FILE"
        ) from None


def model_notes(path: Path, use: AdapterUse | None) -> list[str]:
    """A sentence where an adapter from elsewhere is run on another model than the one it names; nothing checks that."""
    own = None if read_task(path) else open_adapter(path).config.get("base_model_name_or_path")
    if not own or use is None or use.model in (None, own):
        return []
    return [
        f"{path} says that it was trained on {own}; it was run on {use.model} (--model). Nothing in it can show that "
        "the two are the same: if they are not, this is about an adapter that nobody trained."
    ]


def unusable_model(path: Path, model: str, error: ModelError) -> ModelError:
    """The error for an adapter whose model cannot be loaded: both named, and how to name another place."""
    return ModelError(
        f"{path} was trained on {model}, which cannot be loaded here: {error}. If the model lies elsewhere, name it "
        "with --model FOLDER"
    )


def of_completions(of: str | Path, sweep: Path) -> str:
    """The sentence on what is certified by its sweep alone."""
    return (
        f"{of} learnt completions, whose certificate stands in the table and on the page of its sweep: run  lorabound "
        f"report {sweep}"
    )


def task_of(path: Path, adapter: Adapter, use: AdapterUse) -> AdapterTask:
    """What the folder records, or what the caller says."""
    recorded = read_task(path)
    if recorded and recorded.takes == "dialogues":
        if holds_recommendation(path.resolve().parent):
            raise InputError(
                f"{path} learnt completions, and fresh rows are run through classifiers alone: what is known of its "
                f"share of wrong tokens on new data stands in its recommendation: run  lorabound report {path.parent}"
            )
        raise InputError(of_completions(path, path.resolve().parent.parent))
    base = recorded.base if recorded else adapter.base.format if adapter.base else use.base
    if use.base not in (None, base):
        was = f"rounded to {base}" if base else "as it is, not rounded"
        raise InputError(f"{path} was trained on its model {was}: leave --base out, its folder says it")
    if recorded:
        return recorded.model_copy(update={"model": use.model}) if use.model else recorded
    own = open_adapter(path).config.get("base_model_name_or_path")
    model = use.model or own
    if not model:
        raise InputError(f"{path} does not say which model it belongs to: name it with --model")
    head: Literal["prompts", "trained"] = "trained" if adapter.head else "prompts"
    try:
        takes = find_kind(str(model), head).reads
    except ModelError as error:
        raise unusable_model(path, str(own), error) if model == own else error from None
    classes = list(use.classes or ())
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise InputError(f"--classes names {', '.join(twice)} twice: name each class once")
    if len(classes) == 1:
        raise InputError(f"--classes names {classes[0]} only: a classifier has two classes at least")
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
        model=str(model),
        model_sha256="",
        takes=takes,
        head=head,
        prompt=use.prompt or "",
        classes=classes,
        logit_scale=None,
        max_length=use.max_length or _MAX_LENGTH,
        precision="float32",
        n_train=0,
        base=base,
    )


def _names_of_rows(model: str) -> list[str]:
    """The labels of a checkpoint in the order of its rows; nothing where it only counts them (LABEL_0, ...)."""
    names = {int(row): str(name) for row, name in (read_configuration(model).get("id2label") or {}).items()}
    ordered = [names[row] for row in sorted(names)]
    return [] if any(name.startswith("LABEL_") for name in ordered) else ordered


def sweep_of(path: Path) -> Path | None:
    """The folder of the sweep that made an adapter, where it still stands in it."""
    folder = path.resolve().parent.parent
    return folder if path.resolve().parent.name == ADAPTERS and read_rows(folder) else None


def _rows_of(path: Path) -> SeenRows | None:
    """The rows of the sweep that an adapter stands in, or those that stand in its own folder: a recommended adapter."""
    folder = sweep_of(path)
    return read_rows(folder or path)


def _fresh(
    prints: list[str], paths: list[Path], tasks: list[AdapterTask], data: str, seen: Collection[str]
) -> tuple[list[int], list[str]]:
    """Indices of the rows that no adapter has seen in training and no sweep in its test set; and what was left out."""
    trained: set[str] = set(seen)
    tested: set[str] = set()
    for path, task in zip(paths, tasks, strict=True):
        rows = _rows_of(path)
        if rows:
            trained |= set(_trained_on(path, task, rows))
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


def _trained_on(path: Path, task: AdapterTask, rows: SeenRows) -> list[str]:
    """Fingerprints of the training set of an adapter; without its task it may be any rows of its sweep.

    Raises:
        AdapterError: the sweep has no such rows.
    """
    first, end = task.first_row, task.first_row + task.n_train
    if not 0 <= first <= end <= len(rows.train):
        raise AdapterError(
            f"{path / TASK} says that it was trained on {task.n_train:,} rows from row {first:,} on, but {ROWS} of its "
            f"sweep records {len(rows.train):,} rows: one of the files is damaged, or of another sweep"
        )
    return rows.train[first:end] if task.n_train else rows.train
