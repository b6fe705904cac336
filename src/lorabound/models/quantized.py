"""A frozen model whose linear layers are rounded to few bits, as bitsandbytes rounds them.

    nf4     blocks of 64 weights, each weight one of 16 values of the NormalFloat code times the largest size in its
            block (Dettmers et al. 2023, QLoRA; no double quantization)
    int8    each weight one of 255 multiples of 1/127 of the largest size in its row (Dettmers et al. 2022, LLM.int8())

The layers are those that transformers gives to bitsandbytes, by its own rule: all linear ones but the output layer of a
language model, tied weights and the last module; and the head that scores classes, which is trained. A rounded weight
takes the place of the exact one as a plain number: results are those of a quantized model, layers stay
``nn.Linear``, and no memory is saved. Activations are not rounded: LLM.int8() rounds those as well, which bitsandbytes
leaves out in training on a CPU alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Collection, Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module

from lorabound.adapters.residual import Residuals, balanced_product
from lorabound.adapters.targets import HEADS
from lorabound.errors import InputError, ModelError
from lorabound.models.locate import locate_model
from lorabound.models.model_folder import GGUF_SOURCE, read_json
from lorabound.notation import Base

# Weights of a block of nf4 share their largest size.
_BLOCK = 64
# Layers that turn hidden states into answers; what stands between, as a pooler, is rounded.
_KEPT = set(HEADS) - {"pooler", "pre_classifier"}
# Number formats of GGUF files that hold weights as they are, or nearly.
_WHOLE = ("F32", "F16", "BF16")


def rounded(weight: Float[Tensor, "d_out d_in"], base: Base) -> Float[Tensor, "d_out d_in"]:
    """What bitsandbytes makes of a weight: quantized, and back to float32.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    functional = _bitsandbytes()
    exact = weight.detach().to("cpu", torch.float32)
    found: Tensor
    if base == "nf4":
        # One row of whole blocks: on a CPU bitsandbytes 0.50 unpacks others wrongly. Zeros change no block's largest.
        row = nn.functional.pad(exact.reshape(1, -1), (0, -exact.numel() % _BLOCK))
        found = functional.dequantize_4bit(*functional.quantize_4bit(row, blocksize=_BLOCK, quant_type="nf4"))
        return found.to(torch.float32)[0, : exact.numel()].reshape(weight.shape)
    # As Linear8bitLt does it, from float16.
    packed, largest, _ = functional.int8_vectorwise_quant(exact.to(torch.float16).contiguous())
    found = functional.int8_vectorwise_dequant(packed, largest)
    return found.to(torch.float32)


@torch.no_grad()
def quantize(module: nn.Module, folder: Path, base: Base, sha256: str) -> tuple[str, str]:
    """Round the linear layers of a loaded model, in place.

    Args:
        module: model in float32 on the CPU, its layers ``nn.Linear``.
        folder: folder that it was loaded from.
        sha256: hash of the model before.
    Returns:
        the hash of the model after, over every rounded weight; and a sentence on what was done.
    Raises:
        InputError: bitsandbytes is not installed.
        ModelError: the weights were rounded already, or there are no linear layers.
    """
    source = read_json(folder / GGUF_SOURCE) if (folder / GGUF_SOURCE).is_file() else {}
    if (kind := str(source.get("weights", "F32"))) not in _WHOLE:
        raise ModelError(
            f"{source.get('file')} holds weights that are quantized already ({kind}): leave --base out, the model is "
            "trained on and measured as it is rounded there"
        )
    digest = hashlib.sha256(f"{sha256}\0{base}\0".encode())
    n_layers, error, size = 0, 0.0, 0.0
    for name, layer in _rounded_layers(module):
        exact = layer.weight.detach()
        near = rounded(exact, base)
        error += float((near - exact).double().square().sum())
        size += float(exact.double().square().sum())
        layer.weight.data.copy_(near)
        digest.update(f"{name}\0{tuple(near.shape)}\0".encode())
        digest.update(near.numpy().astype("<f4", copy=False).tobytes())
        n_layers += 1
    if not n_layers:
        raise ModelError(f"{folder} has no linear layers to quantize: leave --base out")
    share = (error / max(size, 1e-300)) ** 0.5
    note = (
        f"The frozen model is quantized to {base} (bitsandbytes {version('bitsandbytes')}): the weights of {n_layers} "
        f"linear layers are rounded, by {share:.2%} of their size. They are kept as plain numbers, so that results are "
        "those of the quantized model and memory is not saved."
    )
    return digest.hexdigest(), note


def residuals(model: str, module: nn.Module, names: Collection[str], base: Base, rank: int) -> Residuals:
    """What rounding took from some layers, up to rank ``rank``; the exact weights are read again for it.

    It took nothing from layers that are not rounded.

    Args:
        model: name of the model, as it was loaded by.
        module: the loaded model, whose class says how the folder is read.
        names: names of the layers.
    Raises:
        ModelError: the model cannot be loaded.
    """
    from lorabound.models.pretrained import load_module  # it rounds what it loads by this file

    folder, products = locate_model(model), {}
    exact = load_module(type(module), folder, torch.device("cpu"), "a model", may_lack=("",), short_rows=False)
    layers, are_rounded = dict(exact.named_modules()), {name for name, _ in _rounded_layers(module)}
    for name in names:
        weight = layers[name].weight.detach()
        took = weight - rounded(weight, base) if name in are_rounded else torch.zeros_like(weight)
        products[name] = balanced_product(took.numpy(), rank)
    return Residuals(rank=rank, products=products)


def _rounded_layers(module: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    left_out = get_keys_to_not_convert(module)
    for name, layer in module.named_modules():
        is_head = any(part in _KEPT for part in name.split("."))
        if isinstance(layer, nn.Linear) and not is_head and should_convert_module(name, left_out):
            yield name, layer


def _bitsandbytes() -> Any:
    """The functions of bitsandbytes; it is imported when a weight is rounded, and says nothing about a missing GPU."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("--base takes bitsandbytes to round the model: run  pip install 'lorabound[quantized]'")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return import_module("bitsandbytes.functional")
