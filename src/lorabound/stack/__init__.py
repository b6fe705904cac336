"""K adapters attached to one frozen model at once, on the batch axis; and the layers of a loaded model."""

from lorabound.stack.modules import modules_of, select_linears
from lorabound.stack.stacked import Stack, StackedHead, StackedLinear, n_stacked, stack_order

__all__ = ["Stack", "StackedHead", "StackedLinear", "modules_of", "n_stacked", "select_linears", "stack_order"]
