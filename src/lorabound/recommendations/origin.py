"""Where a recommendation comes from: the command that makes it again, versions and machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lorabound import __version__
from lorabound.config import Settings, flag_of
from lorabound.models import default_device
from lorabound.recommendations.config import DECIDED, RecommendConfig
from lorabound.recommendations.layout import Layout
from lorabound.recommendations.recommendation import Origin
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.defaults import resolved
from lorabound.sweeps.task import Task

_PACKAGES = ("torch", "transformers", "peft", "numpy")
# Settings that a command names whatever their value: what it is about, and what decides the answer most.
_ALWAYS = ("data", "model", "ranks", "modes", "seeds", "budget")
# What decides the usual values of other settings.
_DECISIVE = ("data", "model", "head")


def origin_of(asked: RecommendConfig, layout: Layout, task: Task, folder: Path) -> Origin:
    """What is needed to make the recommendation in ``folder`` again."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = default_device()
    return Origin(
        command=("lorabound", "recommend", *command_words(asked, layout), "--out", str(folder)),
        environment={
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "lorabound": __version__,
            "python": platform.python_version(),
            **{name: found for name in _PACKAGES if (found := _version(name))},
            "machine": f"{platform.system()} {platform.machine()}, {cores} cores",
            "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
            "number format": task.config.precision,
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
    return [*_words(SweepConfig, of_pilots), *_words(RecommendConfig, own)]


def _words(kind: type[Settings], values: Mapping[str, Any]) -> Iterator[str]:
    """Options with their values, as one types them."""
    for name, value in values.items():
        flag = flag_of(kind, name)
        if isinstance(value, bool):
            yield flag if value else f"--no-{flag.removeprefix('--')}"
        elif isinstance(value, dict):
            for old, new in value.items():
                yield from (flag, f"{old}={new}")
        elif name == "seeds":
            yield from (flag, str(len(value)) if value == list(range(len(value))) else ",".join(map(str, value)) + ",")
        elif isinstance(value, list | tuple):
            yield from (flag, ",".join(map(str, value)))
        else:
            yield from (flag, str(value))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
