"""Which candidate to take, when the true risks of all of them are known up to a joint distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lorabound.arguments import Array, probability, real
from lorabound.errors import InputError
from lorabound.stats.cells import risk_at, scaled

N_DRAWS = 4096
_SEED = 15


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """True risks R of K candidates at one training size, as a joint distribution.

    f = ln( -ln(1 - R) ) is normal; R is 1 where ``hopeless``. What is read off differences or the lowest of all is
    averaged over ``draws``, which come from a fixed seed.

    Attributes:
        candidates: (mode, rank) of each candidate.
        n: training size.
        level: coverage of the intervals.
        means: (K,), expected risk of each candidate.
        lows, highs: (K,), interval of each candidate's risk.
        draws: (D, K), risks of all candidates, drawn together.
        hopeless: (K,) bool, whether the candidate diverged in the pilots.
        seed_sd: standard deviation over seeds of f(risk of one trained adapter).
        example_share, seed_share: variance over examples of a loss, as a share of R (1 - R): the part that adapters of
            all seeds have in common, and the part that differs by seed.
    """

    candidates: tuple[tuple[str, int], ...]
    n: float
    level: float
    means: Array
    lows: Array
    highs: Array
    draws: Array
    hopeless: NDArray[np.bool_]
    seed_sd: float
    example_share: float
    seed_share: float

    @classmethod
    def of(
        cls,
        *,
        candidates: tuple[tuple[str, int], ...],
        n: float,
        level: float,
        centre: Array,
        covariance: Array,
        hopeless: NDArray[np.bool_],
        seed_sd: float,
        example_share: float,
        seed_share: float,
    ) -> Self:
        """The distribution of 1 - exp(-exp f), f normal.

        Args:
            centre, covariance: (K,) and (K, K), mean and covariance of f.
            candidates, n, level, hopeless, seed_sd, example_share, seed_share: as the attributes.
        """
        values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
        half = np.random.Generator(np.random.Philox(_SEED)).normal(size=(N_DRAWS // 2, len(centre)))
        normal = np.concatenate([half, -half])  # antithetic: the mean of f is exact
        f = centre + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        draws = np.where(hopeless, 1.0, risk_at(f))
        reach = special.ndtri((1 + level) / 2) * np.sqrt(np.maximum(np.diag(covariance), 0.0))
        ends = [np.where(hopeless, 1.0, risk_at(end)) for end in (centre - reach, centre + reach)]
        return cls(
            candidates=candidates,
            n=n,
            level=level,
            means=draws.mean(axis=0),
            lows=ends[0],
            highs=ends[1],
            draws=draws,
            hopeless=hopeless,
            seed_sd=seed_sd,
            example_share=example_share,
            seed_share=seed_share,
        )

    @property
    def best(self) -> int:
        """Index of the candidate with the lowest expected risk; of equal ones the first."""
        return int(self.means.argmin())

    @property
    def best_chances(self) -> Array:
        """(K,), P(R_c < R_j for all j): probability of each candidate to be the best one (of equal ones the first)."""
        return np.bincount(self.draws.argmin(axis=1), minlength=len(self.means)) / len(self.draws)

    @property
    def expected_loss(self) -> Array:
        """(K,), E[R_c - min_j R_j]: how far the candidate is expected to be above the best one."""
        return np.asarray(self.means - self.draws.min(axis=1).mean())

    def close(self, tolerance: float = 0.005) -> Array:
        """(K,), P(R_c - min_j R_j <= tolerance): no other candidate is better by more than ``tolerance``.

        Raises:
            InputError: ``tolerance`` not in [0, 1].
        """
        real("close", "tolerance", tolerance, 0.0, 1.0)
        return np.asarray((self.draws <= self.draws.min(axis=1, keepdims=True) + tolerance).mean(axis=0))

    def difference(self, i: int, j: int, level: float | None = None) -> tuple[float, float]:
        """Interval of R_i - R_j, of coverage ``level`` (by default the forecast's): quantiles of the draws.

        Raises:
            InputError: ``level`` not in (0, 1).
        """
        tail = (1 - probability("difference", "level", self.level if level is None else level)) / 2
        low, high = np.quantile(self.draws[:, i] - self.draws[:, j], [tail, 1 - tail])
        return float(low), float(high)

    def measured(self, n_test: int, n_seeds: int = 1, level: float | None = None) -> tuple[Array, Array]:
        """Intervals (lows, highs), each (K,), for what a MEASUREMENT will say: mean loss on fresh test examples.

        Adapters of ``n_seeds`` seeds, tested on ``n_test`` examples that no pilot has seen. Beside the risk itself the
        interval holds the chance of the seeds, f' = f + seed_sd z/sqrt(n_seeds), and that of the test: a binomial
        share of k errors in the number of 0-1 examples that would scatter as much,
        n_test/(example_share + seed_share/n_seeds).

        Args:
            n_test: m, test examples, >= 1.
            n_seeds: seeds whose mean is measured, >= 1.
            level: coverage; by default the forecast's.
        Raises:
            InputError: an argument outside its range.
        """
        name = "measured"
        real(name, "n_test", n_test, 1.0, open_high=True, whole=True)
        real(name, "n_seeds", n_seeds, 1.0, open_high=True, whole=True)
        tail = (1 - probability(name, "level", self.level if level is None else level)) / 2
        random = np.random.Generator(np.random.Philox(_SEED + 1))
        spread = self.seed_sd / math.sqrt(n_seeds)
        nearly = np.clip(self.draws, 1e-300, 1 - 1e-16)
        risks = risk_at(scaled(nearly) + spread * random.normal(size=self.draws.shape))
        share = self.example_share + self.seed_share / n_seeds
        trials = max(round(n_test / share), 1) if share > 0 else 10**9
        losses = random.binomial(trials, risks) / trials
        losses[:, self.hopeless] = 1.0
        low = np.quantile(losses, tail, axis=0, method="inverted_cdf")
        high = np.quantile(losses, 1 - tail, axis=0, method="inverted_cdf")
        return low, high


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidate that is recommended.

    Attributes:
        index: index of the candidate among those of the forecast.
        candidate: (mode, rank) of the candidate.
        expected_loss: E[R - min_j R_j] of the candidate.
        chance_close: P(no other candidate is better by more than half a point).
        ties: indices of the candidates of the same mode whose risk cannot be told apart from the best one's at the
            forecast's level (the interval of the difference holds 0), by rank; ``index`` is among them.
    """

    index: int
    candidate: tuple[str, int]
    expected_loss: float
    chance_close: float
    ties: tuple[int, ...]


def pick(forecast: Forecast, n_params: Sequence[int], allowance: float = 0.002) -> Choice:
    """The candidate with the fewest trained parameters whose expected loss is hardly above the smallest.

    Among candidates with expected_loss <= min expected_loss + allowance the one with the smallest n_params; of equal
    ones that with the lower expected loss.

    Args:
        forecast: risks of the candidates.
        n_params: trained parameters of each candidate.
        allowance: risk given away for a smaller adapter, in [0, 1].
    Raises:
        InputError: not one count per candidate, every candidate hopeless, or an argument outside its range.
    """
    counts = np.atleast_1d(real("pick", "n_params", n_params, 0.0, open_high=True))
    if counts.shape != forecast.means.shape:
        raise InputError(f"pick: n_params must have one entry per candidate, {len(forecast.means)}, got {counts.shape}")
    if forecast.hopeless.all():
        raise InputError(f"pick: every candidate diverged at {forecast.n:g} training examples: lower the learning rate")
    real("pick", "allowance", allowance, 0.0, 1.0)
    loss = forecast.expected_loss
    allowed = np.flatnonzero((loss <= loss.min() + allowance) & ~forecast.hopeless)
    index = int(min(allowed, key=lambda c: (counts[c], loss[c])))
    mode = forecast.candidates[index][0]
    ties = {index}
    for c, (other, _) in enumerate(forecast.candidates):
        low, _ = forecast.difference(c, forecast.best)
        if other == mode and low <= 0 and not forecast.hopeless[c]:
            ties.add(c)
    return Choice(
        index=index,
        candidate=forecast.candidates[index],
        expected_loss=float(loss[index]),
        chance_close=float(forecast.close()[index]),
        ties=tuple(sorted(ties, key=lambda c: forecast.candidates[c][1])),
    )
