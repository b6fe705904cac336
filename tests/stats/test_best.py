"""Which cells may be the best: the truly best one is among them as often as promised, on cases whose truth is known."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, binomtest

from lorabound.errors import InputError
from lorabound.stats import not_worse_than_best


def draw(random, errors, n_seeds, n, spread, noisy=1.0):
    """0-1 losses (K, S, n) of cells with these true mean errors. Examples are hard or easy for all cells alike; a seed
    moves a cell's error by a normal of standard deviation ``spread``, that of cell 1 by ``noisy`` times as much."""
    n_cells = len(errors)
    deviation = np.full((n_cells, 1), spread)
    deviation[1] *= noisy
    p = np.clip(np.asarray(errors)[:, None] + deviation * random.normal(size=(n_cells, n_seeds)), 0.01, 0.99)
    hard = np.sqrt(0.5) * random.normal(size=n) + np.sqrt(0.5) * (
        0.6 * random.normal(size=(n_cells, 1, n)) + 0.8 * random.normal(size=(n_cells, n_seeds, n))
    )
    return (hard < ndtri(p)[:, :, None]).astype(float)


# All cells equally good is the hardest case: any of them may be called the best, and cell 1 must not fall out. With 400
# repetitions at 5% a count beyond the 0.999 quantile (35) would show a level that is missed. Seen: 1, 0, 13, 13, 13.
@pytest.mark.parametrize(
    ("n_cells", "n_seeds", "n", "spread", "noisy"),
    [(3, 2, 200, 0.0, 1), (9, 3, 200, 0.02, 1), (9, 2, 200, 0.03, 3), (9, 3, 200, 0.03, 3), (5, 1, 100, 0.0, 1)],
)
def test_the_truly_best_cell_is_kept(n_cells, n_seeds, n, spread, noisy):
    random = np.random.default_rng(n_cells + n_seeds)
    missed = sum(
        1 not in not_worse_than_best(draw(random, [0.4] * n_cells, n_seeds, n, spread, noisy)).members
        for _ in range(400)
    )
    assert missed <= binom.ppf(0.999, 400, 0.05), missed


# Standard deviations: a sample moves all cells alike, and each by an amount of its own; so does a seed. Those of cell 1
# are ``noisy`` times as large. Seen of 400: 8, 25, 22, 4, 20.
@pytest.mark.parametrize(
    ("shape", "common", "own", "by_seed", "noisy"),
    [
        ((3, 3, 3), 0.0, 0.05, 0.0, 1), ((9, 3, 3), 0.0, 0.05, 0.0, 3), ((9, 1, 3), 0.0, 0.05, 0.0, 3),
        ((9, 3, 3), 0.1, 0.05, 0.05, 3), ((3, 2, 2), 0.0, 0.05, 0.0, 3),
    ],
)  # fmt: skip
def test_the_truly_best_cell_is_kept_whatever_the_samples(shape, common, own, by_seed, noisy):
    random = np.random.default_rng(1)
    n_cells, n_seeds, n_samples = shape
    scale = np.where(np.arange(n_cells) == 1, noisy, 1)[:, None, None]
    missed = 0
    for _ in range(400):
        means = 0.4 + common * random.normal(size=(1, 1, n_samples))
        means = means + scale * own * random.normal(size=(n_cells, 1, n_samples))
        means = means + scale * by_seed * random.normal(size=(n_cells, n_seeds, 1))
        losses = means[..., None] + 0.1 * random.normal(size=100) + 0.05 * random.normal(size=(*shape, 100))
        missed += 1 not in not_worse_than_best(losses).members
    assert missed <= binom.ppf(0.999, 400, 0.05), missed


def test_one_sample_is_no_other_computation():
    random = np.random.default_rng(7)
    losses = draw(random, [0.4, 0.42, 0.5], 3, 100, 0.02)
    one, again = not_worse_than_best(losses), not_worse_than_best(losses[:, :, None])
    assert one.members == again.members
    for name in ("means", "margins", "losses_at_most"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_the_lowest_stays_at_any_level(n_seeds):
    losses = np.tile(np.eye(2, 6)[:, None], (1, n_seeds, 1))  # two cells, one example wrong each
    assert not_worse_than_best(losses, level=0.05).members == (0, 1)


def test_what_is_lost_by_any_choice_is_not_above_its_limit():
    random = np.random.default_rng(0)
    truth = np.array([0.45, 0.42, 0.40, 0.40])
    broken = 0
    for _ in range(300):
        found = not_worse_than_best(draw(random, truth, 3, 300, 0.02))
        broken += bool(np.any(truth - truth.min() > found.losses_at_most + 1e-12))
    assert broken <= binom.ppf(0.999, 300, 0.05), broken


def test_the_difference_to_a_fixed_cell_covers_though_the_other_one_was_chosen():
    """Cell 0 against whichever turned out lowest: its true advantage is not above the measured one plus the margin."""
    random = np.random.default_rng(1)
    truth = np.array([0.5, 0.4, 0.4, 0.4, 0.4, 0.4])
    broken = 0
    for _ in range(300):
        found = not_worse_than_best(draw(random, truth, 3, 200, 0.02))
        measured = found.means[0] - found.means[found.lowest]
        broken += truth[0] - truth[found.lowest] < measured - found.margins[0]
    assert broken <= binom.ppf(0.999, 300, 0.05), broken


def test_a_clear_difference_is_found_and_pairing_helps():
    random = np.random.default_rng(2)
    found = not_worse_than_best(draw(random, [0.30, 0.45, 0.60], 3, 500, 0.01))
    assert found.members == (0,)
    hard = random.random(400) < 0.5
    losses = np.stack([hard, hard | (random.random(400) < 0.06)])[:, None].astype(float)
    assert not_worse_than_best(losses).members == (0,)  # 3 points apart on the same examples: unpaired no difference


def test_one_seed_is_the_exact_sign_test():
    losses = np.zeros((2, 1, 20))
    losses[1, 0, :5] = 1
    # 5 discordant examples, all against cell 1: binomtest(5, 5, alternative="greater") = 1/32 < 0.05, so it is out
    assert binomtest(5, 5, alternative="greater").pvalue == pytest.approx(1 / 32)
    assert not_worse_than_best(losses).members == (0,)
    losses[1, 0, 4] = 0  # 4 of 4: 1/16
    assert not_worse_than_best(losses).members == (0, 1)


def test_cells_that_are_the_same_are_all_kept():
    losses = np.tile((np.arange(50) % 2).astype(float), (4, 3, 1))
    found = not_worse_than_best(losses)
    assert found.members == (0, 1, 2, 3)
    assert found.lowest == 0
    assert np.all(found.losses_at_most == 0)


@pytest.mark.parametrize(
    ("losses", "message"),
    [(np.zeros((2, 3)), "need"), (np.zeros((2, 3, 1)), "need"), (np.full((2, 2, 5), np.nan), "losses must lie")],
)
def test_bad_input(losses, message):
    with pytest.raises(InputError, match=message):
        not_worse_than_best(losses)
    with pytest.raises(InputError, match="one entry per cell"):
        not_worse_than_best(np.zeros((2, 2, 5)), [True])
