"""Losses of predicted tokens, without ever holding the scores of all of them: a vocabulary may have 250,000 words.

    nll_i = log sum_v exp(w_v . h_i) - w_{y_i} . h_i      h (tokens, width), w (vocabulary, width) frozen, y (tokens,).

The gradient by h, (softmax(w h_i) - e_{y_i}) w, is computed together with the loss, a piece of the tokens at a time,
as Hsu et al. 2024 (Liger Kernel) do; only it is kept for the backward pass. Sums are float32.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lorabound.models.products import product

# Bytes of scores at once.
_PIECE = {"cpu": 16 * 2**20, "cuda": 512 * 2**20}


def token_losses(
    hidden: Float[Tensor, "tokens width"],
    output: nn.Linear,
    targets: Int[Tensor, " tokens"],
) -> tuple[Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """-ln p of each target token in nats, with a gradient for ``hidden``, and whether no other token has a larger p.

    Args:
        output: the frozen layer of w, (vocabulary, width), with or without a bias.
    """
    return _TokenLosses.apply(hidden, output, targets)  # type: ignore[no-any-return, no-untyped-call]


class _TokenLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, output: nn.Linear, targets: Tensor) -> tuple[Tensor, Tensor]:
        wanted, weight = ctx.needs_input_grad[0], output.weight
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        right = torch.empty(len(hidden), dtype=torch.bool, device=hidden.device)
        gradient = torch.empty_like(hidden) if wanted else None
        step = max(1, _PIECE.get(hidden.device.type, _PIECE["cpu"]) // (4 * len(weight)))
        for start in range(0, len(hidden), step):
            piece = slice(start, start + step)
            scores = output(hidden[piece]).float()
            chosen = scores.gather(1, targets[piece, None])
            total = scores.logsumexp(1, keepdim=True)
            losses[piece] = (total - chosen)[:, 0]
            right[piece] = scores.argmax(1) == targets[piece]
            if gradient is not None:
                shares = scores.sub_(total).exp_()
                shares.scatter_add_(1, targets[piece, None], shares.new_full((len(shares), 1), -1.0))
                gradient[piece] = product(shares.to(weight.dtype), weight)
        ctx.save_for_backward(*([gradient] if gradient is not None else []))
        ctx.mark_non_differentiable(right)
        return losses, right

    @staticmethod
    def backward(ctx: Any, of_losses: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * of_losses[:, None].to(gradient.dtype), None, None
