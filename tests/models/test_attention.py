"""Attention for short rows against PyTorch's own, forward and backward, and no word between two adapters."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lorabound.models import attention


class Module(torch.nn.Module):
    is_causal = False


def case(rows, length, dtype=torch.float32, heads=3, width=8):
    torch.manual_seed(rows * 100 + length)
    return [torch.randn(rows, length, heads, width, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]


def same_forward_and_backward(ours, theirs, weight, inputs):
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    gradients = (torch.autograd.grad((output * weight).sum(), inputs) for output in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 15, 16, 17, 32])
@pytest.mark.parametrize("rows", [1, 2, 7, 12])
def test_output_and_gradients_are_those_of_the_library(rows, length):
    q, k, v = case(rows, length)
    weight = torch.randn(rows, length, 3, 8)
    ours, _ = attention.short_rows(Module(), q, k, v, None)
    theirs = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    assert ours.grad_fn is not None
    assert "Tiled" in type(ours.grad_fn).__name__
    same_forward_and_backward(ours, theirs, weight, (q, k, v))


@pytest.mark.parametrize("length", [2, 5, 11, 17, 32])
@pytest.mark.parametrize("rows", [1, 7, 12])
@pytest.mark.parametrize("all_queries", [True, False])
def test_padding_that_ends_rows_is_hidden_as_the_library_hides_it(rows, length, all_queries):
    q, k, v = case(rows, length)
    real = torch.arange(length) < torch.randint(1, length + 1, (rows, 1))
    mask = real[:, None, None].expand(-1, -1, length if all_queries else 1, -1)
    weight = torch.randn(rows, length, 3, 8)
    ours, _ = attention.short_rows(Module(), q, k, v, mask)
    assert "Tiled" in type(ours.grad_fn).__name__
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)
    same_forward_and_backward(ours, theirs, weight, (q, k, v))


def test_bfloat16_is_within_its_rounding():
    q, k, v = case(20, 5, torch.bfloat16)
    ours, _ = attention.short_rows(Module(), q, k, v, None)
    exact = F.scaled_dot_product_attention(*(x.double() for x in (q, k, v))).transpose(1, 2)
    assert (ours.double() - exact).abs().max() < 4 * 2.0**-8 * v.abs().max()


@pytest.mark.parametrize("change", ["mask", "empty", "numbers", "causal", "long", "bias"])
def test_anything_else_is_left_to_the_library(change):
    length = 40 if change == "long" else 4
    q, k, v = case(6, length)
    mask = {
        "mask": torch.ones(6, 1, length, length, dtype=torch.bool).tril(),
        "empty": torch.arange(6)[:, None, None, None].expand(6, 1, length, length) > 0,  # the first row hides all
        "numbers": torch.randn(6, 1, length, length),
    }.get(change)
    options = {"position_bias": torch.randn(1, 3, length, length)} if change == "bias" else {}
    module = Module()
    module.is_causal = change == "causal"
    ours, _ = attention.short_rows(module, q, k, v, mask, **options)
    bias = options.get("position_bias", mask)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=change == "causal").transpose(1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, equal_nan=True)


def test_a_tile_never_holds_rows_of_two_adapters(tiny):
    """One adapter's rows turn into nan: what the others compute does not change by a bit."""
    from lorabound.adapters import new_adapter
    from lorabound.stack import Stack, select_linears

    shapes = select_linears(tiny.module, ["query"])
    made = [new_adapter(shapes, 1, "freeze_a", k, "gaussian", 1.0) for k in range(3)]
    q, k, v = (x.detach() for x in case(3 * 4, 5))
    with Stack(tiny.module, made):
        clean, _ = attention.short_rows(Module(), q, k, v, None)
        for x in (q, k, v):
            x[4:8] = torch.nan
        dirty, _ = attention.short_rows(Module(), q, k, v, None)
    np.testing.assert_array_equal(clean[:4], dirty[:4])
    np.testing.assert_array_equal(clean[8:], dirty[8:])
    assert dirty[4:8].isnan().all()
