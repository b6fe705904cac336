"""PEFT LoRA adapters on disk, whoever made them: configuration, scales, one pair of factors at a time. Needs no torch.

    adapter_config.json         PEFT's configuration
    adapter_model.safetensors   A and B of every layer, under PEFT's names

Tensors are read one by one from the places the file's header names: the memory needed is that of one pair of
factors, whatever the size of the file. Only safetensors are read; a pickle is refused.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters.patterns import first_matches
from lorabound.adapters.tensors import BF16, DTYPES, Tensor, pair, read_header
from lorabound.errors import AdapterError, OtherAdapter, first_line

Array = NDArray[np.floating[Any]]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST = np.finfo(np.float32).max

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


@dataclass(frozen=True, kw_only=True)
class PeftAdapter:
    """An adapter whose header has been read and whose factors have not.

    Attributes:
        weights: safetensors file.
        config: content of ``adapter_config.json``.
        layers: module name -> (tensor of B, tensor of A).
        others: tensors of other known kinds: biases, trained heads, embeddings, convolutions; see
            :attr:`Tensor.kind`.
    """

    weights: Path
    config: dict[str, Any]
    layers: dict[str, tuple[Tensor, Tensor]]
    others: tuple[Tensor, ...]

    def factors(self) -> Iterator[tuple[str, Array, Array, float]]:
        """(module name, B (d_out, r), A (r, d_in), scale s), one layer at a time; bfloat16 becomes float32.

        Raises:
            AdapterError: a value that is not finite, or a layer whose scale the configuration does not tell.
        """
        for module in self.layers:
            yield module, *self.factors_of(module)

    def factors_of(self, module: str) -> tuple[Array, Array, float]:
        """(B (d_out, r), A (r, d_in), scale s) of one layer; errors as in :meth:`factors`."""
        b, a = self.layers[module]
        return _read(self.weights, b), _read(self.weights, a), self._scale(module, a.shape[0])

    def _scale(self, module: str, rank: int) -> float:
        """PEFT's scale of one module: alpha / r, or alpha / sqrt(r) with rsLoRA."""
        path = self.weights.with_name(CONFIG)
        stated, alpha = self._stated[module]
        if stated != rank:
            raise AdapterError(f"{path}: r is {stated!r} for {module}, whose factors have rank {rank}")
        try:
            alpha = float(alpha)
        except (TypeError, ValueError, OverflowError):
            alpha = math.nan
        if not math.isfinite(alpha):
            raise AdapterError(f"{path}: lora_alpha is missing or not a number")
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    @cached_property
    def _stated(self) -> dict[str, tuple[Any, Any]]:
        """Rank and alpha of each module as the configuration says them."""
        path, modules = self.weights.with_name(CONFIG), list(self.layers)
        ranks = _by_module(self.config, "rank_pattern", modules, self.config.get("r"), path)
        alphas = _by_module(self.config, "alpha_pattern", modules, self.config.get("lora_alpha"), path)
        return dict(zip(modules, zip(ranks, alphas, strict=True), strict=True))

    def read(self, tensor: Tensor) -> Array:
        """The values of one tensor; bfloat16 becomes float32.

        Raises:
            AdapterError: another number format, or a value that is not finite.
        """
        if tensor.dtype not in DTYPES:
            known = ", ".join(DTYPES)
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
        raise AdapterError(f"no adapter folder at {path}{_meant(path)}")
    if not weights.is_file() or weights.suffix != ".safetensors":
        found = [path] if path.is_file() else sorted(path.iterdir())
        pickles = [file for file in found if file.suffix in (".bin", ".pt", ".pth", ".pkl", ".ckpt")]
        if pickles:
            raise AdapterError(
                f"{pickles[0]} is a pickle, which can run code when it is read, so it is left alone: load the adapter "
                f"with PEFT, if you trust who made it, and save it anew, as {WEIGHTS}: "
                "PeftModel.from_pretrained(MODEL, FOLDER).save_pretrained(NEW_FOLDER)"
            )
        if path.is_file():
            raise AdapterError(f"{path} is no safetensors file: give the folder of a PEFT adapter")
        inside = sorted(file.parent for pattern in ("*", "adapters/*") for file in path.glob(f"{pattern}/{WEIGHTS}"))
        hint = f"; name one of those in it, as {inside[0]}" if inside else ""
        raise AdapterError(f"{path} holds no {WEIGHTS}: it is not a PEFT adapter folder{hint}")
    config_path = weights.with_name(CONFIG)
    if path.is_file() and not config_path.is_file():
        raise AdapterError(f"{path} has no {CONFIG} beside it: the scale alpha / r of its factors stands there")
    if not config_path.is_file():
        raise AdapterError(
            f"{path} holds {WEIGHTS} but no {CONFIG}: rank, alpha and the name of the model stand there; copy the one "
            "that PEFT wrote beside the weights"
        )
    config = read_json(config_path)
    if config.get("peft_type") != "LORA":
        raise OtherAdapter(f"{config_path}: peft_type is {config.get('peft_type')!r}, only LORA is supported")
    for option, (harmless, why) in _UNSUPPORTED.items():
        if config.get(option) not in harmless:
            raise OtherAdapter(f"{config_path}: {option} = {config[option]!r} is not supported: {why}")
    layers, others = pair(read_header(weights), weights)
    return PeftAdapter(weights=weights, config=config, layers=layers, others=others)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object a file holds, or an AdapterError that names the file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path} cannot be read as JSON ({first_line(error)}): it is damaged or cut off") from None
    if not isinstance(record, dict):
        raise AdapterError(f"{path}: expected a JSON object")
    return record


def _meant(path: Path) -> str:
    """The adapter folder beside it that a mistyped path seems to stand for."""
    try:
        beside = [folder.name for folder in path.parent.iterdir() if (folder / WEIGHTS).is_file()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, beside, 1, 0.75)
    return f": did you mean {path.with_name(near[0])} ?" if near else ""


def _read(path: Path, tensor: Tensor) -> Array:
    values = np.fromfile(path, DTYPES[tensor.dtype], math.prod(tensor.shape), offset=tensor.start)
    if tensor.dtype == BF16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    if not (np.abs(values) <= _LARGEST).all():
        raise AdapterError(
            f"{path}: {tensor.key} holds values that are not finite: the training run diverged, train "
            "again with a lower learning rate"
        )
    return values.reshape(tensor.shape)


def _by_module(config: Mapping[str, Any], option: str, modules: Sequence[str], default: Any, path: Path) -> list[Any]:
    """What the configuration says of each module: by the first pattern that matches it, or for all."""
    values = config.get(option) or {}
    if not isinstance(values, dict):
        raise AdapterError(f"{path}: {option} must map regular expressions to numbers")
    found = first_matches(list(values), modules, f"{path}: {option}")
    return [default if i is None else list(values.values())[i] for i in found]
