"""Factors from weights, the matrix between frozen factors, and one vector for all layers: against first principles."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lorabound.adapters import Head, SingularDirections, check_grid, check_rank, factor_sha256, new_adapter
from lorabound.adapters.entries import same_numbers
from lorabound.adapters.subspace import copies_of
from lorabound.errors import InputError, ModelError
from lorabound.modes import MODES, check_links
from lorabound.stack import Stack, directions_of_weights

SHAPES = {"one": (6, 5), "two": (6, 9), "three": (8, 5)}


@pytest.fixture(scope="module")
def weights():
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def directions(weights):
    return SingularDirections(weights.__getitem__)


def same_up_to_signs(rows, expected):
    np.testing.assert_allclose(np.abs(rows @ expected.T), np.eye(len(rows)), atol=1e-5)


def test_directions_are_the_leading_singular_vectors(weights, directions):
    for name, weight in weights.items():
        left, _, right = np.linalg.svd(weight.astype(np.float64))
        same_up_to_signs(directions.right(name, 3), right[:3])
        same_up_to_signs(directions.left([name], 3), left.T[:3])


def test_a_smaller_rank_has_the_first_directions(directions):
    large = directions.right("one", 5)
    np.testing.assert_array_equal(directions.right("one", 2), large[:2])
    fewer = SingularDirections(lambda name: np.diag([3.0, 2.0, 1.0]))  # grows when more are asked for
    np.testing.assert_array_equal(fewer.right("x", 1), [[1, 0, 0]])
    np.testing.assert_array_equal(fewer.right("x", 3), np.eye(3))


def test_directions_of_a_weight_without_full_rank_are_orthonormal_all_the_same():
    zero = SingularDirections(lambda name: np.zeros((4, 3)))
    rows = zero.right("x", 3)
    np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-6)


def test_common_directions_are_those_of_the_weights_side_by_side(weights, directions):
    made = new_adapter(SHAPES, 3, "common", 0, "gaussian", 2.0, weights=directions)
    left = np.linalg.svd(np.hstack([weights["one"], weights["two"]]).astype(np.float64))[0]
    same_up_to_signs(made.layers["one"].b.T, left.T[:3])
    np.testing.assert_array_equal(made.layers["one"].b, made.layers["two"].b)  # one basis for all of 6 outputs
    same_up_to_signs(made.layers["three"].b.T, np.linalg.svd(weights["three"])[0].T[:3])
    assert not any(factors.a.any() for factors in made.layers.values())


def test_common_of_one_layer_is_freeze_b_by_svd(directions):
    common = new_adapter({"one": (6, 5)}, 3, "common", 0, "kaiming_uniform", 2.0, weights=directions)
    alone = new_adapter({"one": (6, 5)}, 3, "freeze_b", 0, "svd", 2.0, weights=directions)
    np.testing.assert_array_equal(common.layers["one"].b, alone.layers["one"].b)
    assert common.n_params == alone.n_params


def test_a_core_between_full_orthonormal_factors_moves_as_all_of_w_does():
    """Where U and V are square and orthonormal, a step on M is the step on W: U (U' G V) V' = G."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 6)
    model, x, target = nn.Sequential(layer), torch.randn(8, 6), torch.randn(8, 6)
    loss = (model(x) - target).square().sum()
    (gradient,) = torch.autograd.grad(loss, layer.weight)
    core = new_adapter({"0": (6, 6)}, 6, "core", 0, "svd", 1.0, weights=directions_of_weights(model, ["0"]))
    with Stack(model, [core]) as stack:
        optimizer = torch.optim.SGD(stack.parameters(), lr=0.01)
        (model(x) - target).square().sum().backward()
        optimizer.step()
        factors = stack.extract(0).layers["0"]
    np.testing.assert_allclose(factors.b @ factors.a, -0.01 * gradient.numpy(), atol=1e-5)


def test_the_factors_of_a_core_are_two_draws():
    made = new_adapter({"one": (6, 6)}, 4, "core", 0, "gaussian", 2.0).layers["one"]
    assert (made.a != made.basis.T).all()
    large = new_adapter({"one": (6, 6)}, 6, "core", 0, "kaiming_uniform", 2.0).layers["one"]
    small = new_adapter({"one": (6, 6)}, 4, "core", 0, "kaiming_uniform", 2.0).layers["one"]
    np.testing.assert_array_equal(small.basis, large.basis[:, :4])  # common random numbers across ranks
    np.testing.assert_array_equal(small.a, large.a[:4])


@pytest.mark.parametrize("size", [1, 7, 30, 31, 60])
def test_a_subspace_is_an_isometry_without_idle_entries(size):
    copies = copies_of(3, size, {"b": (6, 4), "a": (9, 4)})
    entries = np.zeros((60, size))
    index = np.concatenate([copies[name].index.ravel() for name in ("a", "b")])  # by name, whatever the order given
    entries[np.arange(60), index] = np.concatenate([copies[name].weight.ravel() for name in ("a", "b")])
    np.testing.assert_allclose(entries.T @ entries, np.eye(size), atol=1e-6)
    counts = np.bincount(index, minlength=size)
    assert set(counts) <= {60 // size, -(-60 // size)}
    theta = np.random.default_rng(0).normal(size=size).astype(np.float32)
    squares = sum(float((one.of(theta) ** 2).sum()) for one in copies.values())
    np.testing.assert_allclose(squares, float((theta**2).sum()), rtol=1e-5)
    again = copies_of(3, size, {"a": (9, 4), "b": (6, 4)})
    assert all((again[name].index == copies[name].index).all() for name in copies)


def test_places_and_signs_of_a_subspace_look_random():
    """Entries next to each other share nothing: 4 standard deviations of a fair coin, seeds fixed."""
    copies = copies_of(0, 5000, {"x": (100, 100)})["x"]
    signs = np.sign(copies.weight).ravel()
    n = signs.size
    assert abs(signs.sum()) < 4 * n**0.5
    assert abs((signs[1:] * signs[:-1]).sum()) < 4 * n**0.5
    index = copies.index.ravel()
    ups = (np.diff(index) > 0).sum()  # of a random order: mean n/2, variance n/12
    assert abs(ups - n / 2) < 4 * (n / 12) ** 0.5
    assert (copies.index != copies_of(1, 5000, {"x": (100, 100)})["x"].index).mean() > 0.99


_PRINTED = """
import numpy as np
from lorabound.adapters import SingularDirections, factor_sha256, new_adapter
shapes = {"one": (6, 5), "two": (6, 9)}
weights = {n: np.random.default_rng(0).normal(size=s) for n, s in shapes.items()}
for mode, law in [("core", "gaussian"), ("core", "svd"), ("common", "svd"), ("subspace", "gaussian")]:
    made = new_adapter(shapes, 3, mode, 7, law, 2.0, weights=SingularDirections(weights.__getitem__), subspace_size=10)
    copies = {name: one.index.astype("f4") * np.sign(one.weight) for name, one in made.copies().items()}
    print(factor_sha256(made.frozen() | {f"copies of {name}": rows for name, rows in copies.items()}))
"""


def test_the_same_seed_draws_the_same_in_every_process(capsys):
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    other = subprocess.run(
        [sys.executable, "-c", _PRINTED], capture_output=True, text=True, env=environment, check=True
    ).stdout
    exec(_PRINTED, {})
    assert other == capsys.readouterr().out
    assert len(set(other.split())) == 4


def test_what_weights_are_needed_for_is_said():
    for mode, law, what in [("common", "gaussian", "mode common"), ("core", "svd", "law svd")]:
        with pytest.raises(InputError, match=f"{what} takes factors from the weights of the model"):
            new_adapter({"one": (6, 5)}, 3, mode, 0, law, 2.0)
    with pytest.raises(InputError, match="rank 6 does not fit layer one"):
        new_adapter({"one": (6, 5)}, 6, "core", 0, "gaussian", 2.0)
    with pytest.raises(InputError, match="choose 1 to 18"):
        new_adapter({"one": (6, 5)}, 3, "subspace", 0, "gaussian", 2.0, subspace_size=19)
    with pytest.raises(InputError, match="law must be one of kaiming_uniform, gaussian, svd"):
        new_adapter({"one": (6, 5)}, 3, "core", 0, "uniform", 2.0)


def test_a_quantized_layer_has_no_singular_directions():
    layer = nn.Linear(4, 4).requires_grad_(False)
    layer.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match=r"0 is quantized.*law kaiming_uniform or gaussian"):
        directions_of_weights(nn.Sequential(layer), ["0"]).right("0", 2)
    layer.weight = nn.Parameter(torch.full((4, 4), torch.inf))
    with pytest.raises(ModelError, match="is not finite"):
        directions_of_weights(nn.Sequential(layer), ["0"]).right("0", 2)


def test_a_hash_covers_both_frozen_factors_of_a_core():
    made = new_adapter({"one": (6, 5)}, 3, "core", 0, "gaussian", 2.0)
    assert set(made.frozen()) == {"one", "one.lora_B"}
    assert made.frozen_sha256() == factor_sha256(
        {"one": made.layers["one"].a, "one.lora_B": made.layers["one"].basis.T}
    )


def test_a_rank_that_no_layer_holds_is_named_with_those_that_fit():
    shapes = {"narrow": (4, 9), "wide": (8, 8)}
    check_rank(shapes, 4)
    check_grid(shapes, [1, 4], [next(iter(MODES))], None)
    for refused in (lambda: check_rank(shapes, 5), lambda: check_grid(shapes, [1, 5], [next(iter(MODES))], None)):
        with pytest.raises(
            InputError, match=r"^rank 5 does not fit layer narrow \(4 x 9\): choose a rank from 1 to 4$"
        ):
            refused()
    with pytest.raises(InputError, match="rank 0 does not fit layer narrow"):
        check_rank(shapes, 0)
    check_rank(shapes, 2, links=2)
    with pytest.raises(
        InputError, match="^links 2 of rank 3 are rank 6 together, .*choose links times rank from 1 to 4$"
    ):
        check_rank(shapes, 3, links=2)


def test_a_chain_has_links_with_factors_of_their_own():
    for mode, facts in MODES.items():
        check_links(1, mode)
        if facts.trains_factors:
            check_links(3, mode)
        else:
            with pytest.raises(InputError, match=f"mode {mode} cannot be a chain of links"):
                check_links(2, mode)
    with pytest.raises(InputError, match="links must be at least 1, got 0"):
        check_links(0, next(iter(MODES)))


def test_numbers_are_the_same_up_to_rounding_only():
    ones = np.ones(4, dtype=np.float32)
    assert same_numbers(ones, ones * (1 + 1e-6))
    assert not same_numbers(ones, ones * (1 + 1e-4))
    assert not same_numbers(ones, np.ones(5, dtype=np.float32))
    assert same_numbers(ones[:0], ones[:0])


def test_a_trained_head_counts_in_every_mode():
    head = Head(name="classifier", weight=np.zeros((3, 5), dtype=np.float32), bias=np.zeros(3, dtype=np.float32))
    for mode in MODES:
        bare = new_adapter(
            {"one": (6, 5)}, 2, mode, 0, "kaiming_uniform", 2.0, weights=weights_of_one(), subspace_size=7
        )
        assert replace(bare, head=head).n_params == bare.n_params + 18


def weights_of_one():
    return SingularDirections(lambda _: np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32))
