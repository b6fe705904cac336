"""Do certificates hold as often as they say? The whole pipeline, again and again, on a task whose true error is known.

    python tools/validity.py --repeats 200 --methods holdout,progressive,compressed --out validity.csv

A population of texts over three letters, with a known probability of each label given the text, on a small BERT with
random weights. Each repeat draws rows from it, trains a sweep, certifies one run fixed beforehand by every method, and
compares each limit with the exact error of the predictor it speaks of: sum over texts of P(text) P(label differs).
Also the least limit over the methods, each at delta over their number, and the best of the ranks. With delta as large as
0.2, a limit that is wrong too often is seen soon. Needs the package's tests beside it, for the small model.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import binom

from lorabound.adapters import Adapter
from lorabound.certificates.certify import Asked, certify_adapters
from lorabound.certificates.methods import METHODS
from lorabound.engine import train
from lorabound.models import Classifier, load_classifier
from lorabound.stack import Stack
from lorabound.sweeps import SweepConfig, execute
from tests.text_models import save_letters_bert

COLOURS = ["red", "green", "blue"]
CONFIG = {
    "head": "trained", "n_test": 60, "modes": ["freeze_a"], "seeds": 1, "targets": ["query", "value"], "epochs": 1,
    "batch_size": 10, "lr": 0.02, "schedule": "cosine", "precision": "float32",
}  # fmt: skip


@dataclass
class Population:
    """Texts with probabilities, and the probability of each label given the text."""

    texts: list[str]
    share: np.ndarray
    label: np.ndarray

    def draw(self, n: int, random: np.random.Generator) -> pl.DataFrame:
        """n independent rows."""
        rows = random.choice(len(self.texts), n, p=self.share)
        labels = [COLOURS[random.choice(3, p=self.label[row])] for row in rows]
        return pl.DataFrame({"text": [self.texts[row] for row in rows], "label": labels})

    def error(self, predicted: np.ndarray, outside: np.ndarray | None = None) -> float:
        """Exact error of predicted classes (n,), over all texts or those ``outside`` (n,) bool."""
        share = self.share if outside is None else self.share * outside / (self.share * outside).sum()
        return float((share * (1 - self.label[np.arange(len(self.texts)), predicted])).sum())


def population() -> Population:
    """3,159 texts of 5 to 7 letters; the first letter is the label in 3 of 4 rows."""
    texts = ["".join(letters) for length in (5, 6, 7) for letters in itertools.product("abc", repeat=length)]
    label = np.full((len(texts), 3), 0.125)
    label[np.arange(len(texts)), ["abc".index(text[0]) for text in texts]] = 0.75
    return Population(texts, np.full(len(texts), 1 / len(texts)), label)


def predictions(classifier: Classifier, inputs: Any, n: int, n_adapters: int = 1) -> np.ndarray:
    """(K, n) predicted classes of the adapters now attached."""
    with torch.no_grad():
        logits = classifier.logits(inputs, np.tile(np.arange(n), n_adapters), classifier.class_embeddings())
    return logits.view(n_adapters, n, -1).argmax(-1).numpy()


class Truth:
    """The exact error on new data of everything that a certificate may speak of."""

    def __init__(self, task: Population, model: Path) -> None:
        self.task = task
        self.classifier = load_classifier(str(model), COLOURS, head="trained", max_length=20)
        self.inputs = self.classifier.prepare(task.texts)
        self.before: list[np.ndarray] = []  # per step of the run: exact errors of its adapters before the step

    def of(self, adapters: Sequence[Adapter], outside: np.ndarray | None = None) -> np.ndarray:
        """(K,) errors of adapters of one mode."""
        with Stack(self.classifier.module, adapters, self.classifier.towers):
            found = predictions(self.classifier, self.inputs, len(self.task.texts), len(adapters))
        return np.array([self.task.error(one, outside) for one in found])

    def watching(self, classifier: Classifier, train_set: Any, test_set: Any, adapters: Any, seeds: Any, recipe: Any,
                 on_step: Any, *rest: Any) -> Any:  # fmt: skip
        """:func:`lorabound.engine.train`, with the exact error of every checkpoint noted before its step."""

        def note(done: int, total: int) -> None:
            found = predictions(classifier, self.inputs, len(self.task.texts), len(adapters))
            self.before.append(np.array([self.task.error(one) for one in found]))
            on_step(done, total)

        bare = predictions(classifier, self.inputs, len(self.task.texts))
        self.before = [np.full(len(adapters), self.task.error(bare[0]))]
        return train(classifier, train_set, test_set, adapters, seeds, recipe, note, *rest)
