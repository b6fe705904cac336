"""For training loops of transformers and TRL: a certificate that costs nothing, and a factor that stays frozen.

GeneralizationCallback   a callback of Trainer or SFTTrainer: limits the error on new data while training goes on
freeze_factor            draws A or B of a PEFT adapter from a seed and freezes it
from_pretrained          loads such an adapter again, its factor still frozen
"""

from lorabound.hf.callback import GeneralizationCallback
from lorabound.hf.freeze import freeze_factor, from_pretrained

__all__ = ["GeneralizationCallback", "freeze_factor", "from_pretrained"]
