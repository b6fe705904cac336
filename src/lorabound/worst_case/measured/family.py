"""What a family of classes hands to the measurement, and the random draws that all families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lorabound.arguments import Array
from lorabound.worst_case.measured.ascent import StackedClass
from lorabound.worst_case.options import ComplexityConfig

# The largest value of Rad_S for a loss in [0, 1].
TRIVIAL = 0.5


@dataclass(frozen=True, kw_only=True)
class About:
    """What a reader is told of a family.

    Attributes:
        name: name of the family in tables and files.
        title: title of its charts.
        sentence: class and loss, in one sentence or two.
        accuracy: accuracy of the network without an adapter; None where there is no such network.
        bounded: whether a theorem bounds Rad_S; otherwise TRIVIAL stands in its place.
    """

    name: str
    title: str
    sentence: str
    accuracy: float | None = None
    bounded: bool = True


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The class of one rank on one sample of N examples, for every draw of signs at once.

    Attributes:
        members: class that is searched, one search per sign draw: the pairs' s, then their -s.
        n_params: q.
        upper: mean over the draws of A of the bound on Rad_S; TRIVIAL where none is known.
        supremum: mean over the draws of the supremum; None where it is not known.
        exact: E Rad_S over samples; None where it is not known.
    """

    members: StackedClass
    n_params: int
    upper: float
    supremum: float | None = None
    exact: float | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """Classes of losses, one for every rank and N.

    Attributes:
        about: sentences for the reader.
        ranks: ranks to measure, smallest first.
        nested: whether a member of one rank, padded with zeros, is a member of the next: its search then starts there.
        problem: class of a rank on N examples.
    """

    about: About
    ranks: Sequence[int]
    nested: bool
    problem: Callable[[int, int], Problem]


def signs_of(settings: ComplexityConfig, n: int) -> torch.Tensor:
    """(2 pairs, N): the pairs' signs, then their negatives. A larger N goes on where a smaller one ended."""
    random = np.random.default_rng([settings.seed, 1])
    drawn = 2 * random.integers(2, size=(n, settings.signs // 2)).T - 1
    return torch.from_numpy(np.concatenate([drawn, -drawn]).astype(np.float32))


def gaussian(settings: ComplexityConfig, layer: int, rank: int, width: int) -> Array:
    """A (pairs, r, d_in) of one layer; rank r has the first r rows of any larger rank."""
    random = np.random.default_rng([settings.seed, 2, layer])
    drawn: Array = settings.std * random.standard_normal((rank, settings.signs // 2, width)).swapaxes(0, 1)
    return drawn


def twice(array: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    """The same array for s and for -s, along the first axis."""
    return np.concatenate([array, array])
