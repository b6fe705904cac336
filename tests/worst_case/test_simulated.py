"""Theorem 2 simulated: the constructions on real draws, frequencies against exact probabilities, the command."""

import math
import sys

import numpy as np
import pytest
from scipy import stats

from lorabound.bounds import admissibility, rank_lower_bound
from lorabound.cli import main
from lorabound.errors import InputError
from lorabound.worst_case.simulated import (
    Frequency,
    LowerConfig,
    frozen_weights,
    full_factor,
    outputs,
    rank_one_factor,
    simulate_cells,
    simulate_lower_bound,
)
from lorabound.worst_case.simulated.cells import holding_radius

SMALL = LowerConfig(
    widths=(5, 7, 3), ranks=(1, 3, 40), n_train=(31, 400), radius=0.9, std=0.7, scale=-1.3, trials=40_000, seed=3
)


@pytest.fixture(scope="module")
def simulation():
    return simulate_lower_bound(SMALL)


@pytest.mark.parametrize(
    ("build", "rank"), [(rank_one_factor, 1), (rank_one_factor, 9), (full_factor, 7), (full_factor, 9)]
)
def test_both_constructions_compute_the_identity(build, rank):
    random = np.random.default_rng(rank)
    weights = frozen_weights((5, 7, 3), random)
    a = [0.4 * random.normal(size=(50, rank, w.shape[1])) for w in weights]
    b = [build(w, factor, -0.6) for w, factor in zip(weights, a, strict=True)]
    x = np.linspace(0, 1, 7)[:, None] * np.eye(5)[0]
    # Seen: 1e-10 where A is square and nearly singular, 1e-14 otherwise.
    assert np.abs(outputs(weights, a, b, -0.6, x) - np.linspace(0, 1, 7)[:, None] * np.eye(3)[0]).max() < 1e-6
    # Without the adapter the same network does not.
    assert np.abs(outputs(weights, a, [0 * factor for factor in b], -0.6, x)[:, -1, 0] - 1).min() > 0.05


def test_the_batched_network_is_the_network_written_out():
    random = np.random.default_rng(0)
    weights = frozen_weights((4, 6, 2), random)
    a = [random.normal(size=(3, 2, w.shape[1])) for w in weights]
    b = [random.normal(size=(3, w.shape[0], 2)) for w in weights]
    x = random.normal(size=(5, 4))
    for k in range(3):
        first = np.maximum((weights[0] + 0.5 * b[0][k] @ a[0][k]) @ x.T, 0)
        by_hand = ((weights[1] + 0.5 * b[1][k] @ a[1][k]) @ first).T
        assert np.allclose(outputs(weights, a, b, 0.5, x)[k], by_hand, atol=1e-12)


def test_the_full_construction_needs_the_rank():
    with pytest.raises(InputError, match="at least the input width 7, got 6"):
        full_factor(np.eye(7), np.ones((1, 6, 7)), 1.0)


def test_frequencies_agree_with_exact_probabilities(simulation):
    # 99% intervals; over these 3 + 2 + 6 dependent ones, two misses would be a 1-in-200 event at a fixed seed.
    exact = [row.frequency for row in simulation.admissions if row.construction == "rank_one"]
    exact += [row.frequency for row in simulation.coins] + [row.frequency for row in simulation.theorem]
    assert sum(not frequency.agrees for frequency in exact) <= 1
    for frequency in exact:
        assert (
            min(
                stats.binom.cdf(frequency.hits, frequency.trials, frequency.theory),
                stats.binom.sf(frequency.hits - 1, frequency.trials, frequency.theory),
            )
            > 1e-6
        )


def test_the_comparison_can_fail(simulation):
    # The probability of the next rank, or of a slightly larger ball, is far outside the interval.
    row = simulation.admissions[0]
    weights = frozen_weights(SMALL.widths, np.random.default_rng(SMALL.seed))
    shifts = [np.linalg.norm(np.eye(len(w))[0] - w[:, 0]) for w in weights]
    assert row.frequency.theory == pytest.approx(admissibility(1, shifts, SMALL.radius, SMALL.std, SMALL.scale))
    for rank, radius in [(2, SMALL.radius), (1, SMALL.radius * 1.05)]:
        wrong = admissibility(rank, shifts, radius, SMALL.std, SMALL.scale)
        assert not Frequency.of(row.frequency.hits, row.frequency.trials, wrong).agrees


def test_the_full_construction_where_it_exists(simulation):
    by_rank = {row.rank: row for row in simulation.admissions if row.construction == "full"}
    assert by_rank[1].frequency is None
    assert by_rank[3].frequency is None
    wide = by_rank[40]
    assert not wide.frequency.exact
    assert wide.frequency.agrees
    assert wide.max_error < 1e-9
    # Gordon's bound says something at a larger ball, and the frequency stays above it.
    larger = SMALL.model_copy(update=dict(ranks=(40,), radius=3.0, trials=2000))
    row = next(row for row in simulate_lower_bound(larger).admissions if row.construction == "full")
    assert 0.5 < row.frequency.theory <= row.frequency.high


def test_lower_and_upper_bounds_do_not_cross(simulation):
    for row in simulation.theorem:
        assert 0 < row.lower.value < row.upper.value <= row.published.value
    for row in simulation.coins:
        assert abs(row.mean - row.exact_mean) < 5 * row.standard_error


def test_networks_drawn_whole_make_the_gap_the_columns_promise():
    """Everything at once, nothing shared with the simulation's shortcuts: A, B, network, sample, gap of the outputs."""
    random = np.random.default_rng(8)
    settings = LowerConfig(widths=(3, 4, 1), ranks=(2,), n_train=(25,), radius=1.2, trials=4000, seed=5)
    row = simulate_lower_bound(settings).theorem[0]
    weights = frozen_weights(settings.widths, np.random.default_rng(settings.seed))  # the same W
    a = [random.normal(size=(4000, 2, w.shape[1])) for w in weights]
    b = [rank_one_factor(w, factor, 1.0) for w, factor in zip(weights, a, strict=True)]
    fits = np.all([np.linalg.norm(factor, axis=(1, 2)) <= 1.2 for factor in b], axis=0)
    losses = np.minimum(1, np.abs(outputs(weights, a, b, 1.0, np.eye(3)[:1] * [[0.0], [1.0]])[:, :, 0]))
    tosses = random.integers(2, size=(4000, 25))
    gap = np.abs(losses.mean(1) - np.take_along_axis(losses, tosses, axis=1).mean(1))
    hits = np.sum(fits & (gap >= row.lower.value - 1e-9))
    p = row.frequency.theory
    assert min(stats.binom.cdf(hits, 4000, p), stats.binom.sf(hits - 1, 4000, p)) > 1e-6
    assert 0.1 < p < 0.9


def test_cells_meet_the_exact_mean_and_stay_below_the_upper_bound():
    settings = LowerConfig(ranks=(1, 8, 32), n_train=(50, 1000), std=0.5, scale=-2.0)
    for row in simulate_cells(settings, np.random.default_rng(1)):
        assert row.exact == rank_lower_bound(row.n_train, row.cells).value
        assert abs(row.mean - row.exact) < 5 * row.standard_error
        assert row.max_error < 1e-6
        assert row.exact < row.upper
        # One cell more would be seen.
        if row.cells > 1:
            assert abs(row.mean - rank_lower_bound(row.n_train, row.cells + 1).value) > 5 * row.standard_error


def test_the_radius_holds_every_factor():
    random = np.random.default_rng(2)
    a, weight = random.normal(size=(200, 6, 4)), random.normal(size=4)
    corners = (np.arange(16)[:, None] >> np.arange(4)) & 1
    norms = np.linalg.norm((corners - weight) @ np.linalg.pinv(a), axis=2) / 0.3  # (draws, corners)
    radius = holding_radius(a, weight, -0.3)
    assert np.all(norms.max(axis=1) <= radius)
    assert np.median(norms.max(axis=1) / radius) > 0.4


def test_a_seed_fixes_everything():
    short = SMALL.model_copy(update=dict(trials=200))
    first, second = simulate_lower_bound(short), simulate_lower_bound(short)
    assert first.cells == second.cells
    assert [row.frequency for row in first.theorem] == [row.frequency for row in second.theorem]
    other = simulate_lower_bound(short.model_copy(update=dict(seed=4)))
    assert first.admissions[0].frequency != other.admissions[0].frequency


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["lorabound", "lower-bound", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


def test_the_command(capsys, monkeypatch):
    status, output, errors = run(capsys, monkeypatch, "--trials", "2000", "--ranks", "2,8", "--n-train", "100")
    assert (status, errors) == (0, "")
    output = " ".join(output.split())
    assert "needs r >= 8" in output
    assert "intervals hold the exact probability" in output
    assert math.isclose(float(output.split("of the exact ")[1].split(";")[0]), 0.9872, abs_tol=0.02)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--ranks", "one"], "ranks = 'one': give whole numbers with commas between them, as 1,2,4"),
    (["--ranks", ""], "ranks = []: give one value at least"),
    (["--ranks", "0"], "ranks = 0: it must be at least 1"),
    (["--ranks", "2,2"], "ranks = '2,2': it names a value twice"),
    (["--widths", "8"], "give 2 values at least"),
    (["--n-train", "0"], "n_train = 0: it must be at least 1"),
    (["--radius", "0"], "radius = 0.0: it must be at least 1e-12"),
    (["--radius", "nan"], "radius = nan: it must be"),
    (["--std", "-1"], "std = -1.0: it must be at least 1e-12"),
    (["--scale", "0"], "scale = 0.0: its size must lie between"),
    (["--trials", "5"], "trials = 5: it must be at least 100"),
    (["--seed", "-1"], "seed = -1: it must be at least 0"),
    (["--probability", "1"], "probability = 1.0: it must be less than 1"),
])  # fmt: skip
def test_bad_input_is_one_sentence(capsys, monkeypatch, arguments, message):
    status, output, errors = run(capsys, monkeypatch, *arguments)
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert output == ""
