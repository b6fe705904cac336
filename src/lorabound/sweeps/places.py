"""What a folder of results is: that of a sweep, or that of a recommendation. Neither is written into the other."""

from __future__ import annotations

from pathlib import Path

from lorabound.errors import StoreError
from lorabound.sweeps.store import FILE

# The answer of a recommendation, and the folder of its pilots.
RECOMMENDATION, PILOTS = "recommendation.json", "pilots"


def holds_sweep(folder: str | Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (Path(folder) / FILE).is_file()


def holds_recommendation(folder: str | Path) -> bool:
    """Whether a folder is that of a recommendation, finished or not."""
    folder = Path(folder)
    return (folder / RECOMMENDATION).exists() or ((folder / PILOTS).is_dir() and not (folder / FILE).exists())


def is_free(folder: str | Path) -> bool:
    """Whether results may be written to a folder: it is not there, or holds nothing but hidden files."""
    folder = Path(folder)
    return not folder.exists() or (folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir()))


def refuse_folder_of_recommendation(folder: str | Path) -> None:
    """See, before anything is read or written, that a sweep is not written into the folder of a recommendation.

    Raises:
        StoreError: it is one.
    """
    if holds_recommendation(folder):
        raise StoreError(f"{folder} holds a recommendation, and a sweep needs a folder of its own: give another --out")
