"""Tasks: labelled texts or images, and dialogues, from files, packages and the hub, and their splits. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from lorabound.data.check import check_data
from lorabound.data.check_dialogues import check_dialogues
from lorabound.data.conversations import dialogues_of
from lorabound.data.dialogues import Dialogue, Dialogues, Form, Turn
from lorabound.data.files import read_answers, read_columns, read_table, read_unlabelled
from lorabound.data.findings import DataCheck
from lorabound.data.folders import read_folder
from lorabound.data.forms import FormColumns, form_of, known_columns, known_form
from lorabound.data.hub import HubName, is_export, read_pictures, read_split, read_texts
from lorabound.data.images import CorruptImage, Picture, read_image_table
from lorabound.data.labelled import Empty, Labelled, Reads
from lorabound.data.mend import renamed, without_rare
from lorabound.data.named import NAMED
from lorabound.data.phrases import counted
from lorabound.data.sizes import fit_sizes
from lorabound.data.split import Example, Split, drawn, identity, set_aside, split, with_unlabelled
from lorabound.data.words import words
from lorabound.errors import DataError

__all__ = [
    "NAMED",
    "CorruptImage",
    "DataCheck",
    "Dialogue",
    "Dialogues",
    "Empty",
    "Example",
    "Form",
    "Labelled",
    "Picture",
    "Reads",
    "Split",
    "Turn",
    "check_data",
    "check_dialogues",
    "counted",
    "drawn",
    "fit_sizes",
    "form_of_data",
    "holds_labels",
    "identity",
    "is_export",
    "load_dialogues",
    "load_examples",
    "load_images",
    "load_table",
    "read_answers",
    "read_table",
    "read_unlabelled",
    "renamed",
    "set_aside",
    "split",
    "with_unlabelled",
    "without_rare",
    "words",
]


def load_examples(
    holds: Reads, data: str | Path, column: str | None = None, label_column: str = "label", empty: Empty = "refuse"
) -> Labelled:
    """Labelled texts or images: see :func:`load_table`, :func:`load_images`.

    Args:
        column: column of the examples; None takes "text" or "image".
    """
    load, usual = {"texts": (load_table, "text"), "images": (load_images, "image")}[holds]
    return load(data, column or usual, label_column, empty)


def load_table(
    data: str | Path, text_column: str = "text", label_column: str = "label", empty: Empty = "refuse"
) -> Labelled:
    """Labelled texts: a named task, a file, an export of the datasets library, or a name on its hub.

    Args:
        empty: treatment of rows without text or label: "refuse" them all in one sentence, "drop" them and add a note,
            or "keep" them with "".
    Raises:
        DataError: the data cannot be found or read, or do not hold what was asked of them.
    """
    if str(data) in NAMED:
        return _labelled(str(data), "texts", empty)
    path = Path(data)
    if path.is_dir() and not is_export(path) and any(path.glob("*/*")):
        raise DataError(f"{path} is a folder of folders, as images are kept: images need a CLIP, name one with --model")
    name = _kept_by_datasets(data)
    if name:
        return read_texts(name, text_column, label_column, empty)
    return read_table(data, text_column, label_column, empty)


def load_images(
    data: str | Path, image_column: str = "image", label_column: str = "label", empty: Empty = "refuse"
) -> Labelled:
    """Labelled images: a named task, a folder with one sub-folder per class, a table, an export of the datasets
    library, or a name on its hub. Nothing is decoded. Arguments and errors as in :func:`load_table`.
    """
    if str(data) in NAMED:
        return _labelled(str(data), "images", empty)
    path = Path(data)
    if path.is_dir() and not is_export(path):
        return read_folder(path)
    name = _kept_by_datasets(data)
    if name:
        return read_pictures(name, image_column, label_column, empty)
    if not path.exists():
        raise DataError(
            f"no data {data}: give a file, a folder, a name on the hub, or one of {', '.join(_names('images'))}"
        )
    return read_image_table(path, image_column, label_column, empty)


def load_dialogues(
    data: str | Path,
    form: str | None = None,
    columns: Mapping[str, str] | None = None,
    empty: Literal["refuse", "drop"] = "refuse",
) -> Dialogues:
    """Dialogues: a named task, a file, an export of the datasets library, or a name on its hub.

    Args:
        form: how the data hold them, one of :data:`Form`; None recognizes it by the columns.
        columns: what the data call a column that a form asks for, as ``{"prompt": "question"}``.
        empty: treatment of rows that cannot be learnt from: "refuse" them all in one sentence, or "drop" them and add a
            note.
    Raises:
        DataError: the data cannot be found or read, or hold no dialogues.
    """
    if str(data) in NAMED:
        named = _named(str(data), "dialogues", empty)
        assert isinstance(named, Dialogues)
        return named
    name = _kept_by_datasets(data)
    wanted = FormColumns(str(name or data), known_columns(columns or {}), known_form(form) if form else None)
    expected = list(wanted.called.values())
    source = read_split(name, wanted) if name else read_columns(Path(data), wanted, expected, blanks=True)
    return dialogues_of(source, wanted, empty)


class _Columns(Exception):
    """The names of the columns of a file, which is not read any further."""


def _columns_of(data: str | Path, expected: Sequence[str]) -> Sequence[str]:
    """The columns of a file, none of what is no file; nothing else is read.

    Raises:
        DataError: the file cannot be found or read.
    """
    if _kept_by_datasets(data):
        return []

    def stop(found: Sequence[str]) -> list[str]:
        raise _Columns(*found)

    try:
        read_columns(Path(data), stop, list(expected))
    except _Columns as columns:
        return columns.args
    return []


def holds_labels(data: str | Path, label_column: str = "label") -> bool:
    """Whether data have a column of labels, as far as that can be seen without reading them whole; a name on the hub is
    taken for dialogues.

    Raises:
        DataError: the data cannot be found or read.
    """
    if str(data) in NAMED:
        return NAMED[str(data)].holds != "dialogues"
    return label_column in _columns_of(data, [label_column])


def form_of_data(data: str | Path) -> Form | None:
    """The form in which a file holds dialogues, by its columns; None where it holds none, or is none."""
    called = known_columns({})
    try:
        return form_of(str(data), _columns_of(data, list(called.values())), called, None)
    except DataError:
        return None


def _names(holds: Reads) -> list[str]:
    return [name for name, task in NAMED.items() if task.holds == holds]


def _labelled(name: str, holds: Reads, empty: Empty) -> Labelled:
    """A named task of labelled examples."""
    named = _named(name, holds, empty)
    assert isinstance(named, Labelled)
    return named


def _named(name: str, holds: Reads, empty: Empty) -> Labelled | Dialogues:
    """A named task, with a note where a file or folder here has its name, or where nothing can be dropped.

    Raises:
        DataError: it holds something else.
    """
    if NAMED[name].holds != holds:
        raise DataError(
            f"{name} is a task of {NAMED[name].holds}, and the model reads {holds}: give other data, such as "
            f"{', '.join(_names(holds)[:3])}, or a model that reads {NAMED[name].holds}"
        )
    task, notes = NAMED[name].train(empty), []
    if Path(name).exists():
        notes.append(f"{name} is the built-in task, not the file or folder {name} here: write ./{name} for that.")
    if empty == "drop" and not NAMED[name].on_hub:
        lacks = "prompt or completion" if holds == "dialogues" else f"{holds[:-1]} or label"
        notes.append(f"{name}: no row is without {lacks}, so --drop-empty left out none.")
    return replace(task, notes=(*notes, *task.notes))


def _kept_by_datasets(data: str | Path) -> HubName | None:
    """None for a file of another kind, or what is no name on the hub."""
    path = Path(data)
    return None if path.is_file() and not is_export(path) else HubName.parse(str(data))
