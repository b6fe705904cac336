"""Settings that the kind of model and the data decide where a sweep does not give them."""

from __future__ import annotations

from lorabound.data import NAMED
from lorabound.errors import InputError
from lorabound.models import kinds
from lorabound.models.kinds import Kind
from lorabound.sweeps.config import SweepConfig


def resolved(config: SweepConfig, kind: Kind) -> SweepConfig:
    """With class prompt, targets and scale of the scores filled in; layers under the names that the model gives them.

    A named task brings its own prompt. ``logit_scale`` stays None where the checkpoint records it.
    """
    named = NAMED.get(config.data)
    prompt = kind.prompt and (named.prompt if named else kind.prompt)
    update = {
        "prompt": config.prompt or prompt,
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
        if getattr(config, name) != SweepConfig.model_fields[name].default:
            raise InputError(f"{name} {what}, and {config.model} is {kind.name}: leave it out")
