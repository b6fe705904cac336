"""Loading what transformers saved: quietly, from safetensors, whole, bare, or with one sentence on what is wrong.

An adapter beside the weights is never loaded, code that a folder names is never run, weights become float32 whatever
the configuration says of their format.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from lorabound.errors import ModelError, first_line
from lorabound.models.attention import NAME as SHORT_ROWS
from lorabound.models.conv1d import with_linear_layers
from lorabound.models.model_folder import ADAPTER_CONFIG, check_values, folder_notes, model_sha256
from lorabound.models.products import with_fast_products
from lorabound.models.quantized import quantize
from lorabound.notation import Base

# transformers looks here, inside the model's folder, for an adapter to load along: nowhere.
_NO_ADAPTER = {"subfolder": ".no-adapter"}


def load_module(
    kind: Any,
    folder: Path,
    device: torch.device,
    what: str,
    may_lack: tuple[str, ...] = (),
    short_rows: bool = True,
    base: Base | None = None,
) -> Any:
    """``kind.from_pretrained(folder)`` in float32 on the CPU, with our attention where the model will run there.

    Args:
        kind: a class of transformers with ``from_pretrained``.
        what: "a CLIP model", for messages.
        may_lack: parts of the model that need not be in the file; a name stands for what begins with it.
        short_rows: whether our attention for short rows, which sees both ways, may take the place of the library's.
        base: format that its linear layers are rounded to; None leaves them as they are.
    Returns:
        The module, its layers linear (:mod:`lorabound.models.conv1d`), in eval mode, gradients off; ``module.lacks``
        names the parameters that the file does not have, ``module.notes`` holds sentences on what the folder holds
        and the module does not, and on rounding; ``module.sha256`` is the hash of the model.
    Raises:
        ModelError: transformers cannot load it, or it cannot be rounded; the file lacks weights, which would start at
            random, holds weights of another shape, layers that the configuration does not count, or values that are
            not finite.
    """
    check_values(folder)
    with explained(folder, what), quiet():
        module, loaded = kind.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            adapter_kwargs=dict(_NO_ADAPTER),
        )
        # Models that choose the library's fused kernel by themselves go through transformers' attention interface;
        # others (MPNet, RoFormer, ...) have code of their own that would misread the masks of another kernel.
        if short_rows and device.type == "cpu" and module.config._attn_implementation == "sdpa":
            module.set_attn_implementation(SHORT_ROWS)
    if getattr(module, "_hf_peft_config_loaded", False):
        raise ModelError(
            f"{folder}: transformers loaded the adapter of {ADAPTER_CONFIG} into the model: move {ADAPTER_CONFIG} and "
            "adapter_model.safetensors to a folder of their own"
        )
    for name, saved, expected in sorted(loaded["mismatched_keys"]):  # transformers' own error would name none
        raise ModelError(
            f"{folder}: {name} has shape {list(saved)} in the file and {list(expected)} by config.json: they do "
            "not belong together"
        )
    module.lacks = sorted(loaded["missing_keys"])
    for name in module.lacks:
        if not name.startswith(may_lack or ("\0",)):
            raise ModelError(f"{folder} lacks {name}, which would start at random: it is not whole as {what}")
    module.notes = [*folder_notes(folder), *_unused(folder, module, sorted(loaded["unexpected_keys"]))]
    with_linear_layers(module.eval().requires_grad_(False))
    module.sha256, module.base = model_sha256(folder), base
    if base is not None:
        module.sha256, note = quantize(module, folder, base, module.sha256)
        module.notes.append(note)
    return with_fast_products(module)


def _unused(folder: Path, module: nn.Module, names: list[str]) -> list[str]:
    """A sentence on weights of the file that the model has no place for, as the head of pre-training.

    Raises:
        ModelError: among them are layers like those that the model has: it is not the one that was saved.
    """
    # Positions and masks that older versions of transformers saved, and every version computes.
    computed = tuple(f".{name}" for name, _ in module.named_buffers())
    names = [name for name in names if not f".{name}".endswith(computed)]
    kinds = {re.sub(r"\d+", "#", name) for name, _ in module.named_parameters() if re.search(r"\d", name)}
    for name in names:
        general = re.sub(r"\d+", "#", name)
        if any(general == kind or general.endswith(f".{kind}") for kind in kinds):
            raise ModelError(
                f"{folder} holds {name} and more that its config.json has no place for ({len(names)} tensors): the "
                "model would not be the one that was saved; mend the number of layers in config.json"
            )
    if not names:
        return []
    shown = ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
    count = f"{len(names)} tensors" if len(names) > 1 else "1 tensor"
    return [f"{folder} holds {count} that a {type(module).__name__} does not use: {shown}."]


def load_part(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    """A tokenizer or image processor. Raises ModelError as :func:`load_module`."""
    with explained(folder, what), quiet():
        return kind.from_pretrained(folder, trust_remote_code=False, **options)


def copy_sharing_weights(module: nn.Module) -> nn.Module:
    """A copy of the module, its parts copied, its parameters and buffers the same objects."""
    shared = {id(weight): weight for weight in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, dict(shared))


def cast(module: nn.Module, precision: str) -> None:
    """Parameters in another number format. Buffers keep float32: angles of rotary positions need it."""
    for weight in module.parameters():
        weight.data = weight.data.to(getattr(torch, precision))


@contextmanager
def explained(folder: Path, what: str, mend: str = "") -> Iterator[None]:
    """Whatever transformers raises becomes a ModelError that names the folder, and how it is mended."""
    try:
        yield
    except BaseException as error:  # transformers raises many kinds; all mean that this folder cannot be used
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of a library in Rust
            raise
        why = first_line(error).rstrip(".")
        raise ModelError(
            f"{folder} cannot be loaded by transformers as {what}: {why}{'; ' if mend else ''}{mend}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Loading without transformers' progress bars and notes; its settings are put back."""
    logging = transformers.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
