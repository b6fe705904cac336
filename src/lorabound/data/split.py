"""Nested training sets and a disjoint test set, the same for every run of a sweep.

The pool is shuffled once by a seed. The test set is its last rows (or a file of its own), a training set of
size N its first N rows: training sets are nested, and no choice of N touches the test set. Two texts that
differ in case or white space only are the same example, and stand in the pool once.
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
        test_texts, test_labels: disjoint from the pool.
        n_duplicates: rows removed because their text stood elsewhere.
        n_conflicts: how many of those carried another label than the row that was kept.
    """

    classes: list[str]
    train_texts: list[str]
    train_labels: NDArray[np.int64]
    test_texts: list[str]
    test_labels: NDArray[np.int64]
    n_duplicates: int
    n_conflicts: int

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
    """De-duplicate, shuffle and divide.

    Args:
        pool: labelled texts.
        n_train: the largest training size that will be asked for.
        n_test: size of the test set.
        seed: of the shuffle (Philox words, sorted: the same order under every NumPy release).
        test: take the test set from here (shuffled, first n_test rows), and remove its texts from the pool.
    Raises:
        DataError: fewer than two classes, or fewer rows than asked for after removing duplicates.
    """
    test_rows = _shuffled(_rows(test), seed) if test else []
    pool_rows = _shuffled(_rows(pool), seed)
    unique, n_duplicates, n_conflicts = _without_duplicates([*test_rows, *pool_rows])
    if test:
        in_test = {_identity(text) for text, _ in test_rows}
        test_rows = [row for row in unique if _identity(row[0]) in in_test]
        train_rows = [row for row in unique if _identity(row[0]) not in in_test]
    else:
        cut = max(len(unique) - n_test, 0)
        train_rows, test_rows = unique[:cut], unique[cut:]
    removed = f" after removing {n_duplicates} duplicates" if n_duplicates else ""
    if len(test_rows) < n_test:
        raise DataError(f"{(test or pool).name} has {len(test_rows)} rows{removed}, fewer than the {n_test} of n_test")
    if len(train_rows) < n_train:
        beside = "" if test else f" beside {n_test} test rows"
        raise DataError(
            f"{pool.name} has {len(unique)} rows{removed}: too few for {n_train} training rows{beside}; "
            "lower n_train or n_test"
        )
    test_rows = test_rows[:n_test]
    classes = sorted({label for _, label in [*train_rows, *test_rows]})
    if len(classes) < 2:
        raise DataError(f"{pool.name} has one class only ({classes[0]!r}): a classifier needs two")
    index = {name: i for i, name in enumerate(classes)}
    return Split(
        classes,
        [text for text, _ in train_rows],
        np.array([index[label] for _, label in train_rows], dtype=np.int64),
        [text for text, _ in test_rows],
        np.array([index[label] for _, label in test_rows], dtype=np.int64),
        n_duplicates,
        n_conflicts,
    )


def _rows(table: Table) -> list[tuple[str, str]]:
    return list(zip(table.texts, table.labels, strict=True))


def _identity(text: str) -> str:
    return " ".join(text.casefold().split())


def _without_duplicates(rows: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], int, int]:
    """The first row of every text, how many rows went, and how many of those disagreed on the label."""
    first: dict[str, tuple[str, str]] = {}
    n_conflicts = 0
    for text, label in rows:
        kept = first.setdefault(_identity(text), (text, label))
        n_conflicts += kept[1] != label
    return list(first.values()), len(rows) - len(first), n_conflicts


def _shuffled(rows: list[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    order = np.argsort(np.random.Philox(key=seed).random_raw(len(rows)), kind="stable")
    return [rows[i] for i in order]
