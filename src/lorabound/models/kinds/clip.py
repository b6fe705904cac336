"""CLIP: images against class prompts, each read by a tower of its own; adapters may sit in either or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lorabound.models.kinds.kind import Kind, Tower

if TYPE_CHECKING:
    from lorabound.models.classifier import LoadedClassifier

VISION: Tower = ("vision_model", "visual_projection")
TEXT: Tower = ("text_model", "text_projection")


def _load(
    model: str,
    classes: Sequence[str],
    *,
    prompt: str,
    logit_scale: float | None,
    device: Any,
    precision: Any,
    base: Any = None,
    **_: Any,
) -> LoadedClassifier:
    from lorabound.models.clip import ClipClassifier  # imports torch

    return ClipClassifier.load(model, classes, prompt, logit_scale, device, precision, base)


def _vision(configuration: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of the tower of images; those of CLIP ViT-B/32 where nothing is said."""
    return {"image_size": 224, "patch_size": 32, "hidden_size": 768} | (configuration.get("vision_config") or {})


def _n_tokens(configuration: Mapping[str, Any]) -> int:
    vision = _vision(configuration)
    return (int(vision["image_size"]) // int(vision["patch_size"])) ** 2 + 1


CLIP = Kind(
    name="a CLIP",
    reads="images",
    knows=lambda configuration: configuration.get("model_type") == "clip",
    load=_load,
    prompt="a photo of a {}.",
    targets=("q", "k", "v"),
    target_names={
        "q": ("q_proj",),
        "k": ("k_proj",),
        "v": ("v_proj",),
        "out": ("out_proj",),
        "mlp": ("fc1", "fc2"),
        "query": ("q_proj",),
        "key": ("k_proj",),
        "value": ("v_proj",),
    },
    towers=(VISION, TEXT),
    parts={"vision": VISION, "text": TEXT, "both": VISION + TEXT},
    settings={
        "augment": "crops and flips images",
        "encoder": "chooses between the towers of images and of texts",
        "skip_corrupt": "leaves out images that cannot be decoded",
    },
    width=lambda configuration: int(_vision(configuration)["hidden_size"]),
    n_tokens=_n_tokens,
)
