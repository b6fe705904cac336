"""PEFT LoRA adapters on disk, of anybody: configuration, scales, and one pair of factors at a time. Needs no torch."""

from lorabound.peft_folder.adapter import CONFIG, WEIGHTS, PeftAdapter, open_adapter, read_json
from lorabound.peft_folder.tensors import Tensor

__all__ = ["CONFIG", "WEIGHTS", "PeftAdapter", "Tensor", "open_adapter", "read_json"]
