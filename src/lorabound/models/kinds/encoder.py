"""Sentence encoders: texts against class prompts, read by the same frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lorabound.models.kinds.kind import Kind

if TYPE_CHECKING:
    from lorabound.models.classifier import LoadedClassifier


def _load(
    model: str,
    classes: Sequence[str],
    *,
    prompt: str,
    logit_scale: float,
    max_length: int,
    device: Any,
    precision: Any,
    base: Any = None,
    **_: Any,
) -> LoadedClassifier:
    from lorabound.models.encoder import PromptClassifier  # imports torch

    return PromptClassifier.load(model, classes, prompt, logit_scale, max_length, device, precision, base)


def hidden_width(configuration: Mapping[str, Any]) -> int:
    """Width of the hidden states of a text model, by the names that its configuration may use."""
    widths = (configuration.get(name) for name in ("hidden_size", "dim", "d_model", "n_embd"))
    return int(next(filter(None, widths), 768))


ENCODER = Kind(
    name="a sentence encoder",
    reads="texts",
    load=_load,
    prompt="This text is about {}.",  # the best of eight on five sets of real texts: bench/prompts.py, docs/sweep.md
    logit_scale=20.0,
    width=hidden_width,
)
