"""Growth in N and r, the worked comparison of theory 4.1b, and the time a curve takes."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from lorabound.bounds import (
    LoraNetwork,
    admissibility,
    chaining_sum,
    lower_bound,
    net_kl,
    rademacher_upper,
    rank_lower_bound,
    uniform_gap,
)

from .cases import CASES


def slope(x, y):
    return np.polyfit(np.log(x), np.log(y), 1)[0]


def network(rank):
    """Everything but the rank fixed, as in theory 4.5."""
    return LoraNetwork([32, 64, 64, 10], rank, "freeze_a", [1, 1, 1], [0, 0, 0], [2, 2, 2], [1, 1, 1])


@pytest.mark.parametrize("constants", ["sharp", "paper"])
def test_theorem_1_falls_like_one_over_root_n(constants):
    q = network(4).n_params
    # Below its cap Rad <= D, that is beyond N/(9q) of about 16 ln C (here ln C = 5 to 6). Seen: -0.5000
    # for both.
    n = 9 * q * np.geomspace(150, 15_000, 30)
    assert slope(n, uniform_gap(network(4).blocks(), n, 0.05, "dudley", constants).value) == pytest.approx(
        -0.5, abs=1e-3
    )


@pytest.mark.parametrize("method", ["chaining", "net"])
def test_the_sharper_forms_fall_like_one_over_root_n_up_to_the_logarithm(method):
    n = np.geomspace(1e6, 1e9, 30)
    # The net's radius shrinks with N, so a logarithm is left: seen -0.49 (chaining), -0.46 (net).
    assert -0.505 <= slope(n, uniform_gap(network(4).blocks(), n, 0.05, method).value) <= -0.44


@pytest.mark.parametrize(("method", "n"), [("dudley", 10**8), ("chaining", 10**6), ("net", 10**6)])
def test_theorem_1_grows_like_root_r(method, n):
    ranks = np.array([1, 2, 4, 8, 16, 32, 64])
    value = [uniform_gap(network(int(r)).blocks(), n, 0.05, method).value for r in ranks]
    confidence = math.sqrt(math.log(20) / (2 * n))
    # K_t does not depend on r here, so no logarithm is left in the covers; the net's own radius grows with r.
    # Seen: 0.500 (dudley), 0.499 (chaining), 0.475 (net).
    less = 0 if method == "net" else confidence
    assert slope(ranks, np.array(value) - less) == pytest.approx(0.5, abs=0.03)


def test_growth_in_r_with_norms_that_grow_is_half_up_to_the_logarithm():
    ranks = np.array([1, 2, 4, 8, 16, 32, 64])
    value = []
    for r in ranks:
        norm = math.sqrt(r) + math.sqrt(32)
        layers = LoraNetwork([32, 64, 10], int(r), "freeze_a", [1, 1], [0, 0], [norm, norm], [1, 1])
        value.append(uniform_gap(layers.blocks(), 10**8, 0.05, "dudley").value)
    assert 0.5 < slope(ranks, value) < 0.55


def test_the_worked_comparison_of_theory_4():
    # q = 100, N = 10^4, ln C = 5, without confidence: sharp Dudley is capped at 2 D = 1, the best chain of
    # the
    # volumetric cover 0.221, the one-step net 0.237 at delta = 0.05. The finer cover lowers both.
    blocks, n = [(100, math.log((math.exp(5) - 0.5) / 2))], 10_000
    assert uniform_gap(blocks, n, 0.05, "dudley").terms["twice_rademacher"] == 1.0
    chain = uniform_gap(blocks, n, 0.05, form="frobenius")
    assert chain.terms["discretization"] + chain.terms["chain"] == pytest.approx(0.2212, abs=5e-5)
    assert uniform_gap(blocks, n, 0.05, "net", form="frobenius").value == pytest.approx(0.2372, abs=5e-5)
    finest = uniform_gap(blocks, n, 0.05)
    assert finest.terms["discretization"] + finest.terms["chain"] == pytest.approx(0.2132, abs=5e-5)
    # Halving scales are far from the best chain.
    halving = min(chaining_sum(blocks, n, 0.5 ** np.arange(1.0, k), "frobenius") for k in range(3, 20))
    assert halving == pytest.approx(0.3754, abs=5e-4)


def test_train_both_is_looser_at_equal_parameter_counts():
    # Section 4.3 of the paper: at equal q, freezing A affords twice the rank and a smaller constant.
    square = {"weight_norms": [1, 1], "bias_norms": [0, 0]}
    frozen = LoraNetwork([16, 16, 16], 8, "freeze_a", factor_norms=[2, 2], radii=[1, 1], **square)
    both = LoraNetwork([16, 16, 16], 4, "train_both", factor_norms=[(0, 2)] * 2, radii=[(1, 1)] * 2, **square)
    assert frozen.n_params == both.n_params
    assert uniform_gap(frozen.blocks(), 10**5, 0.05).value < uniform_gap(both.blocks(), 10**5, 0.05).value


# --- 10,000 points in under a second ---

POINTS = 10_000


def timed(call):
    # Processor time, so that a busy machine does not fail the test.
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        result = call()
        best = min(best, time.process_time() - start)
        if best < 1:
            break
    assert best < 1
    return result


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ten_thousand_sample_sizes_in_a_second(case):
    n = np.linspace(20, 2e6, POINTS).round()
    risk = np.round(0.1 * n) / n if case.counts else 0.1
    assert timed(lambda: case.make(n, 0.05, risk, 3.0)).value.shape == (POINTS,)


@pytest.mark.parametrize("method", ["chaining", "net", "dudley", "net_kl"])
def test_ten_thousand_ranks_in_a_second(method):
    ranks = np.arange(1, POINTS + 1)
    layers = LoraNetwork([8, 4], ranks, "freeze_a", [1], [0], [np.sqrt(ranks)], [1])
    if method == "net_kl":
        curve = timed(lambda: net_kl(layers.blocks(), 1000, 0.05, 0.1))
    else:
        curve = timed(lambda: uniform_gap(layers.blocks(), 1000, 0.05, method))
    single = LoraNetwork([8, 4], 77, "freeze_a", [1], [0], [math.sqrt(77)], [1]).blocks()
    alone = net_kl(single, 1000, 0.05, 0.1) if method == "net_kl" else uniform_gap(single, 1000, 0.05, method)
    assert curve.value[76] == pytest.approx(alone.value, rel=1e-12)


def test_ten_thousand_lower_bounds_in_a_second():
    n = np.geomspace(1, 1e9, POINTS).round()
    ranks = np.arange(1, POINTS + 1)
    assert timed(lambda: lower_bound(n)).value.shape == (POINTS,)
    assert timed(lambda: lower_bound(n, 1e-6)).value.shape == (POINTS,)
    assert timed(lambda: rank_lower_bound(n, ranks)).value.shape == (POINTS,)
    assert timed(lambda: admissibility(ranks, [1.0, 2.0], 0.1)).shape == (POINTS,)
    assert timed(lambda: rademacher_upper([(30, 2.0)], n)).shape == (POINTS,)


def test_curves_in_two_directions_at_once():
    ranks, n = np.array([1, 2, 4]), np.array([[10.0], [1000.0]])
    blocks = LoraNetwork([8, 4], ranks, "freeze_a", [1], [0], [np.sqrt(ranks)], [1]).blocks()
    for method in ("chaining", "net", "dudley"):
        table = uniform_gap(blocks, n, 0.05, method).value
        assert table.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                one = [(q[j], float(np.broadcast_to(k, 3)[j])) for q, k in blocks]
                assert table[i, j] == pytest.approx(uniform_gap(one, n[i, 0], 0.05, method).value, rel=1e-12)


def test_chaining_against_theorem_1_as_the_page_says():
    """docs/theory.md: 2 to 68 times smaller than Theorem 1 as published, over this grid."""
    ratios = []
    for q in (10, 100, 1000, 10_000):
        for log_k in (-2.0, 5.0, 30.0):
            n = np.geomspace(1e2, 1e8, 13)
            published = uniform_gap([(q, log_k)], n, 0.05, "dudley", "paper").value
            ratios.append(published / uniform_gap([(q, log_k)], n, 0.05, "chaining").value)
    assert 1.95 < np.min(ratios) < 2.05
    assert 60 < np.max(ratios) < 68.5
