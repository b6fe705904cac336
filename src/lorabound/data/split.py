"""Nested training sets and a disjoint test set, the same for every run of a sweep.

The rows are shuffled once by a seed. The last ones (or a file of its own) are for testing, the others are the
pool: a training set of size N is its first N rows, so training sets are nested and no choice of N touches the
test set. Test rows whose text or image, or whose dialogue's prompt, stands anywhere in the pool are removed (texts and
prompts that differ in case or white space only are the same; images are the same when their files are). What is left
are independent draws from the population outside the pool, whatever the pool is, so a hold-out limit is valid for that
population. Repeated rows within the pool, or within the test set, are as the population has them, and stay.

Few-shot pools hold the same number of examples of every class, in rounds: one of each, another one of each, ... Their
training sets are drawn class by class, not from the population as it is; the test set is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lorabound.data.dialogues import Dialogue, Dialogues
from lorabound.data.images import Picture
from lorabound.data.labelled import Labelled
from lorabound.errors import DataError

Example = str | Picture | Dialogue
Row = tuple[Example, str]


@dataclass(frozen=True, kw_only=True)
class Split:
    """A pool of training examples in their final order, and a test set.

    Attributes:
        classes: names of the classes, sorted; labels are indices into it. Dialogues have one class, "completion".
        train_examples, train_labels: examples and labels of the whole shuffled pool; a training set is a prefix.
        test_examples, test_labels: examples and labels of the test set, none of which stands in the pool.
        n_removed: number of test rows removed because they stood in the pool.
        unlabelled_examples: examples whose labels nobody reads, neither trained nor tested on.
        n_unlabelled_removed: number of those removed because they stand among the others.
    """

    classes: list[str]
    train_examples: list[Example]
    train_labels: NDArray[np.int64]
    test_examples: list[Example]
    test_labels: NDArray[np.int64]
    n_removed: int
    unlabelled_examples: list[Example] = field(default_factory=list)
    n_unlabelled_removed: int = 0

    @property
    def sha256(self) -> str:
        """Fingerprint of everything above that decides a result."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for rows, labels in ((self.train_examples, self.train_labels), (self.test_examples, self.test_labels)):
            digest.update(f"{len(rows)}\0".encode())
            digest.update("\0".join(row if isinstance(row, str) else row.sha256 for row in rows).encode())
            digest.update(labels.astype("<i8").tobytes())
        if self.unlabelled_examples:
            digest.update(b"unlabelled\0")
            held = (row.sha256 if isinstance(row, Dialogue) else identity(row) for row in self.unlabelled_examples)
            digest.update("\0".join(held).encode())
        return digest.hexdigest()


def split(
    pool: Labelled | Dialogues,
    n_train: int,
    n_test: int,
    seed: int = 0,
    test: Labelled | Dialogues | None = None,
    shots: int | None = None,
    turn: int = 0,
) -> Split:
    """Shuffle, divide, and take out of the test set what stands in the pool.

    Args:
        pool: labelled examples, or dialogues.
        n_train: largest training size that will be asked for; not read with ``shots``.
        n_test: number of rows set aside for testing, before the removal.
        seed: seed of the shuffle (Philox words, sorted: the same order under every NumPy release).
        test: data that the test rows come from (shuffled, the first n_test); None takes them from the pool.
        shots: number of examples of every class in the pool, which then holds nothing else.
        turn: number of shuffled rows that go from the front to the back first. With n_test, 2 n_test, ... the test rows
            are other ones each time.
    Raises:
        DataError: labels of fewer than two classes, or more than half as many as rows; fewer rows than asked for, of a
            class with ``shots``; or fewer than two test rows left.
    """
    rows = _shuffled(pool, seed)
    rows = rows[turn:] + rows[:turn]
    if test:
        train_rows, test_rows = rows, _shuffled(test, seed)[:n_test]
        if len(test_rows) < n_test:
            raise DataError(f"{test.name} has {len(test_rows)} rows, fewer than the {n_test} of n_test")
    else:
        cut = max(len(rows) - n_test, 0)
        train_rows, test_rows = rows[:cut], rows[cut:]
    if shots:
        train_rows = _in_rounds(train_rows, shots, sorted({label for _, label in [*train_rows, *test_rows]}), pool.name)
    elif len(train_rows) < n_train:
        beside = "" if test else f" beside {n_test} test rows"
        raise DataError(
            f"{pool.name} has {len(rows)} rows: too few for {n_train} training rows{beside}; lower n_train or n_test"
        )
    known = {identity(example) for example, _ in train_rows}
    unseen = [(example, label) for example, label in test_rows if identity(example) not in known]
    if len(unseen) < 2:
        stand = "have a prompt that stands" if isinstance(pool, Dialogues) else "stand"
        raise DataError(
            f"{len(test_rows) - len(unseen)} of {len(test_rows)} test rows {stand} in the training pool too: "
            "nothing is left to test on; remove repeated rows from the data"
        )
    classes = sorted({label for _, label in [*train_rows, *test_rows]})
    labelled = isinstance(pool, Labelled)
    if labelled and len(classes) < 2:
        raise DataError(f"{pool.name} has one class only ({classes[0]!r}): a classifier needs two")
    if labelled and 2 * len(classes) > len(pool) + len(test or ()):
        raise DataError(
            f"{pool.name} has {len(classes)} different labels in {len(pool) + len(test or ())} rows: "
            "is it the right label column?"
        )
    index = {name: i for i, name in enumerate(classes)}
    return Split(
        classes=classes,
        train_examples=[example for example, _ in train_rows],
        train_labels=np.array([index[label] for _, label in train_rows], dtype=np.int64),
        test_examples=[example for example, _ in unseen],
        test_labels=np.array([index[label] for _, label in unseen], dtype=np.int64),
        n_removed=len(test_rows) - len(unseen),
    )


def set_aside(divided: Split, count: int) -> Split:
    """The same with the last ``count`` examples of the pool without their labels.

    They are draws of one population with the others: one that repeats another stays, as the population has it.
    """
    cut = len(divided.train_examples) - count
    return replace(
        divided,
        train_examples=divided.train_examples[:cut],
        train_labels=divided.train_labels[:cut],
        unlabelled_examples=divided.train_examples[cut:],
    )


def with_unlabelled(divided: Split, examples: Sequence[Example], name: str) -> Split:
    """The same with unlabelled examples from elsewhere, without those that stand in the pool or in the test set.

    Raises:
        DataError: none is left.
    """
    known = {identity(example) for example in (*divided.train_examples, *divided.test_examples)}
    unseen = [example for example in examples if identity(example) not in known]
    if not unseen:
        raise DataError(f"{name}: every row stands in the training pool or in the test set; give rows that do not")
    return replace(divided, unlabelled_examples=unseen, n_unlabelled_removed=len(examples) - len(unseen))


def drawn(n_rows: int, count: int, seed: int) -> list[int]:
    """Places of ``count`` of so many rows, drawn at random without repeats (Philox words, sorted)."""
    order = np.argsort(np.random.Philox(key=seed).jumped().random_raw(n_rows), kind="stable")
    return [int(place) for place in order[:count]]


def _in_rounds(rows: list[Row], shots: int, classes: list[str], name: str) -> list[Row]:
    """The first ``shots`` rows of every class: the first of each, the second of each, ..."""
    by_class: dict[str, list[Row]] = {label: [] for label in classes}
    for row in rows:
        by_class[row[1]].append(row)
    for label, members in by_class.items():
        if len(members) < shots:
            raise DataError(
                f"{name} has {len(members)} training examples of {label!r}, fewer than the {shots} of shots: lower "
                "shots or n_test, or leave the class out"
            )
    return [members[number] for number in range(shots) for members in by_class.values()]


def identity(example: Example) -> str:
    """What makes two examples the same: the bytes of an image; a text, or the prompt of a dialogue, but for case and
    white space."""
    match example:
        case Picture():
            return example.sha256
        case Dialogue():
            return example.identity
        case _:
            return " ".join(example.casefold().split())


def _shuffled(table: Labelled | Dialogues, seed: int) -> list[Row]:
    rows = list(zip(table.examples, table.labels, strict=True))
    order = np.argsort(np.random.Philox(key=seed).random_raw(len(rows)), kind="stable")
    return [rows[i] for i in order]
