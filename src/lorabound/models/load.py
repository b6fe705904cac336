"""From a model's name to a classifier of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from lorabound.errors import ModelError
from lorabound.models.kinds import find_kind
from lorabound.notation import Base

if TYPE_CHECKING:
    from lorabound.models.classifier import LoadedClassifier


def load_classifier(
    model: str,
    classes: Sequence[str],
    prompt: str | None = None,
    logit_scale: float | None = None,
    max_length: int = 32,
    device: Any = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    head: Literal["prompts", "trained"] = "prompts",
    head_by_name: bool = True,
    base: Base | None = None,
) -> LoadedClassifier:
    """The classifier of a model's kind: ``PromptClassifier``, ``SequenceClassifier``, ``ClipClassifier``, ...

    Args:
        model: packaged model, local folder or hub name (see :func:`lorabound.models.locate_model`).
        prompt: a template with one ``{}`` for the class name; None takes the kind's own, as for ``logit_scale``.
        max_length: tokens a text is cut to.
        device: "cpu", "cuda", ...; None takes a GPU where there is one.
        head: kind of the classes.
        head_by_name: whether classes that a checkpoint knows take the rows of its head.
        base: format that the weights of the model are rounded to (:mod:`lorabound.models.quantized`).
    Raises:
        ModelError, InputError: no such model, no such kind, or what the kind's loader refuses.
    """
    kind = find_kind(model, head)
    made: LoadedClassifier = kind.load(
        model,
        classes,
        prompt=prompt or kind.prompt or "",
        logit_scale=logit_scale or kind.logit_scale,
        max_length=max_length,
        device=device,
        precision=precision,
        head_by_name=head_by_name,
        **({} if base is None else {"base": base}),
    )
    if getattr(made.module, "base", None) != base:
        raise ModelError(f"{model} is {kind.name}, whose weights nothing here rounds: leave --base out")
    return made
