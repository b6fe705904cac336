"""Which linear layers an adapter goes on: PEFT-style target names and layer indices, matched by whole words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from lorabound.adapters.adapter import Shapes
from lorabound.errors import ModelError

_LAYER_INDEX = re.compile(r"\.(\d+)\.")


def select_linears(model: nn.Module, targets: Sequence[str], layers: Sequence[int] | None = None) -> Shapes:
    """Module name -> (d_out, d_in) of every ``nn.Linear`` that is selected, in the model's own order.

    A target matches a module whose dotted name equals it or ends in ``"." + target`` (PEFT's rule for a
    list of ``target_modules``), never a part of a word. ``layers`` keeps the modules whose first
    all-digit name part is one of the given indices (PEFT's ``layers_to_transform``); None keeps all.

    Raises:
        ModelError: a target or an index that matches nothing; the message lists what could match.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    endings = sorted({name.rsplit(".", 1)[-1] for name in linears})
    selected: Shapes = {}
    for target in targets:
        if not any(_matches(name, target) for name in linears):
            raise ModelError(f"no linear layer of the model is called {target!r}: choose among {', '.join(endings)}")
    for name, module in linears.items():
        if any(_matches(name, target) for target in targets):
            selected[name] = (module.out_features, module.in_features)
    if layers is None:
        return selected
    present = sorted({index for name in selected if (index := layer_index(name)) is not None})
    missing = sorted(set(layers) - set(present))
    if missing:
        raise ModelError(
            f"no layer {', '.join(map(str, missing))} holds {', '.join(targets)}: "
            + (f"the model has layers {present[0]} to {present[-1]}" if present else "they carry no index")
        )
    kept = {name: shape for name, shape in selected.items() if layer_index(name) in set(layers)}
    for target in targets:
        if not any(_matches(name, target) for name in kept):
            raise ModelError(
                f"no {target!r} in layers {', '.join(map(str, sorted(layers)))}: name other layers or targets"
            )
    return kept


def layer_index(name: str) -> int | None:
    """The first all-digit part of a dotted module name, or None: ``encoder.layer.4.output`` -> 4."""
    found = _LAYER_INDEX.search(f".{name}.")
    return int(found.group(1)) if found else None


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)
