"""``dataset_info.json`` of LLaMA-Factory: where a data set is, and what its columns and speakers are called there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorabound.data.phrases import listed, quoted
from lorabound.data.turns import ROLES
from lorabound.errors import first_line
from lorabound.trainers.found import located, on_hub
from lorabound.trainers.keys import Keys

# What the file calls a column of ours. Where it gives any, those that it leaves out are not read.
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "system",
           "tools": "tools"}  # fmt: skip
_USUAL = {"prompt": "instruction", "query": "input", "response": "output"}
_TAGS = {
    "user_tag": ("human", "user"),
    "assistant_tag": ("gpt", "assistant"),
    "observation_tag": ("observation", "tool"),
    "system_tag": ("system", "system"),
}
_MEDIA = ("images", "videos", "audios")


@dataclass
class Described:
    """A data set of the file.

    Attributes:
        keys: its description, with faults and remarks.
        settings: data, form and columns.
    """

    keys: Keys
    settings: dict[str, Any] = field(default_factory=dict)


def describe(file: Path, name: str | None) -> Described:
    """The data set of this name; its faults are left in ``keys``, also where there is no such file or name.

    Args:
        name: name in the file; None takes the only one.
    """
    keys = Keys(file, {})
    described = Described(keys)
    found = _entry(keys, name)
    if found is None:
        return described
    name, keys.values = found
    entry = keys.values
    _refuse(keys, name)
    data = _data(keys, name)
    form, columns = _form(keys, name)
    if data is not None:
        described.settings = {"data": data, "task": "completions", "form": form}
        if columns:
            described.settings["columns"] = columns
    if entry.get("num_samples"):
        keys.remark(f"{name}, num_samples {entry['num_samples']}: all rows are read here; give --n-train for fewer.")
    return described


def _entry(keys: Keys, name: str | None) -> tuple[str, Mapping[str, Any]] | None:
    """The name of a data set and its description."""
    try:
        info = json.loads(keys.path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        keys.faults.append(f"no such file ({error.strerror}): give FOLDER/dataset_info.json:NAME")
        return None
    except (ValueError, RecursionError) as error:
        keys.faults.append(f"not valid JSON: {first_line(error)}")
        return None
    if not isinstance(info, dict) or not info:
        keys.faults.append("describes no data sets: it maps names to descriptions")
        return None
    if name is None and len(info) == 1:
        name = next(iter(info))
    if name is None or name not in info:
        near = difflib.get_close_matches(name or "", list(info), 1)
        meant = f", did you mean {near[0]}?" if near else ""
        said = f"no data set {quoted(name)}{meant}" if name else f"{len(info)} data sets are described"
        keys.faults.append(f"{said}: write {keys.path}:NAME with one of {listed(info, 12)}")
        return None
    if not isinstance(info[name], dict):
        keys.fault(name, "no description of a data set, as {'file_name': 'data.json'}")
        return None
    return name, info[name]


def _refuse(keys: Keys, name: str) -> None:
    columns = _mapping(keys, name, "columns")
    if keys.values.get("ranking") or columns.get("rejected") or columns.get("chosen"):
        keys.fault(f"{name}.ranking", "preferences, and one completion is learnt here, not a choice among two")
    if columns.get("kto_tag"):
        keys.fault(f"{name}.columns.kto_tag", "verdicts on answers, and every answer is learnt here")
    media = [kind for kind in _MEDIA if columns.get(kind)]
    if media:
        keys.fault(f"{name}.columns.{media[0]}", f"{media[0]} beside texts, and texts alone are learnt here")


def _mapping(keys: Keys, name: str, key: str) -> Mapping[str, Any]:
    value = keys.values.get(key)
    if value is None or isinstance(value, Mapping):
        return value or {}
    keys.fault(f"{name}.{key}", f"{quoted(value)} is no mapping of names")
    return {}


def _data(keys: Keys, name: str) -> str | None:
    entry = keys.values
    split = entry.get("split")
    if entry.get("hf_hub_url"):
        where = str(entry["hf_hub_url"])
        if entry.get("folder"):
            keys.fault(f"{name}.folder", f"a folder of {where} on the hub: download it and describe it by file_name")
            return None
        if where.count("/") != 1:
            keys.fault(f"{name}.hf_hub_url", f"{quoted(where)} is no name of the form owner/name")
            return None
        return on_hub(keys, f"{name}.split", where, entry.get("subset"), split)
    for key, where in (
        ("ms_hub_url", "on ModelScope"),
        ("om_hub_url", "on Openmind"),
        ("script_url", "made by a script"),
        ("cloud_file_name", "far away"),
    ):
        if entry.get(key):
            keys.fault(f"{name}.{key}", f"{quoted(entry[key])} is {where}: download it and describe it by file_name")
            return None
    file = entry.get("file_name")
    if not isinstance(file, str) or not file:
        keys.fault(f"{name}.file_name", "no data set is named: give the name of a file")
        return None
    found = located(keys, f"{name}.file_name", file, [keys.path.parent])
    return None if found is None else on_hub(keys, f"{name}.split", found, None, split)


def _form(keys: Keys, name: str) -> tuple[str | None, dict[str, str]]:
    formatting = keys.values.get("formatting") or "alpaca"
    if formatting == "alpaca":
        return _alpaca(keys, name)
    if formatting in ("sharegpt", "openai"):
        return _turns(keys, name)
    keys.fault(f"{name}.formatting", f"{quoted(formatting)} is none of alpaca, sharegpt, openai")
    return None, {}


def _alpaca(keys: Keys, name: str) -> tuple[str, dict[str, str]]:
    stated = _mapping(keys, name, "columns")
    theirs = {key: stated.get(key) for key in _ALPACA} if stated else dict(_USUAL)
    if theirs.get("prompt") and not theirs.get("response"):
        text = str(theirs["prompt"])
        return "text", {} if text == "text" else {"text": text}
    if not theirs.get("prompt"):
        keys.fault(f"{name}.columns", "no column of prompts is named: give prompt, and response beside it")
    columns = {ours: str(theirs.get(key) or "-") for key, ours in _ALPACA.items()}
    return "alpaca", {ours: called for ours, called in columns.items() if called != ours}


def _turns(keys: Keys, name: str) -> tuple[str, dict[str, str]]:
    stated, tags = _mapping(keys, name, "columns"), _mapping(keys, name, "tags")
    who, what = (str(tags.get(tag) or usual) for tag, usual in (("role_tag", "from"), ("content_tag", "value")))
    if who not in ("role", "from") or what not in ("content", "value"):
        keys.fault(
            f"{name}.tags",
            f"turns hold {quoted(who)} and {quoted(what)}, and turns are read with role or from, content or value: "
            "rename the keys in the data",
        )
    for tag, (usual, role) in _TAGS.items():
        speaker = str(tags.get(tag) or usual)
        if ROLES.get(speaker) != role:
            keys.fault(
                f"{name}.tags.{tag}", f"{quoted(speaker)} is not read as {role}: rename it to {usual} in the data"
            )
    form, usual = ("sharegpt", "conversations") if who == "from" else ("messages", "messages")
    column = str(stated.get("messages") or "conversations") if stated else "conversations"
    columns = {} if column == usual else {usual: column}
    for optional in ("system", "tools"):
        called = str(stated.get(optional) or "-")
        if called != optional:
            columns[optional] = called
    if stated.get("tools"):
        keys.remark(f"{name}, tools: rows with tools are refused here, or left out with --drop-empty.")
    return form, columns
