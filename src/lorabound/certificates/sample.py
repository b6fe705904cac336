"""Which adapter is certified on which rows: those that its sweep trained it on, or those of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lorabound.adapters import Adapter, load_adapter
from lorabound.certificates.fingerprints import adapter_sha256, rows_sha256
from lorabound.certificates.holdout import classifier_of
from lorabound.certificates.methods import Needs
from lorabound.certificates.rows import AdapterUse, sweep_of, task_of
from lorabound.certificates.subject import OfSweep, Subject, prepared_subject, subject_of
from lorabound.data import Empty, Labelled, Picture, identity, load_examples, renamed
from lorabound.data.phrases import counted
from lorabound.engine import Recipe
from lorabound.errors import DataError, InputError
from lorabound.sweeps.grid import Run, runs_of
from lorabound.sweeps.progressive import block_certificate, why_not
from lorabound.sweeps.records import AdapterTask
from lorabound.sweeps.sweep import Row, Sweep
from lorabound.sweeps.task import load_task

# How an adapter is trained for a prior where no sweep says it.
_RECIPE = Recipe(epochs=3, batch_size=32, lr=2e-3, schedule="cosine")


@dataclass(frozen=True, kw_only=True)
class Found:
    """An adapter folder that has been read, and the run of the sweep that it stands in.

    Attributes:
        path: folder of the adapter.
        adapter: its factors.
        task: how it reads an example.
        sweep, run: its sweep and its run; None for an adapter from elsewhere.
    """

    path: Path
    adapter: Adapter
    task: AdapterTask
    sweep: Sweep | None
    run: Row | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The rows that bounds on a sample use.

    Attributes:
        name: name of the data.
        examples, labels: rows in their order.
        notes: sentences on what was unusual.
    """

    name: str
    examples: list[str | Picture]
    labels: list[str]
    notes: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What ties a certificate to these rows, as JSON values."""
        return {"name": self.name, "n": len(self.labels), "sha256": rows_sha256(self.examples, self.labels)}


def find_adapter(path: str | Path, use: AdapterUse) -> Found:
    """Read an adapter folder, and find the run that trained it.

    Raises:
        AdapterError, InputError: it cannot be used, or nothing says how it reads an example.
    """
    path = Path(path)
    adapter = load_adapter(path)
    task = task_of(path, adapter, use)
    folder = sweep_of(path)
    if folder is None or not (folder / "sweep.sqlite").is_file():
        return Found(path=path, adapter=adapter, task=task, sweep=None, run=None)
    sweep = Sweep.open(folder)
    name = path.resolve().name
    named = {run.name: run for run in runs_of(sweep.config)}
    run = named.get(name)
    row = next((row for row in sweep.rows() if _same(row, run)), None) if run else None
    return Found(path=path, adapter=adapter, task=task, sweep=sweep, run=row)


def kept(found: Found) -> dict[Needs, bool]:
    """What a sweep kept of the training of an adapter that proves something: losses, folds, blocks of nested sizes."""
    if found.sweep is None or found.run is None:
        return {}
    config, run = found.sweep.config, found.run
    return {
        "a run": run.first_errors is not None and why_not(config) is None,
        "folds": run.fold_errors is not None and not config.shots,
        "blocks": block_certificate(run, found.sweep.rows(), config) is not None,
    }


def _same(row: Row, run: Run) -> bool:
    return all(getattr(row, field.name) == getattr(run, field.name) for field in fields(Run))


def read_sample(
    found: Found,
    data: str | None,
    text_column: str | None = None,
    label_column: str = "label",
    empty: Empty = "refuse",
    rename_labels: Mapping[str, str] | None = None,
) -> Labelled | None:
    """The rows of a file, for an adapter from elsewhere; None for a run of a sweep, which knows its own.

    Raises:
        DataError, InputError: no rows are named, they cannot be used, or hold one class only.
    """
    if found.run is not None:
        return None
    if data is None:
        raise InputError(
            f"{found.path} does not stand in the folder of a sweep that trained it: give the rows it was trained on, "
            "--data FILE"
        )
    table = renamed(load_examples(found.task.takes, data, text_column, label_column, empty), rename_labels or {})
    if len(set(table.labels)) < 2:
        raise DataError(f"{data} has one class only ({table.labels[0]!r}): nothing can be learnt or certified from it")
    return table


@contextmanager
def open_subject(
    found: Found,
    data: str | None,
    table: Labelled | None,
    memory: float | None,
    observe: Callable[[str], None],
) -> Iterator[tuple[Subject, Sample, str]]:
    """The adapter on its model, its sample, and the hash of the model.

    Args:
        found: adapter.
        data: the data of the sweep, where they have moved; None takes what the sweep names.
        table: what :func:`read_sample` gave.
        memory: budget of the whole process in GiB; None takes what is free.
        observe: function that is told what goes on.
    Raises:
        DataError, ModelError, AdapterError, InputError: the rows or the model are not those the adapter belongs to, or
            cannot be used.
    """
    if table is None:
        with _of_a_run(found, data, memory, observe) as made:
            yield made
        return
    observe(f"loading {found.task.model}")
    classifier = classifier_of(found.task, found.path)
    repeats = len(table) - len({identity(example) for example in table.examples})
    notes = [*table.notes, *classifier.notes]
    if repeats:
        notes.append(
            f"{counted(repeats, 'row')} of {table.name} repeat an earlier one. Where they are copies of one example, "
            "and not examples that occur again, the certificate does not hold: leave them out."
        )
    sample = Sample(name=table.name, examples=list(table.examples), labels=table.labels, notes=tuple(notes))
    with subject_of(
        found.path, found.adapter, found.task, classifier, sample.examples, sample.labels, _RECIPE, memory
    ) as subject:
        yield subject, sample, classifier.sha256


@contextmanager
def _of_a_run(
    found: Found, data: str | None, memory: float | None, observe: Callable[[str], None]
) -> Iterator[tuple[Subject, Sample, str]]:
    sweep, run = found.sweep, found.run
    assert sweep is not None
    assert run is not None
    if sweep.config.shots:
        raise InputError(
            f"{found.path} was trained on rows drawn class by class (--shots), not as new data come: they certify "
            "nothing; give rows that nobody used, --holdout FILE"
        )
    config = sweep.config.model_copy(update={"model": found.task.model, **({"data": data} if data else {})})
    task = load_task(config, observe)
    about = sweep.about
    if task.data.sha256 != about["data_sha256"]:
        raise DataError(
            f"{config.data} holds other rows, labels or another order than when {sweep.folder} was made: name the file "
            "it was made of, --data FILE"
        )
    if task.classifier.sha256 != about["model_sha256"]:
        raise DataError(
            f"{config.model} has other weights than when {sweep.folder} was made: name the right one, --model NAME"
        )
    first = run.sample * max(config.sizes)
    rows = slice(first, first + run.n_train)
    classes = task.data.classes
    sample = Sample(
        name=config.data,
        examples=list(task.data.train_examples[rows]),
        labels=[classes[label] for label in task.data.train_labels[rows]],
        notes=tuple(task.notes),
    )
    recipe = Recipe(**{field.name: getattr(task.config, field.name) for field in fields(Recipe)})
    examples = task.samples[run.sample].head(run.n_train)
    of_sweep = OfSweep(row=run, rows=tuple(sweep.rows()), config=sweep.config)
    with prepared_subject(
        found.path, found.adapter, found.task, task.classifier, examples, recipe, memory, of_sweep
    ) as subject:
        yield subject, sample, task.classifier.sha256


def subject_record(found: Found, model_sha256: str) -> dict[str, Any]:
    """What a certificate speaks of, as JSON values."""
    return {
        "adapter": {"folder": str(found.path), "sha256": dict(adapter_sha256(found.path))},
        "model": {"name": found.task.model, "sha256": model_sha256},
        "task": found.task.model_dump(mode="json"),
    }
