"""The command that asks for a sweep again: its settings as options, as one types them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lorabound.config import Settings, flag_of
from lorabound.sweeps.config import SweepConfig

# What a command says whatever its value: what the sweep is about.
_ALWAYS = ("data", "model", "ranks", "modes", "n_train", "n_test", "seeds", "precision")


def option_words(kind: type[Settings], values: Mapping[str, Any]) -> Iterator[str]:
    """Options with their values, as one types them.

    >>> list(option_words(SweepConfig, {"ranks": [1, 4], "drop_long": True, "seeds": [0, 1, 2]}))
    ['--ranks', '1,4', '--drop-long', '--seeds', '3']
    """
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


def sweep_command(config: SweepConfig, out: str, **others: Any) -> list[str]:
    """Words of the command that makes a sweep again: every setting that is not at its default, and what it is about.

    Args:
        config: settings of the sweep, as its store records them.
        out: folder of the sweep.
        others: settings that shall differ.
    """
    asked = config.model_copy(update=others)
    given = {
        name: getattr(asked, name)
        for name, field in SweepConfig.model_fields.items()
        if getattr(asked, name) is not None
        and (name in _ALWAYS or getattr(asked, name) != field.get_default(call_default_factory=True))
    }
    if asked.shots:
        given.pop("n_train", None)
    return ["lorabound", "sweep", *option_words(SweepConfig, given), "--out", out]
