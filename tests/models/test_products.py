import copy

import pytest
import torch
from torch import nn

from lorabound.models import products
from lorabound.models.products import with_fast_products


def layers(bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    """A frozen layer of 48 x 80 twice: as PyTorch computes it, and as we do."""
    torch.manual_seed(0)
    plain = nn.Linear(80, 48, bias).requires_grad_(False)
    return plain, with_fast_products(nn.Sequential(copy.deepcopy(plain)))[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(80,), (1, 80), (7, 80), (3, 5, 80), (0, 80)])
def test_products_and_gradients_are_those_of_pytorch(bias: bool, shape: tuple[int, ...]) -> None:
    plain, fast = layers(bias)
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, found = plain(x), fast(y)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fast(x.detach()), expected.detach(), rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-5, atol=1e-5)


def test_rows_that_do_not_lie_in_order_in_memory() -> None:
    plain, fast = layers()
    x = torch.randn(80, 6).t()
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-5, atol=1e-5)
    every_other = torch.randn(5, 160)[:, ::2]
    torch.testing.assert_close(fast(every_other), plain(every_other), rtol=1e-5, atol=1e-5)
    broadcast = torch.randn(1, 80).expand(4, 80).requires_grad_()
    fast(broadcast).sum().backward()  # the gradient that arrives is expanded, too


def test_a_gradient_goes_to_rows_only_and_a_trained_layer_is_left_alone() -> None:
    _, fast = layers()
    assert isinstance(fast, nn.Linear)
    assert (type(fast) is nn.Linear) != products._has_onednn()
    trained = nn.Linear(4, 4)
    assert type(with_fast_products(nn.Sequential(trained))[0]) is nn.Linear
    fast.requires_grad_(True)  # someone trains it after all
    fast(torch.randn(2, 80)).sum().backward()
    assert fast.weight.grad is not None
    assert fast.bias.grad is not None


def test_other_number_formats_compute_as_before() -> None:
    plain, fast = layers()
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.randn(3, 80, dtype=dtype)
        assert torch.equal(fast.to(dtype)(x), plain.to(dtype)(x))
    fast.float(), plain.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(torch.randn(3, 80)).dtype == torch.bfloat16


def test_not_a_number_is_not_hidden() -> None:
    _, fast = layers()
    x = torch.zeros(2, 80)
    x[1, 3] = float("nan")
    assert torch.isnan(fast(x)[1]).all()
    assert not torch.isnan(fast(x)[0]).any()


def test_without_the_operation_pytorch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(products, "_product", absent)
    module = nn.Sequential(nn.Linear(2, 2).requires_grad_(False))
    assert type(with_fast_products(module)[0]) is nn.Linear
