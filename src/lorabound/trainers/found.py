"""Where a trainer's file says its data are, as a name that lorabound reads."""

from __future__ import annotations

from pathlib import Path

from lorabound.data import NAMED, is_export
from lorabound.data.hub import HubName
from lorabound.data.phrases import quoted
from lorabound.trainers.keys import Keys

_REMOTE = ("s3://", "gs://", "gcs://", "adl://", "abfs://", "az://", "oci://", "https://", "http://")


def located(keys: Keys, key: str, path: str, folders: list[Path]) -> str | None:
    """The name of a data set as lorabound takes it; None where it is not at hand, which is noted as a fault.

    Whether a name on the hub can be reached is left to the reader of the data.

    Args:
        key: key that names the data set, for messages.
        path: what stands there: a file, a folder, or a name on the hub.
        folders: folders that a path may be relative to, in the order in which they are tried.
    """
    if path.startswith(_REMOTE):
        keys.fault(key, f"{quoted(path, 80)} is far away: download it and give its path")
        return None
    for folder in dict.fromkeys(folders):
        place = folder / Path(path).expanduser()
        try:
            is_data, is_folder = place.is_file() or is_export(place), place.is_dir()
        except OSError:  # a name that is too long for any file
            continue
        if is_data:
            return _no_named_task(place)
        if is_folder:
            keys.fault(key, f"{place} is a folder of files: put their rows into one file and name that")
            return None
    if HubName.parse(path):
        return path
    looked = " or ".join(dict.fromkeys(str(folder.absolute()) for folder in folders))
    keys.fault(
        key,
        f"no file {quoted(path, 80)} in {looked}, and it is no name on the hub (owner/name): give the path of a file",
    )
    return None


def _no_named_task(place: Path) -> str:
    """The path, written so that no built-in task of the same name is meant."""
    return f"./{place}" if str(place) in NAMED else str(place)


def on_hub(keys: Keys, key: str, name: str, configuration: str | None, split: str | None) -> str:
    """``owner/name:configuration@split``; of a file nothing but the split "train" can be asked for."""
    if Path(name).is_file() and not is_export(Path(name)):
        if split not in (None, "", "train"):
            keys.fault(key, f"split {split} of a file, which is read whole: write those rows into a file of their own")
        return name
    return f"{name}{f':{configuration}' if configuration else ''}{f'@{split}' if split else ''}"
