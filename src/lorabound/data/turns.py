"""One row of a file as a dialogue, or what is wrong with it.

Whoever speaks is called as chat templates do: human is user, gpt is assistant, observation is tool. Contents stay as
they are, blanks at their ends included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorabound.data.columns import spelled
from lorabound.data.dialogues import Dialogue, Form, Turn
from lorabound.data.json_rows import doubled_names, has_half
from lorabound.data.phrases import quoted

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
    "observation": "tool",
}
_SPEAKERS = "system, user (human), assistant (gpt), tool (observation)"
_WHO, _WHAT = ("role", "from"), ("content", "value")
_CALLS = ("tool_calls", "function_call")
# Alpaca's own template (Taori et al. 2023), without and with an input.
_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
_READ = frozenset((*_WHO, *_WHAT, *_CALLS, "train", "weight", "train_detail"))


class UnusableRow(Exception):
    """A row that cannot be learnt from.

    Attributes:
        what: end of the sentence "the row has ...".
        held: what stands there instead, "" where nothing does.
    """

    def __init__(self, what: str, held: object = "") -> None:
        super().__init__(what)
        self.what, self.held = what, quoted(held) if held != "" else ""


def read_row(form: Form, row: Mapping[str, Any]) -> Dialogue:
    """The dialogue of one row.

    Args:
        row: values by the form's own names of columns; None where the row has none.
    Raises:
        UnusableRow: it has nothing to learn, or something that is no text of a known speaker.
    """
    if not _absent(row.get("tools")) and row["tools"] not in ("[]", "null"):
        raise UnusableRow("tools to call, which are not read")
    if form == "text":
        return Dialogue((Turn("completion", _text(row.get("text"), "text")),), chat=False)
    if form == "alpaca":
        return _alpaca(row)
    if form == "alpaca-text":
        return _alpaca_text(row)
    if form == "prompt-completion":
        return _pair(row.get("prompt"), row.get("completion"))
    column = "messages" if form == "messages" else "conversations"
    turns = _turns(row.get(column), column)
    system = _optional(row.get("system"), "system")
    if system and turns[0].role != "system":
        turns = [Turn("system", system), *turns]
    return _chat(turns)


def unread_keys(value: Any) -> set[str]:
    """Keys of messages that hold something and are not read, such as name or reasoning_content."""
    messages = value if isinstance(value, list) else []
    return {
        str(key)
        for message in messages
        if isinstance(message, Mapping)
        for key, held in message.items()
        if key not in _READ and not _absent(held)
    }


def _alpaca(row: Mapping[str, Any]) -> Dialogue:
    system = _optional(row.get("system"), "system")
    turns = [Turn("system", system)] if system else []
    history = row.get("history")
    if not _absent(history):
        if not isinstance(history, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in history):
            raise UnusableRow("a history that is no list of [instruction, output] pairs", history)
        for asked, answered in history:
            turns += [
                Turn("user", _text(asked, "instruction in its history")),
                Turn("assistant", _text(answered, "output in its history")),
            ]
    asked = [_optional(row.get(column), column) for column in ("instruction", "input")]
    if not any(asked):
        raise UnusableRow("no instruction")
    return _chat(
        [*turns, Turn("user", "\n".join(filter(None, asked))), Turn("assistant", _text(row.get("output"), "output"))]
    )


def _alpaca_text(row: Mapping[str, Any]) -> Dialogue:
    asked, context = _text(row.get("instruction"), "instruction"), _optional(row.get("input"), "input")
    prompt = (_ALPACA_INPUT if context else _ALPACA).format(instruction=asked, input=context)
    return Dialogue((Turn("prompt", prompt), Turn("completion", _text(row.get("output"), "output"))), chat=False)


def _pair(prompt: Any, completion: Any) -> Dialogue:
    prompt, completion = _listed(prompt), _listed(completion)
    if _absent(prompt):
        raise UnusableRow("no prompt")
    if _absent(completion):
        raise UnusableRow("no completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        given = _turns(prompt, "prompt")
        return _chat([*given, *_turns(completion, "completion")], len(given))
    if isinstance(prompt, list) or isinstance(completion, list):
        raise UnusableRow("a list of messages and a text as prompt and completion, which must be of one kind")
    return Dialogue(
        (Turn("prompt", _text(prompt, "prompt")), Turn("completion", _text(completion, "completion"))), False
    )


def _chat(turns: Sequence[Turn], given: int = 0) -> Dialogue:
    dialogue = Dialogue(tuple(turns), True, given)
    if not dialogue.trained:
        raise UnusableRow("no turn of assistant" + (" in the completion" if given else ""))
    return dialogue


def _turns(value: Any, column: str) -> list[Turn]:
    messages = _listed(value)
    if _absent(messages):
        raise UnusableRow(f"no {column}")
    if not isinstance(messages, list):
        raise UnusableRow(f"{column} that are no list of messages", messages)
    return [_turn(message) for message in messages]


def _turn(message: Any) -> Turn:
    if not isinstance(message, Mapping):
        raise UnusableRow("a message that is no record of role and content", message)
    twice = doubled_names(message)
    if twice:
        raise UnusableRow("a message that holds a name twice", min(twice))
    who = next((message[key] for key in _WHO if message.get(key) is not None), None)
    if who is None:
        raise UnusableRow("a message without a role")
    if who == "function_call" or any(not _absent(message.get(key)) for key in _CALLS):
        raise UnusableRow("a call of a tool, which is not read")
    role = ROLES.get(who) if isinstance(who, str) else None
    if role is None:
        raise UnusableRow(f"a role that is none of {_SPEAKERS}", who)
    if role != "assistant" and message.get("train") is True:
        raise UnusableRow(f"a turn of {role} that is marked as to be learnt (train)")
    apart = message.get("train") is False or message.get("weight") == 0 or not _absent(message.get("train_detail"))
    if role == "assistant" and apart:
        raise UnusableRow("a turn of assistant that is marked as not to be learnt (train, weight)")
    content = next((message[key] for key in _WHAT if message.get(key) is not None), None)
    if isinstance(content, list):
        content = "".join(map(_part, content))
    if role == "system" and isinstance(content, str):
        return Turn(role, _whole(content))
    return Turn(role, _text(content, f"text in a turn of {role}"))


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise UnusableRow("content that is not text", kind or part)


def _listed(value: Any) -> Any:
    """A list of records, also where the datasets library keeps it as a record of lists."""
    if isinstance(value, Mapping) and value and all(isinstance(entries, list) for entries in value.values()):
        lengths = {len(entries) for entries in value.values()}
        if len(lengths) == 1:
            return [dict(zip(value, entries, strict=True)) for entries in zip(*value.values(), strict=True)]
    return value


def _text(value: Any, what: str) -> str:
    """A text as it stands; a number as it is written."""
    written = spelled(value)
    if written is None:
        raise UnusableRow(f"{what} that is not text", value)
    if not written:
        raise UnusableRow(f"no {what}")
    return _whole(value) if isinstance(value, str) else written


def _optional(value: Any, what: str) -> str:
    return "" if _absent(value) else _text(value, what)


def _whole(text: str) -> str:
    if has_half(text):
        raise UnusableRow("half of a character (such as \\ud83d without its other half), which no tokenizer takes")
    return text


def _absent(value: Any) -> bool:
    return value == [] or value == {} or spelled(value) == ""
