"""Images as a model takes them: decoded and resized once, kept as bytes in a file that is mapped into memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from lorabound.data import CorruptImage, Picture
from lorabound.errors import DataError

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorabound" / "images"
# Bump when the same file may become other pixels.
_VERSION = 2


class CorruptImages(DataError):
    """Some images cannot be decoded; ``names`` says which."""

    def __init__(self, faults: dict[str, str]) -> None:
        name, reason = next(iter(faults.items()))
        others = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(
            f"{name} cannot be used: {reason}{others and f' ({others.strip()} like it)'}; mend or remove it, or leave "
            "such images out with --skip-corrupt"
        )
        self.names = frozenset(faults)


class PreparedImages:
    """Pixels of n images, (n, 3, height, width) uint8, normalized when a batch is made.

    Attributes:
        lengths: (n,) tokens of each, the same for all.
        n_cut: 0, an image is never cut.
    """

    n_cut = 0

    def __init__(
        self,
        pixels: UInt8[np.ndarray, "n 3 height width"],
        n_tokens: int,
        scale: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.lengths: NDArray[np.int64] = np.full(len(pixels), n_tokens, dtype=np.int64)
        self._pixels, self._scale = pixels, scale
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self._pixels)

    def batch(self, index: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows 3 height width"]:
        """(pixels x scale - mean) / std of the rows ``index``; each distinct image is read once."""
        distinct, rows = np.unique(index, return_inverse=True)
        pixels = torch.from_numpy(self._pixels[distinct]).float() * self._scale
        return ((pixels - self._mean) / self._std)[torch.from_numpy(rows)]

    def augmented(self, seeds: Sequence[int], epoch: int) -> AugmentedImages:
        """The same images, cropped and flipped at random for one epoch of K runs with these seeds."""
        return AugmentedImages(self, seeds, epoch)


class AugmentedImages:
    """Random resized crops, half of them mirrored: what run k sees of an image depends on its seed, the epoch and the
    image alone, so runs may be stacked or trained one by one with the same result.

    A crop has 8% to 100% of the area of the prepared image and sides of ratio 3/4 to 4/3, as in CLIP-LoRA; it is
    resized bicubically.
    """

    n_cut = 0

    def __init__(self, images: PreparedImages, seeds: Sequence[int], epoch: int) -> None:
        self.lengths = images.lengths
        self._images, self._seeds, self._epoch = images, list(seeds), epoch

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, index: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows 3 height width"]:
        """The rows ``index``, K groups of them, group k as run k sees it."""
        images = self._images.batch(index)
        group = len(index) // len(self._seeds)
        return torch.stack(
            [
                self._crop(image, np.random.default_rng([self._seeds[row // group], self._epoch, int(index[row])]))
                for row, image in enumerate(images)
            ]
        )

    @staticmethod
    def _crop(image: Float[Tensor, "3 height width"], random: np.random.Generator) -> Float[Tensor, "3 height width"]:
        area, ratio = random.uniform(0.08, 1), np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
        sides = [
            max(1, round(full * min(1.0, float(share))))
            for full, share in zip(image.shape[1:], (np.sqrt(area / ratio), np.sqrt(area * ratio)), strict=True)
        ]
        top, left = (int(random.integers(full - side + 1)) for full, side in zip(image.shape[1:], sides, strict=True))
        part = image[None, :, top : top + sides[0], left : left + sides[1]]
        crop = F.interpolate(part, size=image.shape[1:], mode="bicubic", antialias=True)[0]
        return crop.flip(-1) if random.random() < 0.5 else crop


def resized(
    pictures: Sequence[Picture], processor: Any, size: int, cache: Path | None = None
) -> UInt8[np.ndarray, "n 3 height width"]:
    """The images as the processor resizes and crops them, from the cache where this list of them has been there before.

    Args:
        size: height and width that the model takes.
        cache: folder of the cache, the user's by default.
    Raises:
        CorruptImages: some cannot be decoded.
        DataError: the processor makes other sizes, or the cache cannot be written.
    """
    recipe = {name: str(value) for name, value in sorted(processor.to_dict().items())}
    key = hashlib.sha256(json.dumps([_VERSION, recipe]).encode())
    for picture in pictures:
        key.update(picture.sha256.encode())
    path = (cache or CACHE) / f"{key.hexdigest()}.npy"
    shape = len(pictures), 3, size, size
    pixels = _read(path, shape)
    if pixels is None:
        _write(pictures, processor, path, shape)
        pixels = _read(path, shape)
    if pixels is None:
        raise DataError(f"decoded images cannot be read back from {path}: its disk may be full or damaged")
    return pixels


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The pixels of a whole file, None where there is none."""
    try:
        pixels: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _write(pictures: Sequence[Picture], processor: Any, path: Path, shape: tuple[int, ...]) -> None:
    """Decode into a temporary file, then rename it; two processes may do so at once."""
    faults: dict[str, str] = {}
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for picture in pictures:
                try:
                    image = picture.decode()
                except CorruptImage as error:
                    faults[picture.name] = str(error)
                    continue
                if not faults:  # after one, the others are still of interest, the pixels are not
                    file.write(_pixels(image, processor, picture.name, shape[1:]).tobytes())
        if faults:
            raise CorruptImages(faults)
        draft.replace(path)
    except OSError as error:
        raise DataError(f"decoded images cannot be kept in {path.parent} ({error.strerror or error})") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _pixels(image: Any, processor: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    made = processor(images=[image], do_rescale=False, do_normalize=False, return_tensors="np")
    pixels = np.asarray(made["pixel_values"][0])
    if pixels.shape != shape:
        raise DataError(
            f"{name} becomes {' x '.join(map(str, pixels.shape[1:]))} pixels by the model's image processor, the model "
            f"takes {' x '.join(map(str, shape[1:]))}: mend its preprocessor_config.json (resize and crop)"
        )
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)
