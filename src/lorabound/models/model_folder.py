"""What a model folder must hold, and what in it would make another model of the one its weights say.

transformers reads more than ``config.json`` and ``model.safetensors``: it loads an adapter that lies beside them
(only where peft is installed), runs or ignores code that the configuration names, unpacks quantized weights. The model
here is the bare one: what would change it is refused in one sentence, or left aside and told in the notes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lorabound.errors import ModelError

CONFIG, ADAPTER_CONFIG, MODULES = "config.json", "adapter_config.json", "modules.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Weights, configuration, tokenizer, chat template, parts of sentence-transformers: what is fetched from the hub.
FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
# Where a folder that was made of a GGUF file comes from: name and SHA-256 of the file, hash of the folder as made.
GGUF_SOURCE = "gguf.json"
# Beside the weights, but without a say in what the bare model computes.
_IDLE = (ADAPTER_CONFIG, "adapter_model.safetensors", "generation_config.json", GGUF_SOURCE)
# Entries of config.json that are read before transformers reads them.
_KINDS: dict[str, tuple[type, str]] = {
    "architectures": (list, "a list of names"),
    "auto_map": (dict, "names and places of code"),
    "quantization_config": (dict, "names and values"),
    "text_config": (dict, "names and values"),
    "vision_config": (dict, "names and values"),
}
_DEEPEST = 10_000
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# transformers' classes that a sweep loads; code that a configuration names for others is not on the way.
_LOADED_AS = ("AutoModel", "AutoModelForSequenceClassification")


def check_folder(folder: Path) -> None:
    """See that transformers would load the model that the folder's own weights are; no weight is read.

    Raises:
        ModelError: no ``config.json`` or no whole set of safetensors, an adapter alone, weights only as a pickle,
            quantized weights, weights under another name, or code of its own.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(_without_config(folder))
    config = read_json(folder / CONFIG)
    _check_kinds(folder / CONFIG, config)
    weight_files(folder)
    if config.get("quantization_config"):
        method = dict(config["quantization_config"]).get("quant_method", "unknown method")
        raise ModelError(
            f"{folder / CONFIG}: the weights are quantized (quantization_config: {method}), and adapters go on plain "
            "linear layers: give the model as it was before quantization"
        )
    if config.get("transformers_weights"):
        raise ModelError(
            f"{folder / CONFIG}: transformers_weights sends the loader to {config['transformers_weights']!r}: name the "
            f"weights {_WEIGHTS} and delete the entry"
        )
    code = config.get("auto_map") or {}
    named = [f"{kind} = {code[kind]}" for kind in _LOADED_AS if kind in code]
    if named:
        raise ModelError(
            f"{folder / CONFIG}: the model needs code of its own (auto_map: {', '.join(named)}), which is never run "
            "here; where transformers' own class computes the same, delete auto_map from the file"
        )


def _check_kinds(path: Path, config: dict[str, Any]) -> None:
    """See that what is read here is of the kind that transformers writes, and that no model is deeper than any is.

    Raises:
        ModelError: the first entry that is not.
    """
    for name, (kind, said) in _KINDS.items():
        if config.get(name) is not None and not isinstance(config[name], kind):
            raise ModelError(f"{path}: {name} is {str(config[name])[:40]!r}, expected {said}")
    for name, value in config.items():
        if "layer" in name and isinstance(value, int | float) and value > _DEEPEST:
            raise ModelError(f"{path}: {name} is {value:,}, and no model here has more than {_DEEPEST:,}")


def check_values(folder: Path) -> None:
    """Read every weight once and see that it is a finite number; one tensor is in memory at a time.

    Raises:
        ModelError: a tensor with NaN or infinite values, with integers for weights, or a file that cannot be read.
    """
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    _check_tensor(path, name, file.get_tensor(name))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} cannot be read ({error}): the file is damaged or unfinished") from None


def _check_tensor(path: Path, name: str, tensor: Any) -> None:
    if tensor.is_floating_point() and tensor.itemsize > 1:  # one byte, float8: quantized
        # Fast: one value that is not finite makes the sum infinite or NaN. Float64 may hold more than float32 can.
        if tensor.itemsize < 8 and tensor.double().sum().isfinite():
            return
        n_wrong = int((~tensor.float().isfinite()).sum())
        if n_wrong:
            raise ModelError(
                f"{path}: {n_wrong:,} of {tensor.numel():,} values of {name} are not finite numbers (NaN or infinite): "
                "the training that made this model diverged, or overflowed in float16; give another checkpoint"
            )
    elif tensor.ndim > 1 and name.endswith("weight"):
        raise ModelError(
            f"{path}: {name} holds {str(tensor.dtype).removeprefix('torch.')}: the weights are quantized: give the "
            "model as it was before"
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that transformers reads: one file, or the shards that an index names.

    Raises:
        ModelError: none, only a pickle, only files of other names, or shards that are missing.
    """
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        named = read_json(folder / _INDEX).get("weight_map")
        if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
            raise ModelError(f"{folder / _INDEX} names no files (weight_map)")
        shards = sorted(set(named.values()))
        missing = [name for name in shards if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise ModelError(
                f"{folder / _INDEX} names {len(shards)} files of weights and {len(missing)} of them "
                f"{'is' if len(missing) == 1 else 'are'} missing ({', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}): copy or download them again"
            )
        return [folder / name for name in shards]
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if pickles:
        raise ModelError(
            f"{folder} holds its weights only as {pickles[0]}, a pickle, which can run code when it is read: "
            "convert them to safetensors"
        )
    if others and others != ["adapter_model.safetensors"]:
        raise ModelError(
            f"{folder} holds neither {_WEIGHTS} nor {_INDEX}, which transformers asks for, only {', '.join(others[:3])}"
        )
    raise ModelError(f"{folder} holds no {_WEIGHTS}: the weights of the model are missing")


def folder_notes(folder: Path) -> list[str]:
    """What lies in the folder and was left aside, and the GGUF file that it was made of: one sentence each."""
    notes = []
    if (folder / ADAPTER_CONFIG).is_file():
        notes.append(
            f"{folder} also holds an adapter ({ADAPTER_CONFIG}): it was not loaded, the model is the bare one without "
            "it."
        )
    if (folder / GGUF_SOURCE).is_file():
        source = read_json(folder / GGUF_SOURCE)
        notes.append(
            f"{source.get('file')} (GGUF, weights {source.get('weights')}) was converted to float32 and is kept in "
            f"{folder}: adapters learn and are measured on its weights as they are rounded in that file."
        )
    return notes


def model_sha256(folder: Path) -> str:
    """One hash of the bare model: over everything in its folder that decides its output.

    A folder that was made of a GGUF file has the hash of that file, as long as nothing in it was changed.
    """
    found = folder_sha256(folder)
    source = read_json(folder / GGUF_SOURCE) if (folder / GGUF_SOURCE).is_file() else {}
    return str(source["sha256"]) if source.get("sha256") and source.get("folder_sha256") == found else found


def folder_sha256(folder: Path) -> str:
    """One hash over everything in the folder that decides the bare model's output.

    The parts that ``modules.json`` of sentence-transformers names lie in folders of their own, and count too.
    """
    places = {folder, *(folder / str(step.get("path", "")) for step in sentence_modules(folder))}
    paths = {path for place in places for pattern in FILES for path in place.glob(pattern)}
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.name not in _IDLE:
            digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Raises ModelError: the file cannot be read."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        ModelError: a file that cannot be read, or holds something else.
    """
    record = _parsed(path)
    if not isinstance(record, dict):
        raise ModelError(f"{path} cannot be read: it holds no JSON object")
    return record


def sentence_modules(folder: Path) -> list[dict[str, Any]]:
    """The steps that sentence-transformers lists in ``modules.json``, in their order; none without the file.

    Raises:
        ModelError: the file cannot be read, holds no list of steps, or names a place outside the folder.
    """
    path = folder / MODULES
    if not path.is_file():
        return []
    steps = _parsed(path)
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ModelError(f"{path} cannot be read: it holds no list of modules")
    for step in steps:
        place = Path(str(step.get("path", "")))
        if place.is_absolute() or ".." in place.parts:
            raise ModelError(f"{path}: the path {str(place)!r} of a module lies outside the folder")
    return steps


def module_kind(step: dict[str, Any]) -> str:
    """ "Pooling" of ``sentence_transformers.models.Pooling``."""
    return str(step.get("type", "")).rsplit(".", 1)[-1]


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from None


def _without_config(folder: Path) -> str:
    if (folder / ADAPTER_CONFIG).is_file():
        base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        base_words = f"its base model, {base}" if base else "the model it was trained on"
        return f"{folder} is an adapter ({ADAPTER_CONFIG}), not a model: give {base_words}, as the model"
    inner = sorted(path.parent.name for path in folder.glob("*/config.json") if (path.parent / _WEIGHTS).is_file())
    if inner and any(module_kind(step) == "Transformer" for step in sentence_modules(folder)):
        return (
            f"{folder} keeps its encoder in {inner[0]}, as old versions of sentence-transformers did: load it there "
            f"and save it again (SentenceTransformer({str(folder)!r}).save(NEW_FOLDER))"
        )
    if inner:
        return f"{folder} holds no config.json, its folder {inner[0]} does: give {folder / inner[0]}"
    return f"{folder} holds no config.json: it is not a transformers model folder"
