"""Lines of Python that use an adapter: load its folder with PEFT, or train one like that of a recommendation.

What they say of the model is what the adapter's folder says; names from there are written as Python literals. A model
that a package carries is located by its name, since its folder has another path on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from re import escape
from typing import Any

from lorabound.adapters import BITSANDBYTES
from lorabound.adapters.peft_folder import CONFIG, open_adapter, read_json
from lorabound.errors import AdapterError
from lorabound.models.locate import PACKAGES
from lorabound.modes import MODES, Mode
from lorabound.recommendations import Recommendation

_LOADERS = {"SEQ_CLS": "AutoModelForSequenceClassification", "CAUSAL_LM": "AutoModelForCausalLM"}
# Where a mode draws B, which PEFT starts at 0: how, by the law of the draw.
_DRAWS = {
    "kaiming_uniform": "torch.nn.init.uniform_(weight, -(len(weight) ** -0.5), len(weight) ** -0.5)",
    "gaussian": "torch.nn.init.normal_(weight, std=1 / {rank})",
}


@dataclass(frozen=True, kw_only=True)
class PeftCode:
    """Python to copy.

    Attributes:
        loading: lines that load the adapter; "" where its folder cannot be read.
        training: lines that make a model with an adapter like it, ready for training.
        remark: sentence on what is missing; "" for nothing.
    """

    loading: str
    training: str
    remark: str


@dataclass(frozen=True, kw_only=True)
class _Base:
    """The frozen model of an adapter: the call that loads it, and the lines that import what the call names."""

    call: str
    imports: tuple[str, ...]


def peft_code(made: Recommendation) -> PeftCode:
    """The lines for a recommendation, by its adapter's folder as it is now."""
    folder = Path(made.adapter)
    try:
        config = read_json(folder / CONFIG)
        base = _base(folder, config, made.model, made.settings.get("base"))
    except AdapterError as error:
        layers = [f"target_modules={_text(made.settings.get('targets'))}"]
        unknown = _Base(call="AutoModel.from_pretrained(MODEL)", imports=("from transformers import AutoModel",))
        return PeftCode(
            loading="",
            training=_training(made, {}, layers, unknown),
            remark=f"{error}. So no lines load it here; fill in model, class and layers in those below.",
        )
    modules = [str(name) for name in config.get("target_modules") or []]
    targets = [f"target_modules={_text(regular_expression(modules))}"]
    return PeftCode(loading=_loading(folder, base), training=_training(made, config, targets, base), remark="")


def loading_code(folder: Path, model: str, base: str | None) -> str:
    """Lines that load the adapter of a folder.

    Args:
        folder: PEFT folder.
        model: name of the model, as a sweep has it.
        base: rounding of the model, None for none.
    Raises:
        AdapterError: the folder is not there or cannot be read.
    """
    return _loading(folder, _base(folder, read_json(folder / CONFIG), model, base))


def scored(folder: Path) -> str:
    """How the model scores classes by prompts, which PEFT's folder does not say; "" where it needs no word."""
    try:
        task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        if task["head"] != "prompts" or task["takes"] not in ("texts", "images"):
            return ""
        return (
            f"Classes are scored by prompts: the embedding of {task['prompt']!r}, with the name of a class for {{}}, "
            f"is compared with that of the example. task.json beside the adapter lists the {len(task['classes'])} "
            "classes."
        )
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _base(folder: Path, config: Mapping[str, Any], model: str, rounding: str | None) -> _Base:
    loader = _LOADERS.get(str(config.get("task_type")), "AutoModel")
    quantized = BITSANDBYTES.get(rounding) if rounding else None
    packaged = model in PACKAGES
    name = f"locate_model({_text(model)})" if packaged else _text(str(config.get("base_model_name_or_path")))
    n_labels = _n_labels(folder, config)
    options = [f"num_labels={n_labels}", "ignore_mismatched_sizes=True"] if n_labels is not None else []
    options += [f"quantization_config={quantized}"] if quantized else []
    imports = [f"from transformers import {loader}{', BitsAndBytesConfig' if quantized else ''}"]
    if packaged:
        imports.insert(0, "from lorabound.models import locate_model  # the folder of the package's model")
    return _Base(call=f"{loader}.from_pretrained({', '.join([name, *options])})", imports=tuple(imports))


def _loading(folder: Path, base: _Base) -> str:
    lines = [
        "from peft import PeftModel",
        *base.imports,
        "",
        f"base = {base.call}",
        f"model = PeftModel.from_pretrained(base, {_text(str(folder))})",
    ]
    return "\n".join(lines)


def regular_expression(modules: Iterable[str]) -> str:
    """An expression for PEFT's ``target_modules`` that matches these names of layers, whatever stands before them.

    >>> regular_expression(["layer.0.query", "layer.0.key", "layer.1.query", "layer.1.key"])
    '(.*\\\\.)?layer\\\\.(0|1)\\\\.(key|query)'
    """
    tails: dict[tuple[str, str], list[int]] = {}
    whole = []
    for name in sorted(set(modules)):
        parts = name.split(".")
        place = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        if place is None:
            whole.append(escape(name))
        else:
            tails.setdefault((".".join(parts[:place]), ".".join(parts[place + 1 :])), []).append(int(parts[place]))
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (head, tail), numbers in tails.items():
        groups.setdefault((head, tuple(sorted(numbers))), []).append(tail)
    for (head, places), ends in groups.items():
        shared = _shared([end.split(".")[:-1] for end in ends])
        rest = [".".join(end.split(".")[len(shared) :]) for end in ends]
        parts = [escape(part) for part in (head,) if part] + [_one_of(map(str, places))]
        parts += [escape(part) for part in shared] + ([_one_of(map(escape, rest))] if any(rest) else [])
        whole.append("\\.".join(parts))
    return f"(.*\\.)?{_one_of(whole)}"


def _shared(names: Sequence[Sequence[str]]) -> list[str]:
    """The parts that all dotted names begin with."""
    columns = zip(*names, strict=False)
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]


def _one_of(parts: Iterable[str]) -> str:
    several = list(parts)
    return several[0] if len(several) == 1 else f"({'|'.join(several)})"


def _training(made: Recommendation, config: Mapping[str, Any], targets: Sequence[str], base: _Base) -> str:
    facts, settings = MODES[_mode(made)], made.settings
    frozen_b = "b" in facts.frozen
    lines = [
        *(["import torch"] if frozen_b else []),
        "from peft import LoraConfig, get_peft_model",
        *base.imports,
        "",
        "config = LoraConfig(",
        f"    r={made.rank},",
        f"    lora_alpha={made.alpha:g},",
        *(f"    {line}," for line in targets),
    ]
    if settings.get("law") == "gaussian" and not frozen_b:
        lines.append('    init_lora_weights="gaussian",')
    named = ("task_type", "modules_to_save", "fan_in_fan_out")
    lines += [f"    {name}={_text(config[name])}," for name in named if config.get(name)]
    lines += [")", f"base = {base.call}", "model = get_peft_model(base, config)"]
    if facts.frozen:
        lines.append("for name, weight in model.named_parameters():")
    if facts.frozen == ("a",):
        lines += [
            '    if ".lora_A." in name:  # A stays as it was drawn at random',
            "        weight.requires_grad = False",
        ]
    elif facts.frozen:
        draw = _DRAWS[str(settings.get("law", "kaiming_uniform"))].format(rank=made.rank)
        lines += [
            '    if ".lora_A." in name:',
            "        torch.nn.init.zeros_(weight)  # PEFT starts B at 0: here A starts there",
            '    if ".lora_B." in name:  # B is drawn at random and stays so',
            f"        {draw}",
            "        weight.requires_grad = False",
        ]
    lines.append(
        f"# train with AdamW: learning_rate={made.lr:.6g}, num_train_epochs={settings.get('epochs')}, "
        f"batch size {settings.get('batch_size')}, {settings.get('schedule')} schedule, "
        f"weight_decay={settings.get('weight_decay')}"
    )
    return "\n".join(lines)


def _mode(made: Recommendation) -> Mode:
    return next(mode for mode in MODES if mode == made.mode)


def _n_labels(folder: Path, config: Mapping[str, Any]) -> int | None:
    """Rows of the trained head, where the adapter has one."""
    if not config.get("modules_to_save"):
        return None
    whole = [tensor for tensor in open_adapter(folder).others if tensor.key.endswith(".weight")]
    head = min(whole, key=lambda tensor: tensor.key.count("."), default=None)  # others are parts of its namesakes
    return None if head is None else head.shape[0]


def _text(value: Any) -> str:
    """A Python literal with double quotes where it is a text; raw where that is easier to read."""
    if isinstance(value, str):
        raw = "r" if "\\" in value else ""
        plain = value.isprintable() and '"' not in value and not value.endswith("\\")
        return f'{raw}"{value}"' if plain else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)
