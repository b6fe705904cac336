"""One factor of a PEFT adapter drawn from a seed and frozen: half of the paper's advice, in any training loop.

PEFT has no field for a frozen factor. Here the factor becomes a buffer in place of a parameter: no optimizer sees it,
and nothing that PEFT or the Trainer do later (``set_adapter``, going on from a checkpoint) sets it free. What is saved
is a PEFT folder as ever, with ``lorabound.json`` beside it, which says what was frozen and by which seed it was drawn.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lorabound.adapters import BITSANDBYTES, factor_sha256, load_adapter, random_factor, write_provenance
from lorabound.errors import AdapterError, InputError, ModelError
from lorabound.modes import MODES, PEFT_MODES, PEFT_NAMES, Factor, Mode
from lorabound.notation import OF_WEIGHTS, Base, Law

# Modes of one drawn and frozen factor. PEFT's layers multiply by whole factors A and B: what trains something smaller
# (core, subspace) would need layers of another class.
_MODES: dict[str, Mode] = {MODES[mode].frozen[0].upper(): mode for mode in PEFT_MODES if MODES[mode].frozen}
_PREFIX = "base_model.model."


def freeze_factor(peft_model: Any, factor: Literal["A", "B"], *, seed: int, law: Law = "kaiming_uniform") -> Any:
    """Draw one factor of every LoRA layer from a seed and freeze it; the other one is trained, from 0.

    Args:
        peft_model: model with one new LoRA adapter, as ``get_peft_model`` returns it.
        factor: "A" (the paper's advice, at twice the rank) or "B".
        seed: seed of the draw: the same seed gives the same factor on every machine, and one of a larger rank begins
            with it.
        law: law of the entries: "kaiming_uniform", as PEFT draws A, or "gaussian".
    Returns:
        the same model.
    Raises:
        InputError: another factor, or an adapter that was trained already.
        ModelError: no PEFT model with one adapter of LoRA on linear layers.
    """
    if factor not in _MODES:
        raise InputError(f"freeze_factor: factor must be 'A' or 'B', got {factor!r}")
    layers = dict(_layers(peft_model))
    mode = _MODES[factor]
    for name, layer in layers.items():
        if layer["b"].weight.detach().abs().max() > 0:
            raise InputError(
                f"freeze_factor: B of {name} is not 0, so that the adapter was trained or started from the weights of "
                "the model: freeze a factor of a new adapter, right after get_peft_model"
            )
    with torch.no_grad():
        for name, layer in layers.items():
            [drawn] = MODES[mode].frozen
            for other in layer.values():
                other.weight.zero_()
            weight = layer[drawn].weight
            rank, width = weight.shape if drawn == "a" else reversed(weight.shape)
            rows = torch.from_numpy(random_factor(seed, name, rank, width, law))
            weight.copy_(rows if drawn == "a" else rows.T)
    return _frozen(peft_model, mode, seed, law)


def from_pretrained(model: nn.Module, folder: str | os.PathLike[str], **options: Any) -> Any:
    """Load an adapter that :func:`freeze_factor` froze, its factor still frozen; for training too.

    Args:
        model: base model, as ``PeftModel.from_pretrained`` takes it.
        folder: folder of the adapter, with ``lorabound.json``.
        options: further arguments of ``PeftModel.from_pretrained``, such as ``is_trainable=True``.
    Raises:
        AdapterError: the folder records no frozen factor, or its factor is not the one that it records.

    Warns where the adapter was trained on a quantized model and ``model`` is not quantized so: its answers would be
    others than in training.
    """
    from peft import PeftModel

    stored = load_adapter(folder)
    facts = MODES[stored.mode]
    if not facts.trains_factors:
        raise AdapterError(
            f"{folder}: mode {stored.mode} trains something smaller than a factor, which PEFT's layers do not have: "
            "predict with PeftModel.from_pretrained, and go on training with lorabound"
        )
    if not facts.frozen:
        raise AdapterError(f"{folder} records no frozen factor: load it with PeftModel.from_pretrained")
    if stored.base and rounding_of(model) != stored.base.format:
        warnings.warn(
            f"{folder} was trained on a model rounded to {stored.base.format}, and this one is not: its answers differ "
            f"from those in training; load the model with {BITSANDBYTES[stored.base.format]}",
            stacklevel=2,
        )
    loaded = PeftModel.from_pretrained(model, os.fspath(folder), **options)
    return _frozen(loaded, stored.mode, stored.seed, stored.law, stored.links)


def rounding_of(model: Any) -> Base | None:
    """The format that transformers rounded the weights of a model to, where it is one of ours; None for any other."""
    said = getattr(getattr(model, "config", None), "quantization_config", None) or {}
    record = said if isinstance(said, dict) else said.to_dict()
    if record.get("load_in_4bit"):
        plain = record.get("bnb_4bit_quant_type") == "nf4" and not record.get("bnb_4bit_use_double_quant")
        return "nf4" if plain else None
    return "int8" if record.get("load_in_8bit") else None


def _layers(peft_model: Any) -> Iterator[tuple[str, dict[Factor, nn.Linear]]]:
    """Name of each LoRA layer in the base model, and its two factors.

    Raises:
        ModelError: no PEFT model, several adapters, or layers that are not linear.
    """
    names = list(getattr(peft_model, "peft_config", {}))
    if len(names) != 1:
        said = f"has {len(names)} adapters" if names else "is no PEFT model"
        raise ModelError(f"freeze_factor: the model {said}: give the one that get_peft_model returns, with one adapter")
    found = False
    for name, module in peft_model.named_modules():
        factors = {factor: getattr(module, peft, {}) for factor, peft in PEFT_NAMES.items()}
        if any(names[0] not in one for one in factors.values()):
            if len(getattr(module, "lora_embedding_A", ())):
                raise ModelError(f"freeze_factor: {name} is an embedding: take linear layers as target_modules")
            continue
        layer = {factor: one[names[0]] for factor, one in factors.items()}
        if not all(type(one) is nn.Linear for one in layer.values()):
            raise ModelError(f"freeze_factor: {name} is no linear layer: take linear layers as target_modules")
        found = True
        yield name.removeprefix(_PREFIX), layer
    if not found:
        raise ModelError("freeze_factor: the adapter has no LoRA layer: make it with LoraConfig")


def _frozen(peft_model: Any, mode: Mode, seed: int | None, law: Law | None, links: int = 1) -> Any:
    """Turn the frozen factors of a mode into buffers, and write what was frozen whenever the model is saved."""
    layers = dict(_layers(peft_model))
    [frozen] = MODES[mode].frozen
    for layer in layers.values():
        linear = layer[frozen]
        weight = linear.weight.detach()
        del linear.weight
        linear.register_buffer("weight", weight)
    # Every process has the same draw: nothing to send around in each step.
    ignored = [name for name, _ in peft_model.named_buffers() if f".{PEFT_NAMES[frozen]}." in name]
    peft_model._ddp_params_and_buffers_to_ignore = ignored
    save = peft_model.save_pretrained
    loaded = factor_sha256({name: _rows(layer[frozen], frozen) for name, layer in layers.items()})
    of_weights = MODES[mode].common or law == OF_WEIGHTS  # another draw than that of random_factor

    @functools.wraps(save)
    def save_pretrained(save_directory: str, *args: Any, **kwargs: Any) -> Any:
        returned = save(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True):
            rows = {name: _rows(layer[frozen], frozen) for name, layer in layers.items()}
            drawn = (
                seed is not None
                and law is not None
                and all(
                    factor_sha256(rows) == loaded
                    if of_weights
                    else np.array_equal(one, random_factor(seed, name, one.shape[0], one.shape[1], law, links))
                    for name, one in rows.items()
                )
            )
            [adapter] = peft_model.peft_config
            folder = Path(save_directory) / ("" if adapter == "default" else adapter)
            known = (seed, law) if drawn else (None, None)
            write_provenance(folder, mode, *known, factor_sha256(rows), links, rounding_of(peft_model))
        return returned

    peft_model.save_pretrained = save_pretrained
    return peft_model


def _rows(linear: nn.Linear, factor: Factor) -> NDArray[np.float32]:
    """A factor as (r, width): A itself, or the transpose of B."""
    weight = linear.weight.detach().float().cpu()
    return np.ascontiguousarray((weight if factor == "a" else weight.T).numpy())
