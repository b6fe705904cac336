"""The contract every bound keeps, whatever it is given."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorabound.bounds import Bound
from lorabound.errors import InputError

from .cases import CASES

# Slack for comparisons of two evaluations: rounding only; the largest excess seen was 2e-10 (binomial_upper).
ROUNDING = 1e-9
CHECK = settings(max_examples=25, deadline=None, derandomize=True)

sizes = st.integers(0, 36).map(lambda e: int(2.0 ** (e * 0.9)))
deltas = st.floats(-690.0, -1e-3).map(math.exp)
risks = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))
complexities = st.one_of(st.floats(0.0, 20.0), st.floats(0.0, 2000.0))

every = pytest.mark.parametrize("case", CASES, ids=str)
upper = pytest.mark.parametrize("case", [c for c in CASES if c.upper], ids=str)
lower = pytest.mark.parametrize("case", [c for c in CASES if not c.upper], ids=str)


def countable(case, n, largest=200_000):
    """For exact binomial limits: above this size their slack against rounding exceeds ROUNDING."""
    return min(n, largest) if case.counts else n


def at(case, n, delta, risk, complexity) -> Bound:
    """The case, with the risk rounded to a count of errors where one is needed."""
    n = countable(case, n)
    return case.make(n, delta, round(risk * n) / n if case.counts else risk, complexity)


def not_above(small, large):
    assert small <= large * (1 + ROUNDING) + 1e-300


@upper
@CHECK
@given(n=sizes, factor=st.floats(1.0, 100.0), delta=deltas, risk=risks, complexity=complexities)
def test_more_samples_never_hurt(case, n, factor, delta, risk, complexity):
    n, more = countable(case, n), countable(case, int(n * factor))
    errors = round(risk * n)
    few = case.make(n, delta, errors / n if case.counts else risk, complexity)
    # A count of errors stays, so that it is a count at both sizes.
    many = case.make(more, delta, errors / more if case.counts else risk, complexity)
    not_above(many.value, few.value)


@upper
@CHECK
@given(n=sizes, delta=deltas, share=st.floats(1e-3, 1.0), risk=risks, complexity=complexities)
def test_less_confidence_never_costs(case, n, delta, share, risk, complexity):
    not_above(at(case, n, delta, risk, complexity).value, at(case, n, delta * share, risk, complexity).value)


@pytest.mark.parametrize("case", [c for c in CASES if c.risk], ids=str)
@CHECK
@given(n=sizes, delta=deltas, low=risks, high=risks, complexity=complexities)
def test_more_training_errors_never_help(case, n, delta, low, high, complexity):
    low, high = sorted((low, high))
    not_above(at(case, n, delta, low, complexity).value, at(case, n, delta, high, complexity).value)


@every
@CHECK
@given(n=sizes, delta=deltas, risk=risks, low=complexities, high=complexities)
def test_more_complexity_never_lowers_the_value(case, n, delta, risk, low, high):
    low, high = sorted((low, high))
    not_above(at(case, n, delta, risk, low).value, at(case, n, delta, risk, high).value)


@every
@CHECK
@given(
    n=st.sampled_from([1, 2, 7, 8, 10**6, 10**12]),
    delta=st.sampled_from([1e-300, 1e-9, 0.05, 1 - 1e-12]),
    risk=st.sampled_from([0.0, 1e-300, 0.5, 1.0]),
    complexity=st.sampled_from([0.0, 1e-300, 1.0, 700.0, 1e4, 1e8, -50.0, -1e4]),
)
def test_finite_on_extremes(case, n, delta, risk, complexity):
    n = countable(case, n, largest=10**9)
    bound = case.make(n, delta, round(risk * n) / n if case.counts else risk, complexity)
    assert math.isfinite(bound.value)
    assert bound.value >= 0
    assert all(math.isfinite(term) for term in bound.terms.values())


@pytest.mark.parametrize("case", [c for c in CASES if c.risk], ids=str)
@CHECK
@given(n=sizes, delta=deltas, risk=risks, complexity=complexities)
def test_never_below_the_empirical_risk(case, n, delta, risk, complexity):
    n = countable(case, n)
    risk = round(risk * n) / n if case.counts else risk
    bound = case.make(n, delta, risk, complexity)
    # Clopper-Pearson at delta above 1/2 asks for a limit below the mean now and then; nothing else may.
    if not case.counts or delta <= 0.5:
        assert bound.value >= risk * (1 - 1e-15)
    assert bound.kind == "risk"


@every
@CHECK
@given(n=sizes, delta=deltas, risk=risks, complexity=complexities)
def test_the_record_is_honest(case, n, delta, risk, complexity):
    bound = at(case, n, delta, risk, complexity)
    assert bound.vacuous == (bound.value >= 1 if case.upper else bound.value <= 0)
    assert ("vacuous" in str(bound)) == bound.vacuous
    if bound.combine == " + ".join(bound.terms):
        assert sum(bound.terms.values()) == pytest.approx(bound.value, rel=1e-12, abs=1e-15)
    if case.delta:
        assert bound.delta == pytest.approx(delta, rel=1e-12)
    assert bound.n_samples == countable(case, n)
    again = Bound.from_dict(json.loads(json.dumps(bound.to_dict())))
    assert again.to_dict() == bound.to_dict()
    assert bound.theorem
    assert bound.assumptions
    assert bound.predictor


@every
def test_arrays_agree_with_single_numbers(case):
    n = np.array([1, 10, 1000, 200_000])
    for complexity in (0.0, 3.0, 50.0):
        risks_ = np.round(0.25 * n) / n if case.counts else 0.25
        curve = case.make(n, 0.05, risks_, complexity)
        single = [at(case, int(size), 0.05, 0.25, complexity).value for size in n]
        if case.name != "best_of":
            # Seen: 2e-16; the binomial runs as many Newton steps as its slowest entry: 2e-12.
            np.testing.assert_allclose(curve.value, single, rtol=1e-11)
        assert curve.value.shape == (4,)
        assert np.array_equal(curve.vacuous, curve.value >= 1 if case.upper else curve.value <= 0)
        assert Bound.from_dict(json.loads(json.dumps(curve.to_dict()))).to_dict() == curve.to_dict()


@every
@pytest.mark.parametrize("n", [0, -1, 0.5, math.nan, math.inf])
def test_sample_sizes_out_of_range_are_named(case, n):
    with pytest.raises(InputError, match=r"(n_samples|n) must (lie|be an integer)"):
        case.make(n, 0.05, 0.0, 1.0)


@pytest.mark.parametrize("case", [c for c in CASES if c.delta and c.name != "best_of"], ids=str)
@pytest.mark.parametrize("delta", [0.0, 1.0, 2.0, -0.1, math.nan])
def test_deltas_out_of_range_are_named(case, delta):
    drawn = case.name == "pac_bayes drawn" and delta == 1.0
    match = "below 1" if drawn else r"delta\w* must lie in \(0, 1\)"
    if case.name == "pac_bayes drawn" and delta == 2.0:
        delta = 4.0
    with pytest.raises(InputError, match=match):
        case.make(10, delta, 0.0, 1.0)


@pytest.mark.parametrize("case", [c for c in CASES if c.risk and c.name != "holdout"], ids=str)
@pytest.mark.parametrize("risk", [-0.1, 1.1, math.nan])
def test_risks_out_of_range_are_named(case, risk):
    with pytest.raises(InputError, match=r"(risk|mean|mean_loss) must lie in \[0, 1\]"):
        case.make(10, 0.05, risk, 1.0)
