"""A grid of runs, kept in a store that survives anything. Importing this room does not import torch."""

from lorabound.sweep.config import SweepConfig, read_config, read_configs
from lorabound.sweep.grid import ZERO_SHOT, Run, runs_of
from lorabound.sweep.store import COLUMNS, Row, Store

__all__ = ["COLUMNS", "ZERO_SHOT", "Row", "Run", "Store", "SweepConfig", "read_config", "read_configs", "runs_of"]
