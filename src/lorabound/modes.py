"""The modes of an adapter: what is drawn, what is trained, what stays. One table, the only place that names them.

A new mode is its name in ``Mode`` and one entry of ``_ROWS``. It needs code only for what no row has yet: another law
for a factor that is drawn (:func:`lorabound.adapters.new_adapter`), or another part that is trained (its shape in
:func:`part_shape`, its entries in :mod:`lorabound.adapters.entries`).

A layer computes W x + s B A x. What is trained is A or B as a whole (a *factor*, as PEFT has them), or something
smaller from which B follows:

    m       B = B_0 M, B_0 drawn and frozen, M (r, r) trained
    theta   the entries of all B's of the adapter are copies of the p entries of one vector (:mod:`.adapters.subspace`)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lorabound.errors import InputError

Mode = Literal["freeze_a", "freeze_b", "train_both", "core", "subspace", "common"]
Factor = Literal["b", "a"]
Part = Literal["b", "a", "m", "theta"]

# The factors of a layer, in the order of the product s B A.
FACTORS: tuple[Factor, ...] = ("b", "a")
# PEFT's name of each factor; the parameter of a layer is {layer}.{name}.weight.
PEFT_NAMES: Mapping[Factor, str] = {"b": "lora_B", "a": "lora_A"}


@dataclass(frozen=True, kw_only=True)
class ModeFacts:
    """One mode. What is trained and not drawn starts at 0, so that the model starts as pre-trained.

    Attributes:
        name: name of the mode in settings, tables and files.
        drawn: factors that the seed and the law fill at the start.
        trained: parts that training changes, B before A; a factor that is drawn and not trained is frozen.
        brief: what is trained, in a few words.
        sentence: sentence on what happens to A and B, for a user who knows that an adapter adds B A to a weight.
        common: whether what is drawn are singular directions of all layers of one width together, whatever the law.
        settings: names of the settings beyond rank and law that this mode reads, and no other.
    """

    name: Mode
    brief: str
    drawn: tuple[Factor, ...]
    trained: tuple[Part, ...]
    sentence: str
    common: bool = False
    settings: tuple[str, ...] = ()

    @property
    def frozen(self) -> tuple[Factor, ...]:
        """Factors that stay as they were drawn, B before A."""
        return tuple(factor for factor in FACTORS if factor in self.drawn and factor not in self.trained)

    @property
    def trains_factors(self) -> bool:
        """Whether it trains factors entry by entry, and nothing smaller: what PEFT's layers and links can do."""
        return set(self.trained) <= set(FACTORS)

    @property
    def in_peft(self) -> bool:
        """Whether PEFT can train it once a factor is drawn and frozen: no other part, nothing read from weights."""
        return self.trains_factors and not self.common

    def sizes(self, rank: Any, d_out: int, d_in: int, subspace_size: int | None = None) -> tuple[Any, ...]:
        """Entries of each trained part of one (d_out, d_in) layer, in the order of ``trained``.

        Args:
            rank: r, a whole number or an array of them.
            subspace_size: p, the entries of a vector that all layers share.
        """
        return tuple(math.prod(part_shape(part, rank, d_out, d_in, subspace_size)) for part in self.trained)

    def n_params(self, rank: int, shapes: Iterable[tuple[int, int]], subspace_size: int | None = None) -> int:
        """q, the trained entries of an adapter of rank r over layers of these shapes (d_out, d_in).

        Per layer ``freeze_a``: r d_out; ``freeze_b``, ``common``: r d_in; ``train_both``: r (d_out + d_in); ``core``:
        r^2. ``subspace``: p, once for all layers.

        Args:
            subspace_size: p.
        Raises:
            InputError: a vector with more entries than the factors it fills, or one of no known size.
        Source: Kratsios et al. 2025, eq. 7 (``freeze_a``); the others by counting.
        """
        shapes = list(shapes)
        if self.trained == ("theta",):
            return check_subspace(subspace_size, sum(math.prod(part_shape("b", rank, *shape)) for shape in shapes))
        return int(sum(sum(self.sizes(rank, d_out, d_in)) for d_out, d_in in shapes))


def part_shape(part: Part, rank: Any, d_out: int, d_in: int, subspace_size: int | None = None) -> tuple[Any, ...]:
    """Shape of one part of a (d_out, d_in) layer: B is (d_out, r), A is (r, d_in), M is (r, r), theta is (p,)."""
    shapes: dict[Part, tuple[Any, ...]] = {"b": (d_out, rank), "a": (rank, d_in), "m": (rank, rank)}
    return shapes.get(part, (subspace_size,))


def check_subspace(size: int | None, entries: int) -> int:
    """See that a vector of p entries can fill so many entries of B, each of its own at least once; returns p.

    Raises:
        InputError: it cannot.
    """
    if size is None:
        raise InputError("a mode that trains one vector for all layers needs its size: give subspace_size")
    if not 1 <= size <= entries:
        raise InputError(
            f"subspace_size {size:,} does not fit the {entries:,} entries of all factors B, which are copies of its "
            f"entries: choose 1 to {entries:,}, or a larger rank"
        )
    return size


_ROWS = (
    ModeFacts(
        name="freeze_a",
        brief="B",
        drawn=("a",),
        trained=("b",),
        sentence="only B is trained, A stays as drawn at random",
    ),
    ModeFacts(
        name="freeze_b",
        brief="A",
        drawn=("b",),
        trained=("a",),
        sentence="only A is trained, B stays as drawn at random",
    ),
    ModeFacts(
        name="train_both",
        brief="both",
        drawn=("a",),
        trained=("b", "a"),
        sentence="A and B are trained, as in usual LoRA",
    ),
    ModeFacts(
        name="core",
        brief="an r x r matrix between A and B",
        drawn=("b", "a"),
        trained=("m",),
        sentence="only an r x r matrix between B and A is trained, A and B stay as drawn",
    ),
    ModeFacts(
        name="subspace",
        brief="one vector that fills all B",
        drawn=("a",),
        trained=("theta",),
        sentence="only one vector is trained, whose entries fill B of all layers; A stays as drawn at random",
        settings=("subspace_size",),
    ),
    ModeFacts(
        name="common",
        brief="A, with B from the weights",
        drawn=("b",),
        trained=("a",),
        sentence="only A is trained, B stays as the main directions of all adapted weights of its width",
        common=True,
    ),
)
MODES: Mapping[Mode, ModeFacts] = {row.name: row for row in _ROWS}

# The mode of the paper's theorems, and with it of everything in ``worst_case``.
PAPER_MODE: Mode = "freeze_a"
# What PEFT and its users train where nothing is said.
USUAL_MODE: Mode = "train_both"
# The mode that keeps the most in memory while it trains.
LARGEST_MODE: Mode = "train_both"
# The modes of the paper: each trains whole factors, so that any training loop of PEFT can do the same.
PEFT_MODES: tuple[Mode, ...] = tuple(row.name for row in _ROWS if row.in_peft)


def guideline(rank: int) -> tuple[tuple[Mode, int], tuple[Mode, int]]:
    """The two (mode, rank) that the paper compares: freeze A and double the rank, or train both factors at ``rank``.

    Where layers are square the two train equally many entries.
    Source: Kratsios et al. 2025, section 4.3.
    """
    return ("freeze_a", 2 * rank), ("train_both", rank)


def foreign_settings(mode: str) -> set[str]:
    """Settings that other modes read and this one does not."""
    every = {name for facts in MODES.values() for name in facts.settings}
    return every - set(MODES[mode].settings if mode in MODES else ())  # type: ignore[index]


def check_links(links: int, mode: Mode) -> None:
    """A chain has at least one link, and each of them has factors of its own.

    Raises:
        InputError: no link, or several in a mode that trains no factor of a link.
    """
    if links < 1:
        raise InputError(f"links must be at least 1, got {links}")
    if links > 1 and not MODES[mode].trains_factors:
        possible = ", ".join(name for name, facts in MODES.items() if facts.trains_factors)
        raise InputError(
            f"mode {mode} cannot be a chain of links: what it trains has no columns that could be trained one after "
            f"the other: choose modes among {possible}, or links 1"
        )
