"""Zeng & Lee's statements: the bound against numerical minimization, the updates by multiplying them out."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lorabound.bounds import linear_error, linear_updates, relu_rank, relu_updates
from lorabound.errors import InputError


def product(layers):
    made = np.eye(layers[0].shape[1])
    for w in layers:
        made = w @ made
    return made


def drawn(random, depth, width):
    return [random.normal(size=(width, width)) for _ in range(depth)]


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(1, 4), width=st.integers(1, 6), rank=st.integers(0, 3), seed=st.integers(0, 2**32))
def test_the_updates_attain_the_bound(depth, width, rank, seed):
    random = np.random.default_rng(seed)
    weights, target = drawn(random, depth, width), random.normal(size=(width, width))
    try:
        updates = linear_updates(weights, target, rank)
    except InputError:  # a condition number beyond 1e10: with probability 0
        assume(False)
    adapted = product([w + d for w, d in zip(weights, updates, strict=True)])
    scale = np.prod([1 + np.linalg.cond(w) for w in weights]) * np.linalg.norm(target, 2)
    assert np.linalg.norm(adapted - target, 2) == pytest.approx(linear_error(weights, target, rank), abs=1e-9 * scale)
    for update in updates:
        assert (np.linalg.svd(update, compute_uv=False)[rank:] <= 1e-9 * (1 + np.linalg.norm(update))).all()


@pytest.mark.parametrize("shapes", [[(4, 4), (4, 4)], [(3, 5), (4, 3)], [(5, 3), (5, 5), (2, 5)]])
def test_the_bound_holds_for_all_updates(shapes):
    """Gradient descent from many starts: no updates of rank 1 come below sigma_{L+1}, not even for other shapes."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape) for shape in shapes]
    target = random.normal(size=(shapes[-1][0], shapes[0][1]))
    bound = linear_error(weights, target, 1)
    sizes = [sum(shape) for shape in shapes]

    def error(x):
        layers = []
        for w, part in zip(weights, np.split(x, np.cumsum(sizes)[:-1]), strict=True):
            layers.append(w + np.outer(part[: len(w)], part[len(w) :]))
        return np.linalg.norm(product(layers) - target, 2)

    found = [
        scipy.optimize.minimize(
            error, random.normal(size=sum(sizes)), method="Nelder-Mead", options={"maxiter": 800}
        ).fun
        for _ in range(6)
    ]
    assert min(found) >= bound - 1e-9
    if shapes[0] == (4, 4):
        assert bound > 0.1  # the comparison means something


def test_the_bound_need_not_be_attained():
    """W = 0: a product of two matrices of rank 1 has rank 1, so the error is at least sigma_2 = 2; the formula says 0."""
    weights, target = [np.zeros((3, 3))] * 2, np.diag([3.0, 2.0, 0.0])
    assert linear_error(weights, target, 1) == 0
    random = np.random.default_rng(1)
    for _ in range(200):
        updates = [np.outer(random.normal(size=3), random.normal(size=3)) for _ in range(2)]
        assert np.linalg.norm(product(updates) - target, 2) >= 2 - 1e-12
    with pytest.raises(InputError, match="weights 2 must be nonsingular"):
        linear_updates(weights, target, 1)
    # Nonsingular weights, and a product that the best part of the error makes singular: I + LR_1(-I + diag(0, ..)).
    with pytest.raises(InputError, match="the product of the weights plus the best rank-1 part"):
        linear_updates([np.eye(2), np.eye(2)], np.diag([0.0, 0.5]), 1)


def test_singular_weights_that_do_no_harm():
    """W_1 may be singular: the conditions are on W_2, ..., W_L and on what comes in between."""
    random = np.random.default_rng(2)
    weights, target = [np.diag([1.0, 0.0, 2.0]), *drawn(random, 1, 3)], random.normal(size=(3, 3))
    updates = linear_updates(weights, target, 2)
    np.testing.assert_allclose(product([w + d for w, d in zip(weights, updates, strict=True)]), target, atol=1e-10)


def relu_network(weights, biases, x, last):
    for index, (w, bias) in enumerate(zip(weights, biases, strict=True), start=1):
        x = w @ x + bias[:, None]
        x = np.maximum(x, 0) if last or index < len(weights) else x
    return x


@settings(max_examples=40, deadline=None)
@given(
    depth=st.integers(1, 5), target_depth=st.integers(1, 5), width=st.integers(1, 5), last=st.booleans(),
    radius=st.sampled_from([0.0, 1.0, 30.0]), spare=st.integers(0, 1), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_the_adapted_relu_network_is_the_target(depth, target_depth, width, last, radius, spare, seed):
    assume(target_depth <= depth)
    random = np.random.default_rng(seed)
    weights, targets = drawn(random, depth, width), drawn(random, target_depth, width)
    wanted = [random.normal(size=width) for _ in targets]
    rank = relu_rank(weights, targets) + spare
    try:
        updates, biases = relu_updates(weights, targets, wanted, rank, radius)
    except InputError:
        assume(False)
    x = random.normal(size=(width, 50))
    x *= radius * random.uniform(size=50) / np.linalg.norm(x, axis=0)
    adapted = relu_network([w + d for w, d in zip(weights, updates, strict=True)], biases, x, last)
    truth = relu_network(targets, wanted, x, last)
    # A condition number C of what is inverted costs a factor C in rounding; 1e-6 leaves room for 1e9.
    np.testing.assert_allclose(adapted, truth, atol=1e-6 * (1 + np.abs(truth).max()) * (1 + radius))


def test_the_rank_for_a_relu_network():
    """Full rank 6 over groups of 2, 2 and 3 layers: ceil(6 / 2) = 3; an update of rank 1 in one place: 1."""
    random = np.random.default_rng(3)
    weights = drawn(random, 7, 6)
    assert relu_rank(weights, drawn(random, 3, 6)) == 3
    near = [product(weights[:2]), product(weights[2:4]) + np.outer(np.ones(6), np.ones(6)), product(weights[4:])]
    assert relu_rank(weights, near) == 1
    with pytest.raises(InputError, match="rank must be at least 3"):
        relu_updates(weights, drawn(random, 3, 6), [np.zeros(6)] * 3, 2, 1.0)


@pytest.mark.parametrize(("call", "says"), [
    (lambda: linear_error([], np.eye(2), 1), "weights must hold one matrix at least"),
    (lambda: linear_error([np.eye(3)], np.eye(2), 1), "weights 1 must have 2 columns, got shape (3, 3)"),
    (lambda: linear_error([np.ones((3, 2))], np.eye(2), 1), "target must have shape (3, 2), got (2, 2)"),
    (lambda: linear_error([np.eye(2)], np.eye(2), -1), "rank must be an integer in [0, inf)"),
    (lambda: linear_updates([np.ones((3, 2)), np.ones((2, 3))], np.eye(2), 1), "weights 1 must be square, 2 x 2"),
    (lambda: relu_rank([np.eye(2)], [np.eye(2)] * 2), "give from 1 to 1 targets"),
    (lambda: relu_rank([np.eye(2)], [np.eye(3)]), "must all be square and of one size"),
    (lambda: relu_updates([np.eye(2)], [np.eye(2)], [np.zeros(3)], 1, 1.0), "one vector of length 2 for each target"),
])  # fmt: skip
def test_what_is_refused(call, says):
    with pytest.raises(InputError) as error:
        call()
    assert says in str(error.value)


def test_biases_of_the_first_group_widen_the_inputs_of_the_second():
    """A target whose first layer adds 50 to all: what the second group reads is far outside the first ball, and the
    sign of every unit inside it would be cut by biases that were made for less."""
    random = np.random.default_rng(4)
    for _ in range(5):
        weights, targets = drawn(random, 4, 4), drawn(random, 2, 4)
        wanted = [np.full(4, 50.0), np.zeros(4)]
        updates, biases = relu_updates(weights, targets, wanted, relu_rank(weights, targets), 0.1)
        x = random.normal(size=(4, 100))
        x *= 0.1 * random.uniform(size=100) / np.linalg.norm(x, axis=0)
        adapted = relu_network([w + d for w, d in zip(weights, updates, strict=True)], biases, x, False)
        np.testing.assert_allclose(adapted, relu_network(targets, wanted, x, False), atol=1e-5)
