"""Where a posterior is looked for: a scale of noise that the predictions bear, then means and variances by training.

What is found here may depend on every row in any way, and needs no proof: see :mod:`lorabound.certificates.pac_bayes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from lorabound.adapters import Adapter, entries_of
from lorabound.bounds import pac_bayes
from lorabound.bounds.pac_bayes import log_xi
from lorabound.certificates.fit import Fit, fit_posterior
from lorabound.certificates.monte_carlo import draw_errors, drawn_rows, n_draws
from lorabound.certificates.posterior import (
    GRID_NATS,
    PRIOR_VARIANCES,
    Entries,
    Posterior,
    frame_of,
    nearest_variance,
)
from lorabound.certificates.subject import Subject
from lorabound.engine import Trained, WithPrefix, train
from lorabound.errors import AdapterError

# Rows and draws by which scales and candidates are compared, and the loss of accuracy that a scale may cost.
_LOOKS, _COSTS = 10_000, 0.01
# Scales of noise that are tried, the loudest first.
_SCALES = PRIOR_VARIANCES[::2]
# See Fit.rho, and Fit.least_kl as a share of N.
_RHO, _LEAST_SHARE = 0.01, 0.0006
_BATCH = 64
# See Fit.sharpness. words, N = 50,000, rank 4, no data in the prior, 50,000 draws: 0.6395 with 4, 0.654 with 1.
_SHARPNESS = 4.0
# Shares of the way from the prior's means that are compared.
_SHARES = (0.35, 0.6, 1.0)
# Examples shown to each posterior in all, and passes over them at most.
_EXAMPLES, _MOST_EPOCHS = 50_000, 20


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The bound that the search makes small.

    Attributes:
        first: first row that the bound uses.
        n_bound: number of rows that it uses.
        delta, delta_draws: failure probabilities of the sample and of the draws.
        n_train: number of rows, from the first of the sample on, that the posterior may be trained on.
    """

    first: int
    n_bound: int
    delta: float
    delta_draws: float
    n_train: int

    def limit(self, error: float, kl: float) -> float:
        """The bound at an error and a KL."""
        bound = pac_bayes(error, self.n_bound, kl + GRID_NATS, self.delta, n_draws(self.n_bound), self.delta_draws)
        return float(bound.value)

    @property
    def nats(self) -> float:
        """What it pays beside KL."""
        return GRID_NATS + float(log_xi(self.n_bound)) - math.log(self.delta)


def search(
    subject: Subject, prior: Entries, wanted: Wanted, observe: Callable[[str], None] = lambda _: None
) -> Posterior:
    """The best posterior of some: priors of two scales of noise, and what training makes of them.

    Args:
        prior: means of the prior.
        wanted: bound to make small.
    """
    frame = frame_of(subject.adapter, subject.start)

    def even(variance: float) -> Posterior:
        law = {name: np.full_like(value, variance) for name, value in prior.items()}
        return Posterior(frame=frame, mean=prior, variance=law)

    observe("looking for the scale of noise that the predictions bear")
    rows = _rows_to_look_at(wanted)
    quiet, *louder = reversed(_SCALES)
    least, scale = _error(subject, even(quiet), rows), quiet
    for variance in louder:
        error = _error(subject, even(variance), rows)
        if error > least + _COSTS:
            break
        scale, least = variance, min(least, error)
    observe("training the laws of the entries")
    return _best(
        [even(quiet), *_trained(subject, [even(scale), even(2 * scale)], wanted)],
        subject,
        wanted,
        lambda q: q.kl(prior, nearest_variance(q, prior)),
    )


def next_posterior(subject: Subject, before: Posterior, wanted: Wanted) -> Posterior:
    """The best of a posterior itself and what training makes of it, with it as the prior."""
    return _best(_trained(subject, [before], wanted), subject, wanted, lambda q: q.kl(before.mean, before.variance))


def _rows_to_look_at(wanted: Wanted) -> Int[np.ndarray, " looks"]:
    """Rows by which posteriors are compared: of those that may be trained on."""
    return drawn_rows(0, wanted.n_train, _LOOKS, 1)


def _error(subject: Subject, posterior: Posterior, rows: Int[np.ndarray, " looks"]) -> float:
    return float(draw_errors(subject.pool, subject.sample, posterior, rows, 2).mean())


def _trained(subject: Subject, priors: list[Posterior], wanted: Wanted) -> list[Posterior]:
    """Priors, and posteriors trained from each, with their means all the way from the prior's or a part of it."""
    n = wanted.n_train

    def fitted(worker: WithPrefix, first: Posterior) -> Posterior:
        fit = Fit(
            rho=_RHO,
            sharpness=_SHARPNESS,
            epochs=min(_MOST_EPOCHS, math.ceil(_EXAMPLES / n)),
            batch_size=min(_BATCH, n),
            n_bound=wanted.n_bound,
            nats=wanted.nats,
            least_kl=_LEAST_SHARE * wanted.n_bound,
        )
        return fit_posterior(worker, subject.sample, np.arange(n), first, first.mean, first.variance, fit)

    trained = list(subject.pool.run(priors, fitted))
    return [*priors, *(_between(before, after, share) for before, after in trained for share in _SHARES)]


def _best(
    candidates: Sequence[Posterior], subject: Subject, wanted: Wanted, kl: Callable[[Posterior], float]
) -> Posterior:
    """The candidate whose bound would be least; ``kl`` is its distance from the prior."""
    rows = _rows_to_look_at(wanted)
    return min(candidates, key=lambda q: wanted.limit(_error(subject, q, rows), kl(q)))


def _between(before: Posterior, after: Posterior, share: float) -> Posterior:
    """``after`` with means that have moved a share of the way only: KL falls with the square of it."""
    mean = {name: start + share * (after.mean[name] - start) for name, start in before.mean.items()}
    return after.around({name: value.astype(np.float32) for name, value in mean.items()}, after.variance)


def train_on_first(subject: Subject, n: int) -> Entries:
    """Entries of an adapter that is trained on the first n rows, as :attr:`Subject.recipe` says; links at once.

    Raises:
        AdapterError: its training diverges.
    """
    start = replace(frame_of(subject.adapter, subject.start), links=1)  # few rows may have fewer steps than links
    sample = subject.sample.head(n)

    def trained(worker: WithPrefix, begin: Adapter) -> Trained:
        return train(worker, sample, sample.head(1), [begin], [0], subject.recipe)[0]

    ((_, result),) = subject.pool.run([start], trained)
    if result.diverged:
        raise AdapterError(
            f"training on the first {n:,} rows diverged at lr {subject.recipe.lr:g}: certify by another method"
        )
    return entries_of(result.adapter, subject.paid)
