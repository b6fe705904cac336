"""Many adapters trained and measured at once on one frozen backbone."""

from lorabound.engine.evaluate import Losses, evaluate
from lorabound.engine.train import Examples, Recipe, Trained, train

# Bump when a change of the engine may change results: stored runs of another version are not mixed with new ones.
ENGINE_VERSION = 1

__all__ = ["ENGINE_VERSION", "Examples", "Losses", "Recipe", "Trained", "evaluate", "train"]
