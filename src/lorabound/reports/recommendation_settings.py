"""The settings of an adapter's training as a user knows them: those that the training reads, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# What a reader is told of each setting that a recommendation keeps, in the order in which it is told.
_WORDS = {
    "epochs": "passes over the rows (epochs)",
    "batch_size": "rows per step (batch size)",
    "schedule": "learning rate over the steps",
    "head_lr": "learning rate of the classification head",
    "weight_decay": "weight decay",
    "clip_norm": "largest norm of a gradient",
    "precision": "number format of the model",
    "base": "weights of the model rounded to",
    "data_seed": "seed that divides the rows",
    "targets": "layers with an adapter, by name",
    "layers": "layers with an adapter, by depth",
    "encoder": "part of the CLIP with an adapter",
    "law": "law of the factor that starts at random",
    "alpha_over_r": "lora_alpha divided by the rank",
    "task": "what is learnt",
    "metric": "what counts as error",
    "head": "what scores the classes",
    "logit_scale": "factor on cosine similarities",
    "prompt": "prompt of a class",
    "template": "prompt of a text",
    "max_length": "most tokens of a text",
}
_VALUES = {
    ("head", "prompts"): "class prompts",
    ("head", "trained"): "a head that is trained too",
    ("metric", "wrong-tokens"): "the share of wrong tokens",
    ("metric", "exact-match"): "a completion that is not exactly right",
    ("encoder", "both"): "vision and text",
}


def settings_read(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of every setting that the training read, in words; none that others read.

    >>> settings_read({"epochs": 6, "clip_norm": math.inf, "metric": "wrong-tokens", "task": None})
    [('passes over the rows (epochs)', '6'), ('largest norm of a gradient', 'no limit')]
    """
    unread = _unread(settings)
    known = [name for name in _WORDS if name in settings]
    others = [name for name in settings if name not in _WORDS]
    return [
        (_WORDS.get(name, name.replace("_", " ")), _said(name, settings[name]))
        for name in (*known, *others)
        if settings[name] is not None and name not in unread
    ]


def _unread(settings: Mapping[str, Any]) -> set[str]:
    """Settings that other kinds of tasks and models read."""
    if settings.get("task") == "completions":
        return {"head", "head_lr", "logit_scale", "prompt", "template"}
    if settings.get("head") == "trained":
        return {"metric", "logit_scale", "prompt", "template"}
    return {"metric", "head_lr"} | ({"prompt"} if settings.get("template") else set())


def _said(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {entry}" for name, entry in value.items())
    if isinstance(value, float):
        return "no limit" if math.isinf(value) else f"{value:g}"
    return _VALUES.get((name, str(value)), str(value))
