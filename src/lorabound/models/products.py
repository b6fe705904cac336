"""Float32 products of frozen layers by the faster of the two libraries that PyTorch ships for x86 processors.

PyTorch multiplies float32 matrices by MKL, which uses 256-bit instructions on AMD processors, and bfloat16 ones by
oneDNN, which uses whatever the processor has. For float32 too oneDNN was measured faster: 2.2 times with AVX-512, 1.1
to 1.2 times without (``docs/benchmarks.md``). Both round in float32; only the order of their sums differs.
"""

from __future__ import annotations

import platform
from typing import Any

import torch
from torch import Tensor, nn


def with_fast_products(module: nn.Module) -> nn.Module:
    """The module itself, its frozen ``nn.Linear`` layers computing float32 on the CPU by oneDNN where PyTorch has it.

    The layers stay instances of ``nn.Linear`` with their names, weights and biases. Other devices, number formats and
    layers whose weights are trained compute as before.
    """
    if _has_onednn():
        for layer in module.modules():
            if type(layer) is nn.Linear and not layer.weight.requires_grad:
                layer.__class__ = _FrozenLinear
    return module


def product(x: Tensor, weight: Tensor) -> Tensor:
    """``x W`` for x (n, d_out) and the weight (d_out, d_in) of a frozen layer, without gradients."""
    if _has_onednn() and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0:
        return _product(x, weight.t(), None)
    return x @ weight


class _FrozenLinear(nn.Linear):
    """``x W' + b`` with gradients for x alone."""

    def forward(self, x: Tensor) -> Tensor:
        plain = x.dtype == self.weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0
        if not plain or self.weight.requires_grad or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Product.apply(x, self.weight, self.bias)  # type: ignore[no-any-return, no-untyped-call]
        return _product(x, self.weight, self.bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight  # frozen, and shared by all copies of the model: nothing to save
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _product(gradients[0].contiguous(), ctx.weight.t(), None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W' + b``, of shape (..., d_out) for x (..., d_in)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]


def _has_onednn() -> bool:
    """Whether this build of PyTorch has the product and gets a small one right; on other processors it is not needed.

    The operation is PyTorch's own for compiled models, without a promise that it stays: hence the trial.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    x, weight = torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    try:
        return bool(
            torch.equal(_product(x, weight, torch.ones(3)), weight.t() + 1)
            and torch.equal(_product(torch.eye(3), weight.t(), None), weight)
        )
    except (AttributeError, RuntimeError):
        return False
