"""What training changes of an adapter, as named arrays; and the adapter with other values in their place. No torch.

LAYER.lora_B, LAYER.lora_A    a whole factor
LAYER.lora_M                  M of B = basis @ M
theta                         the vector that fills all factors B
HEAD.weight, HEAD.bias        a trained head
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lorabound.adapters.adapter import Adapter, Array, Factors
from lorabound.modes import PEFT_NAMES, Part

THETA = "theta"
_NAMES: Mapping[str, str] = {"b": PEFT_NAMES["b"], "a": PEFT_NAMES["a"], "m": "lora_M"}
# What a reader is told of each part.
WORDS: Mapping[Part, str] = {"b": "B", "a": "A", "m": "M", "theta": "the vector"}


def entry_name(module: str, part: str) -> str:
    """Name of a part of a layer ("b", "a", "m"), of a part of a head ("weight", "bias"), or of the vector ("theta")."""
    return THETA if part == "theta" else f"{module}.{_NAMES.get(part, part)}"


def entries_of(adapter: Adapter, parts: Sequence[Part]) -> dict[str, Array]:
    """These parts of an adapter, and its head: the vector, then layer by layer, then weight and bias of the head."""
    found: dict[str, Array] = {}
    if "theta" in parts and adapter.theta is not None:
        found[THETA] = adapter.theta
    for name, factors in adapter.layers.items():
        for part in parts:
            if part != "theta":
                found[entry_name(name, part)] = getattr(factors, part)
    if adapter.head:
        found |= {entry_name(adapter.head.name, part): getattr(adapter.head, part) for part in ("weight", "bias")}
    return found


def with_entries(adapter: Adapter, values: Mapping[str, Array]) -> Adapter:
    """The adapter with the entries that ``values`` names; every B that follows from them is computed again."""
    theta = values.get(THETA, adapter.theta)
    copies = adapter.copies() if THETA in values and theta is not None else {}
    filled = {name: one.of(theta) for name, one in copies.items() if theta is not None}
    layers: dict[str, Factors] = {}
    for name, old in adapter.layers.items():
        a, b, m = (values.get(entry_name(name, part), getattr(old, part)) for part in ("a", "b", "m"))
        if old.basis is not None and m is not None:
            layers[name] = Factors.with_core(a, old.basis, m, old.scale)
        else:
            layers[name] = Factors(a=a, b=filled.get(name, b), scale=old.scale)
    head = adapter.head
    if head:
        weight, bias = (values.get(entry_name(head.name, part), getattr(head, part)) for part in ("weight", "bias"))
        head = replace(head, weight=weight, bias=bias)
    return replace(adapter, layers=layers, head=head, theta=theta)


def same_numbers(one: Array, other: Array) -> bool:
    """Whether two arrays are the same but for the rounding of a product in float32."""
    if one.shape != other.shape:
        return False
    return float(np.abs(one - other).max(initial=0.0)) <= 1e-5 * float(np.abs(one).max(initial=0.0))
