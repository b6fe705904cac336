"""The record of a kind of model, so that no other file has to ask whether a model reads texts or images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lorabound.data import Reads

# Names of the modules of a tower; the first is called with the rows, the others follow it. "" is the whole model.
Tower = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model: how it is recognized, what it reads, its defaults, how it is loaded, where its layers are.

    The frozen arithmetic of one example, forward, is 2 x tokens x entries of the linear layers of its first tower.

    Attributes:
        name: name with its article, as messages call it: "a CLIP".
        reads: kind of the examples, "texts", "images" or "dialogues".
        writes: whether it may learn to complete dialogues as well.
        head: kind of the classes, "prompts" or rows of a head that is "trained" along with the adapters.
        knows: whether a model with this ``config.json`` is of the kind; None for a kind that takes every model that no
            other kind knows.
        load: a function (model, classes, *, prompt, logit_scale, max_length, device, precision, head_by_name,
            base where one is asked for) that makes a :class:`lorabound.models.LoadedClassifier`.
        prompt: class prompt for data that bring none; None where classes are no prompts.
        logit_scale: factor of the class scores; None where the checkpoint records it, or nothing is scaled.
        targets: names of the linear layers that are adapted unless others are asked for.
        targets_of: those of a model with this ``config.json``; None where they are ``targets``. :func:`find_kind` gives
            the kind with them.
        target_names: usual name of a layer -> its names in the model.
        towers: modules that see examples, then modules that see prompts, where there are such.
        parts: value of the setting ``encoder`` -> the modules within which layers are adapted.
        yields_to_sentences: whether the parts that sentence-transformers keeps beside a model (``modules.json``) make
            it a sentence encoder all the same.
        settings: settings of a sweep that other kinds do not read -> what they do.
        width: width of the hidden states of an example, from ``config.json``.
        max_length: tokens that a text may have where nobody says so.
        n_tokens: tokens of every example, from ``config.json``; None where each has as many as its text, cut to
            ``max_length``.
        has_tokenizer: whether a folder must hold the vocabulary of a tokenizer.
    """

    name: str
    reads: Reads
    writes: bool = False
    head: Literal["prompts", "trained"] = "prompts"
    knows: Callable[[Mapping[str, Any]], bool] | None = None
    load: Callable[..., Any]
    prompt: str | None = None
    logit_scale: float | None = None
    targets: tuple[str, ...] = field(default=("query", "key", "value"), compare=False)
    targets_of: Callable[[Mapping[str, Any]], tuple[str, ...] | None] | None = None
    target_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    towers: tuple[Tower, ...] = (("",),)
    parts: Mapping[str, Tower] = field(default_factory=lambda: {"both": ("",)})
    yields_to_sentences: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    max_length: int = 32
    width: Callable[[Mapping[str, Any]], int]
    n_tokens: Callable[[Mapping[str, Any]], int] | None = None
    has_tokenizer: bool = True

    def layer_names(self, targets: Sequence[str] | None) -> list[str]:
        """What the model calls these linear layers; None: those that are adapted unless others are asked for."""
        return [name for target in targets or self.targets for name in self.target_names.get(target, (target,))]
