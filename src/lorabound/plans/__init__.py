"""Before training: what theory guarantees for a rank and an amount of data, and what a pilot forecasts.

Torch is needed to read a model's shapes, and for nothing else.
"""

from lorabound.plans.gap_bounds import GapBounds, smallest_n
from lorabound.plans.pilot import Pilot, read_pilot
from lorabound.plans.plan import Need, Pair, Plan, PlanRow
from lorabound.plans.shapes import Shapes, model_shapes, parse_shapes

__all__ = [
    "GapBounds",
    "Need",
    "Pair",
    "Pilot",
    "Plan",
    "PlanRow",
    "Shapes",
    "model_shapes",
    "parse_shapes",
    "read_pilot",
    "smallest_n",
]
