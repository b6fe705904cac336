"""Where labelled examples are found and how they are read: settings of every command that reads data."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from lorabound.config import DATA, Settings, setting
from lorabound.data.dialogues import Form


def _renamed(value: Any) -> Any:
    """ "old=new" texts of flags become pairs; a mapping stays."""
    if value is None:
        return {}
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    pairs = [str(entry).partition("=")[::2] for entry in value]
    if not all(old.strip() and new.strip() for old, new in pairs):
        raise ValueError('write OLD=NEW, as "Biling=Billing"')
    return {old.strip(): new.strip() for old, new in pairs}


class LabelledConfig(Settings):
    """Labelled texts or images."""

    data: str = setting(
        "words",
        "Labelled examples: a named task such as words, a file (CSV, TSV, JSONL, Parquet), a folder with one folder "
        "of images per class, or a data set of the Hugging Face Hub.",
        DATA,
    )
    text_column: str = setting("text", "Column that holds the texts.", DATA)
    image_column: str = setting("image", "Column that holds the images, or their paths.", DATA)
    label_column: str = setting("label", "Column that holds the labels.", DATA)
    drop_empty: bool = setting(
        False, "Leave out rows without text, image or label, and dialogues that cannot be learnt from.", DATA
    )
    rename_labels: Annotated[dict[str, str], BeforeValidator(_renamed)] = setting(
        {},
        "OLD=NEW: read label OLD as NEW, where one label is spelled in two ways. May be repeated.",
        DATA,
        flag="--rename-label",
    )


class DialogueConfig(LabelledConfig):
    """Labelled texts or images, or dialogues."""

    form: Form | None = setting(
        None,
        "How the data hold dialogues: messages, prompt-completion, alpaca, alpaca-text, sharegpt or text.",
        DATA,
        shown="recognized by the columns",
    )
    columns: Annotated[dict[str, str], BeforeValidator(_renamed)] = setting(
        {},
        "NAME=COLUMN: the data call the column NAME of a form COLUMN, as prompt=question; - leaves it unread. May be "
        "repeated.",
        DATA,
    )
