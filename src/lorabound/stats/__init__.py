"""Statistics of measured gaps, on plain arrays: use them on your own runs.

Two seeds, four test examples (1 is an error), and the training error of each seed:

    >>> import lorabound as lb
    >>> gap = lb.stats.crossed_mean([[1, 0, 0, 1], [1, 0, 1, 1]], offsets=[0.25, 0.5])
    >>> gap.mean, gap.n_seeds, gap.n_test
    (0.25, 2, 4)
    >>> gap.low < gap.mean < gap.high  # 95% interval
    True
"""

from lorabound.stats.best import BestSet, not_worse_than_best
from lorabound.stats.cells import MeasuredCells
from lorabound.stats.choice import Choice, Forecast, pick
from lorabound.stats.curves import Curves, fit_curves
from lorabound.stats.forecast import (
    Coefficient,
    HeldOut,
    PowerLaw,
    Prediction,
    fit_power_law,
    leave_largest_out,
    leave_one_cell_out,
)
from lorabound.stats.growth import Exponent, growth_exponent
from lorabound.stats.mean import CrossedMean, crossed_mean
from lorabound.stats.signs import Signs, signs
from lorabound.stats.variance import (
    Component,
    SharedNoise,
    SingleRun,
    VarianceComponents,
    shared_test_noise,
    variance_components,
)

__all__ = [
    "BestSet",
    "Choice",
    "Coefficient",
    "Component",
    "CrossedMean",
    "Curves",
    "Exponent",
    "Forecast",
    "HeldOut",
    "MeasuredCells",
    "PowerLaw",
    "Prediction",
    "SharedNoise",
    "Signs",
    "SingleRun",
    "VarianceComponents",
    "crossed_mean",
    "fit_curves",
    "fit_power_law",
    "growth_exponent",
    "leave_largest_out",
    "leave_one_cell_out",
    "not_worse_than_best",
    "pick",
    "shared_test_noise",
    "signs",
    "variance_components",
]
