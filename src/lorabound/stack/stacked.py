"""K adapters on one frozen model: their rows share the batch axis, their factors are batched matrices.

A batch holds K groups of rows, one group per adapter, in the order of the stack. The parts of the model that
work on each row alone (embeddings, attention, norms, pooling) stay as they are. Each adapted layer computes the
frozen product once for all rows and adds the K low-rank products:

    y[k] = W x[k] + bias + s_k B_k A_k x[k],   x (K, rows, d_in), A (K, r_max, d_in), B (K, d_out, r_max).

The factors are float32; products run in the number format of the model.

A rank below r_max is padded with zeros in both factors. The padding stays zero: its gradient is a product with
the other factor's zeros. A frozen factor is a buffer, not a parameter, so no optimizer can
reach it; adapters are kept in the order of :func:`stack_order`, which makes the trained `B`s the first ones of
the stack and the trained `A`s the last ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lorabound.adapters.adapter import Adapter, Factors, Head
from lorabound.errors import AdapterError
from lorabound.modes import MODES, Factor, Mode

_STACKED: ContextVar[int] = ContextVar("stacked", default=1)


def stack_order(modes: Sequence[Mode]) -> list[int]:
    """Indices of the modes in the order of a stack: trained `B`s first, trained `A`s last; otherwise as given."""
    return sorted(range(len(modes)), key=lambda k: (_trains(modes[k], "a"), not _trains(modes[k], "b")))


def _trains(mode: Mode, factor: Factor) -> bool:
    return factor in MODES[mode].trained


def n_stacked() -> int:
    """K, the number of adapters that share the batch axis now; 1 outside a stack."""
    return _STACKED.get()


class StackedLinear(nn.Module):
    """A frozen ``nn.Linear`` that carries K adapters (see the top of this file)."""

    scale: Tensor
    frozen_a: Tensor
    frozen_b: Tensor

    def __init__(self, base: nn.Linear, factors: Sequence[Factors], modes: Sequence[Mode]) -> None:
        super().__init__()
        self.base = base
        self.batch_rows = 0  # rows of the model's current batch, set by the Stack
        rank = max(f.rank for f in factors)
        a = torch.stack([_padded(f.a, (rank, base.in_features)) for f in factors]).to(base.weight.device)
        b = torch.stack([_padded(f.b, (base.out_features, rank)) for f in factors]).to(base.weight.device)
        scale = torch.tensor([f.scale for f in factors], dtype=torch.float32, device=base.weight.device)
        self.register_buffer("scale", scale.view(-1, 1, 1))
        n_frozen_a = sum(not _trains(mode, "a") for mode in modes)
        n_trained_b = sum(_trains(mode, "b") for mode in modes)
        self.register_buffer("frozen_a", a[:n_frozen_a].clone())
        self.trained_a = nn.Parameter(a[n_frozen_a:].clone())
        self.trained_b = nn.Parameter(b[:n_trained_b].clone())
        self.register_buffer("frozen_b", b[n_trained_b:].clone())
        self._frozen: tuple[Tensor, Tensor] | None = None

    def factors(self) -> tuple[Float[Tensor, "k r d_in"], Float[Tensor, "k d_out r"]]:
        """All K factors: A (K, r_max, d_in) and B (K, d_out, r_max)."""
        return torch.cat([self.frozen_a, self.trained_a]), torch.cat([self.trained_b, self.frozen_b])

    def _trained(self) -> list[tuple[nn.Parameter, slice]]:
        """The stacked trained factors and the adapters they belong to."""
        n = len(self.scale)
        return [
            (self.trained_a, slice(n - len(self.trained_a), n)),
            (self.trained_b, slice(len(self.trained_b))),
        ]

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
        n = len(self.trained_b)
        if self._frozen is None or self._frozen[0].dtype != dtype:
            self._frozen = self.frozen_a.to(dtype), (self.frozen_b * self.scale[n:]).to(dtype)
        a, b = self._frozen
        if len(self.trained_a):
            a = torch.cat([a, self.trained_a.to(dtype)])
        if n:
            trained = (self.trained_b * self.scale[:n]).to(dtype)
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
        grouped = x.float().reshape(len(self.bias), -1, x.shape[-1])
        return torch.baddbmm(self.bias[:, None], grouped, self.weight.mT).view(*x.shape[:-1], -1)


class Stack:
    """K adapters attached to a model inside a ``with`` block; the block's end restores the model.

    Args:
        model: model that holds every layer the adapters name.
        adapters: adapters of the same layers, in the order of :func:`stack_order`.
        towers: names of modules that see rows of one kind, see :data:`lorabound.models.Tower`. The first tensor
            argument of the first module of each must hold K groups of rows along its first axis.

    Raises:
        AdapterError: adapters in another order, adapters of different layers or heads, or a layer that the model does
            not have.
    """

    def __init__(
        self, model: nn.Module, adapters: Sequence[Adapter], towers: Sequence[tuple[str, ...]] = (("",),)
    ) -> None:
        modes = [adapter.mode for adapter in adapters]
        if stack_order(modes) != list(range(len(modes))):
            raise AdapterError("adapters of a stack must be sorted by stack_order(modes)")
        self.model = model
        self.towers = towers
        self.adapters = list(adapters)
        self.layers: dict[str, StackedLinear] = {}
        shapes = adapters[0].shapes
        modules = dict(model.named_modules())
        for adapter in adapters:
            if adapter.shapes != shapes:
                raise AdapterError("adapters of one stack must adapt the same layers")
        for name, (d_out, d_in) in shapes.items():
            base = modules.get(name)
            if not isinstance(base, nn.Linear) or (base.out_features, base.in_features) != (d_out, d_in):
                raise AdapterError(f"the adapter needs a linear layer {name} of {d_out} x {d_in}, the model has none")
            self.layers[name] = StackedLinear(base, [a.layers[name] for a in adapters], modes)
        self.head: StackedHead | None = None
        heads = [adapter.head for adapter in adapters if adapter.head]
        if heads:
            self._head_name = heads[0].name
            if len(heads) != len(adapters) or {(h.name, h.weight.shape) for h in heads} != {
                (self._head_name, heads[0].weight.shape)
            }:
                raise AdapterError("adapters of one stack must train the same head, or none of them any")
            base = modules.get(self._head_name)
            if not isinstance(base, nn.Linear) or base.in_features != heads[0].weight.shape[1]:
                raise AdapterError(f"the adapter needs a head {self._head_name}, the model has none of its shape")
            self.head = StackedHead(base, heads)

    def __enter__(self) -> Stack:
        for name, layer in self.layers.items():
            self.model.set_submodule(name, layer)
        if self.head:
            self.model.set_submodule(self._head_name, self.head)
        self._token = _STACKED.set(len(self.adapters))
        self._hooks = [
            self.model.get_submodule(tower[0]).register_forward_pre_hook(self._noting_rows(tower), with_kwargs=True)
            for tower in self.towers
        ]
        return self

    def _noting_rows(self, tower: tuple[str, ...]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        """Tell the layers of a tower how many rows its batch has, so that none takes something else for rows."""
        prefixes = tuple(f"{name}." if name else "" for name in tower)
        layers = [layer for name, layer in self.layers.items() if f"{name}.".startswith(prefixes)]

        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            rows = next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
            for layer in layers:
                layer.batch_rows = rows

        return hook

    def __exit__(self, *_: object) -> None:
        _STACKED.reset(self._token)
        for hook in self._hooks:
            hook.remove()
        for name, layer in self.layers.items():
            self.model.set_submodule(name, layer.base)
        if self.head:
            self.model.set_submodule(self._head_name, self.head.base)

    def __len__(self) -> int:
        return len(self.adapters)

    @property
    def trained(self) -> list[StackedLinear | StackedHead]:
        """The modules that hold what is trained."""
        return [*self.layers.values(), *([self.head] if self.head else [])]

    def parameters(self) -> list[nn.Parameter]:
        """The stacked trained factors and heads; empty ones (no adapter trains them) are left out."""
        factors = [p for layer in self.layers.values() for p in (layer.trained_a, layer.trained_b)]
        heads = [self.head.weight, self.head.bias] if self.head else []
        return [parameter for parameter in (*factors, *heads) if parameter.numel()]

    def extract(self, k: int) -> Adapter:
        """Adapter k as it now stands, as plain arrays."""
        source = self.adapters[k]
        layers = {}
        for name, layer in self.layers.items():
            before = source.layers[name]
            a, b = layer.factors()
            layers[name] = Factors(a=_array(a[k, : before.rank]), b=_array(b[k, :, : before.rank]), scale=before.scale)
        head = None
        if self.head:
            head = Head(
                name=self._head_name,
                weight=_array(self.head.weight[k]),
                bias=_array(self.head.bias[k]),
                beside=source.head.beside if source.head else {},
            )
        return Adapter(layers=layers, mode=source.mode, seed=source.seed, law=source.law, head=head)


def _padded(factor: np.ndarray, shape: tuple[int, int]) -> Tensor:
    padded = torch.zeros(shape)
    padded[: factor.shape[0], : factor.shape[1]] = torch.from_numpy(factor)
    return padded


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy().copy()
