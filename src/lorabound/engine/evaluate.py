"""Losses of K adapters on a set of examples, example by example."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int

from lorabound.engine.batches import TOKENS_PER_PASS, passes
from lorabound.models import Classifier, Inputs


@dataclass(frozen=True)
class Losses:
    """Losses of one predictor on n examples.

    Attributes:
        errors: (n,) bool, 0-1 loss.
        log_losses: (n,) float32, cross-entropy -ln p_y in nats.
    """

    errors: Bool[np.ndarray, " n"]
    log_losses: Float32[np.ndarray, " n"]

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
        """Mean of 1 - p_y: the error of the classifier that draws its answer from p, a loss in [0, 1]."""
        return float(-np.expm1(-self.log_losses.astype(np.float64)).mean())

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
    errors = np.zeros((n_adapters, len(labels)), dtype=np.bool_)
    log_losses = np.zeros((n_adapters, len(labels)), dtype=np.float32)
    classes = classifier.class_embeddings()
    order = np.argsort(inputs.lengths[: len(labels)], kind="stable")
    for cut in passes(inputs.lengths[order], n_adapters, tokens_per_pass):
        index = order[cut]
        logits = classifier.logits(inputs, np.tile(index, n_adapters), classes).view(n_adapters, len(index), -1)
        target = torch.from_numpy(labels[index]).to(logits.device).expand(n_adapters, -1)
        errors[:, index] = (logits.argmax(-1) != target).cpu().numpy()
        log_losses[:, index] = F.cross_entropy(logits.mT, target, reduction="none").cpu().numpy()
    return [Losses(errors[k], log_losses[k]) for k in range(n_adapters)]
