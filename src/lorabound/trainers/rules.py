"""Public rules for the rank: what others advise without looking at how a task learns, each with its source.

axolotl   by the number of examples
Tinker    as many LoRA parameters as completion tokens
TRL       one rank for supervised fine-tuning
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lorabound.errors import InputError

AXOLOTL = "https://github.com/axolotl-ai-cloud/axolotl/pull/3691"
TINKER = "https://tinker-docs.thinkingmachines.ai/tinker/lora-primer"
TRL = "https://huggingface.co/docs/trl/main/en/lora_without_regret"

# Fewer examples than the first number: the second number is the rank.
_AXOLOTL_RANKS = ((1_000, 8), (10_000, 16), (100_000, 32))
_AXOLOTL_LARGEST = 64
_TRL_RANK = 256


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a public rule advises here.

    Attributes:
        name: whose rule it is.
        rank: rank it advises, at most the largest that every adapted layer can hold.
        stated: rank it advises before that limit.
        source: address of the thread or page that states it.
        sentence: sentence on how the rule came to its rank.
    """

    name: str
    rank: int
    stated: int
    source: str
    sentence: str


def axolotl_rule(n_examples: int) -> Rule:
    """Rank by the number of examples: 8 below 1,000, 16 below 10,000, 32 below 100,000, else 64.

    Raises:
        InputError: fewer than one example.
    Source: axolotl pull request 3691 (2026-05-30, open): the rank where a file states no lora_r.

    >>> axolotl_rule(999).rank, axolotl_rule(1_000).rank
    (8, 16)
    """
    _at_least_one("n_examples", n_examples)
    rank = next((rank for below, rank in _AXOLOTL_RANKS if n_examples < below), _AXOLOTL_LARGEST)
    return Rule(
        name="axolotl",
        rank=rank,
        stated=rank,
        source=AXOLOTL,
        sentence=f"{n_examples:,} examples: {rank}, by thresholds at 1,000, 10,000 and 100,000 examples.",
    )


def tinker_rule(n_tokens: int, params_of_rank_one: int, labels: bool = False) -> Rule:
    """Smallest rank r with r q_1 >= T: as many LoRA parameters as completion tokens.

    Args:
        n_tokens: T, completion tokens of the training set; of labelled examples, one per label.
        params_of_rank_one: q_1, LoRA parameters of rank 1, of A and B together, over all adapted layers.
        labels: whether the completions are labels, counted as one token each.
    Raises:
        InputError: a number below 1.
    Source: Tinker, LoRA Primer, "What rank to use?": "as a very rough approximation, LoRA will give good results as
        long as the number of LoRA parameters is at least as large as the number of completion tokens". It states what
        suffices; Tinker's default is 32, and 32 is no part of the rule.

    >>> tinker_rule(3_400_000, 2_600_000).rank
    2
    """
    _at_least_one("n_tokens", n_tokens)
    _at_least_one("params_of_rank_one", params_of_rank_one)
    rank = -(-n_tokens // params_of_rank_one)
    counted = " (a label counts as one token)" if labels else ""
    return Rule(
        name="Tinker",
        rank=rank,
        stated=rank,
        source=TINKER,
        sentence=(
            f"{n_tokens:,} completion tokens{counted}, {params_of_rank_one:,} parameters of A and B at rank 1: {rank} "
            "is the smallest rank with as many parameters as tokens, by Tinker's very rough approximation."
        ),
    )


def trl_rule() -> Rule:
    """256, for supervised fine-tuning "at post-training scale", on all linear layers.

    Source: TRL documentation, "LoRA Without Regret", table in section 2 (after Schulman et al. 2025). The same page
        trains LoRA at ten times the learning rate of full fine-tuning, with batches below 32.
    """
    return Rule(
        name="TRL",
        rank=_TRL_RANK,
        stated=_TRL_RANK,
        source=TRL,
        sentence=f"{_TRL_RANK} for supervised fine-tuning at post-training scale, whatever the number of examples.",
    )


def public_rules(
    n_examples: int, n_tokens: int, shapes: Iterable[tuple[int, int]], labels: bool = False
) -> tuple[Rule, ...]:
    """What every public rule advises, with ranks that all adapted layers can hold.

    Args:
        n_examples: number of training examples.
        n_tokens: number of completion tokens of the training set; of labelled examples, one per label.
        shapes: (d_out, d_in) of each adapted layer.
        labels: whether the completions are labels.
    Raises:
        InputError: no layers, or a number below 1.
    """
    shapes = list(shapes)
    if not shapes:
        raise InputError("no adapted layers: the rules need at least one")
    largest = min(min(shape) for shape in shapes)
    rules = (
        axolotl_rule(n_examples),
        tinker_rule(n_tokens, sum(d_out + d_in for d_out, d_in in shapes), labels),
        trl_rule(),
    )
    return tuple(_capped(rule, largest) for rule in rules)


def _capped(rule: Rule, largest: int) -> Rule:
    if rule.stated <= largest:
        return rule
    return Rule(
        name=rule.name,
        rank=largest,
        stated=rule.stated,
        source=rule.source,
        sentence=f"{rule.sentence} The smallest adapted layer holds no rank above {largest}: {largest} here.",
    )


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise InputError(f"{name} = {value}: it must be at least 1")
