"""From names of models to costs: layers are found, compared one at a time, and summed up."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorabound.adapters import PeftAdapter, open_adapter
from lorabound.adapters.folder import provenance_of
from lorabound.adapters.peft_folder import Array
from lorabound.adapters.spectra import natural_order
from lorabound.adapters.targets import ALL_LINEAR, Modules, select_layers
from lorabound.bounds import price_of_freezing
from lorabound.errors import AdapterError, InputError, ModelError
from lorabound.modes import MODES, Mode
from lorabound.updates.config import AgainstConfig
from lorabound.updates.costs import FreezingCosts, LayerCost
from lorabound.updates.names import paired_names, refuse_deeper
from lorabound.updates.weights import Change, Weights, change_energy, open_weights, read_change

_RANKS = (1, 4, 16, 64)
_BLOCK = 2**22  # entries of s B A that are in memory at one time


def freezing_costs(
    adapter: str | os.PathLike[str] | None = None,
    *,
    against: str,
    base: str | None = None,
    ranks: Sequence[int] | None = None,
    targets: Sequence[str] | None = None,
    layers: Sequence[int] | str | None = None,
    observe: Callable[[str], None] | None = None,
) -> FreezingCosts:
    """How much of what full fine-tuning changed can be kept at low rank, and with a frozen factor.

    For every layer, with E = W_checkpoint - W_base: ||E||_F^2, the least errors of
    :func:`lorabound.bounds.price_of_freezing`, and for an adapter ||E - s B A||_F^2 as it was trained. One layer is in
    memory at a time; torch is not imported.

    Args:
        adapter: folder of a PEFT LoRA adapter, whose layers, ranks and frozen factor are looked at; None for ranks
            alone.
        against: model after full fine-tuning: folder, packaged model or hub name.
        base: the same model before; None takes the one that the adapter names.
        ranks: ranks to look at without an adapter; by default 1, 4, 16 and 64.
        targets: names of the layers to compare; None takes those of the adapter, or all linear layers.
        layers: depth of the layers to compare, as :func:`lorabound.adapters.targets.select_layers` takes it.
        observe: function that is told what goes on.
    Raises:
        InputError: nothing to compare with, ranks beside an adapter, or models of the same weights.
        ModelError: a model that cannot be read, or whose layers are not those of the other.
        AdapterError: an adapter that cannot be read, or of other shapes.
    """
    tell = observe or (lambda _: None)
    given: dict[str, Any] = {"against": against, "base": base, "ranks": ranks, "targets": targets, "layers": layers}
    asked = AgainstConfig(**{name: value for name, value in given.items() if value is not None})
    source = None if adapter is None else open_adapter(adapter)
    if source and asked.ranks:
        raise InputError("ranks are looked at without an adapter, which has a rank of its own: leave one of them out")
    before, after = open_weights(asked.base or _named_base(source)), open_weights(against)
    if before.transposed != after.transposed:
        raise ModelError(f"{against} is not of the kind of {before.model} (model_type in their config.json)")
    modules = _adapted(source, before) if source else dict.fromkeys(before.modules.linears, "")
    names = _chosen(modules, before, asked)
    pairs = paired_names(names, after.places, before.model, against)
    for name, other in pairs.items():
        if before.shape(name) != after.shape(other):
            raise ModelError(
                f"{against} is a checkpoint of other shapes: {other} is {_size(after.shape(other))} there and "
                f"{_size(before.shape(name))} in {before.model}"
            )
    rest = _common([name for name in before.modules.linears if name not in pairs], before, after, pairs)
    refuse_deeper(pairs | rest, after.places, before.model, against)
    recorded = None if adapter is None else provenance_of(adapter)
    mode = recorded.mode if recorded else None
    if recorded and recorded.base:
        raise AdapterError(
            f"{adapter} was trained on weights that were rounded to {recorded.base}, and the change of a full "
            "fine-tune begins at weights that were not: leave the adapter out, and give its rank as --ranks"
        )
    costs = []
    for index, (name, other) in enumerate(pairs.items(), start=1):
        tell(f"{index} of {len(pairs)} layers")
        change = read_change(before, name, after, other)
        costs.append(_cost(name, change, source.factors_of(modules[name]) if source else None, asked.ranks, mode))
    if not any(cost.price.energy for cost in costs):
        raise InputError(
            f"{against} and {before.model} have the same weights in all layers that are compared ({len(costs)}): give "
            "the model after full fine-tuning as --against, and the one before as --base"
        )
    if rest:
        tell(f"the size of the change in {len(rest)} other layers")
    return FreezingCosts(
        base=before.model,
        checkpoint=against,
        adapter=None if adapter is None else Path(adapter),
        mode=mode,
        layers=tuple(costs),
        n_linear=len(pairs) + len(rest),
        other_energy=sum(change_energy(before, name, after, other) for name, other in rest.items()),
    )


def _named_base(source: PeftAdapter | None) -> str:
    named = source.config.get("base_model_name_or_path") if source else None
    if not named:
        raise InputError("say which model was fine-tuned: --base MODEL, the model before fine-tuning")
    return str(named)


def _adapted(source: PeftAdapter, before: Weights) -> dict[str, str]:
    """Name in the base -> the adapter's name, of every layer with factors."""
    names = paired_names(list(source.layers), before.places, str(source.weights.parent), before.model)
    for module, name in names.items():
        b, a = source.layers[module]
        if (b.shape[0], a.shape[1]) != before.shape(name):
            raise AdapterError(
                f"{source.weights.parent} is an adapter for other shapes: {module} is {b.shape[0]} x {a.shape[1]} "
                f"there and {_size(before.shape(name))} in {before.model}"
            )
    return {name: module for module, name in names.items()}


def _chosen(known: Collection[str], before: Weights, asked: AgainstConfig) -> list[str]:
    """The layers to compare, in the order of the model (numbers in names as numbers)."""
    shapes = {name: before.shape(name) for name in sorted(known, key=natural_order)}
    if not shapes:
        raise ModelError(f"{before.model} has no linear layers to compare")
    if asked.targets or asked.layers is not None:
        modules = Modules(model=before.modules.model, linears=shapes, others=before.modules.others)
        shapes = select_layers(modules, asked.targets or [ALL_LINEAR], asked.layers)
    return list(shapes)


def _cost(
    name: str,
    change: Change,
    factors: tuple[Array, Array, float] | None,
    ranks: Sequence[int] | None,
    mode: Mode | None,
) -> LayerCost:
    e = change.update
    if factors is None:
        chosen = tuple(ranks or _RANKS)
        price, adapter_error = price_of_freezing(e, chosen), None
    else:
        b, a, scale = factors
        chosen = (a.shape[0],)
        price = price_of_freezing(e, chosen, **_frozen(mode, b, a))
        adapter_error = _distance(e, b, a, scale)
    return LayerCost(
        name=name,
        d_out=e.shape[0],
        d_in=e.shape[1],
        ranks=chosen,
        price=price,
        adapter_error=adapter_error,
        rounding=change.rounding,
    )


def _frozen(mode: Mode | None, b: Array, a: Array) -> dict[str, Array]:
    """The factor that stayed as it was drawn while the other one was trained; none in every other mode."""
    if mode is None or not MODES[mode].trains_factors:
        return {}
    return {factor: {"b": b, "a": a}[factor] for factor in MODES[mode].frozen}


def _distance(e: Array, b: Array, a: Array, scale: float) -> float:
    """||E - s B A||_F^2, some rows at a time."""
    left, right = scale * b.astype(np.float64), a.astype(np.float64)
    step = max(1, _BLOCK // e.shape[1])
    starts = range(0, len(e), step)
    return float(sum(np.sum((e[i : i + step] - left[i : i + step] @ right) ** 2) for i in starts))


def _common(names: list[str], before: Weights, after: Weights, pairs: Mapping[str, str]) -> dict[str, str]:
    """Layers beside those of ``pairs``, under the same prefix, that both models have in one shape."""
    ours, theirs = next(iter(pairs.items()))
    found = {}
    for name in names:
        if len(theirs) >= len(ours):
            other = theirs[: len(theirs) - len(ours)] + name
        else:
            other = name.removeprefix(ours[: len(ours) - len(theirs)])
        if other in after.places and after.shape(other) == before.shape(name):
            found[name] = other
    return found


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
