"""Layers that a trainer's file names, and the scale of its adapter, as settings of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lorabound.adapters.targets import OUTPUT_LAYERS
from lorabound.trainers.keys import Keys
from lorabound.trainers.trainer_file import OwnLora

_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in")
_PATTERN = frozenset("*+?()[]{}|\\^$")


def adapter_settings(keys: Keys, lora: OwnLora, rslora: str, rank: str, targets: str) -> dict[str, Any]:
    """Scale and layers of the file's own LoRA, as settings of a sweep.

    Args:
        rslora, rank, targets: keys of the file that hold them.
    """
    settings: dict[str, Any] = {}
    if lora.scale is not None:
        settings["alpha_over_r"] = lora.scale
        if lora.rslora:
            keys.remark(
                f"{rslora}: the scale lora_alpha / sqrt({rank}) = {lora.scale:.4g} at rank {lora.rank} is taken at "
                "every rank here."
            )
    if chosen := without_tables(keys, targets, lora.targets):
        settings["targets"] = chosen
    return settings


def without_tables(keys: Keys, key: str, targets: Sequence[str]) -> list[str]:
    """The targets that are names of linear layers; tables of tokens and patterns are told and left out."""
    tables = [name for name in targets if name.rsplit(".", 1)[-1] in (*OUTPUT_LAYERS, *_EMBEDDINGS)]
    patterns = [name for name in targets if _PATTERN & set(name)]
    if tables:
        keys.remark(f"{key} {', '.join(tables)}: tables of tokens get no adapter here.")
    plain = [name for name in targets if name not in tables and name not in patterns]
    for pattern in patterns:
        ends = _ends(pattern)
        if ends:
            keys.remark(f"{key} {pattern}: read as the layers called {', '.join(ends)}, wherever they stand.")
            plain += [name for name in ends if name not in plain]
        else:
            keys.remark(
                f"{key} {pattern}: this pattern is not read; the layers usual for the model get adapters, or those "
                "named with --targets."
            )
    return plain


def _ends(pattern: str) -> list[str]:
    """The names on which a pattern ends, as "(q|k)_proj"; none where it ends otherwise."""
    found = re.search(r"\.(?:\(([\w|]+)\))?(\w*)$", pattern)
    if not found or "|" in re.sub(r"\([^()]*\)", "", pattern):
        return []
    return [f"{start}{found[2]}" for start in (found[1] or "").split("|") if start or found[2]]
