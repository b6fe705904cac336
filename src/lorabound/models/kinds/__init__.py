"""Kinds of models, one file each: what the model reads, its defaults, how it is loaded, its layers. No torch.

A new kind is a new file with a :class:`Kind`, and an entry of ``KINDS``. Code that computes with the weights stands in
``lorabound.models`` (``encoder``, ``sequence``, ``clip``, ``causal``) and is imported when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from lorabound.errors import InputError
from lorabound.models.kinds.causal import CAUSAL
from lorabound.models.kinds.clip import CLIP
from lorabound.models.kinds.encoder import ENCODER
from lorabound.models.kinds.kind import Kind, Tower
from lorabound.models.kinds.sequence import SEQUENCE
from lorabound.models.locate import has_sentence_modules, read_configuration

KINDS: tuple[Kind, ...] = (ENCODER, SEQUENCE, CLIP, CAUSAL)

_CLASSES = {"prompts": "prompts", "trained": "rows of a head that is trained"}

__all__ = ["CAUSAL", "CLIP", "ENCODER", "KINDS", "SEQUENCE", "Kind", "Tower", "find_kind"]


def find_kind(
    model: str, head: Literal["prompts", "trained"] = "prompts", configuration: Mapping[str, Any] | None = None
) -> Kind:
    """The kind of a model, by its ``config.json`` and by what its classes are.

    Args:
        model: packaged model, local folder or hub name.
        head: what scores the classes: prompts, or a head that is trained.
        configuration: content of ``config.json``, where it has been read already.
    Raises:
        ModelError: no such model, or a configuration that cannot be read.
        InputError: the classes of such a model are something else.
    """
    configuration = read_configuration(model) if configuration is None else configuration
    candidates = [kind for kind in KINDS if kind.knows and kind.knows(configuration)]
    if any(kind.yields_to_sentences for kind in candidates) and has_sentence_modules(model):
        candidates = []
    candidates = candidates or [kind for kind in KINDS if kind.knows is None]
    for kind in candidates:
        if kind.head == head:
            targets = kind.targets_of and kind.targets_of(configuration)
            return replace(kind, targets=targets) if targets else kind
    others = " or ".join(kind.name for kind in KINDS if kind.head == head)
    raise InputError(
        f"{model} is {candidates[0].name}, its classes are {_CLASSES[candidates[0].head]}: head {head} is for {others}"
    )
