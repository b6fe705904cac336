"""Lines of Python that use a recommendation: load its adapter with PEFT, or train one like it.

What they say of the model is what the adapter's folder says; names from there are written as Python literals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from re import escape
from typing import Any

from lorabound.adapters import BITSANDBYTES
from lorabound.adapters.peft_folder import CONFIG, open_adapter, read_json
from lorabound.errors import AdapterError
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


def peft_code(made: Recommendation) -> PeftCode:
    """The lines for a recommendation, by its adapter's folder as it is now."""
    folder = Path(made.adapter)
    try:
        config = read_json(folder / CONFIG)
        n_labels = _n_labels(folder, config)
    except AdapterError as error:
        layers = [f"target_modules={_text(made.settings.get('targets'))}"]
        return PeftCode(
            loading="",
            training=_training(made, {}, layers, "AutoModel.from_pretrained(MODEL)"),
            remark=f"{error}. So no lines load it here; fill in model, class and layers in those below.",
        )
    loader = _LOADERS.get(str(config.get("task_type")), "AutoModel")
    rounding = BITSANDBYTES.get(made.settings.get("base"))
    quantized = f", quantization_config={rounding}" if rounding else ""
    base = f"{loader}.from_pretrained({_base(config, n_labels)}{quantized})"
    loading = [
        "from peft import PeftModel",
        f"from transformers import {loader}{', BitsAndBytesConfig' if rounding else ''}",
        "",
        f"base = {base}",
        f"model = PeftModel.from_pretrained(base, {_text(str(folder))})",
    ]
    modules = [str(name) for name in config.get("target_modules") or []]
    targets = [f"target_modules={_text(regular_expression(modules))}"]
    return PeftCode(loading="\n".join(loading), training=_training(made, config, targets, base), remark="")


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


def _training(made: Recommendation, config: Mapping[str, Any], targets: Sequence[str], base: str) -> str:
    facts, settings = MODES[_mode(made)], made.settings
    frozen_b = "b" in facts.frozen
    lines = [
        *(["import torch"] if frozen_b else []),
        "from peft import LoraConfig, get_peft_model",
        f"from transformers import {base.partition('.')[0]}{', BitsAndBytesConfig' if 'BitsAndBytes' in base else ''}",
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
    lines += [")", f"base = {base}", "model = get_peft_model(base, config)"]
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


def _base(config: Mapping[str, Any], n_labels: int | None) -> str:
    """Arguments of ``from_pretrained``: the model, and the size of the head that the adapter brings."""
    name = _text(str(config.get("base_model_name_or_path")))
    return name if n_labels is None else f"{name}, num_labels={n_labels}, ignore_mismatched_sizes=True"


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
