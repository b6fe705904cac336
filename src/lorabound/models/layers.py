"""The linear layers of a model, and which of them get adapters; read from the headers of its files of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from lorabound.adapters import select_linears
from lorabound.errors import ModelError
from lorabound.models.classifier import Tower
from lorabound.models.locate import Reads

Encoder = Literal["vision", "text", "both"]

VISION: Tower = ("vision_model", "visual_projection")
TEXT: Tower = ("text_model", "text_projection")

# Names of CLIP's linear layers, and what people call them.
_CLIP_NAMES = {
    "q": ["q_proj"], "k": ["k_proj"], "v": ["v_proj"], "out": ["out_proj"], "mlp": ["fc1", "fc2"],
    "query": ["q_proj"], "key": ["k_proj"], "value": ["v_proj"],
}  # fmt: skip
_PARTS: dict[Encoder, tuple[str, ...]] = {"vision": VISION, "text": TEXT, "both": VISION + TEXT}
# Parts of a checkpoint that hold a matrix and are no linear layer of the encoder: tables that are looked up; heads.
_NO_LAYER = ("embed", "wte", "wpe", "position", "relative_attention_bias", "shared")
_HEADS = (
    "pooler",
    "cls",
    "lm_head",
    "classifier",
    "pre_classifier",
    "qa_outputs",
    "vocab_projector",
    "vocab_transform",
)


def target_names(takes: Reads, targets: Sequence[str]) -> list[str]:
    """What the model calls its linear layers: for CLIP q, k, v, out and mlp are q_proj, ..., fc1 and fc2."""
    if takes == "texts":
        return list(targets)
    return [name for target in targets for name in _CLIP_NAMES.get(target, [target])]


def adapted_layers(
    module: nn.Module, takes: Reads, targets: Sequence[str], layers: Sequence[int] | str | None, encoder: Encoder
) -> dict[str, tuple[int, int]]:
    """Module name -> (d_out, d_in) of the layers that adapters go on; see :func:`lorabound.adapters.select_linears`.

    For CLIP ``encoder`` says in which towers; other models do not read it.
    """
    within = _PARTS[encoder] if takes == "images" else ("",)
    return select_linears(module, target_names(takes, targets), layers, within)


def weight_outline(folder: Path) -> tuple[nn.Module, int]:
    """A module with the linear layers of a model under their names, nothing in them; and the count of all weights.

    It is what :func:`lorabound.models.model_outline` makes with transformers, which takes seconds to import, as far as
    names and sizes of linear layers go. A prefix for the whole encoder ("bert.") stays in the names.

    Raises:
        ModelError: a file of weights cannot be read.
    """
    root, n_weights = nn.Module(), 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} cannot be read as safetensors: {error}") from None
        for name, shape in shapes.items():
            parts = name.split(".")
            if any(part in _HEADS for part in parts):
                continue
            n_weights += math.prod(shape)
            if len(shape) == 2 and parts[-1] == "weight" and not any(word in name for word in _NO_LAYER):
                _put(root, parts[:-1], shape)
    return root, n_weights


def _put(root: nn.Module, parts: Sequence[str], shape: Sequence[int]) -> None:
    at = root
    for part in parts[:-1]:
        if part not in dict(at.named_children()):
            at.add_module(part, nn.Module())
        at = at.get_submodule(part)
    with torch.device("meta"):
        at.add_module(parts[-1], nn.Linear(shape[1], shape[0], bias=False))
