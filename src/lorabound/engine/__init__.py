"""Many adapters trained and measured at once on one frozen backbone."""

from lorabound.engine.evaluate import Losses, evaluate
from lorabound.engine.memory import Allotment, keep_freed_memory
from lorabound.engine.narrow import Narrow
from lorabound.engine.pool import Pool
from lorabound.engine.prefix import WithPrefix
from lorabound.engine.train import Examples, FirstPass, Recipe, Trained, Unlabelled, train

# Bump when a change of the engine may change results: stored runs of another version are not mixed with new ones.
ENGINE_VERSION = 4

__all__ = [
    "ENGINE_VERSION",
    "Allotment",
    "Examples",
    "FirstPass",
    "Losses",
    "Narrow",
    "Pool",
    "Recipe",
    "Trained",
    "Unlabelled",
    "WithPrefix",
    "evaluate",
    "keep_freed_memory",
    "train",
]
