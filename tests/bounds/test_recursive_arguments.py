"""Recursive PAC-Bayes refuses what it is not proved for, argument by argument."""

import pytest

from lorabound.bounds.recursive import recursive_pac_bayes
from lorabound.errors import InputError

SOUND = {
    "first_risk": 0.4, "shares": [[0.6, 0.3, 0.1]], "n_samples": [100, 50], "kls": [1.0, 2.0], "draws": [1000, 500],
    "delta": 0.03, "delta_draws": 0.02, "gamma": 0.5,
}  # fmt: skip


def test_the_sound_arguments_are_taken():
    assert recursive_pac_bayes(**SOUND).value > 0.4
    recursive_pac_bayes(**SOUND | {"draws": [1, 500], "first_risk": 1.0})  # the ends of the ranges


@pytest.mark.parametrize(
    "change",
    [
        {"draws": [0.5, 500]},
        {"n_samples": [0.7, 0.6]},
        {"gamma": 1.5},
        {"first_risk": 1.5},
        {"first_risk": -0.1},
        {"kls": [1.0]},
        {"draws": [1000]},
        {"n_samples": [100]},
        {"n_samples": [100, 50, 25]},
        {"shares": [[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]},
        {"shares": [[0.1, 0.3, 0.6]]},
    ],
)
def test_an_argument_outside_its_range_is_refused(change):
    with pytest.raises(InputError, match="recursive_pac_bayes"):
        recursive_pac_bayes(**SOUND | change)
