"""What a Bound says of itself, and the uses of the library that would not be valid and are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lorabound.bounds import (
    Bound,
    LoraNetwork,
    binomial_upper,
    dudley_rademacher,
    holdout,
    log_covering,
    lower_bound,
    occam,
    over_radii,
    pac_bayes,
    uniform_gap,
)
from lorabound.bounds.chaining import SCALES, chaining_sum
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


def test_a_count_of_errors_may_carry_rounding():
    exact = occam(3 / 100, 100, 8.0, 0.05, zero_one=True).value
    assert occam((3 + 8e-7) / 100, 100, 8.0, 0.05, zero_one=True).value == exact
    with pytest.raises(InputError, match="must be a count of errors"):
        occam((3 + 2e-6) / 100, 100, 8.0, 0.05, zero_one=True)


def test_cells_of_the_cube_are_counted_whole():
    """q ln ceil(K/eps) at K/eps = e^16 = 8886110.52: 8886111 cells (the smooth form would count 8886111.52)."""
    assert log_covering([(1, 16.0)], 1.0, "cube") == pytest.approx(np.log(8886111), rel=1e-11)


def test_no_chain_beats_the_best_chain():
    """The best of all chains through up to two inner scales, tried one by one: none is below the bound."""
    for blocks, n in (([(1, 1.0)], 1000.0), ([(5, 0.0)], 100.0), ([(20, 3.0)], 1e5)):
        best = uniform_gap(blocks, n, 0.05)
        scales = best.inputs["scales"]
        least = chaining_sum(blocks, n, scales)
        assert least == pytest.approx(best.value - best.terms["confidence"], rel=1e-12)
        last = SCALES.tolist().index(scales[-1])
        inner = range(1, min(last, 60))
        for i in inner:
            for j in (k for k in inner if k > i):
                chain = [0.5, float(SCALES[i]), float(SCALES[j]), float(SCALES[last])]
                assert chaining_sum(blocks, n, chain) >= least * (1 - 1e-12)


def test_an_array_of_limits_is_as_sharp_as_its_hardest_entry():
    """Entries that need few and many Newton steps, together and alone."""
    k, n = np.array([1, 3, 50, 499_000, 120]), np.array([2, 10, 100, 500_000, 10**6])
    together = binomial_upper(k, n, log_delta=-700.0)
    alone = [binomial_upper(int(a), int(b), log_delta=-700.0) for a, b in zip(k, n, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_over_radii_assumes_all_but_the_radii():
    def network(radius):
        return LoraNetwork([1, 64], 4, "freeze_a", [1.0], [0.0], [1.0], [radius])

    fixed = uniform_gap(network(1.0).blocks(), 2000, 0.05).assumptions
    free = over_radii(network, 1.0, 2000, 0.05).assumptions
    assert len(fixed) == len(free) == 4
    assert fixed[:-1] == free[:-1]
    assert "radii" in fixed[-1]
    assert free[-1] == "frozen factor and pre-trained weights do not depend on the sample"
