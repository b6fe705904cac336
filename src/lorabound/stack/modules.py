"""The modules of a loaded model, by name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lorabound.adapters.adapter import Shapes
from lorabound.adapters.targets import Modules, select_layers


def modules_of(model: nn.Module) -> Modules:
    """Every ``nn.Linear`` of a model, and every other module that holds no modules."""
    linears: Shapes = {}
    others: dict[str, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            linears[name] = (module.out_features, module.in_features)
        elif next(module.children(), None) is None:
            others[name] = type(module).__name__
    return Modules(model=type(model).__name__, linears=linears, others=others)


def select_linears(
    model: nn.Module, targets: Sequence[str], layers: Sequence[int] | str | None = None, within: Sequence[str] = ("",)
) -> Shapes:
    """:func:`lorabound.adapters.targets.select_layers` of a loaded model."""
    return select_layers(modules_of(model), targets, layers, within)
