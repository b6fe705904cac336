"""Sequence classifiers: texts, and a linear head that is trained along with the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lorabound.models.kinds.encoder import hidden_width
from lorabound.models.kinds.kind import Kind

if TYPE_CHECKING:
    from lorabound.models.classifier import LoadedClassifier


def _load(
    model: str,
    classes: Sequence[str],
    *,
    max_length: int,
    device: Any,
    precision: Any,
    head_by_name: bool,
    base: Any = None,
    **_: Any,
) -> LoadedClassifier:
    from lorabound.models.sequence import SequenceClassifier  # imports torch

    return SequenceClassifier.load(model, classes, max_length, device, precision, head_by_name, base)


SEQUENCE = Kind(
    name="a sequence classifier",
    reads="texts",
    head="trained",
    load=_load,
    settings={"head_lr": "is the step size of a trained head (--head trained)"},
    width=hidden_width,
)
