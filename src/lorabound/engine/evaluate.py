"""Losses of K adapters on a set of examples, example by example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from lorabound.engine.batches import TOKENS_PER_PASS
from lorabound.engine.layout import cut
from lorabound.models import Classifier, Inputs


@dataclass(frozen=True)
class Losses:
    """Losses of one predictor on n examples.

    Attributes:
        errors: (n,) bool, 0-1 loss.
        log_losses: (n,) float32, cross-entropy -ln p_y in nats; of a completion its mean over the tokens.
        misses: (n,) float32, mean of 1 - p over the tokens of a completion; None: 1 - p_y.
        wrong: (n,) float32, share of the tokens of a completion that are not the most likely ones; None for classes.
    """

    errors: Bool[np.ndarray, " n"]
    log_losses: Float32[np.ndarray, " n"]
    misses: Float32[np.ndarray, " n"] | None = None
    wrong: Float32[np.ndarray, " n"] | None = None

    @property
    def finite(self) -> bool:
        """Whether every loss is a number."""
        return bool(np.isfinite(self.log_losses).all())

    @property
    def error(self) -> float:
        """Mean 0-1 loss."""
        return float(self.errors.mean())

    @property
    def risk(self) -> float:
        """Mean of 1 - p_y: the error of the classifier that draws its answer from p, a loss in [0, 1]; of a completion
        the mean over its tokens."""
        if self.misses is not None:
            return float(self.misses.astype(np.float64).mean())
        return float(-np.expm1(-self.log_losses.astype(np.float64)).mean())

    @property
    def wrong_share(self) -> float | None:
        """Mean share of wrong tokens; None for classes."""
        return None if self.wrong is None else float(self.wrong.astype(np.float64).mean())

    def head(self, n: int) -> Losses:
        """Those of the first n examples."""
        misses, wrong = (None if part is None else part[:n] for part in (self.misses, self.wrong))
        return Losses(self.errors[:n], self.log_losses[:n], misses, wrong)

    @property
    def cross_entropy(self) -> float:
        """Mean of -ln p_y, in nats; not bounded."""
        return float(self.log_losses.astype(np.float64).mean())


@torch.no_grad()
def evaluate(
    classifier: Classifier,
    inputs: Inputs,
    labels: Int[np.ndarray, " n"],
    n_adapters: int = 1,
    tokens_per_pass: int = TOKENS_PER_PASS,
) -> list[Losses]:
    """Losses on the first n rows of ``inputs`` of each of the K adapters now attached (one without any)."""
    if classifier.answers == "tokens":
        return _evaluate_completions(classifier, inputs, len(labels), n_adapters, tokens_per_pass)
    errors = np.zeros((n_adapters, len(labels)), dtype=np.bool_)
    log_losses = np.zeros((n_adapters, len(labels)), dtype=np.float32)
    for index, logits in _logits(classifier, inputs, np.arange(len(labels)), n_adapters, tokens_per_pass):
        target = torch.from_numpy(labels[index]).to(logits.device).expand(n_adapters, -1)
        errors[:, index] = (logits.argmax(-1) != target).cpu().numpy()
        log_losses[:, index] = F.cross_entropy(logits.mT, target, reduction="none").cpu().numpy()
    return [Losses(errors[k], log_losses[k]) for k in range(n_adapters)]


def _evaluate_completions(
    model: Classifier, inputs: Inputs, n: int, n_adapters: int, tokens_per_pass: int
) -> list[Losses]:
    errors = np.zeros((n_adapters, n), dtype=np.bool_)
    others = np.zeros((3, n_adapters, n), dtype=np.float32)
    order = np.tile(np.argsort(inputs.lengths[:n], kind="stable"), (n_adapters, 1))
    for part in cut(inputs, order, tokens_per_pass):
        index = order[:, part]
        found = model.completion_losses(inputs, index)  # type: ignore[attr-defined]
        errors[:, index[0]] = found.errors.view(index.shape).cpu().numpy()
        for values, losses in zip(others, (found.log_losses, found.misses, found.wrong), strict=True):
            values[:, index[0]] = losses.view(index.shape).cpu().numpy()
    return [Losses(errors[k], *others[:, k]) for k in range(n_adapters)]


@torch.no_grad()
def predictions(
    classifier: Classifier,
    inputs: Inputs,
    rows: Int[np.ndarray, " n"],
    n_adapters: int = 1,
    tokens_per_pass: int = TOKENS_PER_PASS,
) -> Int[np.ndarray, "k n"]:
    """Class that each of the K adapters now attached gives to each of the ``rows`` of ``inputs``."""
    found = np.zeros((n_adapters, len(rows)), dtype=np.int32)
    places = np.argsort(inputs.lengths[rows], kind="stable")
    done = 0
    for index, logits in _logits(classifier, inputs, rows, n_adapters, tokens_per_pass):
        found[:, places[done : done + len(index)]] = logits.argmax(-1).cpu().numpy()
        done += len(index)
    return found


def _logits(
    classifier: Classifier, inputs: Inputs, rows: Int[np.ndarray, " n"], n_adapters: int, tokens_per_pass: int
) -> Iterator[tuple[Int[np.ndarray, " part"], Float[Tensor, "k part classes"]]]:
    """The rows in order of their lengths, a pass at a time, and the class scores that K adapters give them."""
    classes = classifier.class_embeddings()
    order = rows[np.argsort(inputs.lengths[rows], kind="stable")]
    for part in cut(inputs, np.tile(order, (n_adapters, 1)), tokens_per_pass):
        index = order[part]
        yield index, classifier.logits(inputs, np.tile(index, n_adapters), classes).view(n_adapters, len(index), -1)
