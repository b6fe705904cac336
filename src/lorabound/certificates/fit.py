"""A posterior trained to make its own PAC-Bayes bound small: means and variances of all entries at once.

    minimize   E_Q[1 - p_y] + beta KL(Q || P),   beta = (db/dKL) / (db/dR) of b(R, KL) = kl_inverse(R, (KL + c)/N)

at the errors seen so far. 1 - p_y is near to the error and has a gradient. With g, h the mean gradient and the diagonal
of the mean Hessian under Q, the minimum has, entry by entry,

    mean = prior mean - lambda g/beta,     variance = lambda/(1 + lambda h/beta),

and each step goes a share rho of the way there (natural gradients; Khan & Rue 2023). h comes without second
derivatives: d E_Q[loss]/d spread = h spread (Price's theorem). No step of this needs to be right for the bound to hold:
it holds for all posteriors at once.
"""

from __future__ import annotations

import math
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

# Steps between two looks at the weight of KL; share of the past in the running error.
_LOOK, _MEMORY = 10, 0.98


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a posterior is trained.

    Attributes:
        rho: share of the way to the optimum that the first step goes; falls to 0 along a cosine.
        epochs: passes over the examples.
        batch_size: examples of one step.
        n_bound: N of the bound that is made small.
        nats: c, what the bound pays beside KL.
        least_kl: the weight of KL is that at so many nats or more. The first nats cost the most, and from a KL of 0 it
            would never pay to leave.
        sharpness: factor of the scores in p_y; the larger, the nearer is 1 - p_y to the error.
        seed: seed of noise and order.
    """

    rho: float
    epochs: int
    batch_size: int
    n_bound: int
    nats: float
    least_kl: float = 0.0
    sharpness: float = 1.0
    seed: int = 0


def fit_posterior(
    worker: WithPrefix,
    sample: Examples,
    rows: Int[np.ndarray, " n"],
    first: Posterior,
    prior_mean: Mapping[str, Array],
    prior_variance: Mapping[str, Array],
    fit: Fit,
) -> Posterior:
    """Train means and variances, from those of ``first``, on the examples ``rows``."""
    device = next(worker.module.parameters()).device

    def on_device(values: Mapping[str, Array]) -> dict[str, Tensor]:
        return {name: torch.tensor(value, device=device) for name, value in values.items()}

    mean, start, around = on_device(first.mean), on_device(prior_mean), on_device(prior_variance)
    # Precision in units of the prior's: lambda / variance.
    precision = {name: around[name] / value for name, value in on_device(first.variance).items()}
    spread = {name: (around[name] / precision[name]).sqrt() for name in mean}
    drawn = [value.requires_grad_() for value in (*mean.values(), *spread.values())]
    generator = torch.Generator().manual_seed(fit.seed)
    lengths = sample.inputs.lengths[rows]
    batches = [
        batch[0] for epoch in range(fit.epochs) for batch in epoch_batches(lengths, fit.batch_size, [fit.seed], epoch)
    ]
    error, weight = 0.5, 0.0
    with DrawnStack(worker.module, first.frame, mean, spread, worker.towers) as stack:
        for step, batch in enumerate(batches):
            gradients, wrong = [torch.zeros_like(value) for value in drawn], 0
            for cut in passes(lengths[batch], 1, TOKENS_PER_PASS):
                index = rows[batch[cut]]
                stack.draw(len(index), generator)
                logits = worker.logits(sample.inputs, index)
                labels = torch.from_numpy(sample.labels[index]).to(logits.device)
                loss = -torch.expm1(-F.cross_entropy(fit.sharpness * logits, labels, reduction="none")).sum() / len(
                    batch
                )
                for gathered, part in zip(gradients, torch.autograd.grad(loss, drawn), strict=True):
                    gathered += part
                wrong += int((logits.detach().argmax(-1) != labels).sum())
            share = wrong / len(batch)
            error = share if step == 0 else _MEMORY * error + (1 - _MEMORY) * share
            rho = fit.rho * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
            with torch.no_grad():
                if step % _LOOK == 0:
                    weight = _weight_of_kl(error, max(_kl(mean, start, precision, around), fit.least_kl), fit)
                for k, name in enumerate(mean):
                    scale, rest = around[name] / weight, precision[name]
                    slope, bend = gradients[k], gradients[len(mean) + k] / spread[name]
                    mean[name] -= rho * (scale * slope + mean[name] - start[name]) / rest
                    # The square keeps the precision positive (Lin, Schmidt & Khan 2020).
                    towards = scale * bend + 1 - rest
                    rest += rho * towards + 0.5 * rho**2 * towards**2 / rest
                    spread[name].copy_((around[name] / rest).sqrt())
    return first.around(
        {name: value.detach().cpu().numpy() for name, value in mean.items()},
        {name: value.detach().square().cpu().numpy() for name, value in spread.items()},
    )


def _kl(
    mean: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    precision: Mapping[str, Tensor],
    around: Mapping[str, Tensor],
) -> float:
    parts = [
        (1 / precision[name] - 1 + precision[name].log() + (value - start[name]).square() / around[name]).sum()
        for name, value in mean.items()
    ]
    return 0.5 * float(torch.stack(parts).sum())


def _weight_of_kl(error: float, kl: float, fit: Fit) -> float:
    """beta at an error and a KL, by differences."""
    error, step, nats = min(max(error, 1e-3), 0.98), 1e-3, 1.0
    base, costlier, worse = np.asarray(
        kl_inverse(np.array([error, error, error + step]), (np.array([kl, kl + nats, kl]) + fit.nats) / fit.n_bound)
    )
    return max(float(costlier - base) / nats, 1e-12) / max(float(worse - base) / step, 1e-6)
