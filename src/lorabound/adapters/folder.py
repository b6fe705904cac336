"""Adapters on disk: PEFT folders that PEFT reads unchanged, plus one file of ours that keeps the frozen factor frozen.

    adapter_config.json         PEFT's configuration
    adapter_model.safetensors   A and B of every layer, and a trained head, under PEFT's names
    lorabound.json              mode, seed and law of the random factor, SHA-256 of the frozen factors; the format and
                                SHA-256 of the model where it was quantized
    lorabound.safetensors       where B is made of something smaller: what is trained, and what is frozen in B

PEFT has no field for a frozen factor: a folder reloaded by PEFT for training trains both. Reloaded here, it
does not. Only safetensors are read; a pickle is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from lorabound.adapters.adapter import Adapter, Array, Factors, Head, QuantizedBase
from lorabound.adapters.entries import THETA, entry_name, same_numbers
from lorabound.adapters.frozen import random_factor
from lorabound.adapters.peft_folder import CONFIG, WEIGHTS, PeftAdapter, open_adapter, read_json
from lorabound.adapters.targets import CONV1D_KINDS, is_decoder
from lorabound.errors import AdapterError, InputError, OtherAdapter
from lorabound.files import drafted, write_text
from lorabound.modes import MODES, PEFT_NAMES, Mode
from lorabound.notation import RANDOM_LAWS, Base, Law

OURS, PARTS = "lorabound.json", "lorabound.safetensors"

# PEFT options that leave s B A alone and change something else in the model, and the values under which they do not.
_UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "bias": (("none", None), "biases of the model were trained too"),
    "lora_bias": ((False, None), "B has a bias of its own"),
    "trainable_token_indices": ((None, [], {}), "embeddings of tokens were trained too"),
    "layer_replication": ((None, []), "layers of the model are run several times"),
    "alora_invocation_tokens": ((None, []), "the adapter works from certain tokens on only"),
}


class Provenance(BaseModel):
    """The content of ``lorabound.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal[1] = 1
    mode: Mode
    seed: int | None
    law: Law | None
    frozen_sha256: str | None
    links: int = Field(1, ge=1)
    base: Base | None = None
    base_sha256: str | None = None

    def text(self) -> str:
        """The file; one link and no rounding are not written: folders are as they were before there were any."""
        left_out = {"links"} if self.links == 1 else set[str]()
        left_out |= {"base", "base_sha256"} if self.base is None else set[str]()
        return self.model_dump_json(indent=2, exclude=left_out) + "\n"


def save_adapter(
    adapter: Adapter, folder: str | os.PathLike[str], base_model: str | None = None, base_class: type | None = None
) -> Path:
    """Write a PEFT folder under a temporary name, then rename it: the folder is complete or does not exist.

    An adapter that is in the folder already is replaced; a folder of anything else is refused.

    Args:
        adapter: adapter to write.
        folder: new folder, or one that holds an adapter.
        base_model: folder or hub name that ``from_pretrained`` takes, recorded as PEFT's ``base_model_name_or_path``.
        base_class: transformers' class of the model, by which ``AutoPeftModel`` loads it.
    Raises:
        AdapterError: the folder exists and is not an adapter.
        OutputError: the place cannot be written.

    >>> import lorabound as lb
    >>> from lorabound.adapters import new_adapter
    >>> adapter = new_adapter({"fc": (6, 4)}, 2, "freeze_a", seed=0, law="gaussian", alpha_over_r=2.0)
    >>> lb.save_adapter(adapter, "my-adapter").name
    'my-adapter'
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file():
        raise AdapterError(f"{folder} exists and is not an adapter folder: choose another name")
    tensors = {}
    for name, factors in adapter.layers.items():
        for factor, peft_name in PEFT_NAMES.items():
            tensors[f"base_model.model.{name}.{peft_name}.weight"] = np.ascontiguousarray(getattr(factors, factor))
    if adapter.head:
        tensors[f"base_model.model.{adapter.head.name}.weight"] = np.ascontiguousarray(adapter.head.weight)
        tensors[f"base_model.model.{adapter.head.name}.bias"] = np.ascontiguousarray(adapter.head.bias)
        tensors |= {f"base_model.model.{name}": np.ascontiguousarray(x) for name, x in adapter.head.beside.items()}
    provenance = Provenance(
        mode=adapter.mode,
        seed=adapter.seed,
        law=adapter.law,
        frozen_sha256=adapter.frozen_sha256(),
        links=adapter.links,
        base=adapter.base.format if adapter.base else None,
        base_sha256=adapter.base.sha256 if adapter.base else None,
    )
    parts = _parts(adapter)
    with drafted(folder) as draft:
        draft.mkdir()
        if parts:
            (draft / PARTS).write_bytes(save(parts))
        (draft / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        (draft / CONFIG).write_text(json.dumps(_peft_config(adapter, base_model, base_class), indent=2) + "\n")
        (draft / OURS).write_text(provenance.text())
    return folder


def write_provenance(
    folder: str | os.PathLike[str],
    mode: Mode,
    seed: int | None,
    law: Law | None,
    frozen_sha256: str,
    links: int = 1,
    base: Base | None = None,
) -> Path:
    """Write ``lorabound.json`` into a folder that PEFT wrote, so that its frozen factor stays frozen; returns its path.

    Args:
        folder: folder of the adapter.
        mode: mode that it was trained in.
        seed: seed that the frozen factors were drawn from; None where they are not its draw to the last bits.
        law: law of their entries; None as for ``seed``.
        frozen_sha256: :func:`lorabound.adapters.factor_sha256` of the frozen factors.
        links: number of links of a chain.
        base: format that the weights of its model were rounded to.
    Raises:
        OutputError: it cannot be written.
    """
    record = Provenance(mode=mode, seed=seed, law=law, frozen_sha256=frozen_sha256, links=links, base=base)
    return write_text(Path(folder) / OURS, record.text())


def load_adapter(folder: str | os.PathLike[str], mode: Mode = "train_both") -> Adapter:
    """Read a PEFT folder, ours or anybody's.

    Args:
        folder: PEFT's folder of the adapter.
        mode: mode of the adapter where the folder does not record one, as ours do.
    Raises:
        AdapterError: no such folder, a pickle, a damaged file, a PEFT option that changes what the layer
            computes (DoRA, biases, more than one trained head, ...), or a frozen factor that is not the one recorded.

    >>> import lorabound as lb
    >>> from lorabound.adapters import new_adapter
    >>> adapter = new_adapter({"fc": (6, 4)}, 2, "freeze_a", seed=0, law="gaussian", alpha_over_r=2.0)
    >>> again = lb.load_adapter(lb.save_adapter(adapter, "my-adapter"))
    >>> again.mode, again.n_params
    ('freeze_a', 12)
    """
    folder = Path(folder)
    if folder.is_file():
        raise AdapterError(f"{folder} is a file: name the adapter folder it stands in")
    source = open_adapter(folder)
    for option, (harmless, why) in _UNSUPPORTED.items():
        if source.config.get(option) not in harmless:
            raise OtherAdapter(f"{folder / CONFIG}: {option} = {source.config[option]!r} is not supported: {why}")
    head = _head(source)
    layers = {
        name: Factors(a=a.astype(np.float32, copy=False), b=b.astype(np.float32, copy=False), scale=scale)
        for name, b, a, scale in source.factors()
    }
    if not (folder / OURS).is_file():
        return Adapter(layers=layers, mode=mode, head=head)
    provenance = _provenance(folder)
    base = QuantizedBase(format=provenance.base, sha256=provenance.base_sha256) if provenance.base else None
    adapter = Adapter(
        layers=layers,
        mode=provenance.mode,
        seed=provenance.seed,
        law=provenance.law,
        head=head,
        links=provenance.links,
        base=base,
    )
    if odd := [name for name, factors in layers.items() if factors.rank % adapter.links]:
        raise AdapterError(
            f"{folder}: {OURS} records a chain of {adapter.links} links, and rank {layers[odd[0]].rank} of {odd[0]} "
            "cannot be divided by it: the files are not of one adapter; copy both from where it was saved"
        )
    if not MODES[provenance.mode].trains_factors:
        adapter = _with_parts(adapter, folder)
    if adapter.frozen_sha256() != provenance.frozen_sha256:
        raise AdapterError(
            f"{folder}: the frozen factor is not the one recorded in {OURS}: "
            "something trained or changed it after it was saved"
        )
    if not _drawn_from_seed(adapter):
        raise AdapterError(f"{folder}: the frozen factor is not what seed {adapter.seed} of {OURS} draws")
    return adapter


def provenance_of(path: str | os.PathLike[str]) -> Provenance | None:
    """What ``lorabound.json`` beside an adapter records; None without that file.

    Args:
        path: folder of the adapter, or a file in it.
    Raises:
        AdapterError: the file cannot be read.
    """
    place = Path(path) if Path(path).is_dir() else Path(path).parent
    return _provenance(place) if (place / OURS).is_file() else None


def folder_sha256(folder: str | os.PathLike[str]) -> str:
    """SHA-256 over the files of a folder that decide what its adapter computes, each with its name.

    Raises:
        AdapterError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, OURS, PARTS):
        path = Path(folder) / name
        if name in (OURS, PARTS) and not path.exists():
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            raise AdapterError(f"{path} cannot be read ({error.strerror})") from None
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _provenance(folder: Path) -> Provenance:
    try:
        return Provenance.model_validate(read_json(folder / OURS))
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        raise AdapterError(f"{folder / OURS}: {said}; copy the file from where the adapter was saved") from None


def _head(source: PeftAdapter) -> Head | None:
    """The linear layer that PEFT saved with all its entries; None without any."""
    saved = source.config.get("modules_to_save") or []
    parts = {tensor.key.removeprefix("base_model.model."): tensor for tensor in source.others}
    if not saved and not parts:
        return None
    names = {name.rsplit(".", 1)[0] for name in parts}
    heads = [name for name in names if name.rsplit(".", 1)[-1] in saved]  # PEFT also lists names that no layer has
    known = {f"{heads[0]}.weight", f"{heads[0]}.bias"} if len(heads) == 1 else set()
    if not known <= set(parts) or not known or not all(name.endswith(heads[0]) for name in names):
        rest = f" and {len(source.others) - 2} more" if len(source.others) > 2 else ""
        found = ", ".join(f"{tensor.key} {tensor.shape}" for tensor in source.others[:2]) + rest
        raise OtherAdapter(
            f"{source.weights}: beside LoRA factors of linear layers one trained head with a bias may stand, "
            f"found {found or 'nothing else'} (modules_to_save = {saved})"
        )
    values = {name: source.read(tensor).astype(np.float32) for name, tensor in parts.items()}
    weight, bias = values.pop(f"{heads[0]}.weight"), values.pop(f"{heads[0]}.bias")
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise AdapterError(f"{source.weights}: {heads[0]} is no linear layer: weight {weight.shape}, bias {bias.shape}")
    return Head(name=heads[0], weight=weight, bias=bias, beside=values)


def _parts(adapter: Adapter) -> dict[str, Array]:
    """What no file of PEFT has: the vector, or M and the frozen part of B of every layer."""
    parts = {} if adapter.theta is None else {THETA: np.ascontiguousarray(adapter.theta)}
    for name, factors in adapter.layers.items():
        if factors.m is not None and factors.basis is not None:
            parts[entry_name(name, "m")] = np.ascontiguousarray(factors.m)
            parts[_basis_name(name)] = np.ascontiguousarray(factors.basis)
    return parts


def _basis_name(module: str) -> str:
    return f"{module}.basis"


def _with_parts(adapter: Adapter, folder: Path) -> Adapter:
    """The adapter with what is trained in it, which must make the B that PEFT's file has.

    Raises:
        AdapterError: it does not, or cannot be read.
    """
    path = folder / PARTS
    try:
        parts = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise AdapterError(
            f"{path} cannot be read ({error}): it holds what mode {adapter.mode} trains; copy it from where the "
            "adapter was saved"
        ) from None
    layers = dict(adapter.layers)
    try:
        if "theta" in MODES[adapter.mode].trained:
            theta = parts[THETA].astype(np.float32)
            if theta.ndim != 1:
                raise InputError(f"{THETA} has shape {theta.shape} there and is no vector")
            adapter = replace(adapter, theta=theta)
            copies = adapter.copies()
            made = {name: copies[name].of(theta) for name in layers}
        else:
            for name, old in layers.items():
                m, basis = (parts[key].astype(np.float32) for key in (entry_name(name, "m"), _basis_name(name)))
                if basis.shape != old.b.shape or m.shape != (old.rank, old.rank):
                    raise InputError(f"{name} has other shapes there")
                layers[name] = replace(old, m=m, basis=basis)
            made = {name: factors.basis @ factors.m for name, factors in layers.items()}  # type: ignore[operator]
    except (KeyError, InputError, ValueError) as error:
        raise AdapterError(f"{path} does not fit {folder / WEIGHTS}: {error}; save the adapter again") from None
    if other := [name for name, b in made.items() if not same_numbers(b, layers[name].b)]:
        raise AdapterError(
            f"{folder}: B of {other[0]} is not the one that {PARTS} makes: something trained or changed it after it "
            "was saved"
        )
    return replace(adapter, layers={name: replace(old, b=made[name]) for name, old in layers.items()})


def _drawn_from_seed(adapter: Adapter) -> bool:
    """Whether the frozen factors are the draw their seed names; true where no random draw is claimed.

    What starts from the weights of a model is compared with them when the model is there.
    """
    facts = MODES[adapter.mode]
    if adapter.seed is None or adapter.law not in RANDOM_LAWS or facts.common:
        return True
    return all(
        np.allclose(
            rows,
            random_factor(adapter.seed, stream, len(rows), rows.shape[1], adapter.law, adapter.links),
            rtol=1e-5,
            atol=1e-7,
        )
        for stream, rows in adapter.frozen().items()
    )


def _peft_config(adapter: Adapter, base_model: str | None, base_class: type | None) -> dict[str, Any]:
    ranks = {name: f.rank for name, f in adapter.layers.items()}
    alphas = {name: _tidy(f.scale * f.rank) for name, f in adapter.layers.items()}
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    task = "SEQ_CLS" if adapter.head else "CAUSAL_LM" if base_class and is_decoder(base_class.__name__) else None
    # PEFT finds the class of the base model by the task, or where there is none by this entry.
    found_by = (
        {"base_model_class": base_class.__name__, "parent_library": base_class.__module__} if base_class else None
    )
    return {
        "peft_type": "LORA",
        "task_type": task,
        "auto_mapping": None if task else found_by,
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": _keeps_transposes(base_class),
        "modules_to_save": [adapter.head.name.rsplit(".", 1)[-1]] if adapter.head else None,
        "target_modules": sorted(adapter.layers),
        "rank_pattern": {"^" + re.escape(name): r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {"^" + re.escape(name): x for name, x in alphas.items() if x != alpha},
    }


def _keeps_transposes(base_class: type | None) -> bool:
    """Whether the layers of the model as transformers loads it are ``Conv1D`` (GPT-2)."""
    return getattr(getattr(base_class, "config_class", None), "model_type", None) in CONV1D_KINDS


def _tidy(alpha: float) -> int | float:
    return int(alpha) if alpha == int(alpha) else alpha
