"""The tensors of an adapter's file: pairs of factors of linear layers, kinds that are known and left out, and faults.

A LoRA tensor that is none of these refuses the whole file, with the reason that usually stands behind it: a table of
the layers that happen to be whole would pass for the adapter.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lorabound.errors import AdapterError

PREFIX = "base_model.model."
# NumPy has no bfloat16: its bits are the upper half of a float32.
BF16 = "BF16"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", BF16: "<u2"}

_FACTOR = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight$")
_EMBEDDING = re.compile(r"^base_model\.model\..+\.lora_embedding_[AB]$")
_NAMED = re.compile(r"\.lora_(embedding_)?[AB]\.(?!weight$|bias$)[^.]+(\.weight)?$")
_LORA = re.compile(r"(^|\.)lora_[^.]+")
_GATHER = (
    "gather them before saving: run DeepSpeed's zero_to_fp32.py in the folder of the checkpoint, or train with "
    "stage3_gather_16bit_weights_on_model_save (FSDP: state_dict_type FULL_STATE_DICT)"
)
# Fault -> what it means and how to mend it; said in this order.
_MEANING = {
    "dtype": f"{{count}} in a number format that is not read, expected one of {', '.join(DTYPES)}",
    "empty": f"{{count}} empty: under DeepSpeed ZeRO-3 each process holds a part only; {_GATHER}",
    "flat": f"{{count}} flat, the part of one process (ZeRO-3 or FSDP) and not the matrix; {_GATHER}",
    "named": "{count} under a key with the adapter's name in it, as a state dict has it, and PEFT does not load such a "
    "file whole either; save with model.save_pretrained(FOLDER), which leaves the name out",
    "prefix": f"{{count}} under a key that does not begin with {PREFIX}, and PEFT does not load such a file whole "
    "either; save the PeftModel with its save_pretrained(FOLDER)",
    "experts": "{count} with three axes or more and not of a convolution: one pair of factors holds those of several "
    "experts, which is not supported",
    "unknown": "{count} not known: it may change what A and B of its layer do",
    "unpaired": "{count} without a partner of the same rank: a layer needs lora_A (r, d_in) and lora_B "
    "(d_out, r) of one rank r; the file is not whole, save it again",
}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor of a safetensors file, as its header describes it.

    Attributes:
        key: name of the tensor in the file.
        dtype: number format, as safetensors writes it.
        shape: length of every axis.
        start: position of its first byte in the file.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def kind(self) -> str:
        """What a tensor is that is no factor of a linear layer, in words."""
        name = self.key.rsplit(".", 1)[-1]
        if _EMBEDDING.match(self.key):
            return "factor of an embedding"
        if _FACTOR.match(self.key):
            return "factor of a convolution"
        if "trainable_tokens" in self.key:
            return "trained token embedding"
        return "bias" if name == "bias" else "weight saved whole"


def read_header(path: Path) -> list[Tensor]:
    """The tensors of a safetensors file: 8 bytes that hold n, n bytes of JSON, then the values.

    Raises:
        AdapterError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="np"):
            pass  # opening checks every entry of the header against the size of the file
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read ({error}): the file is damaged or unfinished") from None
    return [
        Tensor(
            key=key,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            start=8 + size + entry["data_offsets"][0],
        )
        for key, entry in header.items()
        if key != "__metadata__"
    ]


def pair(tensors: list[Tensor], path: Path) -> tuple[dict[str, tuple[Tensor, Tensor]], tuple[Tensor, ...]]:
    """The factors of the linear layers, module name -> (B, A), and the tensors of other known kinds.

    Raises:
        AdapterError: a LoRA tensor of no known kind or without its partner, or no pair at all; all faults at once.
    """
    found: dict[str, dict[str, Tensor]] = {}
    others: list[Tensor] = []
    faults: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        fault = _fault(tensor)
        match = _FACTOR.match(tensor.key)
        if fault:
            faults.setdefault(fault, []).append(tensor)
        elif match:
            found.setdefault(match["module"], {})[match["factor"]] = tensor
        else:
            others.append(tensor)
    layers: dict[str, tuple[Tensor, Tensor]] = {}
    faulty = {match["module"] for kind in faults.values() for tensor in kind if (match := _FACTOR.match(tensor.key))}
    for module, factors in found.items():
        a, b = factors.get("A"), factors.get("B")
        if len(factors) == 2 and all(len(t.shape) > 2 for t in factors.values()) and not _convolve(**factors):
            faults.setdefault("experts", []).extend(factors.values())
        elif a is None or b is None or a.shape[0] != b.shape[1] or len(a.shape) != len(b.shape):
            if module not in faulty:  # its partner is told already
                faults.setdefault("unpaired", []).extend(factors.values())
        elif len(a.shape) == 2:
            layers[module] = b, a
        else:
            others += [a, b]
    if faults:
        raise AdapterError(f"{path}: {'; '.join(_told(fault, faults[fault]) for fault in _MEANING if fault in faults)}")
    if not layers:
        raise AdapterError(
            f"{path} holds no LoRA factors of linear layers"
            + (f": its first tensor is {others[0].key} {list(others[0].shape)}" if others else "")
        )
    return layers, tuple(others)


def _convolve(A: Tensor, B: Tensor) -> bool:
    """Whether these are a convolution's: A (r, d_in, k, ...), B (d_out, r, 1, ...)."""
    return len(A.shape) == len(B.shape) and A.shape[0] == B.shape[1] and set(B.shape[2:]) == {1}


def _fault(tensor: Tensor) -> str | None:
    """What is wrong with a tensor by itself; None for a factor, and for kinds that are known."""
    if not _LORA.search(tensor.key):
        return None
    if not tensor.key.startswith(PREFIX):
        return "prefix"
    if _NAMED.search(tensor.key):
        return "named"
    if tensor.key.endswith(".lora_B.bias"):
        return None
    if not _FACTOR.match(tensor.key) and not _EMBEDDING.match(tensor.key):
        return "unknown"
    if 0 in tensor.shape:
        return "empty"
    if len(tensor.shape) < 2:
        return "flat"
    return None if tensor.dtype in DTYPES else "dtype"


def _told(fault: str, tensors: list[Tensor]) -> str:
    first = tensors[0]
    shown = f"{first.key} {first.dtype} {list(first.shape)}"
    count = f"tensor {shown} is" if len(tensors) == 1 else f"{len(tensors)} LoRA tensors ({shown}, ...) are"
    return _MEANING[fault].format(count=count)
