"""The data sets of an axolotl configuration: where they are, in which form, and how axolotl writes them otherwise.

chat_template           lists of turns, written by a chat template
alpaca and its kin      instruction, input, output, written by alpaca's template or another one
completion              texts, all of which is learnt
a mapping               instruction and output under other names, with a format of their own
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorabound.data.phrases import quoted
from lorabound.data.turns import ROLES
from lorabound.trainers.found import located, on_hub
from lorabound.trainers.keys import Keys

_PLAIN = "axolotl writes prompts of this type otherwise; here they stand in alpaca's template"
_CHAT = "axolotl writes prompts of this type by a template of its own; here the tokenizer's chat template writes them"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How a type of axolotl's is read here.

    Attributes:
        form: form of ours.
        columns: names of the columns, where they are not the form's own.
        otherwise: end of a sentence on what is read otherwise; "" where nothing is.
    """

    form: str
    columns: Mapping[str, str]
    otherwise: str = ""


KINDS = {
    "alpaca": Kind(form="alpaca-text", columns={}),
    "alpaca:chat": Kind(form="alpaca-text", columns={}, otherwise=_PLAIN),
    "alpaca:instruct": Kind(form="alpaca-text", columns={}),
    "alpaca:chatml": Kind(form="alpaca", columns={}, otherwise=_CHAT),
    "alpaca:phi": Kind(form="alpaca", columns={}, otherwise=_CHAT),
    "gpteacher": Kind(form="alpaca-text", columns={"output": "response"}),
    "oasst": Kind(form="alpaca-text", columns={"instruction": "INSTRUCTION", "output": "RESPONSE", "input": "-"}),
    "alpaca_chat": Kind(form="alpaca-text", columns={}, otherwise=_PLAIN),
    "alpaca_chat.load_qa": Kind(
        form="alpaca-text", columns={"instruction": "question", "output": "answer", "input": "-"}, otherwise=_PLAIN
    ),
    "alpaca_chat.load_concise": Kind(form="alpaca-text", columns={}, otherwise=_PLAIN),
    "alpaca_chat.load_camel_ai": Kind(
        form="alpaca-text", columns={"instruction": "message_1", "output": "message_2", "input": "-"}, otherwise=_PLAIN
    ),
    "alpaca_w_system": Kind(form="alpaca", columns={"history": "-"}, otherwise=_CHAT),
    "alpaca_w_system.load_open_orca": Kind(
        form="alpaca",
        columns={"instruction": "question", "output": "response", "system": "system_prompt", "input": "-",
                 "history": "-"},
        otherwise=_CHAT,
    ),
    "alpaca_w_system.load_open_orca_chatml": Kind(
        form="alpaca",
        columns={"instruction": "question", "output": "response", "system": "system_prompt", "input": "-",
                 "history": "-"},
        otherwise=_CHAT,
    ),
    "completion": Kind(
        form="text", columns={}, otherwise="axolotl cuts long texts into rows of sequence_len; here they are left out"
    ),
    "chat_template": Kind(form="messages", columns={}),
    "sharegpt": Kind(form="sharegpt", columns={}),
}  # fmt: skip
"""Types that are read."""
_SAME = {
    "alpaca_instruct": "alpaca",
    "alpaca_instruct.load": "alpaca",
    "alpaca_chat.load": "alpaca_chat",
    "alpaca_w_system.load": "alpaca_w_system",
    "alpaca_w_system.load_chat": "alpaca_w_system",
    "alpaca_w_system.load_instruct": "alpaca_w_system",
    "completion.load": "completion",
    "chat_template.load": "chat_template",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A data set of the file.

    Attributes:
        settings: data, form and columns.
    """

    settings: dict[str, Any]


def read_entry(keys: Keys, entry: Mapping[str, Any], where: str) -> Entry | None:
    """The data set that an entry describes; None where it cannot be read, which is noted as a fault.

    Args:
        where: the entry's place in the file, as "datasets[0]".
    """
    n_faults = len(keys.faults)
    data = _data(keys, entry, where)
    kind = _kind(keys, entry, where)
    if data is None or kind is None or len(keys.faults) > n_faults:
        return None
    if kind.otherwise:
        keys.remark(f"{where} type {_shown(entry.get('type'))}: {kind.otherwise}.")
    settings: dict[str, Any] = {"data": data, "task": "completions", "form": kind.form}
    if kind.columns:
        settings["columns"] = dict(kind.columns)
    return Entry(settings=settings)


def _data(keys: Keys, entry: Mapping[str, Any], where: str) -> str | None:
    path, files = entry.get("path"), entry.get("data_files")
    if not isinstance(path, str) or not path.strip():
        keys.fault(f"{where}.path", "no data set is named: give a file, or a name on the hub")
        return None
    folders = [Path(), keys.path.parent]
    if files:
        one = files[0] if isinstance(files, list) and len(files) == 1 else files
        inside = [folder / path for folder in folders if len(path) < 256 and (folder / path).is_dir()]
        if not isinstance(one, str):
            keys.fault(f"{where}.data_files", "several files: put their rows into one file and name that in path")
            return None
        if not inside and path not in ("json", "csv", "parquet", "text"):
            keys.fault(
                f"{where}.data_files", f"files of {path} on the hub: download {one} and name its path in place of both"
            )
            return None
        found = located(keys, f"{where}.data_files", one, [*folders, *inside])
    else:
        found = located(keys, f"{where}.path", path.strip(), folders)
    if found is None:
        return None
    if entry.get("revision"):
        keys.remark(f"{where} revision {entry['revision']}: the newest version of the data set is read here.")
    if entry.get("shards"):
        keys.fault(f"{where}.shards", "a part of the rows: write those rows into a file of their own")
    configuration, split = entry.get("name"), entry.get("split")
    if isinstance(configuration, list):
        keys.fault(f"{where}.name", "several configurations: name one")
        return None
    return on_hub(keys, f"{where}.split", found, configuration, split)


def _kind(keys: Keys, entry: Mapping[str, Any], where: str) -> Kind | None:
    stated = entry.get("type")
    if isinstance(stated, Mapping):
        return _format_of_its_own(keys, stated, where)
    if stated in (None, ""):
        keys.fault(f"{where}.type", f"not given, so the rows are tokens already, and texts are read here: {_known()}")
        return None
    name = _SAME.get(str(stated), str(stated))
    kind = KINDS.get(name)
    if kind is None:
        keys.fault(f"{where}.type", f"{quoted(stated)} is not read: {_known()}")
        return None
    if name == "chat_template":
        return _chats(keys, entry, where)
    if name == "completion" and entry.get("field") not in (None, "", "text"):
        return Kind(form="text", columns={"text": str(entry["field"])}, otherwise=kind.otherwise)
    if name == "sharegpt" and entry.get("conversation"):
        keys.remark(f"{where} conversation {entry['conversation']}: the tokenizer's own template writes chats here.")
    return kind


def _known() -> str:
    return f"types that are read are {', '.join(KINDS)}, or a mapping with field_instruction and field_output"


def _shown(stated: Any) -> str:
    return "with a format of its own" if isinstance(stated, Mapping) else str(stated)


def _chats(keys: Keys, entry: Mapping[str, Any], where: str) -> Kind | None:
    """Lists of turns: the names of column and keys, and whose turns are learnt."""
    mapped = entry.get("message_property_mappings") or {}
    if not isinstance(mapped, Mapping):
        keys.fault(f"{where}.message_property_mappings", f"{quoted(mapped)} is no mapping of role and content")
        return None
    who = mapped.get("role") or entry.get("message_field_role") or "role"
    what = mapped.get("content") or entry.get("message_field_content") or "content"
    if who not in ("role", "from") or what not in ("content", "value"):
        keys.fault(
            f"{where}.message_property_mappings",
            f"turns hold {quoted(who)} and {quoted(what)}, and turns are read with role or from, content or value: "
            "rename the keys in the data",
        )
        return None
    _roles(keys, entry.get("roles"), where)
    learnt = entry.get("roles_to_train", ["assistant"])
    if not isinstance(learnt, list) or [ROLES.get(str(role), role) for role in learnt] != ["assistant"]:
        meant = ", ".join(map(str, learnt)) if isinstance(learnt, list) and learnt else "none by their role"
        keys.remark(f"{where} roles_to_train: axolotl learns {meant}; here all that assistants say is learnt.")
    for key in ("message_field_training", "message_field_training_detail"):
        if entry.get(key):
            keys.remark(
                f"{where} {key}: rows with answers that are marked as not to be learnt are refused here, or left out "
                "with --drop-empty."
            )
    if entry.get("train_on_eos") not in (None, "turn"):
        keys.remark(
            f"{where} train_on_eos {entry['train_on_eos']}: the mark that ends an answer is always learnt here."
        )
    if entry.get("drop_system_message"):
        keys.remark(f"{where} drop_system_message: system prompts are read here.")
    if entry.get("split_thinking") or entry.get("field_thinking"):
        keys.remark(f"{where}: what stands beside the content of a turn, such as reasoning, is not read here.")
    if entry.get("chat_template") not in (None, "tokenizer_default"):
        keys.remark(f"{where} chat_template {entry['chat_template']}: the tokenizer's own template writes chats here.")
    form, usual = ("sharegpt", "conversations") if who == "from" else ("messages", "messages")
    column = entry.get("field_messages") or "messages"
    columns = {} if column == usual else {usual: str(column)}
    if entry.get("field_tools") not in (None, "", "tools"):
        columns["tools"] = str(entry["field_tools"])
    return Kind(form=form, columns=columns)


def _roles(keys: Keys, roles: Any, where: str) -> None:
    """See that the file gives no speaker another role than we do."""
    for role, names in (roles or {}).items() if isinstance(roles, Mapping) else ():
        for name in names if isinstance(names, list) else [names]:
            ours = ROLES.get(str(name))
            if ours is None:
                keys.remark(f"{where} roles: {name} stands for {role}; rows in which {name} speaks are refused here.")
            elif ours != role:
                keys.fault(f"{where}.roles", f"{name} stands for {role}, and for {ours} here: rename it in the data")


def _format_of_its_own(keys: Keys, stated: Mapping[str, Any], where: str) -> Kind:
    """A mapping: names of the columns, and the format of the prompt."""
    asked = str(stated.get("field_instruction") or "instruction")
    answer = str(stated.get("field_output") or "output")
    context = str(stated.get("field_input") or "input")
    layout = str(stated.get("format") or "{instruction} {input} ")
    bare = str(stated.get("no_input_format") or layout)
    if layout.strip() == bare.strip() == "{instruction}" and not stated.get("system_prompt"):
        otherwise = "" if layout == bare == "{instruction}" else "blanks that the format adds are left out here"
        return Kind(form="prompt-completion", columns={"prompt": asked, "completion": answer}, otherwise=otherwise)
    system = stated.get("field_system") or stated.get("system_prompt")
    columns = {"instruction": asked, "output": answer, "input": context if "{input}" in layout else "-"}
    columns = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    template = any(mark in layout for mark in ("<|", "[INST]", "<start_of_turn>", "<s>"))
    if stated.get("system_prompt") or (system and not template):
        keys.remark(f"{where}: its system prompts are not read here.")
    if template:
        columns |= {"system": str(stated.get("field_system") or "system"), "history": "-"}
        return Kind(form="alpaca", columns=columns, otherwise=_CHAT)
    return Kind(form="alpaca-text", columns=columns, otherwise=_PLAIN)
