"""Images and how they are decoded, from a column of a table or from arrays. Nothing is decoded before it is needed."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lorabound.data.columns import Meaning, classes_of, paths_of
from lorabound.data.files import read_file
from lorabound.data.labelled import Empty, Labelled, labelled_of
from lorabound.data.phrases import counted, one_line, quoted
from lorabound.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


# Formats that are pixels and nothing else: PostScript, which Pillow hands to another program, is none of them.
_FORMATS = ("JPEG", "JPEG2000", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO")


class CorruptImage(Exception):
    """An image that cannot be decoded; the text says why."""


@dataclass(frozen=True)
class Picture:
    """One image that has not been decoded yet.

    Attributes:
        name: name in messages: a path, or a row of a table.
        content: function that reads the bytes of its file, or its pixels: uint8, (height, width) gray or (height,
            width, 3) RGB.
    """

    name: str
    content: Callable[[], bytes | NDArray[np.uint8]]

    @cached_property
    def sha256(self) -> str:
        """Hash of the file's bytes, or of the pixels and their shape: equal for two images that are the same."""
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
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", image_module.DecompressionBombWarning)
                return _upright_rgb(image_module.open(io.BytesIO(content), formats=_FORMATS))
        except (image_module.DecompressionBombWarning, image_module.DecompressionBombError):
            limit = image_module.MAX_IMAGE_PIXELS or 0
            raise CorruptImage(f"more than the {limit / 1e6:.0f} million pixels that are safe to decode") from None
        except CorruptImage:
            raise
        except Exception as error:  # Pillow raises nearly every kind on damaged files
            reason = str(error).split(" <")[0].split(" (")[0] or type(error).__name__
            raise CorruptImage("not an image" if "cannot identify" in reason else one_line(reason, 100)) from None


def _upright_rgb(image: Image) -> Image:
    """In RGB: turned as its EXIF orientation says, like the datasets library does; 16-bit gray scaled to 8 bits; on
    white where it is transparent, like transformers does.

    Raises:
        CorruptImage: its numbers have no largest value by which to scale them: floats, 32-bit or signed integers.
    """
    from PIL import ImageOps

    form = image.format
    image.load()
    if image.getexif().get(0x0112) is not None:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and form in ("PNG", "PPM")):
        image = _pillow().fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit or signed integers" if image.mode == "I" else "floating-point numbers"
        raise CorruptImage(f"its pixels are {kind}, whose white is not known: save it with 8 or 16 bits")
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = _pillow().new("RGBA", layer.size, (255, 255, 255, 255))
        image = _pillow().alpha_composite(white, layer)
    return image.convert("RGB")


def from_arrays(name: str, pixels: NDArray[np.uint8], labels: list[str]) -> Labelled:
    """Images (n, height, width[, 3]), uint8."""
    pictures = [Picture(f"{name}, image {i}", lambda i=i: pixels[i]) for i in range(len(pixels))]  # type: ignore[misc]
    return Labelled(name, pictures, labels)


def images_of(images: Sequence[Picture | str]) -> Meaning:
    """A column of images, "" where a row has none."""
    return Meaning("image", ["image" if image else "" for image in images])


def read_image_table(path: Path, image_column: str, label_column: str, empty: Empty) -> Labelled:
    """A table with a column of images, which are not decoded: CSV, TSV or JSON hold their paths, relative to the folder
    of the table, which they may not leave; Parquet holds paths, or the images as bytes, as Hugging Face writes them.

    Raises:
        DataError: an unreadable table, a missing column, rows without image or label (unless ``empty`` says
            otherwise), a path that leads to no file or leaves the folder.
    """
    source = read_file(path, image_column, label_column, "--image-column")
    labels = classes_of(source, label_column)
    stored = source.columns[image_column].values
    if not isinstance(stored, pl.Series):
        paths = paths_of(source, image_column)
        return labelled_of(source, paths, labels, empty, _beside(path, paths, source.places))
    if isinstance(stored.dtype, pl.Struct):  # as Hugging Face writes images: bytes, or the path of a file, or both
        parts = stored.struct.unnest()
        if set(parts.columns) != {"bytes", "path"}:
            raise DataError(f"{path}: column {quoted(image_column)} holds records, expected images or their paths")
        encoded, named = parts["bytes"], parts["path"].to_list()
    else:
        encoded, named = stored, [None] * len(stored)
    stored_bytes = encoded.is_not_null().to_list()
    outside = Meaning("image", ["" if held else name or "" for held, name in zip(stored_bytes, named, strict=True)])
    files = _beside(path, outside, source.places)
    images = [
        Picture(f"{path}, row {i + 1}", lambda i=i: encoded[i]) if held else files[i]  # type: ignore[misc]
        for i, held in enumerate(stored_bytes)
    ]
    found = images_of(images)
    found.faults = outside.faults
    return labelled_of(source, found, labels, empty, images)


def _beside(table: Path, paths: Meaning, places: Sequence[str]) -> list[Picture | str]:
    """Images by their paths, which start at the folder of the table; "" where there is no path. Paths that lead out of
    the folder or to no file become faults of ``paths``."""
    home = table.resolve().parent
    files = [(home / path).resolve() if path else None for path in paths.values]
    outside = [i for i, file in enumerate(files) if file and not file.is_relative_to(home)]
    escaped = set(outside)
    absent = [i for i, file in enumerate(files) if file and i not in escaped and not file.is_file()]
    for rows, what in (
        (outside, "leaves the folder of the table: keep the images beside it or below it"),
        (absent, f"is no image, sought in {home}"),
    ):
        if rows:
            others = f" ({counted(len(rows) - 1, 'more row')} like it)" if len(rows) > 1 else ""
            paths.faults.append(f"{places[rows[0]]}: {quoted(paths.values[rows[0]], 80)}{others} {what}")
    return [Picture(str(file), file.read_bytes) if file else "" for file in files]


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise DataError("images need Pillow: run  pip install 'lorabound[vision]'") from None
    return Image
