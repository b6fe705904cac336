"""lorabound: how far the true risk of a LoRA fine-tune can be from its training risk, and what would change it."""

__version__ = "0.1.0.dev0"
