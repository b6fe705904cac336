"""The public rules at their thresholds, and where layers cannot hold what they advise."""

import pytest

from lorabound.errors import InputError
from lorabound.trainers import axolotl_rule, public_rules, tinker_rule, trl_rule


@pytest.mark.parametrize(
    ("n_examples", "rank"), [(1, 8), (999, 8), (1_000, 16), (9_999, 16), (10_000, 32), (99_999, 32), (100_000, 64)]
)
def test_axolotl_by_the_number_of_examples(n_examples, rank):
    assert axolotl_rule(n_examples).rank == rank


@pytest.mark.parametrize(("n_tokens", "rank"), [(1, 1), (100, 1), (101, 2), (1_000, 10)])
def test_tinker_reaches_the_number_of_tokens(n_tokens, rank):
    assert tinker_rule(n_tokens, 100).rank == rank
    assert rank * 100 >= n_tokens > (rank - 1) * 100


def test_ranks_that_the_smallest_layer_cannot_hold_are_capped_and_said():
    # q_1 = (64 + 32) + (16 + 48) = 160; 100,000 tokens ask for rank 625; the smallest side is 16.
    rules = {rule.name: rule for rule in public_rules(5_000, 100_000, [(64, 32), (16, 48)], labels=True)}
    assert {name: (rule.rank, rule.stated) for name, rule in rules.items()} == {
        "axolotl": (16, 16), "Tinker": (16, 625), "TRL": (16, 256),
    }  # fmt: skip
    assert "holds no rank above 16: 16 here" in rules["TRL"].sentence
    assert "holds no rank" not in rules["axolotl"].sentence
    assert "(a label counts as one token)" in rules["Tinker"].sentence
    assert all(rule.source.startswith("https://") for rule in rules.values())


def test_the_ranks_that_issue_15_names_for_alpaca():
    # 52,000 examples on an 8B model: 32, 2 and 256. Llama 3.1 8B has, in each of 32 layers, q and o 4096 x 4096, k and
    # v 1024 x 4096, gate and up 14336 x 4096, down 4096 x 14336; q_1 = 2,621,440. About 65 tokens per answer.
    square, narrow, wide, tall = (4096, 4096), (1024, 4096), (14336, 4096), (4096, 14336)
    shapes = [square, narrow, narrow, square, wide, wide, tall] * 32
    assert [rule.rank for rule in public_rules(52_000, 52_000 * 65, shapes)] == [32, 2, 256]
    assert trl_rule().rank == 256


def test_numbers_below_one_are_refused():
    with pytest.raises(InputError, match="n_examples = 0"):
        public_rules(0, 1, [(2, 2)])
    with pytest.raises(InputError, match="n_tokens = 0"):
        public_rules(1, 0, [(2, 2)])
    with pytest.raises(InputError, match="no adapted layers"):
        public_rules(1, 1, [])
