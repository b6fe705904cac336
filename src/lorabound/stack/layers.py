"""Layers that carry K adapters: the rows share the batch axis, the factors are batched matrices.

A batch holds K groups of rows, one group per adapter, in the order of the stack. The parts of the model that
work on each row alone (embeddings, attention, norms, pooling) stay as they are. Each adapted layer computes the
frozen product once for all rows and adds the K low-rank products:

    y[k] = W x[k] + bias + s_k B_k A_k x[k],   x (K, rows, d_in), A (K, r_max, d_in), B (K, d_out, r_max).

The factors are float32; products run in the number format of the model.

A rank below r_max is padded with zeros in both factors. The padding stays zero: its gradient is a product with
the other factor's zeros. A frozen factor is a buffer, not a parameter, so no optimizer can
reach it; adapters are kept in the order of :func:`stack_order`, which makes neighbours of adapters that train the same:

    B of adapter k   filled from a vector  |  B_0 M  |  trained  |  trained  |  frozen
    A of adapter k   frozen                |  frozen |  frozen   |  trained  |  trained
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lorabound.adapters.adapter import Adapter, Factors, Head
from lorabound.adapters.subspace import Copies
from lorabound.errors import AdapterError
from lorabound.modes import MODES, Mode, Part


def stack_order(modes: Sequence[Mode]) -> list[int]:
    """Indices of the modes in the order of a stack (see the top of this file); otherwise as given."""

    def place(k: int) -> tuple[bool, ...]:
        parts: tuple[Part, ...] = ("theta", "m", "b")
        return (_trains(modes[k], "a"), *(not _trains(modes[k], part) for part in parts))

    return sorted(range(len(modes)), key=place)


def _trains(mode: Mode, part: Part) -> bool:
    """Whether adapters of this mode train the part."""
    return part in MODES[mode].trained


class StackedVectors(nn.Module):
    """One vector for all layers of each of the first adapters of a stack, padded with zeros to one length.

    Args:
        adapters: adapters of the stack.
        device: device of their model.
    """

    def __init__(self, adapters: Sequence[Adapter], device: torch.device) -> None:
        super().__init__()
        vectors = [adapter.theta for adapter in adapters if adapter.theta is not None]
        padded = torch.zeros(len(vectors), max(len(vector) for vector in vectors))
        for row, vector in zip(padded, vectors, strict=True):
            row[: len(vector)] = torch.from_numpy(vector)
        self.theta = nn.Parameter(padded.to(device))
        self.n, self._n_adapters = len(vectors), len(adapters)

    def gradient_squares(self) -> Float[Tensor, " k"]:
        """Squared 2-norm of the gradient of each adapter's vector, (K,); 0 for an adapter without one."""
        squares = torch.zeros(self._n_adapters, device=self.theta.device)
        if self.theta.grad is not None:
            squares[: self.n] += self.theta.grad.square().sum(1)
        return squares

    def scale_gradients(self, factors: Float[Tensor, " k"]) -> None:
        """Multiply the gradient of adapter k's vector by ``factors[k]``."""
        if self.theta.grad is not None:
            self.theta.grad *= factors[: self.n, None]


class StackedLinear(nn.Module):
    """A frozen ``nn.Linear`` that carries K adapters (see the top of this file).

    Args:
        base: frozen layer.
        factors: factors of the adapters.
        modes: modes of the adapters.
        vectors: vectors that fill B of the first adapters; None without any.
        copies: where the entries of those B's come from.
    """

    scale: Tensor
    frozen_a: Tensor
    frozen_b: Tensor
    basis: Tensor
    index: Tensor
    weight: Tensor

    def __init__(
        self,
        base: nn.Linear,
        factors: Sequence[Factors],
        modes: Sequence[Mode],
        vectors: StackedVectors | None = None,
        copies: Sequence[Copies] = (),
    ) -> None:
        super().__init__()
        self.base = base
        self.batch_rows = 0  # rows of the model's current batch, set by the Stack
        rank, device = max(f.rank for f in factors), base.weight.device
        a = torch.stack([_padded(f.a, (rank, base.in_features)) for f in factors]).to(device)
        b = torch.stack([_padded(f.b, (base.out_features, rank)) for f in factors]).to(device)
        scale = torch.tensor([f.scale for f in factors], dtype=torch.float32, device=device)
        self.register_buffer("scale", scale.view(-1, 1, 1))
        n_frozen_a = sum(not _trains(mode, "a") for mode in modes)
        self.register_buffer("frozen_a", a[:n_frozen_a].clone())
        self.trained_a = nn.Parameter(a[n_frozen_a:].clone())
        # B of the first adapters follows from a vector, that of the next ones is a product.
        self.vectors = vectors  # the same for all layers: its gradient is counted by itself, once
        filled = [_padded(one.index, (base.out_features, rank)) for one in copies]
        self.register_buffer("index", _stacked(filled, b.shape[1:]).long().flatten(1).to(device))
        weights = [_padded(one.weight, (base.out_features, rank)) for one in copies]
        self.register_buffer("weight", _stacked(weights, b.shape[1:]).to(device))
        bases = [_padded(f.basis, (base.out_features, rank)) for f in factors if f.basis is not None]
        self.register_buffer("basis", _stacked(bases, b.shape[1:]).to(device))
        cores = [_padded(f.m, (rank, rank)) for f in factors if f.m is not None]
        self.trained_m = nn.Parameter(_stacked(cores, (rank, rank)).to(device))
        self.n_made = len(filled) + len(cores)
        end = self.n_made + sum(_trains(mode, "b") for mode in modes)
        self.trained_b = nn.Parameter(b[self.n_made : end].clone())
        self.register_buffer("frozen_b", b[end:].clone())
        self._frozen: tuple[Tensor, Tensor] | None = None

    def factors(self) -> tuple[Float[Tensor, "k r d_in"], Float[Tensor, "k d_out r"]]:
        """All K factors: A (K, r_max, d_in) and B (K, d_out, r_max)."""
        return torch.cat([self.frozen_a, self.trained_a]), torch.cat([*self._made(), self.trained_b, self.frozen_b])

    def _made(self) -> list[Float[Tensor, "k d_out r"]]:
        """B of the adapters that train something smaller: filled from vectors, then B_0 M; nothing of what none is."""
        made = []
        if self.vectors is not None:
            made.append(self.vectors.theta.gather(1, self.index).view(self.weight.shape) * self.weight)
        if len(self.basis):
            made.append(torch.bmm(self.basis, self.trained_m))
        return made

    def _trained(self) -> list[tuple[nn.Parameter, slice]]:
        """The stacked trained parts of this layer and the adapters they belong to."""
        n, made = len(self.scale), self.n_made
        return [
            (self.trained_a, slice(n - len(self.trained_a), n)),
            (self.trained_b, slice(made, made + len(self.trained_b))),
            (self.trained_m, slice(made - len(self.trained_m), made)),
        ]

    def parameters_trained(self) -> list[nn.Parameter]:
        """The stacked trained parts of this layer; one that no adapter trains is empty."""
        return [parameter for parameter, _ in self._trained()]

    def ranks_between(self, first: Int[Tensor, " k"], end: Int[Tensor, " k"]) -> list[tuple[nn.Parameter, Tensor]]:
        """The stacked trained factors, each with a mask of what belongs to some of the ranks of adapter k.

        Args:
            first, end: ranks first[k] to end[k] - 1: these rows of A and these columns of B are True in the masks.
        """
        ranks = torch.arange(self.frozen_a.shape[1], device=first.device)
        inside = (ranks >= first[:, None]) & (ranks < end[:, None])
        (a, of_a), (b, of_b), *_ = self._trained()
        return [(a, inside[of_a, :, None]), (b, inside[of_b, None, :])]

    def gradient_squares(self) -> Float[Tensor, " k"]:
        """Squared 2-norm of each adapter's gradient in this layer, (K,)."""
        squares = torch.zeros(len(self.scale), device=self.trained_a.device)
        for parameter, adapters in self._trained():
            if parameter.grad is not None:
                squares[adapters] += parameter.grad.square().sum((1, 2))
        return squares

    def scale_gradients(self, factors: Float[Tensor, " k"]) -> None:
        """Multiply adapter k's gradient in this layer by ``factors[k]``."""
        for parameter, adapters in self._trained():
            if parameter.grad is not None:
                parameter.grad *= factors[adapters].view(-1, 1, 1)

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """W x + s_k B_k A_k x for the rows of each adapter k."""
        n_adapters = len(self.scale)
        if n_adapters > 1 and len(x) != self.batch_rows:
            raise AdapterError(
                f"an adapted layer sees {len(x)} rows of a batch of {self.batch_rows}: its input is not one row per "
                "example (DeBERTa's relative positions are such a case): choose other targets or another encoder"
            )
        frozen: Tensor = self.base(x)
        a, b = self._operands(x.dtype)
        narrow = torch.bmm(x.reshape(n_adapters, -1, x.shape[-1]), a.mT)
        return torch.baddbmm(frozen.view(n_adapters, -1, frozen.shape[-1]), narrow, b.mT).view(frozen.shape)

    def _operands(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and s B of all adapters in a number format; what is frozen is converted once."""
        n = self.n_made + len(self.trained_b)
        if self._frozen is None or self._frozen[0].dtype != dtype:
            self._frozen = self.frozen_a.to(dtype), (self.frozen_b * self.scale[n:]).to(dtype)
        a, b = self._frozen
        if len(self.trained_a):
            a = torch.cat([a, self.trained_a.to(dtype)])
        if n:
            parts = [*self._made(), *([self.trained_b] if len(self.trained_b) else [])]
            trained = ((torch.cat(parts) if len(parts) > 1 else parts[0]) * self.scale[:n]).to(dtype)
            b = torch.cat([trained, b]) if len(b) else trained
        return a, b


class StackedHead(nn.Module):
    """K classification layers of one shape, each for its own group of rows; float32."""

    def __init__(self, base: nn.Linear, heads: Sequence[Head]) -> None:
        super().__init__()
        self.base = base
        device = base.weight.device
        self.weight = nn.Parameter(torch.stack([torch.from_numpy(h.weight) for h in heads]).to(device))
        self.bias = nn.Parameter(torch.stack([torch.from_numpy(h.bias) for h in heads]).to(device))

    def gradient_squares(self) -> Float[Tensor, " k"]:
        """Squared 2-norm of each head's gradient, (K,)."""
        squares = torch.zeros(len(self.bias), device=self.bias.device)
        for parameter in (self.weight, self.bias):
            if parameter.grad is not None:
                squares += parameter.grad.square().flatten(1).sum(1)
        return squares

    def scale_gradients(self, factors: Float[Tensor, " k"]) -> None:
        """Multiply head k's gradient by ``factors[k]``."""
        for parameter in (self.weight, self.bias):
            if parameter.grad is not None:
                parameter.grad *= factors.view(-1, *[1] * (parameter.ndim - 1))

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows classes"]:
        """The scores of each head k for its rows, in float32."""
        grouped = x.float().reshape(len(self.bias), -1, x.shape[-1])
        return torch.baddbmm(self.bias[:, None], grouped, self.weight.mT).view(*x.shape[:-1], -1)


def _padded(array: np.ndarray, shape: tuple[int, int]) -> Tensor:
    padded = torch.zeros(shape, dtype=torch.from_numpy(array).dtype)
    padded[: array.shape[0], : array.shape[1]] = torch.from_numpy(array)
    return padded


def _stacked(tensors: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """Tensors of one shape as one; also of none."""
    return torch.stack(list(tensors)) if tensors else torch.zeros(0, *shape)
