"""Nested training sets and a disjoint test set, the same for every run of a sweep.

The rows are shuffled once by a seed. The last ones (or a file of its own) are for testing, the others are the
pool: a training set of size N is its first N rows, so training sets are nested and no choice of N touches the
test set. Test rows whose text stands anywhere in the pool are removed (two texts that differ in case or white
space only are the same). What is left are independent draws from the population of texts outside the pool,
whatever the pool is, so a hold-out limit is valid for that population. Repeated rows within the pool, or within
the test set, are as the population has them, and stay.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorabound.data.table import Table
from lorabound.errors import DataError


@dataclass(frozen=True)
class Split:
    """A pool of training examples in their final order, and a test set.

    Attributes:
        classes: label names, sorted; labels index it.
        train_texts, train_labels: the whole shuffled pool; a training set is a prefix.
        test_texts, test_labels: no text of theirs stands in the pool.
        n_removed: test rows removed because their text does.
    """

    classes: list[str]
    train_texts: list[str]
    train_labels: NDArray[np.int64]
    test_texts: list[str]
    test_labels: NDArray[np.int64]
    n_removed: int

    @property
    def sha256(self) -> str:
        """Fingerprint of everything above that decides a result."""
        digest = hashlib.sha256(repr(self.classes).encode())
        for texts, labels in ((self.train_texts, self.train_labels), (self.test_texts, self.test_labels)):
            digest.update(f"{len(texts)}\0".encode())
            digest.update("\0".join(texts).encode())
            digest.update(labels.astype("<i8").tobytes())
        return digest.hexdigest()


def split(pool: Table, n_train: int, n_test: int, seed: int = 0, test: Table | None = None) -> Split:
    """Shuffle, divide, and take out of the test set what stands in the pool.

    Args:
        pool: labelled texts.
        n_train: the largest training size that will be asked for.
        n_test: rows set aside for testing, before the removal.
        seed: of the shuffle (Philox words, sorted: the same order under every NumPy release).
        test: take the test rows from here (shuffled, the first n_test).
    Raises:
        DataError: fewer than two classes, or more than half as many as rows; fewer rows than asked for, or fewer
            than two test rows left.
    """
    rows = _shuffled(pool, seed)
    if test:
        train_rows, test_rows = rows, _shuffled(test, seed)[:n_test]
        if len(test_rows) < n_test:
            raise DataError(f"{test.name} has {len(test_rows)} rows, fewer than the {n_test} of n_test")
    else:
        cut = max(len(rows) - n_test, 0)
        train_rows, test_rows = rows[:cut], rows[cut:]
    if len(train_rows) < n_train:
        beside = "" if test else f" beside {n_test} test rows"
        raise DataError(
            f"{pool.name} has {len(rows)} rows: too few for {n_train} training rows{beside}; lower n_train or n_test"
        )
    known = {_identity(text) for text, _ in train_rows}
    unseen = [(text, label) for text, label in test_rows if _identity(text) not in known]
    if len(unseen) < 2:
        raise DataError(
            f"{len(test_rows) - len(unseen)} of {len(test_rows)} test rows have a text of the training pool: "
            "nothing is left to test on; remove repeated texts from the data"
        )
    classes = sorted({label for _, label in [*train_rows, *test_rows]})
    if len(classes) < 2:
        raise DataError(f"{pool.name} has one class only ({classes[0]!r}): a classifier needs two")
    if 2 * len(classes) > len(train_rows) + len(test_rows):
        raise DataError(
            f"{pool.name} has {len(classes)} different labels in {len(train_rows) + len(test_rows)} rows: "
            "is it the right label column?"
        )
    index = {name: i for i, name in enumerate(classes)}
    return Split(
        classes,
        [text for text, _ in train_rows],
        np.array([index[label] for _, label in train_rows], dtype=np.int64),
        [text for text, _ in unseen],
        np.array([index[label] for _, label in unseen], dtype=np.int64),
        len(test_rows) - len(unseen),
    )


def _identity(text: str) -> str:
    return " ".join(text.casefold().split())


def _shuffled(table: Table, seed: int) -> list[tuple[str, str]]:
    rows = list(zip(table.texts, table.labels, strict=True))
    order = np.argsort(np.random.Philox(key=seed).random_raw(len(rows)), kind="stable")
    return [rows[i] for i in order]
