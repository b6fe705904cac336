"""What full fine-tuning changed in the weights, and how much of it a low rank or a frozen factor can keep."""

from lorabound.updates.costs import FreezingCosts, LayerCost
from lorabound.updates.verbs import freezing_costs

__all__ = ["FreezingCosts", "LayerCost", "freezing_costs"]
