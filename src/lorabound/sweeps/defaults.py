"""Settings that the kind of model and the data decide where a sweep does not give them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lorabound.adapters import check_grid
from lorabound.adapters.targets import matches
from lorabound.data import NAMED, holds_labels
from lorabound.errors import InputError
from lorabound.models import kinds
from lorabound.models.kinds import Kind, find_kind
from lorabound.models.layers import adapted_layers, weight_outline
from lorabound.models.locate import local_folder
from lorabound.sweeps.config import SweepConfig


def fitted(config: SweepConfig) -> tuple[SweepConfig, Kind]:
    """The settings with what the kind of the model decides filled in, and that kind; no weight is read.

    Raises:
        ModelError, InputError, AdapterError: no such model, or settings that do not fit it.
    """
    kind = kind_of(config)
    refuse_foreign_settings(config, kind)
    settled = resolved(config, kind)
    check_layers(settled, kind)
    return settled, kind


def kind_of(config: SweepConfig) -> Kind:
    """The kind of the model, and what its examples are where it may read labelled texts or dialogues.

    Raises:
        ModelError, InputError: no such model, or it cannot do what was asked.
        DataError: data that cannot be read.
    """
    kind = find_kind(config.model, config.head)
    if not kind.writes:
        if config.task == "completions":
            raise InputError(
                f"{config.model} is {kind.name}, which writes nothing: completions need a causal language model, as "
                "--model smollm2-135m-instruct"
            )
        return kind
    if config.task is None:
        return replace(kind, reads="texts" if holds_labels(config.data, config.label_column) else "dialogues")
    return replace(kind, reads="dialogues" if config.task == "completions" else "texts")


def resolved(config: SweepConfig, kind: Kind) -> SweepConfig:
    """With class prompt, targets and scale of the scores filled in; layers under the names that the model gives them.

    A named task brings its own prompt. ``logit_scale`` stays None where the checkpoint records it.
    """
    named = NAMED.get(config.data)
    prompt = kind.prompt and (named.prompt if named else kind.prompt)
    update: dict[str, Any] = {}
    if kind.writes:
        asks = kind.reads == "texts"
        if config.prompt is not None and config.prompt != config.template:
            raise InputError(
                f"--prompt asks an encoder for a class, and {config.model} is {kind.name}: "
                + ("ask it for the label of a text with --template" if asks else "leave it out")
            )
        if config.template and not asks:
            raise InputError(
                "--template asks for labels, and the data are dialogues: leave it out, or give --task labels"
            )
        prompt = (config.template or kind.prompt) if asks else None
        update = {"task": "labels" if asks else "completions", "template": prompt}
    update |= {
        "prompt": config.prompt or prompt,
        "max_length": config.max_length or kind.max_length,
        "targets": kind.layer_names(config.targets),
        "logit_scale": config.logit_scale or kind.logit_scale,
    }
    return config.model_copy(update=update)


def refuse_foreign_settings(config: SweepConfig, kind: Kind) -> None:
    """See that no setting is given that only other kinds of models read.

    Raises:
        InputError: one is; the message says what it does.
    """
    known = {name: what for other in kinds.KINDS for name, what in other.settings.items() if name not in kind.settings}
    for name, what in known.items():
        if name == "task" and config.task == "labels":
            continue  # what every other model does
        if getattr(config, name) != SweepConfig.model_fields[name].default:
            raise InputError(f"{name} {what}, and {config.model} is {kind.name}: leave it out")


def check_layers(config: SweepConfig, kind: Kind) -> None:
    """See that targets, layers and ranks fit a model that is on this machine, by the headers of its weights.

    What headers do not tell is left to the loaded model: a head that is trained, a target that may be a table.

    Raises:
        ModelError, InputError, AdapterError: they do not fit, as the loaded model would say.
    """
    folder = local_folder(config.model)
    if folder is None or kind.head == "trained":
        return
    modules = weight_outline(folder).modules
    if any(matches(name, target) for target in kind.layer_names(config.targets) for name in modules.others):
        return
    shapes = adapted_layers(modules, kind, config.targets, config.layers, config.encoder)
    check_grid(shapes, config.ranks, config.modes, config.subspace_size, config.links)
