"""LoRA adapters with a frozen random factor: drawn from a seed, stacked on a model, kept in PEFT folders."""

from lorabound.adapters.adapter import Adapter, Factors, Head, new_adapter
from lorabound.adapters.folder import load_adapter, save_adapter
from lorabound.adapters.frozen import factor_sha256, random_factor
from lorabound.adapters.stack import Stack, StackedHead, StackedLinear, n_stacked, stack_order
from lorabound.adapters.targets import layer_index, select_linears

__all__ = [
    "Adapter",
    "Factors",
    "Head",
    "Stack",
    "StackedHead",
    "StackedLinear",
    "factor_sha256",
    "layer_index",
    "load_adapter",
    "n_stacked",
    "new_adapter",
    "random_factor",
    "save_adapter",
    "select_linears",
    "stack_order",
]
