"""The forms in which files hold dialogues, recognized by their columns.

They are those that TRL, LLaMA-Factory and axolotl document:

    messages            messages: a list of turns with role and content
    sharegpt            conversations: a list of turns with from and value
    prompt-completion   prompt, completion: two texts, or two lists of turns
    alpaca              instruction, input (may be empty), output; system and history where there are such
    alpaca-text         the same columns without system and history, in alpaca's own template, without a chat template
    text                text, all of which is learnt

A file with columns of two forms is refused, but for a column ``text`` beside another form, which is not read: alpaca's
own file keeps the filled template there. A form that is named is taken as it is; alpaca-text has to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from lorabound.data.dialogues import Form
from lorabound.data.phrases import listed, quoted
from lorabound.errors import DataError

NEEDED: dict[Form, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt-completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
    "alpaca-text": ("instruction", "output"),
    "text": ("text",),
}
TAKEN: dict[Form, tuple[str, ...]] = {
    "messages": ("system", "tools"),
    "sharegpt": ("system", "tools"),
    "prompt-completion": ("tools",),
    "alpaca": ("input", "system", "history", "tools"),
    "alpaca-text": ("input",),
    "text": (),
}
COLUMNS = tuple(dict.fromkeys(column for columns in (*NEEDED.values(), *TAKEN.values()) for column in columns))
UNREAD = "-"
"""In place of the name of a column: it is not read."""
_NO_COLUMN = "\0"  # a name that no column has
_NAMED_ONLY = ("alpaca-text",)  # forms with the columns of another one
_OPTIONAL = tuple(c for c in COLUMNS if not any(c in needed for needed in NEEDED.values()))
_NO_TEXTS = ("image", "images", "video", "videos", "audio", "audios")
_RATINGS = {"prompt-completion": "label", "alpaca": "kto_tag"}
_SUCH = (
    "messages; prompt and completion; instruction, input and output; conversations; or text alone. Name other columns "
    "with --columns, as --columns prompt=question --columns completion=answer"
)


@dataclass
class FormColumns:
    """The columns of a form that a file has: what readers are told to read.

    Attributes:
        name: name or path of the data.
        called: what the file calls each column that a form asks for.
        asked: form to take; None recognizes it.
        form: form that was taken, once the names of the columns were seen.
        unread: columns with a meaning in another form, which are not read.
    """

    name: str
    called: dict[str, str]
    asked: Form | None = None
    form: Form = "messages"
    unread: tuple[str, ...] = ()

    def __call__(self, found: Sequence[str]) -> list[str]:
        """The columns to read, those first that the form needs."""
        self.form = form_of(self.name, found, self.called, self.asked)
        wanted = [self.called[c] for c in (*NEEDED[self.form], *TAKEN[self.form]) if self.called[c] in found]
        known = {*self.called.values(), "label", "input", "chosen", "rejected"}
        self.unread = tuple(column for column in found if column in known and column not in wanted)
        return wanted


def known_form(form: str) -> Form:
    """The form of this name.

    Raises:
        DataError: there is none.
    """
    for known in get_args(Form):
        if form == known:
            return known  # type: ignore[no-any-return]
    raise DataError(f"no form {quoted(form)}: --form is one of {', '.join(get_args(Form))}")


def known_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """What the file calls each column that a form asks for.

    Raises:
        DataError: no form asks for such a column, one that a form needs is not to be read, or two are to be one.
    """
    for column in columns:
        if column not in COLUMNS:
            raise DataError(f"--columns {column}=...: no form has a column {quoted(column)}, only {', '.join(COLUMNS)}")
        if columns[column] == UNREAD and any(column in needed for needed in NEEDED.values()):
            raise DataError(f"--columns {column}={UNREAD}: only {', '.join(_OPTIONAL)} may be left unread")
    taken = [name for name in columns.values() if name != UNREAD]
    twice = [name for name in taken if taken.count(name) > 1]
    if twice:
        raise DataError(f"--columns: column {quoted(twice[0])} is to be two things at once")
    called = {c: columns.get(c, c if c not in taken else UNREAD) for c in COLUMNS}
    return {c: _NO_COLUMN if name == UNREAD else name for c, name in called.items()}


def form_of(name: str, found: Sequence[str], called: Mapping[str, str], form: Form | None) -> Form:
    """The form of a file with these columns.

    Args:
        found: names of the file's columns.
        called: what the file calls each column that a form asks for.
        form: form to take; None recognizes it.
    Raises:
        DataError: no form or two of them, or columns that make a file something else than texts to learn.
    """
    for column in called.values():
        if found.count(column) > 1:
            raise DataError(f"{name}: {found.count(column)} columns are called {quoted(column)}: rename all but one")
    if form:
        missing = [called[column] for column in NEEDED[form] if called[column] not in found]
        if missing:
            raise DataError(
                f"{name} has no column {listed(map(quoted, missing))}, which the form {form} needs, only "
                f"{listed(found, 8)}: name it with --columns, as --columns {NEEDED[form][0]}=NAME"
            )
        return form
    others = {column for column in found if column not in called.values()}
    if "rejected" in others:
        raise DataError(
            f"{name} holds preferences (columns {listed(c for c in found if c in ('chosen', 'rejected'))}), and "
            "one completion is learnt here, not a choice among two: rename chosen to completion and leave rejected out"
        )
    media = [column for column in found if column in _NO_TEXTS]
    if media:
        raise DataError(
            f"{name} has a column {quoted(media[0])}, and only texts are learnt: leave such rows and it out"
        )
    fitting = [f for f, needed in NEEDED.items() if all(called[column] in found for column in needed)]
    forms = [f for f in fitting if f not in _NAMED_ONLY]
    if len(forms) > 1 and "text" in forms:
        forms.remove("text")
    if len(forms) > 1:
        raise DataError(
            f"{name} has the columns of {' and of '.join(forms)}: say which is meant, with --form {forms[0]}"
        )
    if not forms:
        raise DataError(f"{name} has the columns {listed(found, 8)}, and dialogues need {_meant(found)}{_SUCH}")
    if forms[0] == "text" and "label" in others:
        raise DataError(
            f"{name} has the columns text and label: a labelled text, whose label is to be predicted (--task labels); "
            "if the texts themselves are to be learnt, add --form text"
        )
    rating = _RATINGS.get(forms[0])
    if rating in others:
        raise DataError(
            f"{name} has a column {rating}, which says whether an answer is good, and every answer is learnt here: "
            f"leave the bad rows out, and then the column, or add --form {forms[0]}"
        )
    return forms[0]


def _meant(found: Sequence[str]) -> str:
    """The column that is nearly there."""
    for column, needed in ((c, n) for n in NEEDED.values() if len(n) == 2 for c in n):
        other = needed[1 - needed.index(column)]
        if column in found:
            return f"{other} beside {column}, or "
    return ""
