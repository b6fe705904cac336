"""From a model's name to a classifier of its kind, and to the layers that adapters go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import transformers
from torch import nn

from lorabound.adapters import select_linears
from lorabound.errors import InputError
from lorabound.models.classifier import LoadedClassifier
from lorabound.models.clip import TEXT, VISION, ClipClassifier
from lorabound.models.encoder import PromptClassifier
from lorabound.models.locate import locate_model
from lorabound.models.model_folder import CONFIG, check_values, read_json
from lorabound.models.precision import Precision
from lorabound.models.pretrained import explained, load_part, quiet
from lorabound.models.sequence import SequenceClassifier
from lorabound.models.text import check_vocabulary

Reads = Literal["texts", "images"]
Encoder = Literal["vision", "text", "both"]

# Names of CLIP's linear layers, and what people call them.
_CLIP_NAMES = {
    "q": ["q_proj"], "k": ["k_proj"], "v": ["v_proj"], "out": ["out_proj"], "mlp": ["fc1", "fc2"],
    "query": ["q_proj"], "key": ["k_proj"], "value": ["v_proj"],
}  # fmt: skip
_PARTS: dict[Encoder, tuple[str, ...]] = {"vision": VISION, "text": TEXT, "both": VISION + TEXT}


def reads(model: str) -> Reads:
    """What a model takes, by its ``config.json``: CLIP reads images, any other encoder texts.

    Raises:
        ModelError: no such model, or a configuration that cannot be read.
    """
    kind = read_json(locate_model(model) / CONFIG).get("model_type")
    return "images" if kind == "clip" else "texts"


def load_classifier(
    model: str, classes: Sequence[str], prompt: str, logit_scale: float | None, max_length: int,
    device: torch.device | str | None = None, precision: Precision = "float32", trained_head: bool = False,
) -> LoadedClassifier:  # fmt: skip
    """The classifier of a model's kind; see :class:`PromptClassifier`, :class:`ClipClassifier`,
    :class:`SequenceClassifier`.

    ``logit_scale`` None takes the checkpoint's for CLIP and 20 for text encoders, which record none.

    Raises:
        ModelError, InputError: as these do; a trained head on a CLIP.
    """
    takes = reads(model)
    if trained_head and takes == "images":
        raise InputError(f"{model} is a CLIP, its classes are prompts: a trained head is for sequence classifiers")
    if trained_head:
        return SequenceClassifier(model, classes, max_length, device, precision)
    if takes == "images":
        return ClipClassifier(model, classes, prompt, logit_scale, device, precision)
    return PromptClassifier(model, classes, prompt, logit_scale or 20.0, max_length, device, precision)


def model_outline(folder: Path) -> nn.Module:
    """The model of a folder with shapes and names but without weights, as a sweep adapts it.

    Raises:
        ModelError: transformers cannot read its configuration.
    """
    with explained(folder, "a model"), quiet(), torch.device("meta"):
        module = transformers.AutoModel.from_config(
            transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        )
    if getattr(module, "pooler", None) is not None:
        module.pooler = None  # it is not on the way to the embedding
    return module  # type: ignore[no-any-return]


def check_model(folder: Path, module: nn.Module, takes: Reads) -> None:
    """See that a sweep could load the model of an outline: finite weights, and a vector for every token.

    Raises:
        ModelError: it could not; see :func:`check_values` and :func:`check_vocabulary`.
    """
    check_values(folder)
    reader: nn.Module = module.get_submodule("text_model") if takes == "images" else module
    tokenizer = load_part(transformers.AutoTokenizer, folder, "a text encoder" if takes == "texts" else "a CLIP model")
    check_vocabulary(folder, tokenizer, reader)


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
