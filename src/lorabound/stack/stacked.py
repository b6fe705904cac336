"""K adapters on one frozen model at once: attached, trained together, taken out as plain arrays again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lorabound.adapters.adapter import Adapter, Factors, Head
from lorabound.errors import AdapterError
from lorabound.stack.layers import StackedHead, StackedLinear, StackedVectors, stack_order

_STACKED: ContextVar[int] = ContextVar("stacked", default=1)


def n_stacked() -> int:
    """K, the number of adapters that share the batch axis now; 1 outside a stack."""
    return _STACKED.get()


def set_stacked(n: int) -> None:
    """Say that n adapters share the batch axis from now on, until the stack that is attached is taken off."""
    _STACKED.set(n)


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
        bases: dict[str, nn.Linear] = {}
        for name, (d_out, d_in) in shapes.items():
            base = modules.get(name)
            if not isinstance(base, nn.Linear) or (base.out_features, base.in_features) != (d_out, d_in):
                raise AdapterError(f"the adapter needs a linear layer {name} of {d_out} x {d_in}, the model has none")
            bases[name] = base
        copies = [adapter.copies() for adapter in adapters if adapter.theta is not None]
        self.vectors: StackedVectors | None = None
        if copies:
            self.vectors = StackedVectors(adapters, next(iter(bases.values())).weight.device)
        for name, base in bases.items():
            factors = [adapter.layers[name] for adapter in adapters]
            self.layers[name] = StackedLinear(base, factors, modes, self.vectors, [one[name] for one in copies])
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
    def trained(self) -> list[StackedLinear | StackedHead | StackedVectors]:
        """The modules that hold what is trained."""
        others = [module for module in (self.vectors, self.head) if module is not None]
        return [*self.layers.values(), *others]

    def parameters(self) -> list[nn.Parameter]:
        """The stacked trained parts and heads; empty ones (no adapter trains them) are left out."""
        vectors = [self.vectors.theta] if self.vectors else []
        parts = [p for layer in self.layers.values() for p in layer.parameters_trained()]
        heads = [self.head.weight, self.head.bias] if self.head else []
        return [parameter for parameter in (*vectors, *parts, *heads) if parameter.numel()]

    def stacked(self, module: str, part: str) -> nn.Parameter:
        """The stacked parameter of a part of a layer ("b", "a", "m"), of the head ("weight", "bias"), or "theta"."""
        if part == "theta":
            assert self.vectors is not None
            return self.vectors.theta
        if part in ("weight", "bias"):
            assert self.head is not None
            return getattr(self.head, part)  # type: ignore[no-any-return]
        return getattr(self.layers[module], f"trained_{part}")  # type: ignore[no-any-return]

    def extract(self, k: int) -> Adapter:
        """Adapter k as it now stands, as plain arrays."""
        source = self.adapters[k]
        layers: dict[str, Factors] = {}
        for name, layer in self.layers.items():
            before, rank = source.layers[name], source.layers[name].rank
            if before.basis is not None:
                m = layer.trained_m[k - (self.vectors.n if self.vectors else 0), :rank, :rank]
                layers[name] = Factors.with_core(before.a, before.basis, _array(m), before.scale)
            else:
                a, b = layer.factors()
                layers[name] = Factors(a=_array(a[k, :rank]), b=_array(b[k, :, :rank]), scale=before.scale)
        theta = None
        if source.theta is not None and self.vectors:
            theta = _array(self.vectors.theta[k, : source.theta.size])
        head = None
        if self.head:
            head = Head(
                name=self._head_name,
                weight=_array(self.head.weight[k]),
                bias=_array(self.head.bias[k]),
                beside=source.head.beside if source.head else {},
            )
        return replace(source, layers=layers, head=head, theta=theta)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).contiguous().numpy().copy()
