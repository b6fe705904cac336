"""Frozen backbones that adapters attach to."""

from lorabound.models.classifier import Classifier, Inputs, LoadedClassifier, Tower
from lorabound.models.clip import TEXT, VISION, ClipClassifier
from lorabound.models.encoder import PromptClassifier
from lorabound.models.images import CorruptImages, PreparedImages
from lorabound.models.load import (
    Encoder,
    Reads,
    adapted_layers,
    check_model,
    load_classifier,
    model_outline,
    reads,
    target_names,
)
from lorabound.models.locate import locate_model, name_for_others
from lorabound.models.model_folder import model_sha256
from lorabound.models.precision import Precision, default_device, resolve_precision
from lorabound.models.sequence import SequenceClassifier
from lorabound.models.text import TokenizedTexts, TokenLimit

__all__ = [
    "TEXT",
    "VISION",
    "Classifier",
    "ClipClassifier",
    "CorruptImages",
    "Encoder",
    "Inputs",
    "LoadedClassifier",
    "Precision",
    "PreparedImages",
    "PromptClassifier",
    "Reads",
    "SequenceClassifier",
    "TokenLimit",
    "TokenizedTexts",
    "Tower",
    "adapted_layers",
    "check_model",
    "default_device",
    "load_classifier",
    "locate_model",
    "model_outline",
    "model_sha256",
    "name_for_others",
    "reads",
    "resolve_precision",
    "target_names",
]
