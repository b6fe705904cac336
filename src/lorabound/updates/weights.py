"""The weights of linear layers as they lie in a model's files, read some rows at a time. Needs no torch.

Sharded models are read shard by shard, in float16, bfloat16, float32 and float64. Nothing is mapped into memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorabound.adapters.targets import CONV1D_KINDS, HEADS, Modules
from lorabound.adapters.tensors import BF16, DTYPES, Tensor, read_header
from lorabound.errors import AdapterError, ModelError
from lorabound.models import locate_model, weight_outline
from lorabound.models.model_folder import CONFIG, read_json, weight_files

Array = NDArray[np.floating[Any]]

# Entries that are read from one file at a time.
_BLOCK = 2**22
# Bits of a number behind its first one, in formats that are coarser than what training computes in.
_COARSE = {BF16: 7, "F16": 10}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model whose headers have been read and whose weights have not.

    Attributes:
        model: model as it was named.
        modules: its linear layers, heads left out, and other parts that hold a matrix.
        places: name of each layer with a matrix -> the file that holds it, and where.
        transposed: whether linear layers are kept as (d_in, d_out), as in GPT-2.
    """

    model: str
    modules: Modules
    places: dict[str, tuple[Path, Tensor]]
    transposed: bool

    def shape(self, layer: str) -> tuple[int, int]:
        """(d_out, d_in) of a layer."""
        rows, columns = self.places[layer][1].shape
        return (columns, rows) if self.is_transposed(layer) else (rows, columns)

    def is_transposed(self, layer: str) -> bool:
        """Whether the file holds the transpose of this layer's matrix."""
        return self.transposed and not any(part in HEADS for part in layer.split("."))


@dataclass(frozen=True, kw_only=True)
class Change:
    """What fine-tuning changed in one layer.

    Attributes:
        update: E = weight of the checkpoint - weight of the base, (d_out, d_in).
        rounding: what rounding to the format of the checkpoint adds to ||E||_F^2, about: the sum over the entries that
            changed of (distance of neighbouring numbers)^2 / 12; 0 for float32 and float64.
    """

    update: Array
    rounding: float


def open_weights(model: str) -> Weights:
    """Read the headers of a model's files of weights.

    Args:
        model: folder, packaged model or hub name, as :func:`lorabound.models.locate_model` takes it.
    Raises:
        ModelError: no such model, weights as a pickle only or quantized, or a file that cannot be read.
    """
    folder = locate_model(model)
    places: dict[str, tuple[Path, Tensor]] = {}
    for path in weight_files(folder):
        try:
            tensors = read_header(path)
        except AdapterError as error:
            raise ModelError(str(error)) from None
        for tensor in tensors:
            if tensor.key.endswith(".weight") and len(tensor.shape) == 2 and 0 not in tensor.shape:
                places[tensor.key.removesuffix(".weight")] = path, tensor
    transposed = read_json(folder / CONFIG).get("model_type") in CONV1D_KINDS
    return Weights(model=model, modules=weight_outline(folder).modules, places=places, transposed=transposed)


def read_change(base: Weights, layer: str, checkpoint: Weights, other: str) -> Change:
    """The update E of one layer, whole, in float32 (float64 where one of the two is).

    Args:
        layer: name of the layer in the base.
        other: its name in the checkpoint.
    Raises:
        ModelError: a number format that is not read, or values that are not finite.
    """
    before, after = base.places[layer][1], checkpoint.places[other][1]
    wide = "F64" in (before.dtype, after.dtype)
    update = np.empty(before.shape, dtype=np.float64 if wide else np.float32)
    rounding = 0.0
    for start, old, new in _rows(base, layer, checkpoint, other):
        part = update[start : start + len(old)]
        np.subtract(new, old, out=part)
        if after.dtype in _COARSE:
            rounding += _rounding(new[part != 0], _COARSE[after.dtype])
    return Change(update=update.T if base.is_transposed(layer) else update, rounding=rounding)


def change_energy(base: Weights, layer: str, checkpoint: Weights, other: str) -> float:
    """||E||_F^2 of one layer, without E in memory; arguments and errors as in :func:`read_change`."""
    rows = _rows(base, layer, checkpoint, other)
    return float(sum(np.sum((new.astype(np.float64) - old) ** 2) for _, old, new in rows))


def _rows(base: Weights, layer: str, checkpoint: Weights, other: str) -> Iterator[tuple[int, Array, Array]]:
    """(number of the first row, rows of the base, rows of the checkpoint), as they lie in the files."""
    height, width = base.places[layer][1].shape
    step = max(1, _BLOCK // width)
    for start in range(0, height, step):
        stop = min(start + step, height)
        yield start, _read(*base.places[layer], start, stop), _read(*checkpoint.places[other], start, stop)


def _read(path: Path, tensor: Tensor, start: int, stop: int) -> Array:
    if tensor.dtype not in DTYPES:
        raise ModelError(
            f"{path}: {tensor.key} is {tensor.dtype}, expected one of {', '.join(DTYPES)}: give the model as it was "
            "before quantization"
        )
    kind, width = np.dtype(DTYPES[tensor.dtype]), tensor.shape[1]
    try:
        values = np.fromfile(path, kind, (stop - start) * width, offset=tensor.start + start * width * kind.itemsize)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})") from None
    if tensor.dtype == BF16:
        values = (values.astype(np.uint32) << 16).view(np.float32)
    elif kind.itemsize == 2:
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: {tensor.key} holds values that are not finite: the training that made it diverged")
    return values.reshape(stop - start, width)


def _rounding(values: Array, bits: int) -> float:
    """Sum of (distance of neighbouring numbers)^2 / 12: the mean square of a rounding error, for every value."""
    exponents = np.frexp(values.astype(np.float64))[1] - 1
    return float(np.sum(np.ldexp(1.0, 2 * (exponents - bits)))) / 12 if values.size else 0.0
