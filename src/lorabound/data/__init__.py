"""Tasks: labelled texts or images from files, packages and the hub, and their splits. No torch."""

from pathlib import Path

from lorabound.data.hub import HubName, is_export, read_pictures, read_texts
from lorabound.data.images import CorruptImage, Picture, read_images
from lorabound.data.named import DEFAULT_PROMPT, NAMED
from lorabound.data.split import Split, identity, split
from lorabound.data.table import Table, read_table
from lorabound.data.words import words
from lorabound.errors import DataError

__all__ = [
    "DEFAULT_PROMPT",
    "NAMED",
    "CorruptImage",
    "Picture",
    "Split",
    "Table",
    "identity",
    "load_images",
    "load_table",
    "read_table",
    "split",
    "words",
]


def load_table(data: str | Path, text_column: str = "text", label_column: str = "label") -> Table:
    """Labelled texts: the embedded task ``words``, a file, an export of the datasets library, or a name on its hub."""
    if str(data) == "words":
        return words()
    if str(data) in NAMED:
        raise DataError(f"{data} is a task of images: it needs a model that reads images, a CLIP folder or hub name")
    path = Path(data)
    if path.is_dir() and not is_export(path) and any(path.glob("*/*")):
        raise DataError(f"{path} is a folder of folders, as images are kept: images need a CLIP, name one with --model")
    name = None if path.is_file() else HubName.parse(str(data))
    return read_texts(name, text_column, label_column) if name else read_table(data, text_column, label_column)


def load_images(data: str | Path, image_column: str = "image", label_column: str = "label") -> Table:
    """Labelled images: a named task, a folder a class, a table, an export of the datasets library, or a hub name."""
    if str(data) in NAMED:
        return NAMED[str(data)].train()
    if str(data) == "words":
        raise DataError(f"words is a task of texts: give images with --data, such as {', '.join(list(NAMED)[:3])}")
    path = Path(data)
    name = None if path.is_file() or (path.is_dir() and not is_export(path)) else HubName.parse(str(data))
    if name:
        return read_pictures(name, image_column, label_column)
    if not path.exists():
        raise DataError(f"no data {data}: give a file, a folder, a name on the hub, or one of {', '.join(NAMED)}")
    return read_images(path, image_column, label_column)
