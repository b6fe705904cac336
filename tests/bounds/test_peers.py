"""Numbers printed by others, and the faults found in published bound code: each a test of ours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lorabound.bounds import (
    Bound,
    LoraNetwork,
    best_of,
    binomial_upper,
    gaussian_kl,
    holdout,
    holdout_bounded,
    information_gap,
    kl_inverse,
    log_xi,
    net_kl,
    occam,
    over_radii,
    pac_bayes,
    uniform_gap,
)
from lorabound.bounds.radii import RADII
from lorabound.errors import InputError


@pytest.mark.parametrize(("risk", "kl", "printed"), [(0.028, 5144, 0.161), (0.027, 5791, 0.170), (0.028, 6534, 0.186)])
def test_dziugaite_and_roy_2017_table_1(risk, kl, printed):
    # Their right-hand side: (KL + ln(n/delta))/(n - 1), n = 55000, delta = 0.025. They print inputs to 2
    # digits.
    n, delta = 55_000, 0.025
    theirs = kl_inverse(risk, (kl + math.log(n / delta)) / (n - 1))
    assert abs(theirs - printed) <= 0.001
    ours = pac_bayes(risk, n, kl, delta).value
    assert theirs - 0.0005 < ours < theirs


@pytest.mark.parametrize(
    ("risk", "bits", "ours", "catoni_grid"),
    [(0.29060000, 2139.095611 + 4, 0.39743, 0.39829734), (0.00503331, 42700.761869 + 4, 0.40736, 0.40762140)],
)
def test_compression_rows_of_lotfi_et_al(risk, bits, ours, catoni_grid):
    # n = 60000, delta = 0.05. Their Catoni grid of 8 paid for once is above our Occam-kl with nothing
    # optimized.
    bound = occam(risk, 60_000, bits, 0.05)
    assert bound.value == pytest.approx(ours, abs=5e-6)
    assert bound.value < catoni_grid


def test_the_exact_tail_beats_the_kl_form_by_a_little():
    assert 0 < occam(0.2906, 60_000, 2143.0, 0.05).value - occam(0.2906, 60_000, 2143.0, 0.05, True).value < 3e-4


def test_fault_underflow_a_binomial_tail_of_1800_nats_is_not_17_percent():
    # peers.md: 17.10 percent through logcdf, which underflows to -inf; the truth was 23.07 percent.
    n, k, nats = 60_000, 6_000, 2_000.0
    limit = binomial_upper(k, n, log_delta=-nats)
    assert stats.binom.cdf(k, n, limit) == 0.0  # what scipy sees there, and why bisecting on it stops too low
    low, high = k / n, 1.0
    for _ in range(60):  # the published way: bisection on scipy's tail at delta = exp(-nats) = 0
        middle = (low + high) / 2
        low, high = (middle, high) if stats.binom.cdf(k, n, middle) > math.exp(-nats) else (low, middle)
    assert high < 0.92 * limit


def test_fault_one_draw_without_correction():
    # Dziugaite & Roy's row with a single Monte Carlo draw: 0.161 uncorrected, vacuous in practice once
    # corrected.
    assert pac_bayes(0.028, 55_000, 5144, 0.025).value < 0.162
    assert pac_bayes(0.028, 55_000, 5144, 0.025, draws=1, delta_draws=0.01).value > 0.99
    # 150,000 draws: Dziugaite & Roy's own number.
    assert pac_bayes(0.028, 55_000, 5144, 0.025, draws=150_000, delta_draws=0.01).value < 0.164


def test_fault_draws_without_their_delta_are_refused():
    with pytest.raises(InputError, match="both of draws and delta_draws"):
        pac_bayes(0.1, 100, 1.0, 0.05, draws=100)
    with pytest.raises(InputError, match="both of draws and delta_draws"):
        pac_bayes(0.1, 100, 1.0, 0.05, delta_draws=0.01)


def test_fault_the_logarithm_covers_delta_too():
    # ln(2 sqrt(n)/delta), not ln(2 sqrt(n))/delta: tenfold smaller delta costs ln 10 nats, no more.
    n = 10_000

    def spent(delta):
        """Nats in the budget, read back from the value at zero empirical risk."""
        return -n * math.log1p(-pac_bayes(0.0, n, 0.0, delta).value)

    assert spent(0.005) - spent(0.05) == pytest.approx(math.log(10), rel=1e-9)
    assert spent(0.05) == pytest.approx(log_xi(n) + math.log(20), rel=1e-9)


def test_fault_extra_bits_are_never_negative_or_free():
    with pytest.raises(InputError, match=r"code_bits must lie in \[0, inf\), got -2"):
        occam(0.1, 100, -2.0, 0.05)
    with pytest.raises(TypeError):
        occam(0.1, 100, delta=0.05)  # no default length


def test_fault_norms_below_one_are_ordinary():
    # A published bound took ln(norm) as a length: NaN or a negative price for norms below 1.
    values = [
        uniform_gap(LoraNetwork([4, 2], 2, "freeze_a", [1], [0], [a], [m]).blocks(), 1000, 0.05).value
        for a, m in [(1e-9, 1e-9), (0.1, 0.3), (0.5, 0.9), (2.0, 3.0)]
    ]
    assert all(math.isfinite(v) for v in values)
    assert values == sorted(values)


def test_fault_parameters_chosen_after_the_data_are_paid_for():
    network = lambda m: LoraNetwork([4, 2], 2, "freeze_a", [1], [0], [1.0], [m])  # noqa: E731
    on_grid = float(RADII[1984])
    promised = uniform_gap(network(on_grid).blocks(), 1000, 0.05)
    measured = over_radii(network, on_grid, 1000, 0.05)
    assert measured.inputs["radius"] == on_grid
    # The union over 3841 radii: the confidence term holds ln(3841/delta).
    assert measured.terms["confidence"] == pytest.approx(math.sqrt(math.log(3841 / 0.05) / 2000), rel=1e-12)
    assert measured.value > promised.value
    # net_kl pays ln 64 for the radius of its cover: at K = 0 the class is one function.
    single = net_kl([(1, -math.inf)], 1000, 0.05, 0.0)
    assert -1000 * math.log1p(-single.terms["inverse_kl"] + 1e-8) == pytest.approx(math.log(64 / 0.05), rel=1e-4)


def test_fault_gaussian_kl_is_a_sum_over_coordinates_not_a_mean():
    assert gaussian_kl(np.ones(7), 0.0, 1.0, 2.0) == pytest.approx(7 * gaussian_kl(1.0, 0.0, 1.0, 2.0), rel=1e-12)


def test_fault_the_inverse_kl_is_an_upper_end_not_a_midpoint():
    rng = np.random.default_rng(0)
    p, c = rng.uniform(size=2000), 10 ** rng.uniform(-6, 0, 2000)
    x = kl_inverse(p, c)
    inside = x < 1 - 1e-9
    # A midpoint is below half of the time; the float evaluation here has errors of 1e-15 only.
    assert np.mean((stats.entropy([p, 1 - p], [x, 1 - x]) - c)[inside] >= -1e-14) == 1.0


# --- combine ---


def test_best_of_takes_the_least_and_adds_the_deltas():
    bounds = [occam(0.1, 1000, 50, 0.02), holdout(30, 200, 0.02), holdout_bounded(0.15, 200, 0.01)]
    best = best_of(bounds)
    assert best.value == min(b.value for b in bounds)
    assert best.delta == pytest.approx(0.05, rel=1e-15)
    winner = min(bounds, key=lambda b: b.value)
    assert (best.predictor, best.terms, best.n_samples) == (winner.predictor, winner.terms, winner.n_samples)
    assert best.inputs["values"] == [b.value for b in bounds]
    assert winner.theorem in best.theorem
    assert best_of(bounds, 0.05).value == best.value
    assert best_of([bounds[0]]).value == bounds[0].value


def test_best_of_refuses_deltas_that_were_not_shared_out():
    bounds = [occam(0.1, 1000, 50, 0.05), holdout(30, 200, 0.05)]
    with pytest.raises(InputError, match=r"add up to 0.1, more than delta=0.05; compute each at delta/2"):
        best_of(bounds, 0.05)
    with pytest.raises(InputError, match="less than 1"):
        best_of([occam(0.1, 1000, 50, 0.5)] * 2)


def test_best_of_refuses_what_cannot_be_compared():
    gap, risk = uniform_gap([(5, 0.0)], 100, 0.01), occam(0.1, 100, 5, 0.01)
    mean = information_gap(5, 100)
    for bounds, words in [
        ([], "at least one"),
        ([gap, risk], r"share one kind, got \['gap', 'risk'\]"),
        ([gap, mean], "in expectation and bounds at a delta"),
    ]:
        with pytest.raises(InputError, match=words):
            best_of(bounds)
    with pytest.raises(InputError, match="have no delta to share"):
        best_of([mean], 0.05)
    assert best_of([mean, information_gap(4, 100)]).delta is None


def test_best_of_curves_entry_by_entry():
    n = np.array([10, 100, 10_000])
    curves = [uniform_gap([(5, 1.0)], n, 0.02, method) for method in ("net", "chaining")]
    best = best_of(curves, 0.04)
    assert np.array_equal(best.value, np.minimum(curves[0].value, curves[1].value))
    assert best.delta == 0.04
    assert np.array_equal(best.n_samples, n)
    assert np.array_equal(best.terms["best"], best.value)
    alone = best_of(curves[:1])
    assert np.array_equal(alone.value, curves[0].value)
    assert alone.theorem == "best of 1 bounds, union bound"
    with pytest.raises(InputError, match="one predictor"):
        best_of([occam(0.1, n, 5, 0.01), holdout_bounded(0.1, n, 0.01)])


def test_the_largest_of_lower_bounds():
    from lorabound.bounds import rank_lower_bound

    bounds = [rank_lower_bound(1000, m, 0.01) for m in (1, 30, 4)]
    assert best_of(bounds).value == bounds[1].value
    with pytest.raises(InputError, match="share one direction"):
        best_of([bounds[0], uniform_gap([(5, 0.0)], 100, 0.01)])


# --- the record ---


def test_a_record_prints_one_readable_block():
    text = str(occam(0.1, 1000, 50, 0.05))
    assert text.splitlines() == [
        "R <= 0.201534  with probability >= 1 - 0.05",
        "  theorem     Occam bound, kl form (Langford 2005)",
        "  speaks of   the decoded predictor (uniform)",
        "  from        empirical_risk + margin; empirical_risk = 0.1, margin = 0.101534",
        "  samples     1000",
        "  assumes     examples are independent and identically distributed",
        "  assumes     the loss has values in [0, 1]",
        "  assumes     the code is prefix-free, its length that of a real message, fixed before the data were seen",
        "  assumes     the empirical risk is that of the decoded predictor",
    ]
    curve = str(information_gap(50, [10.0, 1000.0]))
    assert "[5.26 .. " in curve or "(2 values)" in curve
    assert "in expectation" in curve
    assert "vacuous: <= 1 needs no theorem" in curve


def test_vacuous_is_recomputed_not_believed():
    record = occam(0.1, 10, 5000, 0.05).to_dict()
    record["vacuous"] = False
    assert Bound.from_dict(record).vacuous is True
    assert Bound.from_dict({**record, "trivial": 1.5}).vacuous is False


def test_a_value_that_is_not_a_number_is_refused():
    good = occam(0.1, 10, 5, 0.05).to_dict()
    for value in (math.nan, [0.1, math.nan]):
        with pytest.raises(InputError, match="value must be a number, got"):
            Bound.from_dict({**good, "value": value})


# --- radii ---


def test_over_radii_uses_the_smallest_ball_that_holds_the_factor():
    seen = []

    def network(m):
        seen.append(m)
        return LoraNetwork([4, 2], 2, "freeze_a", [1], [0], [1.0], [m])

    for wanted in (0.0, 1e-12, 2.0**-30, 0.7, 1.0, 1.0000001, 2.0**30):
        over_radii(network, wanted, 100, 0.05)
        assert seen[-1] >= wanted
        assert seen[-1] / 2 ** (1 / 64) < max(wanted, 2.0**-30) * (1 + 1e-12)
    assert seen[4] == 1.0
    assert len(RADII) == 3841
    with pytest.raises(InputError, match=r"trained_radius must lie in \[0, 1.07374e\+09\], got 1073741825"):
        over_radii(network, 2.0**30 + 1, 100, 0.05)
    with pytest.raises(InputError, match="trained_radius"):
        over_radii(network, math.nan, 100, 0.05)


def test_over_radii_with_one_radius_a_layer_pays_for_all_of_them():
    # 400 layers: delta/G^400 is e^-3303, far below the smallest float; the price must still be there.
    def make(ms):
        return LoraNetwork([2] * 401, 1, "freeze_a", [0.5] * 400, [0] * 400, [1] * 400, ms)

    bound = over_radii(make, [0.1] * 400, 1000, 0.05)
    assert bound.inputs["union_nats"] == pytest.approx(400 * math.log(3841), rel=1e-12)
    assert bound.terms["confidence"] == pytest.approx(
        math.sqrt((400 * math.log(3841) + math.log(20)) / 2000), rel=1e-12
    )
    assert bound.inputs["radius"] == [RADII[np.searchsorted(RADII, 0.1)]] * 400


def test_over_radii_passes_its_options_on():
    make = lambda m: LoraNetwork([4, 2], 2, "freeze_a", [1], [0], [1.0], [m])  # noqa: E731
    blocks = make(1.0).blocks(3.0)
    share = 0.05 / 3841
    for options in (
        {"method": "net"},
        {"method": "dudley", "constants": "paper"},
        {"sides": 2},
        {"form": "frobenius"},
    ):
        bound = over_radii(make, 1.0, 1000, 0.05, loss_lipschitz=3.0, **options)
        assert bound.value == pytest.approx(uniform_gap(blocks, 1000, share, **options).value, rel=1e-12)
        assert bound.delta == 0.05
    bound = over_radii(make, 1.0, 1000, 0.05, "net_kl", loss_lipschitz=3.0, empirical_risk=0.2)
    assert bound.value == pytest.approx(net_kl(blocks, 1000, share, 0.2).value, rel=1e-12)
    for bad, words in [
        ({"method": "net_kl"}, "needs empirical_risk"),
        ({"make_network": lambda m: make(0.9 * m)}, r"make_network\(1.0\) must return balls of these radii"),
        ({"trained_radius": [0.1, 0.1], "make_network": lambda ms: make(ms[0])}, "balls of these radii"),
        ({"empirical_risk": 0.1}, "belongs to method 'net_kl' only"),
        ({"method": "magic"}, "method must be one of"),
        ({"sides": 3}, "sides must be one of 1, 2, got 3"),
        ({"trained_radius": [[1.0]]}, "a number or a list"),
        ({"trained_radius": []}, "a number or a list"),
    ]:
        with pytest.raises(InputError, match=words):
            over_radii(**{"make_network": make, "trained_radius": 1.0, "n_samples": 10, "delta": 0.05, **bad})
