"""Frozen backbones that adapters attach to.

Importing this room imports none of its parts: they come when asked for, so that names and configurations of models can
be read without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorabound.models.causal import CompletionLosses, CompletionModel, LabelModel
    from lorabound.models.classifier import Answers, Classifier, Inputs, LoadedClassifier, Tower
    from lorabound.models.clip import ClipClassifier
    from lorabound.models.encoder import PromptClassifier
    from lorabound.models.kinds import Kind, find_kind
    from lorabound.models.layers import adapted_layers, config_outline, weight_outline
    from lorabound.models.load import load_classifier
    from lorabound.models.locate import configuration_alone, locate_model, name_for_others, read_configuration
    from lorabound.models.model_folder import model_sha256
    from lorabound.models.packing import PackedRows
    from lorabound.models.pixels import CorruptImages, PreparedImages
    from lorabound.models.precision import Precision, default_device, resolve_precision
    from lorabound.models.quantized import residuals
    from lorabound.models.rendering import TooLong
    from lorabound.models.sequence import SequenceClassifier
    from lorabound.models.text import TokenizedTexts, TokenLimit

_PARTS = {
    "classifier": ("Answers", "Classifier", "Inputs", "LoadedClassifier", "Tower"),
    "causal": ("CompletionLosses", "CompletionModel", "LabelModel"),
    "clip": ("ClipClassifier",),
    "encoder": ("PromptClassifier",),
    "packing": ("PackedRows",),
    "pixels": ("CorruptImages", "PreparedImages"),
    "kinds": ("Kind", "find_kind"),
    "layers": ("adapted_layers", "config_outline", "weight_outline"),
    "load": ("load_classifier",),
    "locate": ("configuration_alone", "locate_model", "name_for_others", "read_configuration"),
    "model_folder": ("model_sha256",),
    "quantized": ("residuals",),
    "precision": ("Precision", "default_device", "resolve_precision"),
    "rendering": ("TooLong",),
    "sequence": ("SequenceClassifier",),
    "text": ("TokenLimit", "TokenizedTexts"),
}
_HOME = {name: part for part, names in _PARTS.items() for name in names}

__all__ = [
    "Answers",
    "Classifier",
    "ClipClassifier",
    "CompletionLosses",
    "CompletionModel",
    "CorruptImages",
    "Inputs",
    "Kind",
    "LabelModel",
    "LoadedClassifier",
    "PackedRows",
    "Precision",
    "PreparedImages",
    "PromptClassifier",
    "SequenceClassifier",
    "TokenLimit",
    "TokenizedTexts",
    "TooLong",
    "Tower",
    "adapted_layers",
    "config_outline",
    "configuration_alone",
    "default_device",
    "find_kind",
    "load_classifier",
    "locate_model",
    "model_sha256",
    "name_for_others",
    "read_configuration",
    "residuals",
    "resolve_precision",
    "weight_outline",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
