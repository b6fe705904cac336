"""K LoRA networks of the theorem's shape (theory 0): a frozen ReLU network, A frozen, B in a Frobenius ball."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorabound.arguments import Array
from lorabound.bounds import LoraNetwork
from lorabound.modes import PAPER_MODE


@dataclass(frozen=True, kw_only=True)
class BoundedLoss:
    """A loss in [0, 1].

    Attributes:
        lipschitz: Lipschitz constant in the output, 2-norm.
        losses: function from outputs (K, N, d_L) and labels (K or 1, N) to losses (K, N).
    """

    lipschitz: float
    losses: Callable[[Tensor, Tensor], Tensor]


def _miss(outputs: Tensor, labels: Tensor) -> Tensor:
    labels = labels.expand(outputs.shape[:2])
    return 1 - outputs.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def _distance(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.squeeze(-1).clamp(0, 1) - labels).abs()


# 1 - p(label); the gradient in the logits is p_y (p - e_y), of norm at most sqrt(2) p_y (1 - p_y) <= sqrt(2)/4.
MISS = BoundedLoss(lipschitz=math.sqrt(2) / 4, losses=_miss)
# |clip(yhat, 0, 1) - y| for labels 0 and 1.
DISTANCE = BoundedLoss(lipschitz=1.0, losses=_distance)


@dataclass(frozen=True, kw_only=True)
class FrozenMlp:
    """A ReLU network that is not trained.

    Attributes:
        weights: W_t (d_t, d_{t-1}) of every layer, float32.
        biases: b_t (d_t,) of every layer, float32.
    """

    weights: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
    biases: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]

    @property
    def widths(self) -> list[int]:
        """d_0 .. d_L."""
        return [self.weights[0].shape[1], *(len(weight) for weight in self.weights)]

    def lora_class(
        self, rank: int, a: Sequence[Array], radii: Sequence[float | Array], scale: float, input_radius: float
    ) -> LoraNetwork:
        """What the bounds need, with the norms measured; ``a`` (K, r, d_{t-1}) gives arrays over K."""
        return LoraNetwork(
            widths=self.widths,
            rank=rank,
            mode=PAPER_MODE,
            weight_norms=[float(np.linalg.norm(w.astype(np.float64), 2)) for w in self.weights],
            bias_norms=[float(np.linalg.norm(b.astype(np.float64))) for b in self.biases],
            factor_norms=[np.linalg.norm(factor, 2, axis=(1, 2)) for factor in a],
            radii=radii,
            scale=scale,
            input_radius=input_radius,
        )


class LoraMlpClass:
    """The class {f_B: ||B_t||_F <= M_t} on one sample, K searches at once (a ``StackedClass``).

    Args:
        mlp: frozen network.
        a: frozen factor of every layer, (K, r, d_{t-1}).
        radii: M_t of every layer, a number or (K,).
        scale: scale s.
        x: inputs, (K, N, d_0), or (1, N, d_0) where all searches share them.
        y: labels, (K, N) or (1, N).
        loss: loss whose signed mean is searched.
    """

    def __init__(
        self,
        mlp: FrozenMlp,
        a: Sequence[Array],
        radii: Sequence[float | Array],
        scale: float,
        x: Tensor,
        y: Tensor,
        loss: BoundedLoss,
    ) -> None:
        count, rank = a[0].shape[:2]
        self._weights = [torch.from_numpy(weight) for weight in mlp.weights]
        self._biases = [torch.from_numpy(bias) for bias in mlp.biases]
        self._a = [torch.from_numpy(scale * factor).float() for factor in a]
        self.shapes = [(len(weight), rank) for weight in mlp.weights]
        self.radii = [torch.from_numpy(np.broadcast_to(radius, count).astype(np.float32)) for radius in radii]
        # What the first layer computes without B never changes.
        self._first = (x @ self._weights[0].T + self._biases[0], x @ self._a[0].mT)
        self._y, self._loss = y, loss

    def losses(self, factors: Sequence[Tensor]) -> Tensor:
        """ell(f_B(x_n), y_n), (K, N)."""
        hidden = torch.baddbmm(self._first[0].expand(len(factors[0]), -1, -1), self._first[1], factors[0].mT)
        for t in range(1, len(factors)):
            hidden = hidden.relu()
            frozen = hidden @ self._weights[t].T + self._biases[t]
            hidden = torch.baddbmm(frozen, hidden @ self._a[t].mT, factors[t].mT)
        return self._loss.losses(hidden, self._y)

    def signed_means(self, factors: Sequence[Tensor], signs: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """(1/N) sum_n s_n (ell_n - 1/2), (K,), and its gradients."""
        leaves = [factor.detach().requires_grad_() for factor in factors]
        values = (signs * (self.losses(leaves) - 0.5)).mean(dim=1)
        return values.detach(), torch.autograd.grad(values.sum(), leaves)
