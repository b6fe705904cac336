"""LLaMA-Factory's files: ``dataset_info.json``, which describes data sets by name, and the YAML file of a training.

What the training leaves out is LLaMA-Factory's own default, and is taken over as such. Keys and defaults are those of
its README of data and of llamafactory.hparams as of August 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from lorabound.adapters.targets import ALL_LINEAR
from lorabound.trainers.factory_data import Described, describe
from lorabound.trainers.keys import (
    Keys,
    note_defaults,
    note_epochs,
    note_schedule,
    note_several,
    read_keys,
    refuse_faults,
    tell_unfollowed,
)
from lorabound.trainers.layers import adapter_settings
from lorabound.trainers.trainer_file import OwnLora, TrainerFile

_INFO = "dataset_info.json"
DEFAULTS: dict[str, Any] = {
    "lora_rank": 8,
    "lora_target": "all",
    "cutoff_len": 2048,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3.0,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}
"""LLaMA-Factory's own values; those of the training are transformers'."""
_STAGES = {
    "sft": None,
    "pt": None,
    "rm": "it trains a model of rewards, and completions are learnt here",
    "ppo": "it learns from rewards, and one completion is learnt here",
    "dpo": "it learns from preferences, and one completion is learnt here",
    "kto": "it learns from verdicts on answers, and every answer is learnt here",
}
# Keys that are not followed: what is done here.
_OTHERWISE = {
    "train_on_prompt": "prompts are not learnt here, answers alone are",
    "mask_history": "all answers of a chat are learnt here, not the last one alone",
    "packing": "a step there holds packed rows of up to cutoff_len tokens, so more examples than one here",
    "neat_packing": "a step there holds packed rows of up to cutoff_len tokens, so more examples than one here",
    "max_samples": "all rows are read here; give --n-train for fewer",
    "quantization_bit": "the frozen model is not quantized here",
    "lora_dropout": "no dropout is applied here",
    "use_dora": "plain LoRA is trained here, without DoRA's magnitudes",
    "pissa_init": "A is drawn at random and B is 0 here",
    "additional_target": "nothing but the adapter is trained here",
    "adapter_name_or_path": "training starts from a new adapter here",
    "loraplus_lr_ratio": "A and B have one learning rate here",
    "use_galore": "plain AdamW is used here",
    "use_apollo": "plain AdamW is used here",
    "use_badam": "plain AdamW is used here",
    "use_adam_mini": "plain AdamW is used here",
    "use_muon": "plain AdamW is used here",
    "use_asft_loss": "the loss is -ln p of the learnt tokens here",
    "use_dft_loss": "the loss is -ln p of the learnt tokens here",
    "use_eaft_loss": "the loss is -ln p of the learnt tokens here",
    "mixture_of_depths": "the model is taken as it is here",
    "warmup_steps": "the learning rate starts at its full height here",
    "warmup_ratio": "the learning rate starts at its full height here",
    "max_steps": "training ends after whole passes here",
    "neftune_noise_alpha": "no noise is added here",
    "deepspeed": "the batch is that of one GPU here",
    "fsdp": "the batch is that of one GPU here",
    "default_system": "no system prompt is added here but what the tokenizer's template adds",
    "interleave_probs": "one data set is read here",
    "streaming": "the data set is read whole here",
}


def read_llamafactory(source: str | PathLike[str], training: str | PathLike[str] | None = None) -> TrainerFile:
    """What LLaMA-Factory's files decide.

    Args:
        source: ``FOLDER/dataset_info.json:NAME``, a data set and the file that describes it; or the YAML file of a
            training, which names both.
        training: YAML file of a training, where ``source`` is a data set.
    Raises:
        InputError: a file cannot be read, trains something else than LoRA on texts, or names data that are not read;
            all of it in one message.
    """
    if training is None and str(source).lower().endswith((".yaml", ".yml")):
        training, source = source, ""
    keys = read_keys(Path(training)) if training is not None else None
    names = (keys.names("dataset") or []) if keys else []
    file, name = _place(str(source), keys, names)
    data = describe(file, name) if name or source else None  # else a fault is noted
    lora, validation, settings = OwnLora(), _Validation(), dict(data.settings) if data else {}
    if keys:
        lora = _lora(keys)
        settings |= _model_and_training(keys, lora)
        _check_stage(keys, name, data)
        validation = _validation(keys, file, data)
        tell_unfollowed(keys, _OTHERWISE)
    others = {other: describe(file, other) for other in names if other != name}
    unread = [other for other, described in others.items() if described.keys.faults]
    if keys:
        note_several(keys, "dataset", 1 + len(others))
        for other in unread:
            keys.remark(f"{other} is not read: {'; '.join(others[other].keys.faults)}.")
    told = [described.keys for described in (data, *others.values()) if described and not described.keys.faults]
    refuse_faults(*(place for place in (data.keys if data else None, keys) if place))
    return TrainerFile(
        trainer="LLaMA-Factory",
        path=keys.path if keys else None,
        settings=settings,
        lora=lora,
        validation_share=validation.share,
        validation_rows=validation.rows,
        validation_data=validation.data,
        other_data=tuple(others[other].settings for other in others if other not in unread),
        unread_data=tuple(unread),
        remarks=tuple(remark for place in (*told, keys) if place for remark in place.remarks),
    )


@dataclass(frozen=True)
class _Validation:
    share: float | None = None
    rows: int | None = None
    data: str | None = None


def _place(source: str, keys: Keys | None, names: Sequence[str]) -> tuple[Path, str | None]:
    """The file that describes data sets, and the name of one; the first of the training where none is given."""
    first = names[0] if names else None
    if not source:
        assert keys is not None
        if first is None:
            keys.fault("dataset", "no data set is named")
        folder = _folder(keys)
        return (folder / _INFO, first) if folder else (Path(_INFO), None)
    before, colon, name = source.rpartition(":")
    if not colon or Path(source).exists():
        before, name = source, ""
    path = Path(before)
    return path / _INFO if path.is_dir() else path, name or first


def _check_stage(keys: Keys, name: str | None, data: Described | None) -> None:
    form = data.settings.get("form") if data else None
    if keys.text("stage") == "pt" and form not in (None, "text"):
        keys.fault("stage", f"pt learns whole texts, and {name} is described as {form}")


def _folder(keys: Keys) -> Path | None:
    """The folder of data sets, from the present folder as LLaMA-Factory has it, or beside the file; None on the hub."""
    stated = keys.text("dataset_dir") or "data"
    if stated.startswith("REMOTE:") or stated == "ONLINE":
        keys.fault("dataset_dir", f"{stated} is on the hub: download its {_INFO} and give it as  FOLDER/{_INFO}:NAME")
        return None
    beside = keys.path.parent / stated
    if len(stated.encode()) > 255:  # longer than a name may be
        keys.fault("dataset_dir", f"{stated[:40]}... is no name of a folder")
        return None
    return beside if not Path(stated).is_dir() and beside.is_dir() else Path(stated)


def _lora(keys: Keys) -> OwnLora:
    rank = keys.whole("lora_rank", DEFAULTS["lora_rank"])
    targets = keys.names("lora_target") or [DEFAULTS["lora_target"]]
    return OwnLora(
        rank=rank,
        alpha=keys.number("lora_alpha", None if rank is None else 2.0 * rank, above=0),
        dropout=keys.number("lora_dropout", 0.0) or 0.0,
        rslora=keys.flag("use_rslora"),
        targets=(ALL_LINEAR,) if targets == ["all"] else tuple(targets),
    )


def _model_and_training(keys: Keys, lora: OwnLora) -> dict[str, Any]:
    if "peft_config" in keys.values or "train_dataset" in keys.values:
        keys.fault(
            "peft_config" if "peft_config" in keys.values else "train_dataset",
            "a file of LLaMA-Factory's new version 1, which is not read: give one with finetuning_type: lora",
        )
        return {}
    tuned = keys.text("finetuning_type") or "lora"
    if tuned != "lora":
        keys.fault("finetuning_type", f"{tuned} is not LoRA: write  finetuning_type: lora")
    stage = keys.text("stage") or "sft"
    refused = _STAGES.get(stage, f"known stages are {', '.join(_STAGES)}")
    if refused:
        keys.fault("stage", f"{stage}: {refused}")
    settings: dict[str, Any] = {}
    model = keys.text("model_name_or_path")
    if model:
        settings["model"] = model
    else:
        keys.fault("model_name_or_path", "no model is named")
    if keys.text("template"):
        keys.remark(f"template {keys.text('template')}: chats are written by the tokenizer's own template here.")
    settings |= adapter_settings(keys, lora, "use_rslora", "lora_rank", "lora_target")
    settings["max_length"] = keys.whole("cutoff_len", DEFAULTS["cutoff_len"])
    settings["drop_long"] = True
    keys.remark(f"cutoff_len {settings['max_length']}: longer rows are left out here, not cut.")
    note_defaults(keys, "LLaMA-Factory", DEFAULTS)
    micro = keys.whole("per_device_train_batch_size", DEFAULTS["per_device_train_batch_size"]) or 1
    settings["batch_size"] = micro * (keys.whole("gradient_accumulation_steps", 1) or 1)
    settings["epochs"] = note_epochs(keys, "num_train_epochs", DEFAULTS["num_train_epochs"])
    settings["lr"] = keys.number("learning_rate", DEFAULTS["learning_rate"], above=0)
    settings["schedule"] = note_schedule(keys, "lr_scheduler_type", DEFAULTS["lr_scheduler_type"])
    settings["weight_decay"] = keys.number("weight_decay", DEFAULTS["weight_decay"])
    settings["clip_norm"] = keys.number("max_grad_norm", DEFAULTS["max_grad_norm"], above=0)
    optimizer = keys.text("optim") or "adamw_torch"
    if not optimizer.startswith("adamw_torch"):
        keys.remark(f"optim {optimizer}: plain AdamW is used here.")
    return settings


def _validation(keys: Keys, file: Path, data: Described | None) -> _Validation:
    size = keys.number("val_size", 0.0) or 0.0
    share, rows = (None, int(size)) if size >= 1 else (size or None, None)
    named = keys.names("eval_dataset")
    if not named or data is None:
        return _Validation(share, rows)
    tested = describe(file, named[0])
    name = tested.settings.get("data")
    if tested.keys.faults:
        keys.remark(f"eval_dataset {named[0]} is not read: {tested.keys.faults[0]}.")
        return _Validation(share, rows)
    if {**data.settings, "data": name} != tested.settings:
        keys.remark(f"eval_dataset {named[0]} is not read: its rows have another form than those of the training.")
        return _Validation(share, rows)
    if len(named) > 1:
        keys.remark(f"eval_dataset names {', '.join(named)}: only {named[0]} is read.")
    return _Validation(share, rows, str(name))
