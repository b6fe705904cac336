"""The data sets of a training, put into one file, as trainers put their rows behind one another.

chats alone                      messages
texts alone                      text
prompts with their completions   prompt, completion: two texts each, or two lists of turns
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lorabound.data import Dialogue, Turn, counted, load_dialogues
from lorabound.data.phrases import listed
from lorabound.errors import DataError
from lorabound.files import Place, write_text
from lorabound.trainers.trainer_file import TOGETHER, TrainerFile


def merged(file: TrainerFile, path: Place, empty: Literal["refuse", "drop"] = "refuse") -> TrainerFile:
    """The same with all data sets that can be read in one file of JSON lines; itself where there is one only.

    Rows that stand in several data sets stand several times in the file, as trainers learn them.

    Args:
        path: file to write, which ends in .jsonl.
        empty: treatment of rows that cannot be learnt from: they are refused, or left out.
    Raises:
        DataError: a data set that cannot be found or used, or texts alone beside prompts, which have no common form.
        OutputError: the file cannot be written.
    """
    if not file.other_data:
        return file
    sets = [
        load_dialogues(read["data"], read["form"], read.get("columns"), empty)
        for read in (file.settings, *file.other_data)
    ]
    dialogues = [dialogue for found in sets for dialogue in found.examples]
    names = listed([found.name for found in sets], len(sets), 80)
    rows = _rows(dialogues, names)
    write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    form = "messages" if "messages" in rows[0] else "text" if "text" in rows[0] else "prompt-completion"
    own = {name: value for name, value in file.settings.items() if name != "columns"}
    remarks = [f"{Path(path)}: {counted(len(rows), 'row')} of {counted(len(sets), 'data set')}, {names}."]
    if file.validation_data:
        remarks.append(f"{file.validation_data}, for validation, is not read beside data that were put together.")
    return replace(
        file,
        settings={**own, "data": str(path), "form": form},
        other_data=(),
        validation_data=None,
        remarks=(*(remark for remark in file.remarks if TOGETHER not in remark), *remarks),
    )


def _rows(dialogues: list[Dialogue], names: str) -> list[dict[str, Any]]:
    if all(dialogue.chat and not dialogue.given for dialogue in dialogues):
        return [{"messages": _messages(dialogue.turns)} for dialogue in dialogues]
    if all(len(dialogue.turns) == 1 for dialogue in dialogues):
        return [{"text": dialogue.turns[0].content} for dialogue in dialogues]
    if any(dialogue.trained[0] == 0 for dialogue in dialogues):
        raise DataError(f"{names}: rows without a prompt and rows with one do not go into one file: give one of them")
    return [_pair(dialogue) for dialogue in dialogues]


def _pair(dialogue: Dialogue) -> dict[str, Any]:
    """What stands before the first turn that is learnt, and the rest."""
    if not dialogue.chat:
        return {"prompt": dialogue.turns[0].content, "completion": dialogue.turns[1].content}
    cut = dialogue.given or dialogue.trained[0]
    return {"prompt": _messages(dialogue.turns[:cut]), "completion": _messages(dialogue.turns[cut:])}


def _messages(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]
