"""Statistics of measured gaps, on plain arrays: use them on your own runs."""

from lorabound.stats.crossed import CrossedMean, crossed_mean
from lorabound.stats.forecast import (
    HeldOut,
    PowerLaw,
    Prediction,
    fit_power_law,
    leave_largest_out,
    leave_one_cell_out,
)
from lorabound.stats.growth import Exponent, growth_exponent

__all__ = [
    "CrossedMean",
    "Exponent",
    "HeldOut",
    "PowerLaw",
    "Prediction",
    "crossed_mean",
    "fit_power_law",
    "growth_exponent",
    "leave_largest_out",
    "leave_one_cell_out",
]
