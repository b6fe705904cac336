"""From columns to dialogues: every row is read, and what cannot be learnt from is counted and told with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lorabound.data.columns import NULL_WORDS, Source
from lorabound.data.dialogues import Dialogue, Dialogues, Form
from lorabound.data.forms import FormColumns
from lorabound.data.phrases import counted, listed, listed_places, one_line, quoted
from lorabound.data.turns import UnusableRow, read_row, unread_keys
from lorabound.errors import DataError


def dialogues_of(source: Source, columns: FormColumns, empty: Literal["refuse", "drop"] = "refuse") -> Dialogues:
    """The dialogues in the columns of a form.

    Args:
        columns: the form, and what the file calls its columns.
        empty: treatment of rows that cannot be learnt from: they are refused, or left out and counted.
    Raises:
        DataError: no rows, rows that cannot be learnt from (all of it in one sentence), or no row left.
    """
    if not source.places:
        raise DataError(f"{source.name} has no rows")
    names = {columns.called[c]: c for c in columns.called if columns.called[c] in source.columns}
    rows = [
        dict(zip(names.values(), values, strict=True))
        for values in zip(*(source.columns[name].values for name in names), strict=True)
    ]
    read: list[Dialogue] = []
    kept: list[int] = []
    faults: dict[str, list[tuple[int, str]]] = {}
    for number, row in enumerate(rows):
        try:
            read.append(read_row(columns.form, row))
            kept.append(number)
        except UnusableRow as fault:
            faults.setdefault(fault.what, []).append((number, fault.held))
    places = [source.places[number] for number in kept]
    found = "; ".join(_fault(what, where, source.places, len(rows)) for what, where in faults.items())
    if faults and empty == "refuse":
        mend = "leave such rows out with --drop-empty, or mend them" if kept else _another(rows[0])
        raise DataError(one_line(f"{source.name}, read as {columns.form}: {found}: {mend}"))
    if not kept:
        raise DataError(
            one_line(f"{source.name}, read as {columns.form}: no row is left ({found}): {_another(rows[0])}")
        )
    notes = [*source.notes, _read_as(columns.form, read)]
    if columns.unread:
        notes.append(f"not read: {counted(len(columns.unread), 'column')} {listed(columns.unread)}.")
    if faults:
        notes.append(f"left out {counted(len(rows) - len(kept), 'row')} (--drop-empty): {found}.")
    ended = [dialogue.ended() for dialogue in read]
    notes += _unusual(columns.form, [rows[number] for number in kept], read, ended, places)
    return Dialogues(
        name=source.name,
        examples=ended,
        form=columns.form,
        notes=tuple(one_line(f"{source.name}: {note}") for note in notes),
        places=places,
    )


def _fault(what: str, where: Sequence[tuple[int, str]], places: Sequence[str], n_rows: int) -> str:
    """ "3 rows have no completion (lines 2, 5, 9)"."""
    which = "every row" if len(where) == n_rows else counted(len(where), "row")
    held = listed(dict.fromkeys(held for _, held in where if held), 3, 40)
    has = "have" if len(where) > 1 and len(where) < n_rows else "has"
    return f"{which} {has} {what} ({listed_places([row for row, _ in where], places)}{': ' if held else ''}{held})"


def _another(row: Mapping[str, Any]) -> str:
    if any(isinstance(row.get(column), str) for column in ("messages", "conversations")):
        return "CSV holds no lists: write JSONL or Parquet"
    return "name another form with --form, other columns with --columns, or another file"


def _read_as(form: Form, read: Sequence[Dialogue]) -> str:
    roles = listed(dict.fromkeys(turn.role for dialogue in read if dialogue.chat for turn in dialogue.turns))
    n = counted(sum(len(dialogue.trained) for dialogue in read), "turn")
    chats = sum(dialogue.chat for dialogue in read)
    match form:
        case "text":
            return "read as text: all of it is learnt."
        case "alpaca":
            more = ", those of history too" if any(len(dialogue.trained) > 1 for dialogue in read) else ""
            return f"read as alpaca: chats in which the user gives instruction and input; outputs are learnt{more}."
        case "alpaca-text":
            return (
                "read as alpaca-text: plain texts in alpaca's own template (### Instruction, ### Response); outputs "
                "are learnt."
            )
        case "prompt-completion" if not chats:
            return "read as prompt-completion: the completion is learnt, put right after the prompt without a template."
        case "prompt-completion":
            plain = f" in {counted(chats, 'row')}; the others are plain texts" if chats < len(read) else ""
            learnt = f"what assistants say in the completion is learnt{plain}"
            return f"read as prompt-completion of chats (roles {roles}): {learnt}."
        case _:
            return f"read as {form} (roles {roles}): what assistants say is learnt, {n} in {counted(len(read), 'row')}."


def _unusual(
    form: Form,
    rows: Sequence[Mapping[str, Any]],
    read: Sequence[Dialogue],
    ended: Sequence[Dialogue],
    places: Sequence[str],
) -> list[str]:
    notes = []
    longer = [i for i, (whole, cut) in enumerate(zip(read, ended, strict=True)) if len(whole.turns) > len(cut.turns)]
    if longer:
        goes = "goes" if len(longer) == 1 else "go"
        notes.append(
            f"{counted(len(longer), 'row')} {goes} on after the last turn that is learnt "
            f"({listed_places(longer, places)}): what follows it is left out."
        )
    keys = set().union(*(unread_keys(value) for row in rows for value in row.values()))
    if form != "alpaca" and keys:
        notes.append(f"not read in messages: {listed(map(quoted, sorted(keys)))}.")
    pairs = [dialogue.turns for dialogue in read if dialogue.turns[0].role == "prompt"]
    joined = sum(not (prompt.content[-1].isspace() or answer.content[0].isspace()) for prompt, answer in pairs)
    if joined:
        notes.append(
            f"in {counted(joined, 'row')} neither does the prompt end nor the completion begin with a blank or a new "
            "line: they are put together as they stand."
        )
    words = [d.turns[i].content for d in ended for i in d.trained if d.turns[i].content in NULL_WORDS]
    if words:
        notes.append(
            f"{listed(dict.fromkeys(map(quoted, words)))} is learnt as a text, in {counted(len(words), 'turn')}."
        )
    return notes
