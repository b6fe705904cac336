"""Bounds on risks and generalization gaps, one function per theorem: numbers in, a ``Bound`` out. No torch.

A risk is the error on new data; a gap is the risk minus the error on the training data.

    >>> import lorabound as lb
    >>> limit = lb.bounds.holdout(errors=40, n_samples=1000, delta=0.05)
    >>> limit
    Bound: R <= 0.0517534  with probability >= 1 - 0.05 (Langford 2005, Theorem 3.3 (Clopper & Pearson 1934))
    >>> limit.vacuous  # whether it says nothing
    False
"""

from lorabound.bounds.adapted_networks import linear_error, linear_updates, relu_rank, relu_updates
from lorabound.bounds.chaining import chaining_sum
from lorabound.bounds.combine import best_of
from lorabound.bounds.covering import log_covering
from lorabound.bounds.dudley import dudley_rademacher, entropy_integral
from lorabound.bounds.holdout import holdout, holdout_bounded
from lorabound.bounds.information import information_gap
from lorabound.bounds.lower import admissibility, lower_bound, rank_lower_bound
from lorabound.bounds.mcdiarmid import concentration, concentration_width
from lorabound.bounds.net import net_kl
from lorabound.bounds.network import RELU, SIGMOID, TANH, Activation, LoraNetwork
from lorabound.bounds.occam import occam, occam_gap
from lorabound.bounds.pac_bayes import gaussian_kl, log_xi, pac_bayes, snap_prior_variance
from lorabound.bounds.price_of_freezing import PriceOfFreezing, price_of_freezing
from lorabound.bounds.progressive import (
    best_a,
    best_lam,
    cross_fit,
    disagreement,
    paired_gain,
    progressive,
    progressive_losses,
)
from lorabound.bounds.rademacher import rademacher_lower, rademacher_upper
from lorabound.bounds.radii import over_radii
from lorabound.bounds.random_matrix import operator_norm_radius
from lorabound.bounds.recursive import recursive_pac_bayes
from lorabound.bounds.tails import binomial_upper, kl_bernoulli, kl_inverse
from lorabound.bounds.uniform import uniform_gap
from lorabound.notation import Bound

__all__ = [
    "RELU",
    "SIGMOID",
    "TANH",
    "Activation",
    "Bound",
    "LoraNetwork",
    "PriceOfFreezing",
    "admissibility",
    "best_a",
    "best_lam",
    "best_of",
    "binomial_upper",
    "chaining_sum",
    "concentration",
    "concentration_width",
    "cross_fit",
    "disagreement",
    "dudley_rademacher",
    "entropy_integral",
    "gaussian_kl",
    "holdout",
    "holdout_bounded",
    "information_gap",
    "kl_bernoulli",
    "kl_inverse",
    "linear_error",
    "linear_updates",
    "log_covering",
    "log_xi",
    "lower_bound",
    "net_kl",
    "occam",
    "occam_gap",
    "operator_norm_radius",
    "over_radii",
    "pac_bayes",
    "paired_gain",
    "price_of_freezing",
    "progressive",
    "progressive_losses",
    "rademacher_lower",
    "rademacher_upper",
    "rank_lower_bound",
    "recursive_pac_bayes",
    "relu_rank",
    "relu_updates",
    "snap_prior_variance",
    "uniform_gap",
]
