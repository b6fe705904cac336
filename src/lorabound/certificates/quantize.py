"""Training through the quantizer: the model always sees the adapter that the message will decode to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lorabound.certificates.codes import DIRECTIONS, ENTRIES, MOST_STEPS, Steps
from lorabound.certificates.directions import Space, attached
from lorabound.engine import Examples, WithPrefix
from lorabound.engine.batches import epoch_batches, passes

# Rows of a step, and steps in all: enough for a few hundred numbers, at any size of the sample within so many passes.
_BATCH, _STEPS, _MOST_EPOCHS = 128, 400, 10
_BETAS, _TOKENS = (0.9, 0.98), 4096
# Nats that one more step away from 0 costs, roughly; it steers the training only, no bound depends on it.
_NATS_PER_STEP = 1.2
# Spread of the scores (standard deviation around the mean of a row) when errors are counted smoothly. Words, rank 16,
# 128 directions, N = 50,000: errors 0.5747 after training on cross-entropy, about 0.613, 0.585, 0.566 and 0.564 at
# 1, 2, 4 and 8 times the scores of the model.
_SPREAD = 6.0


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Points that a message can decode to: ``origin`` plus whole numbers of steps.

    Attributes:
        space: adapters around the start.
        along: ``ENTRIES`` or ``DIRECTIONS``.
        directions: (n, q) orthonormal directions; None for single entries.
    """

    space: Space
    along: int
    directions: Float[Tensor, "n q"] | None = None

    @property
    def count(self) -> int:
        """Whole numbers in a message."""
        return sum(self.space.sizes) if self.directions is None else len(self.directions)

    def spread(self, steps: tuple[float, ...]) -> Float[Tensor, " n"]:
        """The step of every number."""
        if self.directions is not None:
            return torch.full((self.count,), steps[0])
        return torch.repeat_interleave(torch.tensor(steps), torch.tensor(self.space.sizes))

    def vector(self, moves: Float[Tensor, " n"]) -> Float[Tensor, " q"]:
        """Entries of the adapter that lies ``moves`` away from the start."""
        origin = torch.from_numpy(self.space.vector(self.space.start))
        return origin + (moves if self.directions is None else moves @ self.directions)

    def pull(self, gradient: Float[Tensor, " q"]) -> Float[Tensor, " n"]:
        """The gradient with respect to the moves."""
        return gradient if self.directions is None else self.directions @ gradient

    def decoded(self, content: Steps) -> Float[np.ndarray, " q"]:
        """The entries that a message says, (q,) float32."""
        numbers = torch.from_numpy(content.numbers).float()
        entries: Float[np.ndarray, " q"] = self.vector(numbers * self.spread(content.steps)).numpy()
        return entries


def trained_moves(
    worker: WithPrefix,
    grid: Grid,
    sample: Examples,
    moves: Float[Tensor, " n"],
    lr: float,
    steps: tuple[float, ...] | None = None,
    seed: int = 0,
) -> Float[Tensor, " n"]:
    """Moves after Adam on the sample, from ``moves`` on: without ``steps`` on its cross-entropy.

    With ``steps`` the model sees moves rounded to whole steps; gradients pass the rounding as if it were not there
    (straight-through: Bengio, Leonard & Courville 2013), and a push towards 0 stands for what a bound charges per step.
    The loss is 1 - p_y of sharpened scores, nearly the errors that a bound counts: few numbers cannot make every row
    likely, and cross-entropy would spend them on the hopeless ones.
    """
    n, count = len(sample.labels), grid.count
    epochs = min(_MOST_EPOCHS, max(1, round(_STEPS * _BATCH / n)))
    total, done = epochs * math.ceil(n / _BATCH), 0
    width = grid.spread(steps) if steps else None
    # d sqrt(nats/(2N)) / d nats, about two nats per number.
    push = _NATS_PER_STEP / math.sqrt(8 * n * 2 * count)
    moves = moves.clone()
    first, second = torch.zeros(count), torch.zeros(count)
    with attached(worker, grid.space) as at:
        classes = worker.class_embeddings() if worker.prompts is None else None
        for epoch in range(epochs):
            for (rows,) in epoch_batches(sample.inputs.lengths[:n], _BATCH, [seed], epoch):
                at.set(grid.vector(moves if width is None else (moves / width).round() * width))
                for cut in passes(sample.inputs.lengths[rows], 1, _TOKENS):
                    scores = worker.logits(sample.inputs, rows[cut], classes)
                    labels = torch.from_numpy(sample.labels[rows[cut]]).to(scores.device)
                    loss = (
                        F.cross_entropy(scores, labels, reduction="sum") if steps is None else _errors(scores, labels)
                    )
                    loss = loss / len(rows)
                    loss.backward()  # type: ignore[no-untyped-call]
                gradient = grid.pull(at.gradients()[0].cpu())
                if width is not None:
                    gradient = gradient + push * torch.tanh(2 * moves / width) / width
                done += 1
                first = _BETAS[0] * first + (1 - _BETAS[0]) * gradient
                second = _BETAS[1] * second + (1 - _BETAS[1]) * gradient**2
                mean, size = first / (1 - _BETAS[0] ** done), (second / (1 - _BETAS[1] ** done)).sqrt()
                moves -= lr * 0.5 * (1 + math.cos(math.pi * done / total)) * mean / (size + 1e-12)
    return moves


def _errors(scores: Float[Tensor, "rows classes"], labels: Int[Tensor, " rows"]) -> Float[Tensor, ""]:
    """The number of errors, made smooth: the sum of 1 - p_y of scores stretched to a fixed spread."""
    centred = scores - scores.mean(1, keepdim=True)
    sharp = _SPREAD * centred / (centred.detach().square().mean().sqrt() + 1e-12)
    return (1 - sharp.softmax(1).gather(1, labels[:, None])).sum()


def rounded(grid: Grid, moves: Float[Tensor, " n"], steps: tuple[float, ...]) -> Steps:
    """The nearest point of the grid."""
    numbers = (moves / grid.spread(steps)).round().clamp(-MOST_STEPS, MOST_STEPS)
    return Steps(numbers=numbers.numpy().astype(np.int64), steps=steps, along=grid.along)


def halved(step: float) -> float:
    """The number of half precision nearest to a step, not 0."""
    return float(np.clip(np.float16(step), np.float16(6e-8), np.float16(6e4)))


def steps_of(grid: Grid, moves: Float[Tensor, " n"], coarseness: float) -> tuple[float, ...]:
    """Steps of ``coarseness`` times the mean size of the moves: of every tensor, or of all directions."""
    parts = [moves] if grid.along == DIRECTIONS else list(torch.split(moves, list(grid.space.sizes)))
    assert grid.along in (ENTRIES, DIRECTIONS)
    return tuple(halved(coarseness * float(part.abs().mean())) for part in parts)
