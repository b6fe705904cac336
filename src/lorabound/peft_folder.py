"""PEFT LoRA adapters on disk, of anybody: configuration, scales, and one pair of factors at a time. Needs no torch.

    adapter_config.json         PEFT's configuration
    adapter_model.safetensors   A and B of every layer, under PEFT's names

Tensors are read one by one from the places the file's header names: the memory needed is that of one pair of
factors, whatever the size of the file. Only safetensors are read; a pickle is refused.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lorabound.errors import AdapterError

Array = NDArray[np.floating[Any]]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_FACTOR = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight$")
_BF16 = "BF16"  # NumPy has none: its bits are the upper half of a float32
_LARGEST = np.finfo(np.float32).max
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", _BF16: "<u2"}

# PEFT options under which s B A is not how much training changed W; the values that are harmless; why.
_UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "use_dora": ((False, None), "DoRA rescales the columns of W + s B A"),
    "use_qalora": ((False, None), "QALoRA pools the input before A"),
    "use_bdlora": ((None, False), "a factor of BD-LoRA stands for a block-diagonal matrix"),
    "kasa_config": ((None,), "KaSA puts a diagonal between B and A and cuts W"),
    "arrow_config": ((None,), "Arrow mixes several adapters by input"),
    "target_parameters": ((None, []), "one pair of factors holds those of several experts"),
    "init_lora_weights": (
        (True, False, None, "gaussian", "orthogonal", "eva"),  # the others: PiSSA, OLoRA, LoftQ, CorDA, ...
        "this initialization may change the frozen weight W too",
    ),
}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a safetensors file: what the header says of it, and where its bytes start."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class PeftAdapter:
    """An adapter whose header has been read and whose factors have not.

    Attributes:
        weights: the safetensors file.
        config: content of ``adapter_config.json``.
        layers: module name -> (tensor of B, tensor of A).
        others: tensors that are no factors of a linear layer: biases, trained heads, embeddings, convolutions.
    """

    weights: Path
    config: dict[str, Any]
    layers: dict[str, tuple[Tensor, Tensor]]
    others: tuple[Tensor, ...]

    def factors(self) -> Iterator[tuple[str, Array, Array, float]]:
        """(module name, B (d_out, r), A (r, d_in), scale s), a layer at a time; bfloat16 becomes float32.

        Raises:
            AdapterError: a value that is not finite, or a layer whose scale the configuration does not tell.
        """
        for module, (b, a) in self.layers.items():
            scale = _scale(self.config, module, a.shape[0], self.weights.with_name(CONFIG))
            yield module, _read(self.weights, b), _read(self.weights, a), scale

    def read(self, tensor: Tensor) -> Array:
        """The values of one tensor; bfloat16 becomes float32.

        Raises:
            AdapterError: another number format, or a value that is not finite.
        """
        if tensor.dtype not in _DTYPES:
            known = ", ".join(_DTYPES)
            raise AdapterError(f"{self.weights}: tensor {tensor.key} is {tensor.dtype}, expected one of {known}")
        return _read(self.weights, tensor)


def open_adapter(path: str | os.PathLike[str]) -> PeftAdapter:
    """Open a PEFT folder, or a safetensors file of one: its configuration has to stand beside it.

    Raises:
        AdapterError: nothing there, a pickle, a damaged file, another PEFT method than LoRA, an option under which
            s B A is not the change of the layer (DoRA, PiSSA, ...), factors that do not match, or none.
    """
    path = Path(path)
    weights = path / WEIGHTS if path.is_dir() else path
    if not path.exists():
        raise AdapterError(f"no adapter folder at {path}")
    if not weights.is_file() or weights.suffix != ".safetensors":
        found = [path] if path.is_file() else sorted(path.iterdir())
        pickles = [file for file in found if file.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]
        if pickles:
            raise AdapterError(
                f"{pickles[0]} is a pickle, which can run code when it is read: "
                f"save the adapter as {WEIGHTS} (PEFT does by default)"
            )
        raise AdapterError(f"{path} holds no {WEIGHTS}: it is not a PEFT adapter folder")
    config_path = weights.with_name(CONFIG)
    if path.is_file() and not config_path.is_file():
        raise AdapterError(f"{path} has no {CONFIG} beside it: the scale alpha / r of its factors stands there")
    config = read_json(config_path)
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{config_path}: peft_type is {config.get('peft_type')!r}, only LORA is supported")
    for option, (harmless, why) in _UNSUPPORTED.items():
        if config.get(option) not in harmless:
            raise AdapterError(f"{config_path}: {option} = {config[option]!r} is not supported: {why}")
    layers, others = _pair(_header(weights), weights)
    return PeftAdapter(weights, config, layers, others)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object a file holds, or an AdapterError that names the file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path} cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise AdapterError(f"{path}: expected a JSON object")
    return record


def _header(path: Path) -> list[Tensor]:
    """The tensors of a safetensors file: 8 bytes that hold n, n bytes of JSON, then the values."""
    try:
        with safe_open(path, framework="np"):
            pass  # opening checks every entry of the header against the size of the file
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read ({error}): the file is damaged or unfinished") from None
    return [
        Tensor(key, entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])
        for key, entry in header.items()
        if key != "__metadata__"
    ]


def _pair(tensors: list[Tensor], path: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], tuple[Tensor, ...]]:
    found: dict[str, dict[str, Tensor]] = {}
    others = []
    for tensor in tensors:
        match = _FACTOR.match(tensor.key)
        if match is None or len(tensor.shape) != 2:
            others.append(tensor)
            continue
        if tensor.dtype not in _DTYPES:
            raise AdapterError(f"{path}: tensor {tensor.key} is {tensor.dtype}, expected one of {', '.join(_DTYPES)}")
        found.setdefault(match["module"], {})[match["factor"]] = tensor
    if not found:
        raise AdapterError(
            f"{path} holds no LoRA factors of linear layers"
            + (f": its first tensor is {others[0].key} {list(others[0].shape)}" if others else "")
        )
    for module, pair in found.items():
        if len(pair) != 2 or pair["A"].shape[0] != pair["B"].shape[1] or 0 in pair["A"].shape + pair["B"].shape:
            raise AdapterError(f"{path}: {module} needs lora_A (r, d_in) and lora_B (d_out, r) of one rank r")
    for tensor in others:
        module, lora, part = tensor.key.removeprefix("base_model.model.").partition(".lora_")
        if lora and module in found and part != "B.bias":
            raise AdapterError(f"{path}: tensor {tensor.key} is not known: it may change what A and B of its layer do")
    return {module: (pair["B"], pair["A"]) for module, pair in found.items()}, tuple(others)


def _read(path: Path, tensor: Tensor) -> Array:
    values = np.fromfile(path, _DTYPES[tensor.dtype], math.prod(tensor.shape), offset=tensor.start)
    if tensor.dtype == _BF16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if not (np.abs(values) <= _LARGEST).all():
        raise AdapterError(f"{path}: {tensor.key} holds values that are not finite: the training run diverged")
    return values.reshape(tensor.shape)


def _scale(config: dict[str, Any], module: str, rank: int, path: Path) -> float:
    """PEFT's scale of one module: alpha / r, or alpha / sqrt(r) with rsLoRA."""
    stated = _by_module(config, "rank_pattern", module, config.get("r"), path)
    if stated != rank:
        raise AdapterError(f"{path}: r is {stated!r} for {module}, whose factors have rank {rank}")
    alpha = _by_module(config, "alpha_pattern", module, config.get("lora_alpha"), path)
    try:
        alpha = float(alpha)
    except (TypeError, ValueError, OverflowError):
        alpha = math.nan
    if not math.isfinite(alpha):
        raise AdapterError(f"{path}: lora_alpha is missing or not a number")
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank


def _by_module(config: dict[str, Any], option: str, module: str, default: Any, path: Path) -> Any:
    """PEFT's rule for its patterns: the first key that matches the end of the name."""
    try:
        for pattern, value in (config.get(option) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
    except (AttributeError, re.error) as error:
        raise AdapterError(f"{path}: {option} must map regular expressions to numbers ({error})") from None
    return default
