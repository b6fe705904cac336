"""Before training: what theory guarantees for a rank and an amount of data, and what a pilot forecasts.

Torch is needed to read a model's shapes, and for nothing else.
"""

from lorabound.plans.gap_bounds import smallest_n
from lorabound.plans.pilot import Pilot, read_pilot
from lorabound.plans.plan import Plan, make_plan
from lorabound.plans.shapes import model_shapes, parse_shapes
from lorabound.plans.table import write_csv

__all__ = [
    "Pilot",
    "Plan",
    "make_plan",
    "model_shapes",
    "parse_shapes",
    "read_pilot",
    "smallest_n",
    "write_csv",
]
