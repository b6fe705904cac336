"""Where a recommendation comes from: the command that makes it again, versions and machine."""

from __future__ import annotations

from pathlib import Path

from lorabound.recommendations.config import DECIDED, RecommendConfig
from lorabound.recommendations.layout import Layout
from lorabound.recommendations.recommendation import Origin
from lorabound.sweeps.command import option_words
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.defaults import resolved
from lorabound.sweeps.environment import environment
from lorabound.sweeps.task import Task

# Settings that a command names whatever their value: what it is about, and what decides the answer most.
_ALWAYS = ("data", "model", "ranks", "modes", "seeds", "budget")
# What decides the usual values of other settings.
_DECISIVE = ("data", "model", "head")


def origin_of(asked: RecommendConfig, layout: Layout, task: Task, folder: Path) -> Origin:
    """What is needed to make the recommendation in ``folder`` again."""
    return Origin(
        command=("lorabound", "recommend", *command_words(asked, layout), "--out", str(folder)),
        environment={
            **environment(task.config.precision),
            "SHA-256 of the data": task.data.sha256,
            "SHA-256 of the model": task.classifier.sha256,
        },
    )


def command_words(asked: RecommendConfig, layout: Layout) -> list[str]:
    """Options that ask for the same recommendation: those whose values no default gives."""
    kind = layout.material.kind
    seeds = sorted(seed for material in layout.materials for seed in material.asked.seeds)
    pilots = layout.material.asked.model_copy(update={"seeds": seeds})
    usual = resolved(SweepConfig(**{name: getattr(pilots, name) for name in _DECISIVE}), kind)
    usual = usual.model_copy(update={"head": SweepConfig.model_fields["head"].default})
    if pilots.prompt == pilots.template:
        usual = usual.model_copy(update={"prompt": pilots.prompt})  # the prompt of a language model is its template
    always = (*_ALWAYS, "task") if kind.writes else _ALWAYS
    of_pilots = {
        name: value
        for name, value in pilots
        if name not in DECIDED and (name in always or value != getattr(usual, name)) and value is not None
    }
    given = RecommendConfig().model_dump()
    own = {name: value for name, value in asked if name in always or value != given[name]}
    return [*option_words(SweepConfig, of_pilots), *option_words(RecommendConfig, own)]
