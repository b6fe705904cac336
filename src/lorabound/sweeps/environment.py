"""Versions and machine that runs were made with: whoever repeats them wants to know."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import torch

from lorabound import __version__
from lorabound.models import default_device

_PACKAGES = ("torch", "transformers", "peft", "numpy")


def environment(precision: str) -> dict[str, str]:
    """Date, versions, kind of machine and device, number format of the frozen model.

    Args:
        precision: number format, as the settings of a sweep say it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = default_device()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "lorabound": __version__,
        "python": platform.python_version(),
        **{name: found for name in _PACKAGES if (found := _version(name))},
        "machine": f"{platform.system()} {platform.machine()}, {cores} cores",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "number format": precision,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
