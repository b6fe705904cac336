"""Tasks kept by the Hugging Face ``datasets`` library: on its hub, or a folder that ``save_to_disk`` wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorabound.data.images import CorruptImage, Picture
from lorabound.data.table import FORMATS, Table
from lorabound.errors import DataError

_EXPORTS = ("dataset_dict.json", "dataset_info.json", "state.json")


@dataclass(frozen=True)
class HubName:
    """``owner/name``, ``owner/name:configuration``, each with ``@split``; or the path of an export, ``path@split``."""

    where: str
    configuration: str | None
    split: str | None

    def __str__(self) -> str:
        configuration = f":{self.configuration}" if self.configuration else ""
        return f"{self.where}{configuration}{f'@{self.split}' if self.split else ''}"

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """None for what is neither an export nor of the form owner/name."""
        rest, _, split = text.partition("@")
        if is_export(Path(rest)):
            return cls(rest, None, split or None)
        where, _, configuration = rest.partition(":")
        parts = where.split("/")
        local = where.startswith((".", "/", "~")) or Path(where).suffix.lower() in FORMATS
        if len(parts) != 2 or not all(parts) or local:
            return None
        return cls(where, configuration or None, split or None)


def is_export(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder."""
    return folder.is_dir() and any((folder / name).is_file() for name in _EXPORTS)


def read_texts(name: HubName, text_column: str, label_column: str) -> Table:
    """Texts and labels of one split.

    Raises:
        DataError: the library is not installed, the data cannot be found or reached, a column is missing or empty.
    """
    rows = _rows(name, text_column, label_column)
    texts = [str(text or "").strip() for text in rows[text_column]]
    if "" in texts:
        raise DataError(f"{name.where}: {text_column} is empty in row {texts.index('') + 1}")
    return Table(name.where, texts, _labels(rows, name, label_column))


def read_pictures(name: HubName, image_column: str, label_column: str) -> Table:
    """Images and labels of one split; nothing is decoded. Raises as :func:`read_texts`."""
    rows = _rows(name, image_column, label_column)
    import datasets

    if not isinstance(rows.features[image_column], datasets.Image):
        raise DataError(f"{name.where}: column {image_column!r} holds no images: name another with --image-column")
    encoded = rows.cast_column(image_column, datasets.Image(decode=False)).select_columns([image_column])

    def content(i: int) -> bytes:
        entry = encoded[i][image_column]
        if entry is None:
            raise CorruptImage("the row holds no image")
        return entry["bytes"] if entry["bytes"] is not None else Path(entry["path"]).read_bytes()

    found = [Picture(f"{name}, row {i + 1}", lambda i=i: content(i)) for i in range(len(rows))]  # type: ignore[misc]
    return Table(name.where, found, _labels(rows, name, label_column))


def _rows(name: HubName, column: str, label_column: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(f"{name.where} needs the datasets library: run  pip install 'lorabound[hub]'") from None
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if is_export(Path(name.where)):
            found = datasets.load_from_disk(name.where)
        else:
            found = datasets.load_dataset(name.where, name.configuration)
    except Exception as error:  # the library raises many kinds; all mean that this name cannot be read
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"no data {name.where!r} ({reason}): without a network, give a file, a folder of images with one "
            "sub-folder a class, or a folder written by datasets' save_to_disk"
        ) from None
    finally:
        if not bars:
            datasets.enable_progress_bars()
    if isinstance(found, datasets.DatasetDict):
        split = name.split or ("train" if "train" in found else next(iter(found)))
        if split not in found:
            raise DataError(f"{name.where} has no split {split!r}, only {', '.join(found)}")
        found = found[split]
    elif name.split:
        raise DataError(f"{name.where} holds one split only: leave @{name.split} out")
    for needed in (column, label_column):
        if needed not in found.column_names:
            raise DataError(
                f"{name.where} has no column {needed!r}, only {', '.join(found.column_names)}: name the columns with "
                "--text-column or --image-column, and --label-column"
            )
    return found


def _labels(rows: Any, name: HubName, column: str) -> list[str]:
    feature, values = rows.features[column], rows[column]
    names = getattr(feature, "names", None)
    for i, value in enumerate(values):
        if value is None or (names is not None and not 0 <= value < len(names)):
            raise DataError(f"{name.where}: row {i + 1} has no {column}")
    return [str(value if names is None else names[value]).strip() for value in values]
