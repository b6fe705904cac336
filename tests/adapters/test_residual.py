"""The start at what rounding took from a weight: the best product of a rank, by SVD, and as PEFT computes it."""

import numpy as np
import pytest
import torch
from peft.utils.loftq_utils import _low_rank_decomposition

from lorabound.adapters import Residuals
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
    made = Residuals(products={name: balanced_product(target, 5) for name, target in targets.items()})
    for scale in (1.0, 2.0, 7.5):
        adapter = made.adapter(3, mode, seed=4, alpha_over_r=scale)
        assert (adapter.mode, adapter.seed, adapter.law) == (mode, 4, "loftq")
        assert adapter.n_params == MODES[mode].n_params(3, made.shapes.values())
        for name, target in targets.items():
            factors = adapter.layers[name]
            left = np.linalg.norm(target - factors.scale * factors.b @ factors.a)
            values = np.linalg.svd(target, compute_uv=False)
            assert np.isclose(left, np.linalg.norm(values[3:]), rtol=1e-5)  # Eckart-Young


def test_rounding_that_changed_few_directions_gives_no_start_of_a_larger_rank():
    target = np.outer(np.arange(4), np.ones(5)).astype(np.float32)
    for some, there in ((target, 1), (0 * target, 0)):
        b, a = balanced_product(some, 3)
        assert (b.shape, a.shape) == ((4, there), (there, 5))
        assert np.allclose(b @ a, some, atol=1e-6)
        with pytest.raises(
            InputError, match=f"rounding changed layer fc along {there} directions, which is no start for"
        ):
            Residuals(products={"fc": (b, a)}).adapter(2, "freeze_a", 0, 1.0)
