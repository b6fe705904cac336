"""Language models in GGUF files, made into folders of transformers once, in the user's cache. No torch until then.

    $XDG_CACHE_HOME or ~/.cache / lorabound / gguf / SHA-256 of the file /
        config.json, model.safetensors, tokenizer.json, ..., chat_template.jinja     what transformers reads there
        gguf.json                                                                    where it comes from

Weights become float32, as the file's own numbers say: an 8-bit or 4-bit file is a model of its own, not the one that it
was rounded from. A folder is written as a draft and takes its name at the end; one process writes it at a time.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from lorabound.errors import ModelError, cannot_write, first_line
from lorabound.files import drafted
from lorabound.models.model_folder import GGUF_SOURCE, file_sha256, folder_sha256

_ROOM_BESIDE = 2**26  # bytes for the tokenizer and the configuration


def gguf_inside(folder: Path) -> Path | None:
    """The one GGUF file of a folder without safetensors; None where there is none, or safetensors lie beside it.

    Raises:
        ModelError: there are several.
    """
    found = sorted(folder.glob("*.gguf"))
    if not found or any(folder.glob("*.safetensors")):
        return None
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:3]) + (", ..." if len(found) > 3 else "")
        raise ModelError(f"{folder} holds {len(found)} GGUF files ({names}): name one of them, as {found[0]}")
    return found[0]


def converted(path: Path) -> Path:
    """The folder of transformers that a GGUF file was made into; makes it where it is not there.

    Raises:
        ModelError: the file is damaged, of a kind that transformers does not read or reads in part, or finds no room.
    """
    sha256 = _sha256(path.absolute(), (path.stat().st_mtime_ns, path.stat().st_size))
    folder = cache() / sha256
    if (folder / GGUF_SOURCE).is_file():
        return folder
    if importlib.util.find_spec("gguf") is None or importlib.util.find_spec("accelerate") is None:
        raise ModelError(f"{path} is a GGUF file, which takes packages to read: run  pip install 'lorabound[llm]'")
    with _alone(folder):
        if not (folder / GGUF_SOURCE).is_file():
            for draft in folder.parent.glob(f".{sha256}.*.tmp"):  # of a process that was killed
                shutil.rmtree(draft, ignore_errors=True)
            number_format, n_numbers = _checked(path)
            print(  # as the hub tells what it downloads
                f"converting {path.name} to float32, once, which may take minutes: {4 * n_numbers / 2**30:.2f} GiB in "
                f"{folder}",
                file=sys.stderr,
                flush=True,
            )
            with drafted(folder) as draft:
                draft.mkdir()
                weights: Any = import_module("lorabound.models.gguf_weights")  # imports torch
                weights.save_as_folder(path, draft, n_numbers)
                source = {
                    "file": path.name,
                    "sha256": sha256,
                    "weights": number_format,
                    "folder_sha256": folder_sha256(draft),
                }
                (draft / GGUF_SOURCE).write_text(json.dumps(source, indent=1) + "\n")
    return folder


def cache() -> Path:
    """Where the folders lie."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorabound" / "gguf"


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, state: tuple[int, int]) -> str:  # noqa: ARG001 (part of the key)
    """SHA-256 of the file, computed again where its ``state``, time of change and size, is another one."""
    return file_sha256(path)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the others wait and find the folder made."""
    from filelock import FileLock

    lock = folder.with_name(f".{folder.name}.lock")
    remedy = "make room, or name another place by XDG_CACHE_HOME"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise ModelError(cannot_write(folder, error, remedy)) from None
    with FileLock(lock):
        yield


def _checked(path: Path) -> tuple[str, int]:
    """The number format of the weights ("Q4_1") and their count, if the file is whole and its numbers fit the disk.

    Raises:
        ModelError: they are not; or the file holds scaled positions, which transformers leaves out.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
        sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    except Exception as error:  # the reader checks nothing: a damaged file makes errors of many kinds
        if unknown := re.search(r"(\d+)\)? is not a valid GGMLQuantizationType", str(error)):
            raise ModelError(
                f"{path} holds weights of type {unknown[1]}, which the gguf package here does not know: give the model "
                "in safetensors, or quantized as Q8_0 or Q4_K"
            ) from None
        raise ModelError(
            f"{path} cannot be read as GGUF ({first_line(error)}): the file is damaged or unfinished, download it again"
        ) from None
    if "tokenizer.ggml.tokens" not in reader.fields:
        raise ModelError(f"{path} holds no tokens (tokenizer.ggml.tokens): give the model in safetensors")
    if int(values.get("split.count") or 1) > 1:
        raise ModelError(
            f"{path} is one of {values['split.count']} parts of a model: join them (llama-gguf-split --merge) and give "
            "the whole file"
        )
    architecture = str(values.get("general.architecture"))
    scaling = values.get(f"{architecture}.rope.scaling.type")
    scaled = [name for name in sizes if name.startswith("rope_")]
    if architecture != "gpt-oss" and (scaled or scaling not in (None, "none")):
        what = scaled[0] if scaled else f"rope.scaling.type = {scaling}"
        raise ModelError(
            f"{path} scales its rotary positions ({what}), which transformers leaves out when it reads GGUF: give the "
            "model in safetensors"
        )
    needed, free = 4 * sum(sizes.values()) + _ROOM_BESIDE, shutil.disk_usage(cache()).free
    if needed > free:
        raise ModelError(
            f"{path} takes {needed / 2**30:.1f} GiB as float32 and {cache()} has room for {free / 2**30:.1f} GiB: make "
            "room, or name another place by XDG_CACHE_HOME"
        )
    try:
        kind = gguf.LlamaFileType(int(values.get("general.file_type", gguf.LlamaFileType.GUESSED))).name
    except ValueError:
        kind = "GUESSED"
    return kind.removeprefix("MOSTLY_").removeprefix("ALL_").replace("GUESSED", "unknown"), sum(sizes.values())
