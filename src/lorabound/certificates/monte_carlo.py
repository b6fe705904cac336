"""Errors of a randomized adapter: every draw is one example with weights of its own.

m independent draws of (weights from Q, example from the sample, uniform) have the mean Rhat(Q) and are as good as coin
flips: Clopper-Pearson and Chernoff limits hold for them. Draws that share weights would not be independent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Int

from lorabound.certificates.posterior import Posterior
from lorabound.engine import Examples, Pool, WithPrefix
from lorabound.engine.batches import TOKENS_PER_PASS, passes
from lorabound.stack import DrawnStack

# Draws of one job: their random numbers belong to them, whichever worker does the job and in whatever order.
_DRAWS_PER_JOB = 5_000
# Random entries of one pass: about 16 MB, which stay near the caches.
_ENTRIES_PER_PASS = 2**22
# The fewest draws of a bound: for few rows they cost nothing.
_LEAST_DRAWS = 50_000


def n_draws(n: int) -> int:
    """Draws for a bound of n rows: enough for their own limit to be small beside the bound's; a rule, not a choice."""
    return max(10 * n, _LEAST_DRAWS)


def seed_of(posterior: bytes, purpose: str) -> int:
    """A seed that nobody chooses: it follows from the file of the posterior, so the draws come after Q is fixed."""
    return int.from_bytes(hashlib.sha256(purpose.encode() + posterior).digest()[:6], "little")


def drawn_rows(first: int, end: int, n_draws: int, seed: int) -> Int[np.ndarray, " m"]:
    """m rows drawn uniformly and independently from first..end-1."""
    key = np.random.SeedSequence([seed, n_draws])
    return np.random.Generator(np.random.Philox(key)).integers(first, end, n_draws)


def draw_errors(
    pool: Pool,
    sample: Examples,
    posterior: Posterior,
    rows: Int[np.ndarray, " m"],
    seed: int,
    observe: Callable[[int], None] = lambda _: None,
) -> Bool[np.ndarray, " m"]:
    """Whether each of m draws is an error: fresh weights for every one of ``rows``.

    Args:
        rows: numbers of examples, in any order, repeats allowed.
        seed: seed of the weights.
        observe: called with the number of draws done so far.
    """
    wrong = np.zeros(len(rows), dtype=np.bool_)
    jobs = [slice(start, min(start + _DRAWS_PER_JOB, len(rows))) for start in range(0, len(rows), _DRAWS_PER_JOB)]

    def one(worker: WithPrefix, job: slice) -> Bool[np.ndarray, " draws"]:
        return errors_of(worker, sample, posterior, rows[job], [seed, job.start])

    done = 0
    for job, errors in pool.run(jobs, one):
        wrong[job] = errors
        done += len(errors)
        observe(done)
    return wrong


@torch.no_grad()
def errors_of(
    worker: WithPrefix, sample: Examples, posterior: Posterior, rows: Int[np.ndarray, " m"], seed: list[int]
) -> Bool[np.ndarray, " m"]:
    """As :func:`draw_errors`, on one worker."""
    words = np.random.SeedSequence(seed).generate_state(2)
    generator = torch.Generator().manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    device = next(worker.module.parameters()).device
    means = {name: torch.from_numpy(value).to(device) for name, value in posterior.mean.items()}
    spreads = {name: torch.from_numpy(value).to(device).sqrt() for name, value in posterior.variance.items()}
    wrong = np.zeros(len(rows), dtype=np.bool_)
    lengths = sample.inputs.lengths[rows]
    order = np.argsort(lengths, kind="stable")
    most = max(1, _ENTRIES_PER_PASS // _drawn_entries(posterior))
    with DrawnStack(worker.module, posterior.frame, means, spreads, worker.towers) as stack:
        for cut in passes(lengths[order], 1, TOKENS_PER_PASS):
            for start in range(cut.start, cut.stop, most):
                place = order[start : min(start + most, cut.stop)]
                stack.draw(len(place), generator)
                logits = worker.logits(sample.inputs, rows[place])
                # A score that is no number is an error, whatever argmax says of it.
                known = torch.isfinite(logits).all(-1).cpu().numpy()
                wrong[place] = (logits.argmax(-1).cpu().numpy() != sample.labels[rows[place]]) | ~known
    return wrong


def _drawn_entries(posterior: Posterior) -> int:
    """Numbers of one draw: the random entries, or all factors B where a vector fills them."""
    filled = posterior.frame.theta is not None
    copied = sum(factors.b.size for factors in posterior.frame.layers.values()) if filled else 0
    return max(posterior.n_params, copied)
