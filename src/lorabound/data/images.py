"""Labelled images: a folder a class, columns of a table, arrays. Nothing is decoded before it is needed."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lorabound.data.table import Table, class_names, read_frame, text_column_of
from lorabound.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


class CorruptImage(Exception):
    """An image that cannot be decoded; the text says why."""


@dataclass(frozen=True)
class Picture:
    """One image that has not been decoded yet.

    Attributes:
        name: what messages call it: a path, or a row of a table.
        content: reads the bytes of its file, or its pixels: uint8, (height, width) gray or (height, width, 3) RGB.
    """

    name: str
    content: Callable[[], bytes | NDArray[np.uint8]]

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, or of the pixels and their shape: what makes two images the same one."""
        try:
            content = self.content()
        except (OSError, CorruptImage):
            content = f"unreadable: {self.name}".encode()  # decoding will say so
        if isinstance(content, bytes):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha256(repr(content.shape).encode() + np.ascontiguousarray(content).tobytes()).hexdigest()

    def decode(self) -> Image:
        """The image in RGB; 16-bit gray is scaled to 8 bits.

        Raises:
            CorruptImage: not an image, truncated, or with more pixels than Pillow's limit against decompression bombs.
        """
        image_module = _pillow()
        try:
            content = self.content()
        except OSError as error:
            raise CorruptImage(f"it cannot be read ({error.strerror})") from None
        if not isinstance(content, bytes):
            return image_module.fromarray(content).convert("RGB")  # type: ignore[no-any-return]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", image_module.DecompressionBombWarning)
                image = image_module.open(io.BytesIO(content))
                if image.mode.startswith("I"):
                    image = image_module.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
                return image.convert("RGB")  # type: ignore[no-any-return]
        except (image_module.DecompressionBombWarning, image_module.DecompressionBombError):
            limit = image_module.MAX_IMAGE_PIXELS or 0
            raise CorruptImage(f"more than the {limit / 1e6:.0f} million pixels that are safe to decode") from None
        except (OSError, ValueError, SyntaxError, EOFError) as error:  # Pillow raises all of these on damaged files
            reason = str(error).split(" <")[0].split(" (")[0]
            raise CorruptImage("not an image" if "cannot identify" in reason else reason) from None


def read_images(path: Path, image_column: str, label_column: str) -> Table:
    """Images of a folder with one sub-folder a class, or of a table with a column of images.

    A table is CSV, TSV, JSONL (paths, relative to its folder, which they may not leave) or Parquet (paths, or the
    images themselves as bytes, as Hugging Face writes them).

    Raises:
        DataError: nothing there, a folder without classes, a missing column, a path that leaves the folder.
    """
    return _folder(path) if path.is_dir() else _table(path, image_column, label_column)


def from_arrays(name: str, pixels: NDArray[np.uint8], labels: list[str]) -> Table:
    """Images (n, height, width[, 3]), uint8."""
    pictures = [Picture(f"{name}, image {i}", lambda i=i: pixels[i]) for i in range(len(pixels))]  # type: ignore[misc]
    return Table(name, pictures, labels)


def _folder(path: Path) -> Table:
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files = [
        (file, entry.name)
        for entry in classes
        for file in sorted(entry.rglob("*"))
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
    ]
    if not files:
        raise DataError(
            f"{path} holds no images: expected a sub-folder for every class, named like it, with image files in it"
        )
    return Table(str(path), [Picture(str(file), file.read_bytes) for file, _ in files], [name for _, name in files])


def _table(path: Path, image_column: str, label_column: str) -> Table:
    frame = read_frame(path, image_column, label_column, "--image-column")
    labels = class_names(frame, path, label_column)
    images = frame[image_column]
    if isinstance(images.dtype, pl.Struct):  # as Hugging Face writes images: bytes, or the path of a file, or both
        parts = frame.select(pl.col(image_column).struct.unnest())
        if set(parts.columns) != {"bytes", "path"}:
            raise DataError(f"{path}: column {image_column!r} holds records, expected images or their paths")
        whole = parts["bytes"].null_count() < len(parts)
        images = parts["bytes" if whole else "path"]
    if images.dtype == pl.Binary:
        if images.null_count():
            raise DataError(f"{path}: {image_column} is empty in row {images.is_null().arg_true()[0] + 1}")
        found = [Picture(f"{path}, row {i + 1}", lambda i=i: images[i]) for i in range(len(images))]  # type: ignore[misc]
        return Table(str(path), found, labels)
    home = path.resolve().parent
    found = []
    for text in text_column_of(images.to_frame(image_column), path, image_column):
        file = (home / text).resolve()
        if not file.is_relative_to(home):
            raise DataError(f"{path}: {text} leaves the folder of the table: keep the images beside it or below it")
        if not file.is_file():
            raise DataError(f"{path}: no image {text}, sought in {home}")
        found.append(Picture(str(file), file.read_bytes))
    return Table(str(path), found, labels)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("images need Pillow: run  pip install 'lorabound[vision]'") from None
    return Image
