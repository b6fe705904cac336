"""Learning curves of many candidates: what is known exactly, intervals that cover, choices that lose little."""

import numpy as np
import pytest

from lorabound.errors import InputError
from lorabound.stats import fit_curves, pick


def test_a_candidate_that_diverged_is_hopeless_until_it_works_at_a_larger_size():
    losses = np.random.default_rng(0).random((2, 40))
    lost = np.where(np.arange(40) == 7, np.nan, losses)
    cells = [("freeze_a", 1, 60), ("freeze_a", 8, 60), ("freeze_a", 64, 60), ("freeze_a", 8, 240), ("freeze_a", 1, 240)]
    modes, ranks, sizes = zip(*cells, strict=True)
    curves = fit_curves(modes, ranks, sizes, [losses, lost, lost, losses, losses])
    forecast = curves.forecast([("freeze_a", 1), ("freeze_a", 8), ("freeze_a", 64)], 960)
    assert forecast.hopeless.tolist() == [False, False, True]
    assert forecast.means[2] == forecast.lows[2] == forecast.highs[2] == 1
    assert pick(forecast, [1, 8, 64]).index in (0, 1)
    assert not curves.forecast([("freeze_a", 64)], 59).hopeless[0]
    with pytest.raises(InputError, match="every candidate diverged"):
        pick(curves.forecast([("freeze_a", 64)], 960), [64])
