"""Files that people already have: axolotl's and LLaMA-Factory's are read and written back; public rules for the rank.

No torch. The readers give settings of a sweep (:class:`lorabound.trainers.TrainerFile`); nothing is trained here.
"""

from lorabound.trainers.axolotl import read_axolotl
from lorabound.trainers.llamafactory import read_llamafactory
from lorabound.trainers.merge import merged
from lorabound.trainers.rules import Rule, axolotl_rule, public_rules, tinker_rule, trl_rule
from lorabound.trainers.trainer_file import OwnLora, Trainer, TrainerFile
from lorabound.trainers.write import Written, write_back

__all__ = [
    "OwnLora",
    "Rule",
    "Trainer",
    "TrainerFile",
    "Written",
    "axolotl_rule",
    "merged",
    "public_rules",
    "read_axolotl",
    "read_llamafactory",
    "tinker_rule",
    "trl_rule",
    "write_back",
]
