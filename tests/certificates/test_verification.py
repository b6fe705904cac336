"""When a statement and the same one computed again count as the same: what chance and rounding do, and no more."""

import math
from dataclasses import replace

import pytest

from lorabound.bounds import holdout, progressive
from lorabound.certificates.certificate import Certificate, Statement
from lorabound.certificates.verification import Part, Verification, compared, hashes
from lorabound.certificates.verify import _levels, _unchecked


def by_rows(wrong, n, **record):
    """A statement by ``wrong`` of n rows."""
    return Statement(
        method="holdout", speaks_of="the adapter as stored", bound=holdout(wrong, n, 0.05), error=wrong / n,
        record={"n_rows": n, "n_wrong": wrong, **record},
    )  # fmt: skip


def outcome(recorded, again):
    return compared(recorded, again).outcome


@pytest.mark.parametrize(("n", "flips"), [(100, 1), (1000, 1), (2000, 2), (10_000, 10)])
def test_as_many_examples_may_flip_as_rounding_flips(n, flips):
    """One, or one in a thousand; more of them differ, in either direction."""
    again = by_rows(n // 5, n)
    for sign in (1, -1):
        near = by_rows(n // 5 + sign * flips, n)
        assert outcome(near, again) == "same"
        assert "another machine rounds otherwise" in compared(near, again).detail
        assert outcome(by_rows(n // 5 + sign * (flips + 1), n), again) == "differs"
    assert compared(again, again).detail == f"computed again: {float(again.bound.value):.6g}"
    for other in (
        replace(again, error=0.0001 + again.error),
        replace(again, bound=replace(again.bound, value=0.0001 + float(again.bound.value))),
    ):
        assert "another machine rounds otherwise" in compared(other, again).detail
    assert compared(again, again).what == "limit by holdout"
    assert compared(again, again, "gain").what == "gain"


def test_an_error_may_differ_by_one_example_and_a_half():
    """The share of 1.5 in 100 is 0.015; a limit by twice that."""
    again = by_rows(20, 100)
    for change, said in ((0.0149, "same"), (-0.0149, "same"), (0.0151, "differs"), (-0.0151, "differs")):
        assert outcome(replace(again, error=again.error + change), again) == said, change
    value = float(again.bound.value)
    for change, said in ((0.0299, "same"), (-0.0299, "same"), (0.0301, "differs"), (-0.0301, "differs")):
        other = replace(again, bound=replace(again.bound, value=value + change))
        assert outcome(other, again) == said, change


@pytest.mark.parametrize(("draws", "fewest"), [(1000, 1000), ([1000, 5000], 1000), ((5000, 800), 800)])
def test_random_draws_move_by_four_deviations(draws, fewest):
    """An error measured by m draws has a deviation of at most sqrt(1/4 / m), the difference of two sqrt(1/2 / m)."""
    again = by_rows(2_000, 10_000, draws=draws)
    room = 4 * math.sqrt(0.5 / fewest)
    assert outcome(replace(again, error=again.error + 0.99 * room), again) == "same"
    assert outcome(replace(again, error=again.error + 1.01 * room), again) == "differs"
    counted = {**again.record, "n_wrong": again.record["n_wrong"] + int(0.99 * room * 10_000)}
    assert outcome(replace(again, record=counted), again) == "same"


@pytest.mark.parametrize(("name", "value"), [
    ("kind", "gap"), ("direction", "lower"), ("delta", 0.0500001), ("n_samples", 101), ("theorem", "ours"),
    ("predictor", "every adapter"), ("scope", "uniform"), ("assumptions", ()), ("assumptions", None), ("trivial", None), ("trivial", 2.0), ("combine", "a + b"),
    ("terms", {}), ("inputs", {"k": 3}),
])  # fmt: skip
def test_everything_else_of_a_bound_is_the_same(name, value):
    again = by_rows(20, 100)
    found = compared(replace(again, bound=replace(again.bound, **{name: value})), again)
    assert found.outcome == "differs"
    assert name in found.detail


@pytest.mark.parametrize("change", [
    {"speaks_of": "all"}, {"notes": ("x",)}, {"record": {}}, {"record": {"n_rows": 101, "n_wrong": 20}},
    {"record": {"n_rows": 100, "n_wrong": 22}}, {"record": {"n_rows": 100, "n_wrong": True}},
    {"record": {"n_rows": 100, "n_wrong": None}}, {"record": {"n_rows": 100, "n_wrong": 20, "more": 1}},
    {"record": {"n_rows": 99, "n_wrong": 20}}, {"record": {"n_rows": "100", "n_wrong": 20}},
])  # fmt: skip
def test_words_and_records_are_the_same(change):
    again = by_rows(20, 100)
    assert outcome(replace(again, **change), again) == "differs"


def test_lists_and_nested_values_of_a_record():
    again = by_rows(20, 100, some={"shares": [0.1, 0.2], "on": True, "name": "x"}, tried=[1])
    same = by_rows(20, 100, some={"shares": (0.1299, 0.2), "on": True, "name": "x"}, tried=[])
    assert outcome(same, again) == "same"
    for other in (
        {"shares": [0.1], "on": True, "name": "x"}, {"shares": [0.1, 0.2301], "on": True, "name": "x"},
        {"shares": [0.1, 0.1699], "on": True, "name": "x"}, {"shares": [0.1, 0.2], "on": False, "name": "x"},
        {"shares": [0.1, 0.2], "on": 1, "name": "x"}, {"shares": [0.1, 0.2], "on": True, "name": "y"},
        {"shares": 0.1, "on": True, "name": "x"}, {"shares": [0.1, 0.2], "name": "x"}, [0.1, 0.2],
    ):  # fmt: skip
        assert outcome(by_rows(20, 100, some=other), again) == "differs", other
    large = by_rows(20, 100, kl=1000.0)
    assert outcome(by_rows(20, 100, kl=1029.0), large) == "same"  # 3% of it
    assert outcome(by_rows(20, 100, kl=1031.0), large) == "differs"
    assert outcome(by_rows(20, 100, seed=6), by_rows(20, 100, seed=5)) == "differs"


def test_levels_agree_up_to_rounding():
    """1e-9 of them, of 1 where they are smaller."""
    again = by_rows(20, 100)
    for delta, said in ((0.05 + 0.9e-9, "same"), (0.05 + 1.1e-9, "differs"), (0.05 - 1.1e-9, "differs")):
        assert outcome(replace(again, bound=replace(again.bound, delta=delta)), again) == said
    for n, said in ((100 + 0.9e-7, "same"), (100 + 1.1e-7, "differs")):
        assert outcome(replace(again, bound=replace(again.bound, n_samples=n)), again) == said


def test_files_are_the_same_by_name_and_hash():
    both = {"a": "1", "b": "2"}
    assert hashes("adapter", both, both) == Part(what="adapter", outcome="same", detail="2 files unchanged")
    assert hashes("model", {"m": "1"}, {"m": "1"}).detail == "m unchanged"
    for other in ({"a": "1"}, {"a": "1", "b": "3"}, {**both, "c": "4"}):
        assert hashes("adapter", both, other).outcome == "differs"
        assert hashes("adapter", other, both).outcome == "differs"
    assert "b changed" in hashes("adapter", both, {"a": "1"}).detail


def test_a_verification_holds_if_nothing_differs_and_a_limit_was_computed():
    same, differs, missing = (Part(what="x", outcome=one, detail="") for one in ("same", "differs", "not shown"))
    made = lambda limit, *parts: Verification(name="a", limit=limit, delta=0.05, parts=parts, assumptions=())  # noqa: E731
    assert made(0.3, same, missing).holds
    assert "nothing differs" in repr(made(0.3, same))
    assert not made(0.3, same, differs).holds
    assert "1 of 2 parts differ" in repr(made(0.3, same, differs))
    assert not made(None, same).holds
    assert "no limit could be computed" in repr(made(None, same))


def certificate(*shares, gain=None, bare=None, **record):
    one = by_rows(20, 100)
    statements = tuple(replace(one, bound=holdout(20, 100, share)) for share in shares)
    zero_shot = bare and replace(one, bound=holdout(20, 100, bare))
    limit = gain and replace(progressive(0.2, 100, gain, lam=0.5), kind="gain", direction="lower")
    by = "holdout" if gain else None
    return Certificate(
        name="a", delta=0.05, statements=statements, zero_shot=zero_shot, gain=limit, gain_by=by, record=record
    )


@pytest.mark.parametrize(("made", "said"), [
    (certificate(0.05), "same"), (certificate(0.025, 0.025), "same"), (certificate(0.05, gain=0.05, bare=0.05), "same"),
    (certificate(0.0125, gain=0.0125, bare=0.05, candidates=4), "same"), (certificate(0.025, choices=["a", "b"]), "same"),
    (certificate(0.0500001), "differs"), (certificate(0.0499999), "differs"), (certificate(0.05, 0.05), "differs"),
    (certificate(0.05, candidates=2), "differs"), (certificate(0.05, gain=0.06), "differs"),
    (certificate(0.05, gain=0.04), "differs"), (certificate(0.0125, gain=0.05, candidates=4), "differs"),
    (certificate(0.05, bare=0.06), "differs"), (certificate(0.05, bare=0.04), "differs"),
    (certificate(0.05 + 4e-11), "same"), (certificate(0.05 + 9e-11), "differs"),
])  # fmt: skip
def test_delta_is_shared_as_it_is_said(made, said):
    assert _levels(made).outcome == said


def test_what_was_not_computed_again_is_named():
    made = certificate(0.05, gain=0.05, bare=0.05)
    every = ["limit by holdout", "gain over no adapter", "limit without an adapter"]
    last = "names, notes, times and version"
    assert [part.what for part in _unchecked(made, set())] == [*every, last]
    assert [part.what for part in _unchecked(made, {every[1]})] == [every[0], every[2], last]
    assert [part.what for part in _unchecked(certificate(0.05), {every[0]})] == [last]
    assert [part.what for part in _unchecked(certificate(0.05, table={}), set())] == [last]
    assert {part.outcome for part in _unchecked(made, set())} == {"not shown"}
