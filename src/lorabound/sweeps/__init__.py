"""A grid of runs, kept in a store that survives anything. Importing this room does not import torch."""

from lorabound.sweeps.config import SweepConfig, read_config, read_configs
from lorabound.sweeps.grid import ZERO_SHOT, Run, runs_of
from lorabound.sweeps.row import Row
from lorabound.sweeps.sweep import COLUMNS, Sweep

__all__ = ["COLUMNS", "ZERO_SHOT", "Row", "Run", "Sweep", "SweepConfig", "read_config", "read_configs", "runs_of"]
