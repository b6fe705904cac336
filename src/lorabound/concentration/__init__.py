"""How tightly the gap of a single run concentrates: draws of the frozen factor crossed with draws of the sample."""

from lorabound.concentration.crossed import Crossed, CrossedSettings, ModeSpread, measure_spread
from lorabound.concentration.table import print_spread, write_spread

__all__ = ["Crossed", "CrossedSettings", "ModeSpread", "measure_spread", "print_spread", "write_spread"]
