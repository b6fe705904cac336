"""Tasks kept by the Hugging Face ``datasets`` library: on its hub, or a folder that ``save_to_disk`` wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorabound.data.columns import Choose, Column, Source, classes_of, texts_of
from lorabound.data.files import FORMATS
from lorabound.data.images import Picture, images_of
from lorabound.data.labelled import Empty, Labelled, labelled_of
from lorabound.data.phrases import listed, one_line, quoted, row_places
from lorabound.errors import DataError, first_line

_EXPORTS = ("dataset_dict.json", "dataset_info.json", "state.json")


@dataclass(frozen=True)
class HubName:
    """``owner/name``, ``owner/name:configuration``, each with ``@split``; or the path of an export, ``path@split``.

    Attributes:
        where: name on the hub, or path of an export.
        configuration: configuration of the data set; None takes its usual one.
        split: split of the data set, or a part of one in the datasets library's words, as "train[:10%]"; None takes
            "train", or else the first.
    """

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


def is_export(path: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder, or the datasets library this Arrow file."""
    try:
        if path.suffix.lower() == ".arrow":
            return path.is_file()
        return path.is_dir() and any((path / name).is_file() for name in _EXPORTS)
    except OSError:  # a name that is too long for any file
        return False


def read_split(name: HubName, choose: Choose) -> Source:
    """The chosen columns of one split, as they are stored.

    Raises:
        DataError: the library is not installed, or the data cannot be found or reached; what ``choose`` raises.
    """
    rows = _split(name)
    columns = {column: _column(rows, name, column) for column in choose(rows.column_names)}
    return Source(str(name), columns, row_places(len(rows)))


def read_texts(name: HubName, text_column: str, label_column: str, empty: Empty) -> Labelled:
    """Texts and labels of one split.

    Raises:
        DataError: the library is not installed, the data cannot be found or reached, a column is missing, or rows are
            without text or label (unless ``empty`` says otherwise).
    """
    rows = _rows(name, text_column, label_column)
    columns = {column: _column(rows, name, column) for column in (text_column, label_column)}
    source = Source(str(name), columns, row_places(len(rows)))
    return labelled_of(source, texts_of(source, text_column), classes_of(source, label_column), empty)


def read_pictures(name: HubName, image_column: str, label_column: str, empty: Empty) -> Labelled:
    """Images and labels of one split; nothing is decoded. Raises as :func:`read_texts`."""
    rows = _rows(name, image_column, label_column)
    import datasets

    if not isinstance(rows.features[image_column], datasets.Image):
        raise DataError(f"{name}: column {quoted(image_column)} holds no images: name another with --image-column")
    encoded = rows.cast_column(image_column, datasets.Image(decode=False)).select_columns([image_column])
    holds = [
        any(parts)
        for batch in encoded.with_format("arrow").iter(1000)
        for parts in zip(
            *(p.is_valid().to_pylist() for p in batch[image_column].combine_chunks().flatten()), strict=True
        )
    ]

    def content(i: int) -> bytes:
        entry = encoded[i][image_column]
        return entry["bytes"] if entry["bytes"] is not None else Path(entry["path"]).read_bytes()

    found = [Picture(f"{name}, row {i + 1}", lambda i=i: content(i)) for i in range(len(rows))]  # type: ignore[misc]
    source = Source(str(name), {label_column: _column(rows, name, label_column)}, row_places(len(rows)))
    images = [picture if held else "" for picture, held in zip(found, holds, strict=True)]
    return labelled_of(source, images_of(images), classes_of(source, label_column), empty, images)


def _column(rows: Any, name: HubName, column: str) -> Column:
    """A column as it is stored, whatever the format that the data set was last given."""
    feature = rows.features[column]
    if type(feature).__name__ in ("Image", "Audio", "Video", "Pdf", "Nifti"):
        raise DataError(f"{name}: column {quoted(column)} holds {type(feature).__name__.lower()}s: name another column")
    stored = rows.select_columns([column]).with_format("arrow")[:]
    return Column(stored[column].to_pylist(), getattr(feature, "names", None))


def _rows(name: HubName, column: str, label_column: str) -> Any:
    found = _split(name)
    for needed in (column, label_column):
        if needed not in found.column_names:
            raise DataError(
                f"{name} has no column {quoted(needed)}, only {listed(found.column_names, 8)}: name the columns with "
                "--text-column or --image-column, and --label-column"
            )
    return found


def rows_of_part(part: str, n_rows: int) -> range | None:
    """The rows that a part in square brackets names, as the datasets library counts them; None for no such part.

    Args:
        part: "[100:200]", "[:10%]", "[-5%:]"; a percentage is rounded to the nearest row.
    """
    found = re.fullmatch(r"\[(-?\d+%?)?:(-?\d+%?)?\]", part.replace(" ", ""))
    if not found:
        return None

    def row(written: str | None, otherwise: int) -> int:
        if written is None:
            return otherwise
        number = round(n_rows * int(written[:-1]) / 100) if written.endswith("%") else int(written)
        return min(max(number + n_rows if number < 0 else number, 0), n_rows)

    return range(row(found[1], 0), row(found[2], n_rows))


def _split(name: HubName) -> Any:
    try:
        import datasets
    except ImportError:
        raise DataError(f"{name.where} needs the datasets library: run  pip install 'lorabound[hub]'") from None
    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if is_export(Path(name.where)):
            is_file = Path(name.where).is_file()
            found = datasets.Dataset.from_file(name.where) if is_file else datasets.load_from_disk(name.where)
        else:
            found = datasets.load_dataset(name.where, name.configuration)
    except Exception as error:  # the library raises many kinds; all mean that this name cannot be read
        reason = one_line(first_line(error), 150)
        raise DataError(
            f"no data {name.where!r} ({reason}): without a network, give a file, a folder of images with one "
            "sub-folder per class, or a folder written by datasets' save_to_disk"
        ) from None
    finally:
        if not bars:
            datasets.enable_progress_bars()
    if isinstance(found, datasets.DatasetDict):
        split = name.split or ("train" if "train" in found else next(iter(found)))
        whole, bracket, part = split.partition("[")
        if whole not in found:
            raise DataError(f"{name.where} has no split {whole!r}, only {listed(found)}")
        found = found[whole]
        if bracket:
            rows = rows_of_part(f"[{part}", len(found))
            if not rows:
                raise DataError(
                    f"{name}: [{part} names no rows of the {len(found):,} in {whole}: write it as [:10%] or [100:200]"
                )
            found = found.select(rows)
    elif name.split:
        raise DataError(f"{name.where} holds one split only: leave @{name.split} out")
    return found
