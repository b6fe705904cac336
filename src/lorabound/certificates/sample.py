"""Which adapter is certified on which rows: those that its sweep trained it on, or those of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from lorabound.certificates.fingerprints import rows_sha256
from lorabound.certificates.found import Found
from lorabound.certificates.holdout import classifier_of, refuse_other_layers
from lorabound.certificates.subject import OfSweep, Subject, prepared_subject, subject_of
from lorabound.data import Example, Labelled, identity
from lorabound.data.phrases import counted
from lorabound.engine import Recipe
from lorabound.errors import DataError, InputError
from lorabound.sweeps.task import load_task

# How an adapter is trained for a prior where no sweep says it.
_RECIPE = Recipe(epochs=3, batch_size=32, lr=2e-3, schedule="cosine")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The rows that bounds on a sample use.

    Attributes:
        name: name of the data.
        examples, labels: rows in their order.
        notes: sentences on what was unusual.
    """

    name: str
    examples: list[Example]
    labels: list[str]
    notes: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What ties a certificate to these rows, as JSON values."""
        return {"name": self.name, "n": len(self.labels), "sha256": rows_sha256(self.examples, self.labels)}


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
    refuse_other_layers(classifier, found.adapter, found.task, found.path)
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
