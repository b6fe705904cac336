"""The worst case the theorems speak of, simulated (Theorem 2, no torch) and measured (``complexity``, with torch).

``lorabound.worst_case.measured.complexity`` is imported by its own name, so that the simulation starts without torch.
"""

from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated.cells import CellsRow, simulate_cells
from lorabound.worst_case.simulated.constructions import frozen_weights, full_factor, outputs, rank_one_factor
from lorabound.worst_case.simulated.theorem2 import (
    AdmissionRow,
    CoinRow,
    Frequency,
    LowerSimulation,
    TheoremRow,
    simulate_lower_bound,
)

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
