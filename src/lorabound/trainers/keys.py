"""The keys of a trainer's file: values as numbers, texts and flags; faults and remarks with their places.

Faults are collected, so that a user meets all of them at once. A number may stand as a text, as YAML reads ``2e-4``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lorabound.config import read_yaml
from lorabound.data.phrases import quoted
from lorabound.errors import InputError
from lorabound.trainers.trainer_file import TOGETHER

SCHEDULES = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "cosine": "cosine",
}
"""Schedules of trainers that are ours, the rise at the start aside; every other one falls, and is read as cosine."""


@dataclass
class Keys:
    """Values of a file by their keys.

    Attributes:
        path: the file.
        values: its content.
        lines: line of each key at the top of the file.
        faults: sentences on what cannot be used.
        remarks: sentences on what is read otherwise.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def place(self, key: str) -> str:
        """ "adapter (line 3)"."""
        line = self.lines.get(key.partition("[")[0].partition(".")[0])
        return f"{key} (line {line})" if line else key

    def fault(self, key: str, sentence: str) -> None:
        """Note that the value of a key cannot be used; the sentence goes on after the key."""
        self.faults.append(f"{self.place(key)}: {sentence}")

    def remark(self, sentence: str) -> None:
        """Note what is read otherwise, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def text(self, key: str) -> str | None:
        """The value as a text; None where there is none."""
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip()
        self.fault(key, f"{quoted(value)} is no text")
        return None

    def flag(self, key: str) -> bool:
        """Whether the value is true; false where there is none."""
        value = self.values.get(key)
        if isinstance(value, str) and value.casefold() in ("true", "false"):
            return value.casefold() == "true"
        if value in (None, "") or isinstance(value, bool):
            return bool(value)
        self.fault(key, f"{quoted(value)} is neither true nor false")
        return False

    def number(self, key: str, default: float | None = None, *, above: float = -math.inf) -> float | None:
        """The value as a number above ``above``; ``default`` where there is none or it is a fault."""
        value = self.values.get(key)
        if value is None or value == "":
            return default
        try:
            if isinstance(value, bool):
                raise ValueError
            number = float(value)
            if not above < number < math.inf:
                raise ValueError
        except (TypeError, ValueError):
            wanted = f"a number above {above:g}" if above > -math.inf else "a number"
            self.fault(key, f"{quoted(value)} is not {wanted}")
            return default
        return number

    def whole(self, key: str, default: int | None = None) -> int | None:
        """The value as a whole number from 1 on; ``default`` where there is none or it is a fault."""
        number = self.number(key, default, above=0)
        if number is not None and number != int(number):
            self.fault(key, f"{quoted(self.values[key])} is not a whole number")
            return default
        return None if number is None else int(number)

    def names(self, key: str) -> list[str] | None:
        """The value as a list of names: a list, or a text with commas; None where there is none."""
        value = self.values.get(key)
        if value in (None, "", []):
            return None
        if isinstance(value, str):
            value = value.split(",")
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return [name.strip() for name in value if name.strip()]
        self.fault(key, f"{quoted(value)} is no list of names")
        return None


def refuse_faults(*places: Keys) -> None:
    """See that no fault was noted.

    Raises:
        InputError: all faults, in one message.
    """
    if said := "; ".join(f"{keys.path}: {'; '.join(keys.faults)}" for keys in places if keys.faults):
        raise InputError(said)


def read_keys(path: Path) -> Keys:
    """The keys of a YAML file.

    Raises:
        InputError: the file is missing, no YAML, holds something else, or says one thing twice.
    """
    values = read_yaml(path, example="adapter: lora")
    top = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    assert isinstance(top, yaml.MappingNode)  # as read_yaml found values
    lines = {str(key.value): key.start_mark.line + 1 for key, _ in top.value}
    return Keys(path, values, lines)


def note_defaults(keys: Keys, trainer: str, defaults: Mapping[str, Any]) -> None:
    """Tell which values are the trainer's own, as the file states none."""
    taken = [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in defaults.items()
             if keys.values.get(key) in (None, "")]  # fmt: skip
    if taken:
        keys.remark(f"not given, so {trainer}'s own defaults are taken: {', '.join(taken)}.")


def note_several(keys: Keys, key: str, n_sets: int) -> None:
    """Tell that a training has more data sets than one."""
    if n_sets > 1:
        keys.remark(f"{key} names {n_sets} data sets, and the settings name the first; {TOGETHER}.")


def note_epochs(keys: Keys, key: str, default: float) -> int:
    """Passes over the data as a whole number."""
    stated = keys.number(key, default, above=0) or default
    epochs = max(1, round(stated))
    if epochs != stated:
        keys.remark(f"{key} is {stated:g} and passes are whole here: read as {epochs}.")
    return epochs


def note_schedule(keys: Keys, key: str, default: str) -> str:
    """The schedule of ours that the file's is nearest to."""
    stated = keys.text(key) or default
    if stated not in SCHEDULES:
        keys.remark(f"{key} is {stated}; here the learning rate is constant or falls as a cosine: read as cosine.")
    return SCHEDULES.get(stated, "cosine")


def tell_unfollowed(keys: Keys, otherwise: Mapping[str, str]) -> None:
    """Remark on each of these keys that the file gives.

    Args:
        otherwise: key -> what is done here instead, as the end of a sentence that begins with the key and its value.
    """
    for key, instead in otherwise.items():
        value = keys.values.get(key)
        if value not in (None, False, "", 0, [], {}):
            shown = "" if value is True or isinstance(value, list | dict) else f" {value}"
            keys.remark(f"{key}{shown}: {instead}.")
