"""What is wrong with a setting, in plain words: from pydantic's records to one sentence for each field."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

# What other programs call our settings.
OTHER_NAMES = {
    "n_samples": "samples",
    "sample": "samples",
    "r": "ranks",
    "rank": "ranks",
    "lora_r": "ranks",
    "lora_rank": "ranks",
    "mode": "modes",
    "freeze": "modes",
    "seed": "seeds",
    "n_seeds": "seeds",
    "random_seed": "data_seed",
    "train_size": "n_train",
    "n": "n_train",
    "max_train_samples": "n_train",
    "test_size": "n_test",
    "max_test_samples": "n_test",
    "max_eval_samples": "n_test",
    "learning_rate": "lr",
    "lora_alpha": "alpha_over_r",
    "alpha": "alpha_over_r",
    "scale": "alpha_over_r",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "n_epochs": "epochs",
    "batch": "batch_size",
    "per_device_train_batch_size": "batch_size",
    "train_batch_size": "batch_size",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "max_len": "max_length",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "max_grad_norm": "clip_norm",
    "gradient_clip": "clip_norm",
    "target_modules": "targets",
    "target": "targets",
    "lora_target_modules": "targets",
    "layers_to_transform": "layers",
    "layer": "layers",
    "dtype": "precision",
    "torch_dtype": "precision",
    "model_name": "model",
    "model_name_or_path": "model",
    "base_model": "model",
    "dataset": "data",
    "dataset_name": "data",
    "train_file": "data",
    "train_data": "data",
    "file": "data",
    "input": "data",
    "test_file": "test_data",
    "test": "test_data",
    "validation_file": "test_data",
    "text": "text_column",
    "text_field": "text_column",
    "text_column_name": "text_column",
    "label": "label_column",
    "target_column": "label_column",
    "label_column_name": "label_column",
    "labels": "label_column",
    "output": "out",
    "output_dir": "out",
    "out_dir": "out",
    "o": "out",
    "shot": "shots",
    "n_shots": "shots",
    "max_memory": "memory",
    "rename_label": "rename_labels",
    "skip_empty": "drop_empty",
    "min_rows": "min_class_rows",
}


def did_you_mean(word: str, known: Sequence[str]) -> str | None:
    """The known name that a word seems to stand for: another program's name for it, or the nearest spelling."""
    plain = word.strip("-").replace("-", "_").casefold()
    meant = OTHER_NAMES.get(plain)
    if meant in known:
        return meant
    begins = [name for name in known if plain and name.startswith(plain)]
    if len(begins) == 1:
        return begins[0]
    return next(iter(difflib.get_close_matches(plain, known, 1, 0.6)), None)


def explain(faults: Sequence[Mapping[str, Any]], known: Sequence[str]) -> dict[str, str]:
    """Name of a setting -> what is wrong with it, from pydantic's list of faults; each names setting and value once.

    Settings that do not exist and resemble none share the sentence of the last of them, which lists what is known.

    Args:
        faults: entries of ``ValidationError.errors()``.
        known: names of all fields.
    """
    sentences: dict[str, list[str]] = {}
    strange: list[str] = []
    for fault in faults:
        name = str(fault["loc"][0]) if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            meant = did_you_mean(name, known)
            if meant is None:
                strange.append(name)
                continue
            sentence = f"there is no setting {name!r}: did you mean {meant}?"
        elif not name:
            sentence = _sentence(fault)
        else:
            sentence = f"{name} = {_short(fault['input'])}: {_sentence(fault)}"
        sentences.setdefault(name, []).append(sentence)
    told = {name: _fittest(several) for name, several in sentences.items()}
    if strange:
        told[strange[-1]] = f"there is no setting {' or '.join(map(repr, strange))}; known are {', '.join(known)}"
    return told


def _fittest(sentences: list[str]) -> str:
    """Of what several forms of one field say about the same value, the first; "or" what the others ask for."""
    first, *others = dict.fromkeys(sentences)
    asked = [other.partition(": ")[2] for other in others]
    return ", or ".join([first, *(ask for ask in dict.fromkeys(asked) if ask and ask not in first)])


def _sentence(fault: Mapping[str, Any]) -> str:
    kind, limits = fault["type"], fault.get("ctx", {})
    if kind == "value_error":
        return str(limits["error"])
    if kind == "literal_error":
        allowed = [part.strip().strip("'") for part in str(limits["expected"]).replace(" or ", ", ").split(",")]
        meant = _meant(str(fault["input"]), allowed)
        return f"use {' or '.join(allowed)}" + (f"; did you mean {meant}?" if meant else "")
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        limit = limits[key]
        return f"it must be {words} {int(limit) if limit == int(limit) else limit:,}"
    if kind == "too_short":
        least = limits["min_length"]
        return f"give {'one value' if least == 1 else f'{least} values'} at least"
    for beginning, what in _WANTED.items():
        if kind.startswith(beginning):
            return f"it must be {what}"
    return "it cannot be used here"


_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list, as 1,2,4",
    "tuple": "a list, as 1,2,4",
    "dict": "pairs OLD: NEW",
}


def _meant(word: str, allowed: Sequence[str]) -> str | None:
    word = word.casefold().replace("-", "_").replace(" ", "_")
    inside = [name for name in allowed if word and (word in name.split("_") or name.startswith(word))]
    if len(inside) == 1:
        return inside[0]
    return next(iter(difflib.get_close_matches(word, allowed, 1, 0.5)), None)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
