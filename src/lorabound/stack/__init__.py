"""K adapters attached to one frozen model at once, on the batch axis; and which of its layers adapters go on."""

from lorabound.stack.stacked import Stack, StackedHead, StackedLinear, n_stacked, stack_order
from lorabound.stack.targets import layer_index, select_linears

__all__ = ["Stack", "StackedHead", "StackedLinear", "layer_index", "n_stacked", "select_linears", "stack_order"]
