"""Loading what transformers saved: quietly, from safetensors, whole, or with one sentence that says what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from lorabound.errors import ModelError
from lorabound.models.attention import NAME as SHORT_ROWS


def load_module(kind: Any, folder: Path, device: torch.device, what: str, may_lack: tuple[str, ...] = ()) -> Any:
    """``kind.from_pretrained(folder)`` in float32 on the CPU, with our attention where the model will run there.

    Args:
        kind: a class of transformers with ``from_pretrained``.
        what: "a CLIP model", for messages.
        may_lack: parts of the model that need not be in the file; a name stands for what begins with it.
    Returns:
        The module, in eval mode, gradients off; ``module.lacks`` names the parameters that the file does not have.
    Raises:
        ModelError: transformers cannot load it, or the file lacks weights, which would start at random.
    """
    with explained(folder, what), quiet():
        module, loaded = kind.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        # Models that choose the library's fused kernel by themselves go through transformers' attention interface;
        # others (MPNet, RoFormer, ...) have code of their own that would misread the masks of another kernel.
        if device.type == "cpu" and module.config._attn_implementation == "sdpa":
            module.set_attn_implementation(SHORT_ROWS)
    module.lacks = sorted(loaded["missing_keys"])
    for name in module.lacks:
        if not name.startswith(may_lack or ("\0",)):
            raise ModelError(f"{folder} lacks {name}, which would start at random: it is not whole as {what}")
    return module.eval().requires_grad_(False)


def load_part(kind: Any, folder: Path, what: str, **options: Any) -> Any:
    """A tokenizer or image processor. Raises ModelError as :func:`load_module`."""
    with explained(folder, what), quiet():
        return kind.from_pretrained(folder, **options)


def copy_sharing_weights(module: nn.Module) -> nn.Module:
    """A copy of the module, its parts copied, its parameters and buffers the same objects."""
    shared = {id(weight): weight for weight in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, dict(shared))


def cast(module: nn.Module, precision: str) -> None:
    """Parameters in another number format. Buffers keep float32: angles of rotary positions need it."""
    for weight in module.parameters():
        weight.data = weight.data.to(getattr(torch, precision))


@contextmanager
def explained(folder: Path, what: str) -> Iterator[None]:
    """Whatever transformers raises becomes a ModelError that names the folder."""
    try:
        yield
    except Exception as error:  # transformers raises many kinds; all mean that this folder cannot be used
        raise ModelError(f"{folder} cannot be loaded by transformers as {what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
