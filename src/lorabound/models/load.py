"""From a model's name to a classifier of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from torch import nn

from lorabound.errors import InputError
from lorabound.models.classifier import LoadedClassifier
from lorabound.models.clip import ClipClassifier
from lorabound.models.encoder import PromptClassifier
from lorabound.models.locate import reads
from lorabound.models.precision import Precision
from lorabound.models.pretrained import explained, quiet
from lorabound.models.sequence import SequenceClassifier


def load_classifier(
    model: str, classes: Sequence[str], prompt: str, logit_scale: float | None, max_length: int,
    device: torch.device | str | None = None, precision: Precision = "float32", trained_head: bool = False,
    head_by_name: bool = True,
) -> LoadedClassifier:  # fmt: skip
    """The classifier of a model's kind; see :class:`PromptClassifier`, :class:`ClipClassifier`,
    :class:`SequenceClassifier`.

    ``logit_scale`` None takes the checkpoint's for CLIP and 20 for text encoders, which record none; ``head_by_name``
    is the ``by_name`` of a trained head.

    Raises:
        ModelError, InputError: as these do; a trained head on a CLIP.
    """
    takes = reads(model)
    if trained_head and takes == "images":
        raise InputError(f"{model} is a CLIP, its classes are prompts: a trained head is for sequence classifiers")
    if trained_head:
        return SequenceClassifier(model, classes, max_length, device, precision, head_by_name)
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
