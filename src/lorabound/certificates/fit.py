"""A posterior trained to make its own PAC-Bayes bound small: means and variances of all entries at once.

    minimize   E_Q[1 - p_y] + beta KL(Q || P),   beta = (db/dKL) / (db/dR) of b(R, KL) = kl_inverse(R, (KL + c)/N)

at the errors seen so far. 1 - p_y is near to the error and has a gradient. No step of this needs to be right for the
bound to hold: it holds for all posteriors at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from lorabound.adapters.adapter import Array
from lorabound.bounds.tails import kl_inverse
from lorabound.certificates.posterior import Posterior
from lorabound.engine import Examples, WithPrefix
from lorabound.engine.batches import TOKENS_PER_PASS, epoch_batches, passes
from lorabound.stack import DrawnStack

# Step size of ln(variance), in AdamW's units: a factor of e within some tens of steps.
_VARIANCE_LR = 0.02
# Steps between two looks at the weight of KL; share of the past in the running error.
_LOOK, _MEMORY = 10, 0.98


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a posterior is trained.

    Attributes:
        lr: peak step size of the means; falls to 0 along a cosine.
        epochs: passes over the examples.
        batch_size: examples of one step.
        n_bound: N of the bound that is made small.
        nats: c, what the bound pays beside KL.
        least_share: the weight of KL is that at ``least_share * N`` nats or more. The first nats cost the most, and
            from a KL of 0 it would never pay to leave.
        seed: seed of noise and order.
    """

    lr: float
    epochs: int
    batch_size: int
    n_bound: int
    nats: float
    least_share: float = 0.0
    seed: int = 0


def fit_posterior(
    worker: WithPrefix,
    sample: Examples,
    rows: Int[np.ndarray, " n"],
    first: Posterior,
    prior_mean: Mapping[str, Array],
    prior_variance: Mapping[str, Array] | float,
    fit: Fit,
) -> Posterior:
    """Train means and variances, from those of ``first``, on the examples ``rows``."""
    device = next(worker.module.parameters()).device

    def on_device(values: Mapping[str, Array]) -> dict[str, Tensor]:
        return {name: torch.tensor(value, device=device) for name, value in values.items()}

    mean, start = on_device(first.mean), on_device(prior_mean)
    log_variance = {name: value.log() for name, value in on_device(first.variance).items()}
    around: dict[str, Tensor | float] = (
        {name: prior_variance for name in mean}
        if isinstance(prior_variance, float)
        else dict(on_device(prior_variance))
    )
    for value in (*mean.values(), *log_variance.values()):
        value.requires_grad_()
    groups = [
        {"params": list(mean.values()), "lr": fit.lr, "peak": fit.lr},
        {"params": list(log_variance.values()), "lr": _VARIANCE_LR, "peak": _VARIANCE_LR},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator().manual_seed(fit.seed)
    lengths = sample.inputs.lengths[rows]
    batches = [
        batch[0] for epoch in range(fit.epochs) for batch in epoch_batches(lengths, fit.batch_size, [fit.seed], epoch)
    ]
    error, weight = 0.5, 0.0
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        spreads = {name: (value / 2).exp() for name, value in log_variance.items()}
        kl = _kl(mean, start, log_variance, around)
        wrong, gradients = 0, [torch.zeros_like(value) for value in (*mean.values(), *spreads.values())]
        # The frozen model runs once per pass; means and spreads gather the gradients of all passes of a step.
        with DrawnStack(worker.module, first.frame, mean, spreads, worker.towers) as stack:
            for cut in passes(lengths[batch], 1, TOKENS_PER_PASS):
                index = rows[batch[cut]]
                stack.draw(len(index), generator)
                logits = worker.logits(sample.inputs, index)
                labels = torch.from_numpy(sample.labels[index]).to(logits.device)
                loss = -torch.expm1(-F.cross_entropy(logits, labels, reduction="none")).sum() / len(batch)
                parts = torch.autograd.grad(loss, [*mean.values(), *spreads.values()])
                for gathered, part in zip(gradients, parts, strict=True):
                    gathered += part
                wrong += int((logits.detach().argmax(-1) != labels).sum())
        share = wrong / len(batch)
        error = share if step == 0 else _MEMORY * error + (1 - _MEMORY) * share
        if step % _LOOK == 0:
            weight = _weight_of_kl(error, max(kl.item(), fit.least_share * fit.n_bound), fit)
        torch.autograd.backward([*mean.values(), *spreads.values(), weight * kl], [*gradients, None])
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * step / len(batches)))
        optimizer.step()

    return first.around(
        {name: value.detach().cpu().numpy() for name, value in mean.items()},
        {name: value.detach().exp().cpu().numpy() for name, value in log_variance.items()},
    )


def _kl(
    mean: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    log_variance: Mapping[str, Tensor],
    around: Mapping[str, Tensor | float],
) -> Tensor:
    total = torch.zeros(())
    for name, value in mean.items():
        prior = torch.as_tensor(around[name], dtype=torch.float32, device=value.device)
        ratio = log_variance[name] - prior.log()
        total = total + 0.5 * (ratio.exp() - 1 - ratio + (value - start[name]).square() / prior).sum().cpu()
    return total


def _weight_of_kl(error: float, kl: float, fit: Fit) -> float:
    """beta at an error and a KL, by differences."""
    error, step, nats = min(max(error, 1e-3), 0.98), 1e-3, 1.0
    base, costlier, worse = np.asarray(
        kl_inverse(
            np.array([error, error, error + step]),
            np.array([kl, kl + nats, kl]) / fit.n_bound + fit.nats / fit.n_bound,
        )
    )
    return float(max(costlier - base, 0.0) / nats / max((worse - base) / step, 1e-6))
