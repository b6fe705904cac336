"""axolotl's configuration: a YAML file with the model, the data sets, the LoRA numbers and the training.

What the file leaves out is axolotl's own default, and is taken over as such. Keys and defaults are those of axolotl's
schema (axolotl.utils.schemas) as of July 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from lorabound.adapters.targets import ALL_LINEAR
from lorabound.trainers.axolotl_data import Entry, read_entry
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

DEFAULTS: dict[str, Any] = {
    "sequence_len": 512,
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_epochs": 1.0,
    "lr_scheduler": "cosine",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
}
"""axolotl's own values; the last is that of transformers' trainer."""
# Keys under which the file trains something else than LoRA on texts to learn, and why it is refused.
_REFUSED = {
    "rl": "it learns from preferences or rewards, and one completion is learnt here",
    "reward_model": "it trains a model of rewards, and completions are learnt here",
    "process_reward_model": "it trains a model of rewards, and completions are learnt here",
    "pretraining_dataset": "it streams texts without an end, and data of known size are needed here: give datasets",
    "skip_prepare_dataset": "it trains on images or sounds beside texts, and texts alone are learnt here",
    "relora": "it merges the adapter into the model again and again, so its rank is not that of one adapter",
}
# Keys that are not followed: what is done here.
_OTHERWISE = {
    "train_on_inputs": "prompts are not learnt here, answers alone are",
    "sample_packing": "a step there holds packed rows of up to sequence_len tokens, so more examples than one here",
    "load_in_8bit": "the frozen model is not quantized here",
    "gptq": "the frozen model is not quantized here",
    "lora_dropout": "no dropout is applied here",
    "peft_use_dora": "plain LoRA is trained here, without DoRA's magnitudes",
    "peft_init_lora_weights": "A is drawn at random and B is 0 here",
    "peft": "A is drawn at random and B is 0 here",
    "lora_rank_pattern": "every layer has the same rank here",
    "lora_alpha_pattern": "every layer has the same scale here",
    "lora_modules_to_save": "nothing but the adapter is trained here",
    "lora_target_parameters": "experts of mixtures get no adapter here",
    "lora_model_dir": "training starts from a new adapter here",
    "loraplus_lr_ratio": "A and B have one learning rate here",
    "unfrozen_parameters": "all of the adapter is trained here, as the mode says, and nothing else",
    "warmup_steps": "the learning rate starts at its full height here",
    "warmup_ratio": "the learning rate starts at its full height here",
    "max_steps": "training ends after whole passes here",
    "neftune_noise_alpha": "no noise is added here",
    "chat_template_jinja": "chats are written by the tokenizer's own template here",
    "default_system_message": "no system prompt is added here but what the tokenizer's template adds",
    "dataset_exact_deduplication": "rows that stand twice are learnt twice here",
    "deepspeed": "the batch is that of one GPU here",
    "fsdp": "the batch is that of one GPU here",
    "revision_of_model": "the newest version of the model is taken here",
    "peft_layer_replication": "no layer is repeated here",
}


def read_axolotl(path: str | PathLike[str]) -> TrainerFile:
    """What an axolotl configuration decides.

    Args:
        path: the YAML file. Its data sets are looked for from the present folder, as axolotl does, then beside it.
    Raises:
        InputError: the file cannot be read, trains something else than LoRA on texts, or names data that are not read;
            all of it in one message.
    """
    keys = read_keys(Path(path))
    _refuse_other_trainings(keys)
    data, others, unread = _entries(keys, "datasets")
    if not keys.values.get("datasets") and not keys.values.get("pretraining_dataset"):
        keys.fault("datasets", "no data set is named: axolotl lists them there, each with path and type")
    lora = _lora(keys)
    settings = {**(data.settings if data else {}), **_model_and_training(keys, lora)}
    tested = _tested(keys, data)
    share, rows = _validation(keys)
    note_several(keys, "datasets", 1 + len(others) + len(unread))
    tell_unfollowed(keys, _OTHERWISE)
    refuse_faults(keys)
    return TrainerFile(
        trainer="axolotl",
        path=keys.path,
        settings=settings,
        lora=lora,
        validation_share=share,
        validation_rows=rows,
        validation_data=tested,
        other_data=tuple(entry.settings for entry in others),
        unread_data=tuple(unread),
        remarks=tuple(keys.remarks),
    )


def _refuse_other_trainings(keys: Keys) -> None:
    adapter = keys.text("adapter")
    if adapter is None:
        keys.fault("adapter", "not given, so axolotl trains all of the model: write  adapter: lora  or qlora")
    elif adapter not in ("lora", "qlora"):
        keys.fault("adapter", f"{adapter} is not LoRA: write  adapter: lora  or qlora")
    for key, why in _REFUSED.items():
        if keys.values.get(key) not in (None, False, "", []):
            keys.fault(key, why)


def _entries(keys: Keys, key: str) -> tuple[Entry | None, list[Entry], list[str]]:
    """The first data set of a list, the others that can be read, and the names of those that cannot."""
    listed = keys.values.get(key)
    if listed in (None, "", []):
        return None, [], []
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
        keys.fault(key, "no list of data sets, each with path and type")
        return None, [], []
    first, others, unread = read_entry(keys, listed[0], f"{key}[0]"), [], []
    for number, entry in enumerate(listed[1:], 1):
        aside = replace(keys, faults=[], remarks=keys.remarks)
        found = read_entry(aside, entry, f"{key}[{number}]")
        if found:
            others.append(found)
        else:
            unread.append(str(entry.get("path")))
            keys.remark(f"not read: {'; '.join(aside.faults)}.")
    return first, others, unread


def _tested(keys: Keys, data: Entry | None) -> str | None:
    """The data set for validation, where it is read as that of the training is; what cannot be read is told."""
    aside = replace(keys, faults=[], remarks=[])
    first, others, unread = _entries(aside, "test_datasets")
    if aside.faults:
        keys.remark(f"not read: {aside.faults[0]}.")
    if first is None or data is None:
        return None
    if others or unread:
        keys.remark(f"test_datasets names {1 + len(others) + len(unread)} data sets: only the first is read.")
    name = str(first.settings["data"])
    if {**data.settings, "data": name} == first.settings:
        return name
    keys.remark(f"test_datasets {name}: not read, as its rows have another form than those of the training.")
    return None


def _lora(keys: Keys) -> OwnLora:
    stated = keys.values.get("lora_target_modules")
    targets = [stated] if isinstance(stated, str) and stated else keys.names("lora_target_modules") or []
    if keys.flag("lora_target_linear"):
        targets = [ALL_LINEAR]
    return OwnLora(
        rank=keys.whole("lora_r"),
        alpha=keys.number("lora_alpha", above=0),
        dropout=keys.number("lora_dropout", 0.0) or 0.0,
        rslora=keys.flag("peft_use_rslora"),
        targets=tuple(targets),
    )


def _model_and_training(keys: Keys, lora: OwnLora) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    model = keys.text("base_model")
    if model:
        settings["model"] = model
    else:
        keys.fault("base_model", "no model is named")
    if keys.flag("load_in_4bit"):
        keys.remark("load_in_4bit: the frozen model is not quantized here.")
    if keys.text("chat_template") not in (None, "tokenizer_default"):
        keys.remark(
            f"chat_template {keys.text('chat_template')}: chats are written by the tokenizer's own template here."
        )
    settings |= _layers(keys, lora)
    settings["max_length"] = keys.whole("sequence_len", DEFAULTS["sequence_len"])
    strategy = keys.text("excess_length_strategy") or "drop"
    settings["drop_long"] = strategy != "raise"
    if strategy == "truncate":
        keys.remark("excess_length_strategy truncate: longer rows are left out here, not cut.")
    note_defaults(keys, "axolotl", DEFAULTS)
    micro = keys.whole("micro_batch_size", 1) or 1
    steps = keys.whole("gradient_accumulation_steps", 1) or 1
    settings["batch_size"] = keys.whole("batch_size") or micro * steps
    settings["epochs"] = note_epochs(keys, "num_epochs", DEFAULTS["num_epochs"])
    lr = keys.number("learning_rate", above=0)
    if lr:
        settings["lr"] = lr
    settings["schedule"] = note_schedule(keys, "lr_scheduler", DEFAULTS["lr_scheduler"])
    settings["weight_decay"] = keys.number("weight_decay", DEFAULTS["weight_decay"])
    settings["clip_norm"] = keys.number("max_grad_norm", DEFAULTS["max_grad_norm"], above=0)
    optimizer = keys.text("optimizer") or "adamw_torch_fused"
    if optimizer not in ("adamw_torch", "adamw_torch_fused", "adamw_hf"):
        keys.remark(f"optimizer {optimizer}: plain AdamW is used here.")
    return settings


def _layers(keys: Keys, lora: OwnLora) -> dict[str, Any]:
    settings = adapter_settings(keys, lora, "peft_use_rslora", "lora_r", "lora_target_modules")
    layers = keys.values.get("peft_layers_to_transform")
    if layers not in (None, "", []):
        settings["layers"] = layers if isinstance(layers, list) else [layers]
    return settings


def _validation(keys: Keys) -> tuple[float | None, int | None]:
    size = keys.number("val_set_size", 0.0) or 0.0
    if size <= 0:
        return None, None
    return (None, int(size)) if size > 1 else (size, None)
