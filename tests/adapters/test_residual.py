"""The start at what rounding took from a weight: the best product of a rank, by SVD, and as PEFT computes it."""

import numpy as np
import pytest
import torch
from peft.utils.loftq_utils import _low_rank_decomposition

from lorabound.adapters import Residuals, new_adapter
from lorabound.adapters.residual import balanced_product
from lorabound.errors import InputError
from lorabound.modes import MODES

RANDOM = np.random.default_rng(0)
SHAPES = [(12, 7), (7, 12), (9, 9)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_product_is_the_truncated_svd_shared_equally(shape, rank):
    target = RANDOM.normal(size=shape).astype(np.float32)
    b, a = balanced_product(target, rank)
    u, s, v = np.linalg.svd(target.astype(np.float64), full_matrices=False)
    assert np.allclose(b @ a, (u[:, :rank] * s[:rank]) @ v[:rank], atol=1e-5)
    assert np.allclose(b.T @ b, np.diag(s[:rank]), atol=1e-5)
    assert np.allclose(a @ a.T, np.diag(s[:rank]), atol=1e-5)
    assert (a[np.arange(rank), np.abs(a).argmax(1)] > 0).all()
    # As PEFT splits it, up to signs.
    theirs = _low_rank_decomposition(torch.from_numpy(target), rank)
    assert np.allclose(b @ a, (theirs["L"] @ theirs["R"]).numpy(), atol=1e-5)
    assert np.allclose(np.abs(a), theirs["R"].abs().numpy(), atol=1e-5)
    wider, longer = balanced_product(target, 7)
    assert np.allclose(wider[:, :rank], b, atol=1e-6)
    assert np.allclose(longer[:rank], a, atol=1e-6)


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both"])
def test_an_adapter_starts_at_the_product_whatever_its_scale(mode):
    targets = {f"layer.{i}": RANDOM.normal(size=shape).astype(np.float32) for i, shape in enumerate(SHAPES)}
    made = Residuals(rank=5, products={name: balanced_product(target, 5) for name, target in targets.items()})
    for scale in (1.0, 2.0, 7.5):
        adapter = made.adapter(3, mode, seed=4, alpha_over_r=scale)
        assert (adapter.mode, adapter.seed, adapter.law) == (mode, 4, "loftq")
        assert adapter.n_params == MODES[mode].n_params(3, made.shapes.values())
        for name, target in targets.items():
            factors = adapter.layers[name]
            left = np.linalg.norm(target - factors.scale * factors.b @ factors.a)
            values = np.linalg.svd(target, compute_uv=False)
            assert np.isclose(left, np.linalg.norm(values[3:]), rtol=1e-5)  # Eckart-Young


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both"])
def test_directions_that_rounding_left_alone_are_a_plain_start(mode):
    """A residual of rank 1 or 0, and adapters of rank 3: what is not in the residual adds nothing before training."""
    target = np.outer(np.arange(4), np.ones(5)).astype(np.float32)
    made = Residuals(rank=3, products={"fc": balanced_product(target, 3), "kept": balanced_product(0 * target, 3)})
    plain = new_adapter(made.shapes, 3, mode, 7, "kaiming_uniform", 2.0)
    adapter = made.adapter(3, mode, 7, 2.0)
    assert [len(a) for _, a in made.products.values()] == [1, 0]
    for name, expected in (("fc", target), ("kept", 0 * target)):
        factors = adapter.layers[name]
        assert np.allclose(2.0 * factors.b @ factors.a, expected, atol=1e-6)
        k = len(made.products[name][1])
        assert np.array_equal(factors.a[k:], plain.layers[name].a[k:])
        assert np.array_equal(factors.b[:, k:], plain.layers[name].b[:, k:])
    assert adapter.layers["kept"].a.any() != adapter.layers["kept"].b.any()
    other = made.adapter(3, mode, 8, 2.0)
    drawn = MODES[mode].drawn[0]
    assert np.array_equal(adapter.layers["fc"].rows(drawn)[0], other.layers["fc"].rows(drawn)[0])
    assert not np.allclose(adapter.layers["kept"].rows(drawn), other.layers["kept"].rows(drawn), atol=1e-3)
    with pytest.raises(InputError, match="law loftq has starts up to rank 3 here, got rank 4"):
        made.adapter(4, mode, 0, 1.0)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_the_nearest_product_scales_with_the_matrix(scale):
    target = np.random.default_rng(0).standard_normal((6, 9))
    b, a = balanced_product(target, 3)
    scaled_b, scaled_a = balanced_product(scale * target, 3)
    np.testing.assert_allclose(scaled_b @ scaled_a, scale * (b @ a), rtol=1e-4, atol=1e-5 * scale)
    assert scaled_b.shape == (6, 3)
