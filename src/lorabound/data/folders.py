"""Images in a folder with one sub-folder per class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lorabound.data.images import Picture
from lorabound.data.labelled import Labelled
from lorabound.data.phrases import counted, listed, one_line
from lorabound.errors import DataError

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pnm",
)
_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
}


def read_folder(path: Path) -> Labelled:
    """Every image below a sub-folder has that sub-folder's name for a class. Hidden files are left alone; empty
    sub-folders, files that are no images by their ending, and links to folders below them are counted in a note.

    Raises:
        DataError: no images, or sub-folders that are splits (train, test, ...) or hold the classes one level down.
    """
    classes = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files: list[tuple[Path, str]] = []
    others: list[Path] = []
    links = 0  # to folders, which are not followed, or to nothing
    for entry in classes:
        for file in sorted(entry.rglob("*")):
            if file.name.startswith("."):
                continue
            if not file.is_file():
                links += file.is_symlink()
                continue
            if file.suffix.lower() in SUFFIXES:
                files.append((file, entry.name))
            else:
                others.append(file)
    names = list(dict.fromkeys(name for _, name in files))
    _refuse_splits(path, names)
    beside = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not files:
        listing = next(
            (file for file in path.glob("metadata.*") if file.suffix in (".csv", ".jsonl", ".parquet")), None
        )
        hint = f"; if {listing.name} lists them: --data {listing} --image-column file_name" if listing else ""
        raise DataError(
            f"{path} holds no images: expected a sub-folder for every class, named like it, with image files in "
            f"it{hint}"
        )
    notes = []
    empty = [entry.name for entry in classes if entry.name not in names]
    if empty:
        notes.append(f"no class for {counted(len(empty), 'sub-folder')} without images: {listed(empty)}.")
    if others:
        kinds = Counter(file.suffix.lower() or file.name for file in others)
        notes.append(
            f"left out {counted(len(others), 'file')} whose endings are not those of images: "
            f"{listed(f'{n:,} {kind}' for kind, n in kinds.most_common())}."
        )
    if links:
        notes.append(f"left out {counted(links, 'link')} within sub-folders, to other folders or to nothing.")
    if beside:
        notes.append(f"left out {counted(len(beside), 'image')} beside the sub-folders, which have no class.")
    return Labelled(
        str(path),
        [Picture(str(file), file.read_bytes) for file, _ in files],
        [name for _, name in files],
        tuple(one_line(f"{path}: {note}") for note in notes),
    )


def _refuse_splits(path: Path, names: list[str]) -> None:
    """Splits are not classes: two different ones side by side, or nothing else. A train may be a vehicle."""
    by_kind: dict[str, str] = {}
    for name in names:
        if name.lower() in _SPLITS:
            by_kind.setdefault(_SPLITS[name.lower()], name)
    if len(by_kind) > 1 or (by_kind and len(names) == 1):
        train = by_kind.get("train", next(iter(by_kind.values())))
        test = next((by_kind[kind] for kind in ("test", "val") if kind in by_kind and by_kind[kind] != train), None)
        mend = f"--data {path / train}" + (f" --test-data {path / test}" if test else "")
        found = listed(f"{by_kind[kind]}/" for kind in ("train", "val", "test") if kind in by_kind)
        raise DataError(f"{path} holds {found}, which are splits and not classes: say {mend}")
    if len(names) == 1:
        below = [entry.name for entry in sorted((path / names[0]).iterdir()) if entry.is_dir()]
        if len(below) > 1:
            raise DataError(
                f"{path} holds one sub-folder with images, {names[0]}/, and the classes seem to be below it "
                f"({listed(below)}): say --data {path / names[0]}"
            )
