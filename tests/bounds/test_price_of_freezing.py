"""What a frozen factor costs: against least squares, against numerical minimization, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorabound.adapters import random_factor
from lorabound.bounds import price_of_freezing
from lorabound.bounds import price_of_freezing as _function
from lorabound.errors import InputError
from lorabound.notation import RANDOM_LAWS


def squares(matrix):
    return float(np.sum(np.asarray(matrix, dtype=np.float64) ** 2))


@settings(max_examples=60, deadline=None)
@given(d_out=st.integers(1, 14), d_in=st.integers(1, 14), rank=st.integers(1, 14), seed=st.integers(0, 2**32))
def test_frozen_factors_against_least_squares(d_out, d_in, rank, seed):
    """numpy's lstsq solves for the trained factor; its residual is the price, whatever the rank of the frozen one."""
    random = np.random.default_rng(seed)
    rank = min(rank, d_out, d_in)
    e, a, b = (random.normal(size=size) for size in ((d_out, d_in), (rank, d_in), (d_out, rank)))
    best_b = np.linalg.lstsq(a.T, e.T, rcond=None)[0].T
    assert price_of_freezing(e, a=a).realized == pytest.approx(squares(e - best_b @ a), abs=1e-10)
    best_a = np.linalg.lstsq(b, e, rcond=None)[0]
    assert price_of_freezing(e, b=b).realized == pytest.approx(squares(e - b @ best_a), abs=1e-10)
    core = np.linalg.lstsq(np.kron(b, a.T), e.ravel(), rcond=None)[0].reshape(rank, rank)  # e = sum_ij b_i m_ij a_j
    assert price_of_freezing(e, a=a, b=b).realized == pytest.approx(squares(e - b @ core @ a), abs=1e-10)


def test_repeated_rows_of_a_frozen_factor_count_once():
    random = np.random.default_rng(0)
    e, a = random.normal(size=(9, 12)), random.normal(size=(2, 12))
    doubled = price_of_freezing(e, a=np.concatenate([a, a[:1] + a[1:], 3 * a]))
    assert doubled.realized == pytest.approx(price_of_freezing(e, a=a).realized)
    assert price_of_freezing(e, a=np.zeros((2, 12))).realized == pytest.approx(squares(e))
    assert price_of_freezing(e, a=1e-6 * a).realized == pytest.approx(price_of_freezing(e, a=a).realized)


@pytest.mark.parametrize("shape", [(7, 7), (12, 5), (5, 12), (1, 6), (6, 1)])
def test_free_factors_are_the_truncated_svd(shape):
    e = np.random.default_rng(1).normal(size=shape)
    u, sigma, vt = np.linalg.svd(e, full_matrices=False)
    ranks = np.arange(min(shape) + 1)
    price = price_of_freezing(e, ranks)
    truth = [squares(e - (u[:, :r] * sigma[:r]) @ vt[:r]) for r in ranks]
    np.testing.assert_allclose(price.free, truth, atol=1e-12 * squares(e))
    assert price.energy == pytest.approx(squares(e))
    assert price.directions.sum() == pytest.approx(price.energy)
    assert np.all(price.free <= price.frozen_a + 1e-12)
    assert np.all(price.free <= price.frozen_b + 1e-12)
    assert np.all(np.minimum(price.frozen_a, price.frozen_b) <= np.asarray(price.frozen_both) + 1e-12)


def test_no_pair_of_factors_does_better_than_the_free_ones():
    """Alternating least squares from random starts comes down to Eckart and Young's value and never below."""
    random = np.random.default_rng(2)
    e = random.normal(size=(10, 8)) * 0.7 ** np.arange(8)
    free = price_of_freezing(e, 3).free
    for _ in range(5):
        a = random.normal(size=(3, 8))
        for _ in range(300):
            b = np.linalg.lstsq(a.T, e.T, rcond=None)[0].T
            a = np.linalg.lstsq(b, e, rcond=None)[0]
            assert squares(e - b @ a) >= free - 1e-12
        assert squares(e - b @ a) == pytest.approx(free, rel=1e-6)


def test_beyond_a_side_there_is_nothing_left():
    price = price_of_freezing(np.ones((2, 5)), [2, 3, 5, 9])
    np.testing.assert_allclose(price.free, 0, atol=1e-12)
    np.testing.assert_allclose(price.frozen_a, 10 * np.array([0.6, 0.4, 0, 0]))
    np.testing.assert_allclose(price.frozen_b, 0)
    np.testing.assert_allclose(price.frozen_both, 10 * np.array([0.6, 0.4, 0, 0]))


@pytest.mark.parametrize("law", RANDOM_LAWS)
def test_the_mean_over_factors_as_they_are_drawn(law):
    """2,000 draws; each mean within four standard errors of the formula (1e-4 of such tests fail by chance)."""
    random = np.random.default_rng(3)
    e = np.outer(random.normal(size=9), random.normal(size=16)) + 0.1 * random.normal(
        size=(9, 16)
    )  # far from isotropic
    seen = {"frozen_a": [], "frozen_b": [], "frozen_both": []}
    for seed in range(2000):
        a, b = random_factor(seed, "a", 3, 16, law), random_factor(seed, "b", 3, 9, law).T
        seen["frozen_a"].append(price_of_freezing(e, a=a).realized)
        seen["frozen_b"].append(price_of_freezing(e, b=b).realized)
        seen["frozen_both"].append(price_of_freezing(e, a=a, b=b).realized)
    price = price_of_freezing(e, 3)
    for name, values in seen.items():
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - getattr(price, name)) < 4 * error, name
        assert error < 0.02 * price.energy  # the comparison means something


def test_the_mean_needs_a_symmetric_law():
    """Entries uniform on [0, 1] lean towards the vector of ones, and an update along it costs far less than 1 - r/d."""
    random = np.random.default_rng(4)
    e = np.ones((1, 16))
    seen = [price_of_freezing(e, a=random.uniform(size=(3, 16))).realized for _ in range(200)]
    assert price_of_freezing(e, 3).frozen_a == pytest.approx(13 / 16 * 16)
    assert np.mean(seen) < 0.2 * 16


@pytest.mark.parametrize(("sigma", "share", "rank"), [
    ([3.0, 1.0, 0.0], 0.9, 1),  # 9 of 10, and 0.9 is reached, not exceeded
    ([3.0, 1.0, 0.0], 0.91, 2),
    ([2.0, 2.0, 2.0, 2.0], 0.5, 2),
    ([2.0, 2.0, 2.0, 2.0], 0.99, 4),
    ([0.0, 0.0], 0.9, 0),
    ([1e-3, 1e-4], 0.9, 1),
])  # fmt: skip
def test_the_rank_for_a_share(sigma, share, rank):
    assert price_of_freezing(np.diag(sigma), 1).rank_for(share) == rank


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_a_share_is_a_part(share):
    with pytest.raises(InputError, match=r"share must lie in \(0, 1\)"):
        price_of_freezing(np.eye(2), 1).rank_for(share)


def test_many_blocks_are_one(monkeypatch):
    random = np.random.default_rng(5)
    e, a, b = random.normal(size=(33, 21)).astype(np.float32), random.normal(size=(4, 21)), random.normal(size=(33, 4))
    whole = [price_of_freezing(x, 4, a=y, b=z) for x, y, z in ((e, a, None), (e.T, None, a.T), (e, None, b), (e, a, b))]
    monkeypatch.setitem(_function.__globals__, "_BLOCK", 50)
    again = [price_of_freezing(x, 4, a=y, b=z) for x, y, z in ((e, a, None), (e.T, None, a.T), (e, None, b), (e, a, b))]
    for one, other in zip(whole, again, strict=True):
        assert one.realized == pytest.approx(other.realized)
        assert one.energy == pytest.approx(other.energy)
        np.testing.assert_allclose(one.directions, other.directions, atol=1e-12 * one.energy)


def test_accuracy_of_shares_in_the_face_of_a_huge_direction():
    """sigma_1^2 = 1e10 times the rest: the Gram matrix loses single small values and keeps sums to 1e-12 of it all."""
    random = np.random.default_rng(6)
    u, v = (np.linalg.qr(random.normal(size=(60, 40)))[0] for _ in range(2))
    sigma = np.array([1e5, *np.linspace(1, 0.1, 39)])
    price = price_of_freezing((u * sigma) @ v.T, np.arange(41))
    truth = np.append(np.cumsum((sigma**2)[::-1])[::-1], 0)
    np.testing.assert_allclose(price.free, truth, atol=1e-12 * truth[0])


@pytest.mark.parametrize(("given", "says"), [
    ({}, "give a rank, or the factor"),
    ({"rank": -1}, "rank must be an integer in [0, inf), got -1"),
    ({"rank": 1.5}, "rank must be an integer"),
    ({"a": np.ones((2, 6))}, "a must have as many columns as the update, 4, got shape (2, 6)"),
    ({"b": np.ones((4, 2))}, "b must have as many rows as the update, 6, got shape (4, 2)"),
    ({"a": np.full((2, 4), np.nan)}, "a holds values that are not finite"),
    ({"a": np.ones(4)}, "a must be a matrix"),
])  # fmt: skip
def test_what_is_refused(given, says):
    with pytest.raises(InputError) as error:
        price_of_freezing(np.ones((6, 4)), **given)
    assert says in str(error.value)
    with pytest.raises(InputError, match="update holds values that are not finite"):
        price_of_freezing(np.full((6, 4), np.inf), 1)
