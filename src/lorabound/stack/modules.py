"""The modules of a loaded model, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lorabound.adapters.adapter import Shapes
from lorabound.adapters.singular import SingularDirections
from lorabound.adapters.targets import Modules, select_layers
from lorabound.errors import ModelError


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


def directions_of_weights(model: nn.Module, names: Iterable[str]) -> SingularDirections:
    """The singular directions of the weights of some layers, computed when they are asked for.

    The layers are found now, as others may stand in their place while adapters are attached.

    Raises:
        ModelError: when directions of a layer are asked for that is quantized, or has no finite weight.
    """
    layers: dict[str, Any] = {name: model.get_submodule(name) for name in names}

    def weight(name: str) -> NDArray[np.float32]:
        found, shape = layers[name].weight, (layers[name].out_features, layers[name].in_features)
        if not found.is_floating_point() or found.shape != shape:
            raise ModelError(
                f"{name} is quantized, and its singular directions are not known: load the model in its own number "
                "format, or draw the factors at random (law kaiming_uniform or gaussian)"
            )
        values: NDArray[np.float32] = found.detach().to("cpu", torch.float32).numpy()
        if not np.isfinite(values).all():
            raise ModelError(f"the weight of {name} is not finite: it has no singular directions")
        return values

    return SingularDirections(weight)
