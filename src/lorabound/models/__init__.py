"""Frozen backbones that adapters attach to."""

from lorabound.models.encoder import PromptClassifier
from lorabound.models.locate import locate_model, model_sha256
from lorabound.models.text import TokenizedTexts

__all__ = ["PromptClassifier", "TokenizedTexts", "locate_model", "model_sha256"]
