"""Bounds on risks and generalization gaps: numbers in, :class:`~lorabound.notation.Bound` objects out. No torch."""

from lorabound.bounds.holdout import holdout, holdout_bounded
from lorabound.bounds.information import information_gap
from lorabound.bounds.tails import binomial_upper, kl_bernoulli, kl_inverse
from lorabound.notation import Bound

__all__ = [
    "Bound",
    "binomial_upper",
    "holdout",
    "holdout_bounded",
    "information_gap",
    "kl_bernoulli",
    "kl_inverse",
]
