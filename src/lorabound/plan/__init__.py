"""Before training: what theory guarantees for a rank and an amount of data, and what a pilot forecasts.

Torch is needed to read a model's shapes, and for nothing else.
"""

from lorabound.plan.console import print_plan
from lorabound.plan.limits import smallest_n
from lorabound.plan.pilot import Pilot, read_pilot
from lorabound.plan.plan import Plan, make_plan
from lorabound.plan.shapes import model_shapes, parse_shapes
from lorabound.plan.table import write_csv

__all__ = [
    "Pilot",
    "Plan",
    "make_plan",
    "model_shapes",
    "parse_shapes",
    "print_plan",
    "read_pilot",
    "smallest_n",
    "write_csv",
]
