"""Many adapters trained and measured at once on one frozen backbone."""

from lorabound.engine.evaluate import Losses, evaluate
from lorabound.engine.memory import Activations, Allotment, activations, allot, free_bytes, keep_freed_memory, n_entries
from lorabound.engine.prefix import WithPrefix
from lorabound.engine.train import Examples, Recipe, Trained, train
from lorabound.engine.workers import n_workers, run_in_threads

# Bump when a change of the engine may change results: stored runs of another version are not mixed with new ones.
ENGINE_VERSION = 4

__all__ = [
    "ENGINE_VERSION",
    "Activations",
    "Allotment",
    "Examples",
    "Losses",
    "Recipe",
    "Trained",
    "WithPrefix",
    "activations",
    "allot",
    "evaluate",
    "free_bytes",
    "keep_freed_memory",
    "n_entries",
    "n_workers",
    "run_in_threads",
    "train",
]
