"""The modes of an adapter: what is drawn, what is trained, what stays. One table, the only place that names them.

A new mode is its name in ``Mode`` and one entry of ``_ROWS``. It needs code only for what no row has yet: another law
for a factor that is drawn (:func:`lorabound.adapters.new_adapter`), or another factor between B and A (its shape in
:func:`factor_shape`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["freeze_a", "freeze_b", "train_both"]
Factor = Literal["b", "a"]

# The factors of a layer, in the order of the product s B A.
FACTORS: tuple[Factor, ...] = ("b", "a")
# PEFT's name of each factor; the parameter of a layer is {layer}.{name}.weight.
PEFT_NAMES: Mapping[Factor, str] = {"b": "lora_B", "a": "lora_A"}


@dataclass(frozen=True, kw_only=True)
class ModeFacts:
    """One mode. Every factor that is not drawn starts at 0, so that the model starts as pre-trained.

    Attributes:
        name: name of the mode in settings, tables and files.
        drawn: factors that the seed and the law fill at the start.
        trained: factors that training changes, B before A; one that is drawn and not trained is frozen.
        sentence: sentence on what happens to A and B, for a user who knows that an adapter adds B A to a weight.
    """

    name: Mode
    drawn: tuple[Factor, ...]
    trained: tuple[Factor, ...]
    sentence: str

    @property
    def frozen(self) -> tuple[Factor, ...]:
        """Factors that stay as they were drawn, B before A."""
        return tuple(factor for factor in FACTORS if factor in self.drawn and factor not in self.trained)

    def sizes(self, rank: Any, d_out: int, d_in: int) -> tuple[Any, ...]:
        """Entries of each trained factor of one (d_out, d_in) layer, in the order of ``trained``.

        Args:
            rank: r, a whole number or an array of them.
        """
        return tuple(math.prod(factor_shape(factor, rank, d_out, d_in)) for factor in self.trained)

    def n_params(self, rank: int, shapes: Iterable[tuple[int, int]]) -> int:
        """q, the trained entries of an adapter of rank r over layers of these shapes (d_out, d_in).

        Per layer ``freeze_a``: r d_out; ``freeze_b``: r d_in; ``train_both``: r (d_out + d_in).
        Source: Kratsios et al. 2025, eq. 7 (``freeze_a``); the others by counting.
        """
        return int(sum(sum(self.sizes(rank, d_out, d_in)) for d_out, d_in in shapes))


def factor_shape(factor: Factor, rank: Any, d_out: int, d_in: int) -> tuple[Any, Any]:
    """Shape of one factor of a (d_out, d_in) layer: B is (d_out, r), A is (r, d_in)."""
    return (d_out, rank) if factor == "b" else (rank, d_in)


_ROWS = (
    ModeFacts(
        name="freeze_a",
        drawn=("a",),
        trained=("b",),
        sentence="only B is trained, A stays as drawn at random",
    ),
    ModeFacts(
        name="freeze_b",
        drawn=("b",),
        trained=("a",),
        sentence="only A is trained, B stays as drawn at random",
    ),
    ModeFacts(
        name="train_both",
        drawn=("a",),
        trained=("b", "a"),
        sentence="A and B are trained, as in usual LoRA",
    ),
)
MODES: Mapping[Mode, ModeFacts] = {row.name: row for row in _ROWS}

# The mode of the paper's theorems, and with it of everything in ``worst_case``.
PAPER_MODE: Mode = "freeze_a"
# What PEFT and its users train where nothing is said.
USUAL_MODE: Mode = "train_both"
# The mode that keeps the most in memory while it trains.
LARGEST_MODE: Mode = "train_both"


def guideline(rank: int) -> tuple[tuple[Mode, int], tuple[Mode, int]]:
    """The two (mode, rank) that the paper compares: freeze A and double the rank, or train both factors at ``rank``.

    Where layers are square the two train equally many entries.
    Source: Kratsios et al. 2025, section 4.3.
    """
    return ("freeze_a", 2 * rank), ("train_both", rank)
