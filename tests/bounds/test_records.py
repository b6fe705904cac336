"""What a Bound says of itself, and the uses of the library that would not be valid and are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lorabound.bounds import (
    Bound,
    LoraNetwork,
    dudley_rademacher,
    holdout,
    lower_bound,
    over_radii,
    pac_bayes,
    uniform_gap,
)
from lorabound.bounds.pac_bayes import log_xi, snap_prior_variance
from lorabound.errors import InputError

BLOCKS = [(100, 1.0)]


def test_two_sided_gaps_are_printed_as_such():
    """The fair coin's R - Rhat reaches the lower bound half as often as its absolute value."""
    assert str(lower_bound(10_000)).startswith("|R - Rhat| >= ")
    assert str(uniform_gap(BLOCKS, 1000, 0.05, sides=2)).startswith("|R - Rhat| <= ")
    assert str(uniform_gap(BLOCKS, 1000, 0.05)).startswith("R - Rhat <= ")
    coins = np.random.default_rng(0).binomial(10_000, 0.5, 100_000) / 10_000
    bound = lower_bound(10_000)
    assert (np.abs(0.5 - coins) >= bound.value - 1e-12).mean() > 1 - bound.delta - 0.01
    assert (0.5 - coins >= bound.value - 1e-12).mean() < 0.3


def test_a_statement_of_probability_zero_is_vacuous():
    assert lower_bound(100, admissible=0.0).vacuous
    assert not lower_bound(100, admissible=0.5).vacuous


def test_records_of_numpy_scalars_are_json():
    for bound in (holdout(3, 100, np.float32(0.05)), pac_bayes(0.1, 100, 5.0, 0.05, 10, np.float32(0.01))):
        again = Bound.from_dict(json.loads(json.dumps(bound.to_dict())))
        assert again.value == bound.value


def test_a_frobenius_radius_does_not_certify_a_cube():
    def network(radius):
        return LoraNetwork([1, 64], 4, "freeze_a", [1.0], [0.0], [1.0], [radius])

    with pytest.raises(InputError, match="form must be one of 'finest', 'frobenius', got 'cube'"):
        over_radii(network, 0.999, 2000, 0.05, form="cube")


def test_the_cube_says_what_it_holds():
    assert any("sqrt(q_t)" in text for text in uniform_gap(BLOCKS, 1000, 0.05, form="cube").assumptions)
    assert not any("sqrt(q_t)" in text for text in uniform_gap(BLOCKS, 1000, 0.05).assumptions)


def test_monte_carlo_is_paid_for_one_posterior():
    assert pac_bayes(0.1, 1000, 5.0, 0.05).scope == "uniform"
    assert pac_bayes(0.1, 1000, 5.0, 0.05, 100, 0.01).scope == "single run"


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="constants must be one of"):
        dudley_rademacher(BLOCKS, 100, "foo")
    with pytest.raises(InputError, match="form must be one of"):
        dudley_rademacher(BLOCKS, 100, "sharp", "xx")


def test_sizes_that_floats_cannot_count_are_refused():
    with pytest.raises(InputError, match="n_samples must lie in"):
        log_xi(2.0**53)


def test_a_tiny_prior_variance_on_a_huge_grid_stays_positive():
    variance, share = snap_prior_variance(1e-300, 0.05, largest=1e300)
    assert variance == pytest.approx(1e-300, rel=0.03)  # half a grid step of e^(1/20)
    assert 0 < share < 0.05
