"""The forecast for twice the data, of the adapter that the same test examples picked: known truth, simulated."""

import numpy as np
from scipy.special import ndtri
from scipy.stats import binom

from lorabound.modes import MODES
from lorabound.stats import fit_curves
from lorabound.sweeps.more_data import LEVEL

N_TEST, N_SEEDS, SIZES, RANKS = 1000, 2, (200, 800), (2, 8, 32)
PAIR = list(MODES)[:2]


def error(n_train):
    return 0.3 + 0.8 * n_train**-0.4


def forecast_of_the_picked(random):
    """Six adapters that are alike, which is the worst for picking; the forecast of the lowest, at twice the data."""
    keys = [(mode, rank, n) for mode in PAIR for rank in RANKS for n in SIZES]
    hard, losses = random.normal(size=N_TEST), []
    for _, _, n in keys:
        p = error(n) + 0.01 * random.normal(size=N_SEEDS)
        score = np.sqrt(0.6) * hard + np.sqrt(0.4) * random.normal(size=(N_SEEDS, N_TEST))
        losses.append((score < ndtri(p)[:, None]).astype(float))
    curves = fit_curves([key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys], losses)
    best = min((i for i, key in enumerate(keys) if key[2] == SIZES[-1]), key=lambda i: losses[i].mean())
    found = curves.forecast([keys[best][:2]], 2 * SIZES[-1], LEVEL)
    return float(found.means[0]), float(found.lows[0]), float(found.highs[0])


def test_the_forecast_of_the_picked_adapter_is_a_little_too_low():
    """Seen in 150: 0.018 too low on average, 77% inside the 80% interval. The page says so."""
    random, truth = np.random.default_rng(1), error(2 * SIZES[-1])
    found = [forecast_of_the_picked(random) for _ in range(150)]
    assert -0.03 < np.mean([mean for mean, _, _ in found]) - truth < 0
    inside = sum(low <= truth <= high for _, low, high in found)
    assert inside >= binom.ppf(0.001, len(found), 0.77)
