"""Measured Rademacher complexity: suprema that are known exactly, bounds that must stay above, the command."""

import csv
import dataclasses
import json
import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

from lorabound.bounds import rademacher_lower, rademacher_upper, rank_lower_bound
from lorabound.cli import main
from lorabound.reports.complexity import verdict, write_complexity
from lorabound.reports.show import show
from lorabound.worst_case.measured import complexity
from lorabound.worst_case.measured.ascent import largest_signed_means
from lorabound.worst_case.measured.cells import cells
from lorabound.worst_case.measured.complexity import measure_complexity, measure_family
from lorabound.worst_case.measured.digits import pretrained_digits
from lorabound.worst_case.measured.family import TRIVIAL, About, Problem, gaussian, signs_of
from lorabound.worst_case.measured.lora_mlp import DISTANCE, MISS, BoundedLoss, FrozenMlp, LoraMlpClass
from lorabound.worst_case.options import POOL, ComplexityConfig

SMALL = ComplexityConfig(ranks=(1, 3), n_train=(16, 48), signs=8, steps=40, seed=2)
# float32 sums of up to 1024 terms: 6e-8 was seen.
ROUNDING = 1e-6


def random_mlp(random, widths):
    weights = [random.normal(size=(o, i)).astype(np.float32) / np.float32(math.sqrt(i)) for i, o in pairwise(widths)]
    return FrozenMlp(weights=weights, biases=[0.1 * random.normal(size=len(w)).astype(np.float32) for w in weights])


def cells_row(m, n, settings):
    (row,) = measure_family(cells(settings), n, settings)
    assert row.rank == 4 * m
    return row


@pytest.fixture(scope="module")
def measured():
    return measure_complexity(SMALL)


# --- the search against suprema that are known ---


@pytest.mark.parametrize(("rank", "n"), [(1, 20), (6, 100)])
def test_a_linear_loss_reaches_its_exact_supremum(rank, n):
    # ell = 1/2 + y f/2 with |f| <= 1/2: the supremum over the ball is (M |s|/2) ||(1/N) sum_n s_n y_n A x_n||, plus a constant.
    random = np.random.default_rng(rank)
    x = random.normal(size=(n, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    a = random.normal(size=(12, rank, 5))
    radius, scale = 0.25 / np.linalg.norm(a, 2, axis=(1, 2)), -2.0
    y = random.choice([-1.0, 1.0], size=n)
    signs = random.choice([-1.0, 1.0], size=(12, n))
    linear = BoundedLoss(lipschitz=0.5, losses=lambda outputs, labels: 0.5 + labels * outputs.squeeze(-1) / 2)
    mlp = FrozenMlp(weights=[np.zeros((1, 5), np.float32)], biases=[np.zeros(1, np.float32)])
    members = LoraMlpClass(
        mlp, [a], [radius], scale, torch.tensor(x[None]).float(), torch.tensor(y[None]).float(), linear
    )
    found, factors = largest_signed_means(members, torch.tensor(signs).float(), 40, torch.Generator())
    pulls = np.einsum("kn,n,krd,nd->kr", signs, y, a, x) / n
    exact = radius * abs(scale) / 2 * np.linalg.norm(pulls, axis=1)
    assert np.all(found.numpy() <= exact + ROUNDING)
    assert np.all(found.numpy() >= 0.999 * exact - ROUNDING)
    assert torch.all(factors[0].flatten(1).norm(dim=1) <= torch.tensor(radius).float() * (1 + 1e-6))


@pytest.mark.parametrize(("m", "n", "std", "scale"), [(1, 30, 1.0, 1.0), (4, 64, 0.2, -3.0), (12, 200, 1.0, 1.0)])
def test_cells_reach_their_exact_supremum_and_never_exceed_it(m, n, std, scale):
    row = cells_row(m, n, ComplexityConfig(ranks=(m,), signs=24, std=std, scale=scale, steps=100, seed=m))
    assert 0.97 * row.supremum <= row.mean <= row.supremum + ROUNDING
    assert row.supremum <= row.upper
    # The suprema of these draws are draws around the exact mean.
    spread = np.std(row.values, ddof=1) / math.sqrt(len(row.values))
    assert abs(row.supremum - row.exact) <= 5 * spread
    assert row.exact == rank_lower_bound(n, m).value


def test_what_is_proved_is_true_and_intervals_cover():
    # One cell: Rad_S = E|walk of N steps|/(2N) for every sample. 250 experiments of 8 pairs each.
    row = cells_row(1, 20, ComplexityConfig(ranks=(1,), signs=4000, steps=20, seed=3))
    values = np.reshape(row.values, (250, 8))
    means = values.mean(1)
    wrong = np.sum(rademacher_lower(means, 20, 8, 0.2) > row.exact)
    assert stats.binom.sf(wrong - 1, 250, 0.2) > 1e-6
    assert np.mean(means > row.exact) > 0.3  # without its deviation the limit would fail
    half = stats.t.isf(0.025, 7) * values.std(1, ddof=1) / math.sqrt(8)
    covered = np.sum(np.abs(means - row.exact) <= half)
    # |walk| is skewed: Student's interval of 8 draws covers a little less than it says. Seen: 0.924.
    assert covered >= 0.88 * 250
    # The measured mean of all 2,000 pairs is the exact one.
    assert abs(values.mean() - row.exact) <= 4 * values.std() / math.sqrt(2000)


def test_the_supremum_of_cells_by_brute_force():
    # All 0-1 vectors c, all signs of 5 examples: max_c of the signed loss is sum_i |T_i|/(2N), as complexity uses it.
    random = np.random.default_rng(0)
    cell, label = random.integers(3, size=5), random.integers(2, size=5)
    for code in range(32):
        s = 2 * ((code >> np.arange(5)) & 1) - 1
        best = max(
            np.mean(s * (np.abs(np.array([c & 1, c >> 1 & 1, c >> 2 & 1])[cell] - label) - 0.5)) for c in range(8)
        )
        walks = np.zeros(3)
        np.add.at(walks, cell, s * (2 * label - 1))
        assert best == pytest.approx(np.abs(walks).sum() / 10)


def test_no_random_member_does_better():
    random = np.random.default_rng(4)
    mlp = random_mlp(random, (4, 5, 3))
    x, y = (
        torch.randn(1, 12, 4, generator=torch.Generator().manual_seed(1)),
        torch.tensor(random.integers(3, size=(1, 12))),
    )
    signs = torch.tensor(random.choice([-1.0, 1.0], size=(3, 12))).float()
    a = [random.normal(size=(3, 1, width)) for width in (4, 5)]
    found, factors = largest_signed_means(
        LoraMlpClass(mlp, a, [2.0, 2.0], 1.0, x, y, MISS), signs, 100, torch.Generator()
    )
    generator = torch.Generator().manual_seed(0)
    best = []
    for k in range(3):
        many = LoraMlpClass(mlp, [np.repeat(f[k : k + 1], 20_000, 0) for f in a], [2.0, 2.0], 1.0, x, y, MISS)
        tried = []
        for shape in many.shapes:
            b = torch.randn(20_000, *shape, generator=generator)
            tried.append(2 * b / b.flatten(1).norm(dim=1).view(-1, 1, 1))
        with torch.no_grad():
            values = (signs[k] * (many.losses(tried) - 0.5)).mean(1)
        best.append(values.max())
    best = torch.stack(best)
    assert torch.all(found > 0.9 * best)
    assert found.mean() > best.mean()
    assert all(torch.all(f.flatten(1).norm(dim=1) <= 2 * (1 + 1e-6)) for f in factors)


def test_known_members_are_never_lost():
    random = np.random.default_rng(5)
    mlp = random_mlp(random, (4, 5, 3))
    a = [random.normal(size=(2, 1, width)) for width in (4, 5)]
    x, y = torch.randn(1, 8, 4), torch.tensor(random.integers(3, size=(1, 8)))
    members = LoraMlpClass(mlp, a, [1.0, 1.0], 1.0, x, y, MISS)
    signs = torch.tensor(random.choice([-1.0, 1.0], size=(2, 8))).float()
    good, known = largest_signed_means(members, signs, 100, torch.Generator())
    again, _ = largest_signed_means(members, signs, 1, torch.Generator(), known)
    assert torch.all(again >= good - ROUNDING)


# --- the network of the class ---


def test_the_stacked_network_is_the_network_written_out():
    random = np.random.default_rng(6)
    mlp = random_mlp(random, (4, 6, 3))
    a = [random.normal(size=(2, 2, width)) for width in (4, 6)]
    b = [torch.randn(2, out, 2) for out in (6, 3)]
    x, y = torch.randn(1, 7, 4), torch.tensor(random.integers(3, size=(1, 7)))
    losses = LoraMlpClass(mlp, a, [9.0, 9.0], -0.5, x, y, MISS).losses(b)
    for k in range(2):
        u = [torch.tensor(w) - 0.5 * b[t][k] @ torch.tensor(a[t][k]).float() for t, w in enumerate(mlp.weights)]
        hidden = torch.relu(x[0] @ u[0].T + torch.tensor(mlp.biases[0]))
        p = (hidden @ u[1].T + torch.tensor(mlp.biases[1])).softmax(-1)
        assert torch.allclose(losses[k], 1 - p[torch.arange(7), y[0]], atol=1e-6)


@pytest.mark.parametrize(("loss", "width"), [(MISS, 10), (DISTANCE, 1)])
def test_the_losses_are_bounded_with_their_lipschitz_constants(loss, width):
    generator = torch.Generator().manual_seed(7)
    first = 3 * torch.randn(1, 200_000, width, generator=generator, dtype=torch.float64)
    second = first + 10 ** -(4 * torch.rand(1, 200_000, 1, generator=generator)) * torch.randn(
        first.shape, generator=generator
    )
    labels = torch.randint(min(width, 2), (1, 200_000), generator=generator)
    if width > 1:  # where the gradient is largest: the label and one rival at 1/2 each
        first[0, 0], second[0, 0], labels[0, 0] = -50.0, -50.0, 0
        first[0, 0, :2] = 0.0
        second[0, 0, :2] = torch.tensor([1e-4, -1e-4])
    one, two = loss.losses(first, labels), loss.losses(second, labels)
    assert one.min() >= 0
    assert one.max() <= 1
    ratio = ((one - two).abs() / (first - second).norm(dim=-1)).max()
    assert 0.99 * loss.lipschitz <= ratio <= loss.lipschitz * (1 + 1e-6)


def test_digits_have_norm_one_and_the_network_has_not_seen_the_pool():
    digits = pretrained_digits(0)
    assert digits.images.shape == (POOL, 64)
    assert np.allclose(np.linalg.norm(digits.images, axis=1), 1, atol=1e-6)
    # Seen: 0.958; a network that saw nothing has 0.1.
    assert digits.accuracy > 0.9
    assert not np.array_equal(pretrained_digits(1).labels, digits.labels)


# --- the draws ---


def test_larger_ranks_and_samples_go_on_where_smaller_ones_ended():
    assert np.array_equal(gaussian(SMALL, 0, 7, 5)[:, :3], gaussian(SMALL, 0, 3, 5))
    assert not np.array_equal(gaussian(SMALL, 0, 3, 5), gaussian(SMALL, 1, 3, 5))
    assert torch.equal(signs_of(SMALL, 40)[:, :16], signs_of(SMALL, 16))
    assert torch.equal(signs_of(SMALL, 16)[:4], -signs_of(SMALL, 16)[4:])
    many = SMALL.model_copy(update=dict(signs=2000))
    assert abs(signs_of(many, 500)[:1000].mean()) < 0.01
    assert stats.kstest(gaussian(many, 0, 4, 5).ravel(), "norm").pvalue > 1e-4


# --- measured against bounds ---


def test_no_measured_complexity_exceeds_its_bound(measured):
    assert len(measured.rows) == 8
    for row in measured.rows:
        assert row.mean <= row.upper + ROUNDING
        assert row.proved < row.mean
        assert row.low <= row.mean <= row.high
        assert -0.5 <= min(row.values) <= max(row.values) <= 0.5


def test_more_rank_is_never_less(measured):
    values = {(row.rank, row.n_train): np.array(row.values) for row in measured.rows if row.family == "digits"}
    for n in SMALL.n_train:
        assert np.all(values[3, n] >= values[1, n] - ROUNDING)
        assert values[3, n].mean() > 1.2 * values[1, n].mean()


@pytest.mark.parametrize("seed", range(4))
def test_bounds_that_are_not_vacuous_hold_on_random_networks(seed):
    # Weak networks on many examples, so that the bound says something: seen 0.15 to 0.4, measured a tenth of it.
    random = np.random.default_rng(seed)
    n, pairs, radius = 400, 6, 0.1 * 3**seed
    mlp = random_mlp(random, (3, 4, 2))
    a = [random.normal(size=(pairs, 1, width)) for width in (3, 4)]
    x = random.normal(size=(1, n, 3))
    x = torch.tensor(x / np.linalg.norm(x, axis=2, keepdims=True)).float()
    y = torch.tensor(random.integers(2, size=(1, n)))
    signs = random.choice([-1.0, 1.0], size=(pairs, n))
    stacked = LoraMlpClass(mlp, [np.concatenate([f, f]) for f in a], [radius, radius], 1.0, x, y, MISS)
    found, _ = largest_signed_means(
        stacked, torch.tensor(np.concatenate([signs, -signs])).float(), 60, torch.Generator()
    )
    upper = np.mean(rademacher_upper(mlp.lora_class(1, a, [radius, radius], 1.0, 1.0).blocks(MISS.lipschitz), n))
    assert 0 < found.mean() < upper < 0.5


def test_growth_in_a_small_ball_is_that_of_the_linearized_class():
    # In a small ball f is linear in B, and Rad_S about c sqrt(r/N); E chi_r adds 0.05 to the slope in r from rank 1 on.
    settings = ComplexityConfig(ranks=(1, 4, 16), n_train=(32, 256), signs=16, radius=0.02, steps=20)
    for growth in measure_complexity(settings).growth:
        theory = 0.5 if growth.axis == "rank" else -0.5
        if growth.family == "cells":
            # Where a cell has 2 examples, E|walk| is not yet sqrt(2 n/pi): seen 0.024.
            assert growth.exact == pytest.approx(theory, abs=0.03)
        # Seen: within 0.06; the intervals hold chance in signs and A, not what 1/sqrt(N) leaves out.
        assert growth.exponent.low - 0.05 <= theory <= growth.exponent.high + 0.05


def test_another_family_is_one_function(monkeypatch, capsys, tmp_path):
    """Measured, shown and written, where nothing else has heard its name."""

    def thirds(settings):
        made = cells(settings)
        about = About(name="thirds", title="Thirds", sentence="Thirds: a class nobody has heard of.", bounded=False)

        def problem(rank, n):
            known = made.problem(rank, n)
            return Problem(members=known.members, n_params=7, upper=TRIVIAL)

        return dataclasses.replace(made, about=about, problem=problem)

    monkeypatch.setattr(complexity, "FAMILIES", (cells, thirds))
    measured = measure_complexity(SMALL)
    one, other = ([row for row in measured.rows if row.family == name] for name in ("cells", "thirds"))
    assert [row.values for row in one] == [row.values for row in other]
    assert [(growth.family, growth.axis) for growth in measured.growth] == [
        (family, axis) for family in ("cells", "thirds") for axis in ("rank", "n_train")
    ]
    show(measured)
    words = " ".join(capsys.readouterr().out.split())
    assert words.count("Thirds: a class nobody has heard of.") == words.count("thirds, N = 48: ") == 1
    table, everything = write_complexity(measured, tmp_path)
    assert sum(row["family"] == "thirds" for row in csv.DictReader(table.open())) == 4
    assert json.loads(everything.read_text())["families"][1]["sentence"] == "Thirds: a class nobody has heard of."


# --- what is shown ---


def test_a_value_above_its_limit_is_told(measured):
    assert "All 8 measured values lie below" in verdict(measured.rows)
    assert verdict([dataclasses.replace(measured.rows[0], upper=0.5)]) == "Every bound is vacuous."
    broken = dataclasses.replace(measured.rows[0], mean=measured.rows[0].upper + 0.01)
    assert "ABOVE their limit: 1 of 2" in verdict([broken, measured.rows[1]])
    known = dataclasses.replace(measured.rows[-1], mean=measured.rows[-1].supremum + 0.01)
    assert "ABOVE" in verdict([known])


def test_files_hold_what_was_measured(measured, tmp_path):
    table, everything = write_complexity(measured, tmp_path / "a" / "b")
    rows = list(csv.DictReader(table.open()))
    assert [float(row["mean"]) for row in rows] == [row.mean for row in measured.rows]
    record = json.loads(everything.read_text())
    assert record["settings"]["ranks"] == [1, 3]
    assert record["rows"][0]["values"] == list(measured.rows[0].values)
    assert len(record["growth"]) == 4


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["lorabound", "complexity", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


def test_the_command(capsys, monkeypatch, tmp_path):
    status, output, errors = run(
        capsys, monkeypatch, "--ranks", "1", "--n-train", "16,32", "--signs", 4, "--steps", 5, "--out", tmp_path / "o"
    )
    assert status == 0
    assert errors.splitlines()[0] == "digits, rank 1, N = 16"  # a log hears what goes on
    words = " ".join(output.split())
    assert "Every bound is vacuous." in words
    assert "All 2 measured values lie below their bound." in words
    assert (tmp_path / "o" / "complexity.json").is_file()


def test_one_cell_has_no_exponent(capsys):
    one = measure_complexity(ComplexityConfig(ranks=(2,), n_train=(8,), signs=4, steps=2))
    assert one.growth == []
    show(one)
    assert "beta" not in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--ranks", "0"], "ranks = 0: it must be at least 1"),
    (["--n-train", "2000"], "n_train = 2000: it must be at most 1,024"),
    (["--signs", "5"], "signs = 5: it must be even, as draws come in pairs s and -s"),
    (["--signs", "2"], "signs = 2: it must be at least 4"),
    (["--steps", "0"], "steps = 0: it must be at least 1"),
    (["--radius", "-1"], "radius = -1.0: it must be at least 1e-12"),
    (["--scale", "0"], "scale = 0.0: its size must lie between 1e-12 and 1e12"),
])  # fmt: skip
def test_bad_input_is_one_sentence(capsys, monkeypatch, arguments, message):
    status, output, errors = run(capsys, monkeypatch, *arguments)
    assert status == 2
    assert message in errors
    assert errors.count("\n") == 1
    assert output == ""


def test_a_folder_that_cannot_be_written(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, errors = run(
        capsys, monkeypatch, "--ranks", "1", "--n-train", "8", "--signs", 4, "--steps", 1, "--out", tmp_path / "file"
    )
    assert status == 2
    assert "cannot write" in errors
