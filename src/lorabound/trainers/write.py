"""A recommendation put back into a trainer's file: the values change, every other character stays.

No YAML is written anew, which would move comments and quotes: the place of a value is found by the parser, and its
characters alone are replaced. A key that the file lacks becomes a line of its own behind the key it belongs to.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from lorabound.errors import InputError
from lorabound.files import write_bytes
from lorabound.modes import MODES, Mode
from lorabound.trainers.keys import read_keys, refuse_faults
from lorabound.trainers.trainer_file import Trainer


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a trainer calls the values that are written.

    Attributes:
        rank: key of the rank.
        rslora: key that makes the scale alpha / sqrt(r).
        adapter: key behind which the rank is put, where the file has no rank.
    """

    rank: str
    rslora: str
    adapter: str


WORDS: dict[Trainer, Words] = {
    "axolotl": Words(rank="lora_r", rslora="peft_use_rslora", adapter="adapter"),
    "LLaMA-Factory": Words(rank="lora_rank", rslora="use_rslora", adapter="finetuning_type"),
}
ONLY_B = ".+lora_B"
"""Pattern by which axolotl's ``unfrozen_parameters`` leaves B alone trainable: it is matched from the name's start."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        path: the file.
        sentence: sentence that names each new value and what stood there.
        remarks: sentences on what the file cannot say, and what does it instead.
    """

    path: Path
    sentence: str
    remarks: tuple[str, ...] = ()


def write_back(
    path: str | PathLike[str], trainer: Trainer, *, rank: int, scale: float, mode: Mode, lr: float | None = None
) -> Written:
    """Put rank and alpha, the learning rate where it is given, and a frozen A where axolotl can say it, into a file.

    alpha is scale r, or scale sqrt(r) where the file asks for rsLoRA, as a whole number: both trainers take no other.
    The file is written whole or not at all.

    Args:
        path: YAML file of the trainer.
        rank: rank r.
        scale: scale of B A, which PEFT makes of alpha and r.
        mode: mode of the adapter.
        lr: learning rate; None leaves that of the file.
    Raises:
        InputError: the file cannot be read, or a value is tied to others by an anchor.
        OutputError: the file cannot be written.
    """
    path, words = Path(path), WORDS[trainer]
    keys = read_keys(path)
    rslora = keys.flag(words.rslora)
    refuse_faults(keys)
    root = math.sqrt(rank) if rslora else rank
    alpha = max(1, round(scale * root))
    remarks = []
    if not math.isclose(alpha, scale * root):
        remarks.append(
            f"lora_alpha {scale * root:g} is written as {alpha}, as {trainer} takes whole numbers: the scale of B A is "
            f"{alpha / root:.4g} in place of {scale:g}."
        )
    text = _Text(path)
    text.put(words.rank, str(rank), words.adapter)
    text.put("lora_alpha", str(alpha), words.rank)
    if lr is not None:
        text.put("learning_rate", _decimal(lr), "lora_alpha")
    frozen = _frozen(trainer, mode, keys.values)
    if frozen is None:
        text.put("unfrozen_parameters", f'["{ONLY_B}"]', "lora_alpha")
        remarks.append(f'unfrozen_parameters ["{ONLY_B}"] leaves B alone trainable: A stays as PEFT drew it.')
    elif frozen:
        remarks.append(frozen)
    if not text.said:
        return Written(path=path, sentence=f"{path} says so already: nothing was written.", remarks=tuple(remarks))
    text.check()
    write_bytes(path, text.now.encode("utf-8"))
    return Written(path=path, sentence=f"Written to {path}: {', '.join(text.said)}.", remarks=tuple(remarks))


def _frozen(trainer: Trainer, mode: Mode, values: Any) -> str | None:
    """How the file freezes what the mode does: None for by a line that can be written, else a sentence, "" for not."""
    factors = MODES[mode].frozen
    if not factors:
        if trainer == "axolotl" and values.get("unfrozen_parameters"):
            return (
                f"mode {mode} trains A and B: take unfrozen_parameters out of the file, which freezes all but what it "
                "names."
            )
        return ""
    line = f'lorabound.hf.freeze_factor(model, "{factors[0].upper()}", seed=0)'
    if trainer != "axolotl" or factors != ("a",):
        return (
            f"mode {mode}: no setting of {trainer} draws {factors[0].upper()} and freezes it: call {line} on the PEFT "
            "model before training."
        )
    kwargs = values.get("gradient_checkpointing_kwargs")
    for key, clashes in (
        ("unfrozen_parameters", values.get("unfrozen_parameters") not in (None, [], [ONLY_B])),
        ("peft_layers_to_transform", bool(values.get("peft_layers_to_transform"))),
        ("lora_modules_to_save", bool(values.get("lora_modules_to_save"))),
        ("gradient_checkpointing_kwargs", isinstance(kwargs, dict) and kwargs.get("use_reentrant") is True),
    ):
        if clashes:
            what = "use_reentrant: true" if key == "gradient_checkpointing_kwargs" else key
            return (
                f'mode {mode}: A is frozen by  unfrozen_parameters: ["{ONLY_B}"], which axolotl does not take together '
                f"with {what}: change that by hand, or call {line} on the PEFT model before training."
            )
    return None


class _Text:
    """A YAML file's characters, changed value by value.

    Attributes:
        now: its text.
        said: what was changed, as "lora_r 8 (was 32)".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = path.read_bytes().decode("utf-8")
        self.said: list[str] = []
        self._wanted: dict[str, Any] = dict(yaml.safe_load(self.now))

    def put(self, key: str, value: str, behind: str) -> None:
        """Give a key of the file a value; a key that is not there is put behind another one, or at the end.

        Raises:
            InputError: the value is tied to others, or the file is laid out so that its place cannot be told.
        """
        self._wanted[key] = yaml.safe_load(value)
        top = self._top()
        pairs = {str(name.value): (name, node) for name, node in top.value}
        if key not in pairs:
            self._insert(f"{key}: {value}", top, pairs.get(behind))
            self.said.append(f"{key} {value} (was not there)")
            return
        name, node = pairs[key]
        start, end = node.start_mark.index, node.end_mark.index
        old = self.now[start:end]
        between = self.now[name.end_mark.index : start] if start >= name.end_mark.index else "*"
        if old.startswith("&") or "*" in between.partition("#")[0]:
            raise InputError(
                f"{self.path}: {key} is tied to other values by a YAML anchor: write {key}: {value} there by hand"
            )
        if _same(node, value):
            return
        if not isinstance(node, yaml.ScalarNode):
            raise InputError(f"{self.path}: {key} is no single value: write {key}: {value} there by hand")
        quote = node.style if node.style in ("'", '"') and value[0] != "[" else ""
        empty = start == end
        new = f"{quote}{value}{quote}"
        if empty:  # "key:" and nothing behind it
            start = end = name.end_mark.index + self.now[name.end_mark.index :].index(":") + 1
            new = f" {value}"
        self.now = self.now[:start] + new + self.now[end:]
        self.said.append(f"{key} {value} (was {old.strip() or 'empty'})")

    def check(self) -> None:
        """See that a YAML reader finds the new values, and the old ones everywhere else.

        Raises:
            InputError: it does not: the file is laid out in an unusual way.
        """
        try:
            found = yaml.safe_load(self.now)
        except yaml.YAMLError:
            found = None
        plain = {**found, **{key: _plain(found[key]) for key in self._wanted if key in found}} if found else {}
        if plain != {key: _plain(value) for key, value in self._wanted.items()}:
            raise self._unusual()

    def _unusual(self) -> InputError:
        asked = ", ".join(change.partition(" (")[0] for change in self.said)
        return InputError(f"{self.path} is laid out in an unusual way: write there by hand: {asked}")

    def _top(self) -> yaml.MappingNode:
        try:
            top = yaml.compose(self.now, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            raise self._unusual() from None
        assert isinstance(top, yaml.MappingNode)  # as the file was read
        if top.flow_style:
            raise InputError(f"{self.path} is one mapping in braces: write it as  name: value  lines")
        return top

    def _insert(self, line: str, top: yaml.MappingNode, behind: tuple[yaml.Node, yaml.Node] | None) -> None:
        """A new line behind that of a pair, at the end of the mapping where there is none."""
        ends = re.search(r"\r\n|\n|\r", self.now)
        newline = ends.group() if ends else "\n"
        at = int(top.end_mark.index)
        if behind and isinstance(behind[1], yaml.ScalarNode):
            found = re.compile(r"\r\n|\n|\r").search(self.now, behind[1].end_mark.index)
            at = found.end() if found else at
        head, line = self.now[:at], " " * int(top.start_mark.column) + line
        if head and head[-1] not in "\r\n":
            head += newline
        self.now = f"{head}{line}{newline}{self.now[at:]}"


def _same(node: yaml.Node, value: str) -> bool:
    """Whether a value already stands there."""
    if isinstance(node, yaml.SequenceNode):
        return [entry.value for entry in node.value] == [ONLY_B] and ONLY_B in value
    try:
        return float(node.value) == float(value)
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    """A number that stands as a text, as the number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _decimal(number: float) -> str:
    """A number as every YAML reader takes it for one: with a point where it has an exponent."""
    written = repr(float(f"{number:.6g}"))
    digits, exponent, power = written.partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{exponent}{power}"
