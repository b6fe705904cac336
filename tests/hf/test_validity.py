"""Real runs of the Trainer on a task whose true risk is known; tools/validity_callback.py makes many more, of other kinds."""

import numpy as np
from scipy.stats import binom

from lorabound.hf import GeneralizationCallback
from tests.trainer_tasks import Truth, evaluated, net, points, trainer, true_error

RUNS, DELTA = 20, 0.3


def test_limits_hold_after_every_step_as_often_as_they_say(tmp_path):
    wrong = 0
    for seed in range(RUNS):
        truth = Truth(lambda model: evaluated(model, lambda: true_error(model)), 4)
        rows = points(64, np.random.default_rng([1, seed]))
        trainer(net(seed), rows, tmp_path / str(seed), GeneralizationCallback(delta=DELTA), truth, seed=seed).train()
        assert len(truth.excess) == 4
        wrong += max(truth.excess) > 0
    assert wrong <= binom.isf(1e-3, RUNS, DELTA)
    assert wrong  # a limit that is never wrong at this level would be loose, or about something else
