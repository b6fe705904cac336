"""K adapters attached to one frozen model at once, on the batch axis; and the layers of a loaded model."""

from lorabound.stack.drawn import DrawnStack
from lorabound.stack.layers import StackedHead, StackedLinear, stack_order
from lorabound.stack.modules import directions_of_weights, modules_of, select_linears
from lorabound.stack.stacked import Stack, n_stacked

__all__ = [
    "DrawnStack",
    "Stack",
    "StackedHead",
    "StackedLinear",
    "directions_of_weights",
    "modules_of",
    "n_stacked",
    "select_linears",
    "stack_order",
]
