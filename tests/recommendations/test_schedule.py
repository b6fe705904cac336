"""What is trained in which order, and what budgets and settings are asked for."""

from pathlib import Path

import numpy as np
import pytest

from lorabound.errors import InputError
from lorabound.recommendations.config import exact_time, read_recommendation, seconds_of
from lorabound.recommendations.schedule import kept, least_rows, pilot_sizes, spread_out, stages
from lorabound.recommendations.search import best_lr, beyond


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("45", 45), ("2 hours", 7200)]
)
def test_a_budget_is_a_time_as_people_write_it(text, seconds):
    asked, _, _ = read_recommendation(None, {"budget": text})
    assert asked.seconds == seconds


@pytest.mark.parametrize("text", ["soon", "-5m", "10 parsecs", "", "0s", "0.2"])
def test_no_other_budget_is_taken(text):
    with pytest.raises(InputError, match="as 90s, 10m or 2h"):
        read_recommendation(None, {"budget": text})


def test_times_are_said_in_the_unit_that_fits():
    assert [exact_time(seconds_of(text)) for text in ("90s", "10m", "3h")] == ["90 s", "10 min", "3 h"]


@pytest.mark.parametrize("name", ["test_data", "n_test", "shots", "samples", "cross_fit", "blocks"])
def test_settings_that_it_decides_by_itself_are_refused_by_name(tmp_path, name):
    path = tmp_path / "settings.yaml"
    path.write_text(f"{name}: 3\n")
    with pytest.raises(InputError, match=name):
        read_recommendation(path, {})


def test_both_kinds_of_settings_stand_in_one_file(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("budget: 5m\nranks: [2, 4]\nn_train: 500\nlr: 0.01\n")
    asked, pilots, given = read_recommendation(path, {"budget": "1m"})
    assert (asked.seconds, asked.n_train, pilots.ranks, pilots.n_train) == (60, 500, [2, 4], None)
    assert (asked.lrs, pilots.lr) == (None, 0.01)
    assert "ranks" in given
    assert "seeds" not in given


def test_the_demo_is_a_valid_recommendation():
    asked, pilots, _ = read_recommendation(Path(__file__).parents[2] / "recipes" / "demo.yaml", {})
    assert (asked.seconds, asked.n_train, pilots.data) == (180, 1000, "words")


def test_two_ways_to_test_are_refused():
    with pytest.raises(InputError, match="give one of them"):
        read_recommendation(None, {"holdout": "a.csv", "test_fraction": 0.2})


@pytest.mark.parametrize("n_pool", [32, 45, 100, 225, 1000, 22_500, 3_000_000])
def test_sizes_are_nested_up_to_the_pool_and_hold_enough_rows(n_pool):
    sizes = pilot_sizes(n_pool, 2, 32, 6)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == n_pool
    assert all(size >= least_rows(2) for size in sizes)
    assert len(sizes) <= 3


def test_more_classes_need_more_rows():
    assert least_rows(100) > least_rows(10) >= 32


@pytest.mark.parametrize("n_candidates", [1, 2, 3, 10, 40])
def test_stages_never_grow_and_keep_at_least_two_candidates(n_candidates):
    made = stages([100, 400, 1600], n_candidates, 4)
    assert [stage.n_seeds for stage in made] == [2, 2, 2, 4]
    assert [stage.size for stage in made] == [100, 400, 1600, 1600]
    assert [stage.if_open for stage in made] == [False, False, False, True]
    counts = [stage.most for stage in made]
    assert counts[0] == n_candidates
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] >= min(2, n_candidates)


def test_the_likeliest_to_be_best_go_on_in_their_order():
    candidates = [("freeze_a", rank) for rank in (1, 2, 4, 8)]
    assert kept(candidates, [0.3, 0.0, 0.1, 0.2], [0.4, 0.9, 0.3, 0.5], 3) == [candidates[i] for i in (0, 1, 3)]
    assert kept(candidates, [0.3, 0.2, 0.1, 0.0], [0.5, 0.5, 0.5, 0.5], 2) == [candidates[i] for i in (2, 3)]


def test_hopeless_candidates_go_even_where_there_is_room_but_never_the_two_best():
    candidates = [("freeze_a", rank) for rank in (1, 2, 4, 8)]
    assert kept(candidates, [0.0, 0.1, 0.2, 0.3], [0.99, 0.4, 0.0, 0.01], 4) == [candidates[i] for i in (0, 1)]


def test_few_of_many_values_are_spread_from_end_to_end():
    assert spread_out([1, 2, 4, 8, 16], 2) == [1, 16]
    assert spread_out([4, 1, 2], 5) == [1, 2, 4]


def test_learning_rates_that_chance_cannot_tell_apart_give_way_to_the_one_in_the_middle():
    right, wrong = np.zeros(100), np.ones(100)
    some, others = right.copy(), right.copy()
    some[:9], others[50:58] = 1, 1  # nine errors and eight, on other rows: they differ by 0.01, within 0.041
    assert best_lr({0.1: wrong, 1.0: some, 10.0: others}, 1.0) == 1.0
    assert best_lr({0.1: wrong, 1.0: some, 10.0: right}, 1.0) == 10.0
    assert best_lr({0.1: wrong, 1.0: wrong, 10.0: right}, 1.0) == 10.0
    assert best_lr({0.1: right, 1.0: None, 10.0: wrong}, 1.0) == 0.1
    assert best_lr({0.1: None}, 1.0) is None


def test_learning_rates_go_on_from_an_end_and_up_where_nothing_was_learnt():
    right, half, wrong = np.zeros(100), np.tile([0.0, 1.0], 50), np.ones(100)
    assert beyond({0.1: half, 1.0: right, 10.0: half}, 1.0, wrong) is None
    assert beyond({0.1: wrong, 1.0: half, 10.0: right}, 1.0, wrong) == 30.0
    assert beyond({0.1: right, 1.0: half, 10.0: wrong}, 1.0, wrong) == pytest.approx(0.1 / 3)
    assert beyond({0.1: wrong, 1.0: wrong, 10.0: wrong}, 1.0, wrong) == 30.0
    assert beyond({0.1: None, 1.0: None, 10.0: None}, 1.0, wrong) == pytest.approx(0.1 / 3)
    assert beyond({0.1: wrong, 1.0: wrong, 10.0: None}, 1.0, wrong) is None  # larger ones diverge
