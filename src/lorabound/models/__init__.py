"""Frozen backbones that adapters attach to."""

from lorabound.models.encoder import PromptClassifier
from lorabound.models.locate import locate_model, model_sha256
from lorabound.models.precision import Precision, default_device, resolve_precision
from lorabound.models.text import TokenizedTexts

__all__ = [
    "Precision",
    "PromptClassifier",
    "TokenizedTexts",
    "default_device",
    "locate_model",
    "model_sha256",
    "resolve_precision",
]
