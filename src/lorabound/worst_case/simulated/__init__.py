"""The worst case simulated: Theorem 2 and the rank in the lower bound, on draws of the factors. Needs no torch."""

from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated.cells import CellsRow, simulate_cells
from lorabound.worst_case.simulated.constructions import frozen_weights, full_factor, outputs, rank_one_factor
from lorabound.worst_case.simulated.results import AdmissionRow, CoinRow, Frequency, LowerSimulation, TheoremRow
from lorabound.worst_case.simulated.theorem2 import simulate_lower_bound

__all__ = [
    "AdmissionRow",
    "CellsRow",
    "CoinRow",
    "Frequency",
    "LowerConfig",
    "LowerSimulation",
    "TheoremRow",
    "frozen_weights",
    "full_factor",
    "outputs",
    "rank_one_factor",
    "simulate_cells",
    "simulate_lower_bound",
]
