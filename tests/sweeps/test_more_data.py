"""What twice the data would buy: errors made by a known law, and where nothing can be said."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom

from lorabound.modes import MODES
from lorabound.stats import fit_curves
from lorabound.sweeps import Row, SweepConfig
from lorabound.sweeps.cells import LOSSES
from lorabound.sweeps.more_data import LEVEL, more_data

SIZES = (100, 200, 400, 800)
# Of the simulation: test examples, seeds, training sizes, and six adapters.
N_TEST, N_SEEDS, PILOTS, RANKS = 1000, 2, (200, 800), (2, 8, 32)
PAIR = list(MODES)[:2]


def rows_of(sizes=SIZES, status="done"):
    """Errors 3 N^(-1/2) of rank 2 and 3.3 N^(-1/2) of rank 1, on 4,000 test examples, without chance in the count."""
    rows = []
    for n_train in sizes:
        for rank, factor in ((1, 3.3), (2, 3.0)):
            for seed in (0, 1):
                errors = np.arange(4000) < round(4000 * factor * n_train**-0.5)
                rows.append(
                    Row(
                        key=f"{n_train}-{rank}-{seed}", rank=rank, mode="freeze_b", n_train=n_train, seed=seed, n_params=1,
                        seconds=1.0, status=status, test_errors=errors,
                        test_log_losses=np.where(errors, 1.0, 0.1).astype(np.float32),
                    )
                )  # fmt: skip
    return rows


def test_a_curve_goes_on_as_it_went():
    found = more_data(rows_of(), SweepConfig(n_train=list(SIZES)), LOSSES[0], "freeze_b", 2)
    truth = 3 * 1600**-0.5
    assert (found.n_train, found.n_cells, found.level) == (1600, 8, 0.8)
    assert found.low < truth < found.high
    assert found.value == pytest.approx(truth, rel=0.03)  # seen: 0.0752; the prior pulls a little


@pytest.mark.parametrize(
    ("rows", "settings", "rank"),
    [
        (rows_of((100,)), {"n_train": [100]}, 2),
        (rows_of(), {"shots": [4, 16]}, 2),
        (rows_of(), {"n_train": list(SIZES)}, 8),
        (rows_of(status="diverged"), {"n_train": list(SIZES)}, 2),
    ],
)
def test_where_there_is_no_curve_nothing_is_said(rows, settings, rank):
    assert more_data(rows, SweepConfig(**settings), LOSSES[0], "freeze_b", rank) is None


def error(n_train):
    return 0.3 + 0.8 * n_train**-0.4


def forecast_of_the_picked(random):
    """Six adapters that are alike, which is the worst for picking; the forecast of the lowest, at twice the data."""
    keys = [(mode, rank, n) for mode in PAIR for rank in RANKS for n in PILOTS]
    hard, losses = random.normal(size=N_TEST), []
    for _, _, n in keys:
        p = error(n) + 0.01 * random.normal(size=N_SEEDS)
        score = np.sqrt(0.6) * hard + np.sqrt(0.4) * random.normal(size=(N_SEEDS, N_TEST))
        losses.append((score < ndtri(p)[:, None]).astype(float))
    curves = fit_curves([key[0] for key in keys], [key[1] for key in keys], [key[2] for key in keys], losses)
    best = min((i for i, key in enumerate(keys) if key[2] == PILOTS[-1]), key=lambda i: losses[i].mean())
    found = curves.forecast([keys[best][:2]], 2 * PILOTS[-1], LEVEL)
    return float(found.means[0]), float(found.lows[0]), float(found.highs[0])


def test_the_forecast_of_the_picked_adapter_is_a_little_too_low():
    """Seen in 150: 0.018 too low on average, 77% inside the 80% interval. The page says so."""
    random, truth = np.random.default_rng(1), error(2 * PILOTS[-1])
    found = [forecast_of_the_picked(random) for _ in range(150)]
    assert -0.03 < np.mean([mean for mean, _, _ in found]) - truth < 0
    inside = sum(low <= truth <= high for _, low, high in found)
    assert inside >= binom.ppf(0.001, len(found), 0.77)
