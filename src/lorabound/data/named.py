"""Tasks that go by a name: from Python packages, two from Debian, the eleven of CLIP-LoRA on the hub.

The eleven are those of Zanella and Ben Ayed (2024), after Zhou et al. (2022), with the prompts of the latter.
Class names are the hub's own labels, tidied: underscores and dots become spaces. Only the names that this leaves
unreadable to a text encoder are rewritten here. The hub's splits are not those of Zhou et al.
"""

from __future__ import annotations

import gzip
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lorabound.data.dialogues import Dialogues
from lorabound.data.dictionary import dictionary
from lorabound.data.folders import read_folder
from lorabound.data.hub import HubName, read_pictures
from lorabound.data.images import from_arrays
from lorabound.data.labelled import Empty, Labelled, Reads
from lorabound.data.words import words
from lorabound.errors import DataError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CLOTHES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


@dataclass(frozen=True)
class NamedTask:
    """Data that go by a name.

    Attributes:
        prompt: class prompt; "" for dialogues, which bring their own.
        n_classes: number of classes; 1 for dialogues.
        train: function that reads the data; its argument says what becomes of rows without image or label.
        test: function that reads the test set of its own, likewise; None without one.
        on_hub: whether the data are fetched from the hub.
        holds: kind of its examples.
    """

    prompt: str
    n_classes: int
    train: Callable[[Empty], Labelled | Dialogues]
    test: Callable[[Empty], Labelled] | None = None
    on_hub: bool = False
    holds: Reads = "images"


@dataclass(frozen=True)
class _OnHub:
    """Where the hub keeps a task; labels that need more than tidying."""

    where: str
    label: str
    names: dict[str, str]

    def read(self, empty: Empty) -> Labelled:
        name = HubName.parse(self.where)
        assert name is not None
        table = read_pictures(name, "image", self.label, empty)
        labels = [self.names.get(label) or _tidied(label) for label in table.labels]
        return replace(table, name=self.where, labels=labels)


def _tidied(label: str) -> str:
    """ "American_Bulldog" -> "American Bulldog", "ApplyEyeMakeup" -> "Apply Eye Makeup"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"[_.]+", " ", label))
    return " ".join(spaced.split())


def _digits() -> Labelled:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, white on black, made 8 bits deep."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("the task 'digits' needs scikit-learn: run  pip install 'lorabound[demo]'") from None
    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)
    return from_arrays("digits", pixels, [_DIGITS[label] for label in found.target])


def fashion_mnist(part: str, folder: Path = FASHION_MNIST) -> Labelled:
    """Fashion-MNIST (Xiao et al. 2017), 28 x 28, from Debian's package; ``part`` is "train" or "t10k"."""
    try:
        pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
        labels = _idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
    except FileNotFoundError:
        raise DataError(
            f"the task 'fashion-mnist' is not in {folder}: run  apt-get install dataset-fashion-mnist"
        ) from None
    return from_arrays("fashion-mnist", pixels, [_CLOTHES[label] for label in labels])


def _idx(path: Path, n_axes: int) -> np.ndarray:
    """An array of bytes in MNIST's IDX format: a magic number, the sizes of the axes, the entries."""
    try:
        content = gzip.decompress(path.read_bytes())
        magic, *shape = np.frombuffer(content, ">u4", 1 + n_axes)
        if magic != 0x800 + n_axes:
            raise ValueError(f"magic number {magic:#x}")
        return np.frombuffer(content, np.uint8, offset=4 * (1 + n_axes)).reshape(*shape)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is not an IDX file ({error})") from None


def _textiles() -> Labelled:
    """2,000 pictures of textiles, nominal or with a local or global fault (package conformal-clip-data)."""
    spec = importlib.util.find_spec("conformal_clip_data")
    if spec is None or spec.origin is None:
        raise DataError("the task 'textiles' is not installed: run  pip install conformal-clip-data")
    folder = Path(spec.origin).parent / "data" / "textile_images" / "simulated"
    return replace(read_folder(folder), name="textiles")


_EUROSAT = {
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "herbaceous vegetation land",
    "Highway": "highway or road",
    "Industrial": "industrial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings",
    "River": "river",
    "SeaLake": "sea or lake",
}


def _hub(
    prompt: str, n_classes: int, where: str, test: str | None, label: str = "label", names: dict[str, str] | None = None
) -> NamedTask:
    """A task on the hub, its training split, and its test split where ``test`` names one."""
    train = _OnHub(f"{where}@train", label, names or {})
    return NamedTask(
        prompt, n_classes, train.read, _OnHub(f"{where}@{test}", label, names or {}).read if test else None, True
    )


NAMED: dict[str, NamedTask] = {
    "words": NamedTask("This is a {} word.", 10, lambda _: words(), holds="texts"),
    "dictionary": NamedTask("", 1, lambda _: dictionary(), holds="dialogues"),
    "digits": NamedTask("a photo of the number {}.", 10, lambda _: _digits()),
    "fashion-mnist": NamedTask(
        "a photo of a {}.", 10, lambda _: fashion_mnist("train"), lambda _: fashion_mnist("t10k")
    ),
    "textiles": NamedTask("a photo of a textile with {} texture.", 3, lambda _: _textiles()),
    "imagenet": _hub("a photo of a {}.", 1000, "ILSVRC/imagenet-1k", "validation"),
    "sun397": _hub("a photo of a {}.", 397, "tanganke/sun397", "test"),
    "fgvc-aircraft": _hub(
        "a photo of a {}, a type of aircraft.", 100, "HuggingFaceM4/FGVC-Aircraft", "test", "variant"
    ),
    "eurosat": _hub("a centered satellite photo of {}.", 10, "tanganke/eurosat", "test", names=_EUROSAT),
    "stanford-cars": _hub("a photo of a {}.", 196, "tanganke/stanford_cars", "test"),
    "food101": _hub("a photo of {}, a type of food.", 101, "ethz/food101", "validation"),
    "oxford-pets": _hub("a photo of a {}, a type of pet.", 37, "timm/oxford-iiit-pet", "test"),
    "oxford-flowers": _hub("a photo of a {}, a type of flower.", 102, "nelorth/oxford-flowers", "test"),
    "caltech101": _hub("a photo of a {}.", 101, "flwrlabs/caltech101", None),
    "dtd": _hub("{} texture.", 47, "tanganke/dtd", "test"),
    "ucf101": _hub("a photo of a person doing {}.", 101, "flwrlabs/ucf101", "test"),
}
