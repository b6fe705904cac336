"""Statistics of measured gaps, on plain arrays: use them on your own runs."""

from lorabound.stats.crossed import CrossedMean, crossed_mean
from lorabound.stats.growth import Exponent, growth_exponent

__all__ = ["CrossedMean", "Exponent", "crossed_mean", "growth_exponent"]
