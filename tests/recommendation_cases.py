"""A recommendation without training: numbers that are known, and an adapter that is drawn and never trained."""

from dataclasses import replace

import numpy as np

from lorabound.adapters import new_adapter, save_adapter
from lorabound.adapters.adapter import Head
from lorabound.bounds import holdout
from lorabound.recommendations.recommendation import (
    LrTrial,
    Option,
    Origin,
    Point,
    Recommendation,
    RuleOfThumb,
    Step,
    Value,
)

SIZES, RANKS, MODES = (100, 400), (1, 4, 16), ("freeze_a", "train_both")
LAYERS = {f"bert.encoder.layer.{i}.attention.self.{part}": (16, 16) for i in (0, 1) for part in ("query", "value")}


def value(error, n_train, spread=0.04):
    return Value(value=error, low=error - spread, high=error + spread, level=0.8, n_train=n_train)


def error(mode, rank, n_train):
    """Falls with rows and is least at rank 4; freeze_a does a little better."""
    return 0.3 + 3 / n_train**0.5 / 10 + 0.02 * abs(np.log2(rank) - 2) + 0.01 * (mode == "train_both")


def made_in(folder, **changes):
    """The recommendation of freeze_a, rank 4, for 500 rows."""
    candidates = sorted(((m, r) for m in MODES for r in RANKS), key=lambda one: error(*one, 500))
    options = tuple(
        Option(
            mode=m, rank=r, lr=0.006, n_params=1000 * r * (1 + (m == "train_both")), forecast=value(error(m, r, 500), 500),
            expected_loss=error(m, r, 500) - error("freeze_a", 4, 500), close=0.5, measured=value(error(m, r, 400), 400),
            train=0.1, n_seeds=2, within_noise=r == 4,
        )
        for m, r in candidates
    )  # fmt: skip
    points = tuple(
        Point(mode=m, rank=r, test=value(error(m, r, n), n), train=0.1) for n in SIZES for m in MODES for r in RANKS
    )
    made = Recommendation(
        folder=str(folder), data="tickets.csv", model="bert", error_name="error", n_rows=500, n_pilot=400, n_test=200,
        tested_on="rows that the pilots were not trained on", refit=True, mode="freeze_a", rank=4, lr=0.006, alpha=8.0,
        options=options, points=points, more_data=tuple(value(error("freeze_a", 4, n), n) for n in (500, 1000, 2000)),
        zero_shot=0.45, limit=holdout(30, 100, 0.05 / 36), limit_of="its largest pilot, trained on 400 of the 500 rows,",
        limit_if="", delta=0.05, n_choices=36, n_runs=12, seconds=61.0, share=0.3, stopped=None, adapter=str(folder / "adapter"), adapter_rows=500,
        rules=(
            RuleOfThumb(name="axolotl", rank=8, source="https://example.org/rule", forecast=value(0.36, 500)),
            RuleOfThumb(name="TRL", rank=256, source="https://example.org/other", forecast=None),
        ),
        steps=(Step(n_train=100, n_runs=12, candidates=tuple(candidates), seconds=12.0, what="ranks"),),
        lr_trials=(
            LrTrial(mode="freeze_a", lr=0.002, rank=4, n_train=100, error=None),
            LrTrial(mode="freeze_a", lr=0.006, rank=4, n_train=100, error=0.4),
        ),
        settings={"epochs": 6, "batch_size": 32, "law": "kaiming_uniform", "targets": ["query", "value"], "layers": None},
        origin=Origin(
            command=("lorabound", "recommend", "--data", "tickets.csv", "--out", str(folder)), environment={"torch": "2"}
        ),
    )  # fmt: skip
    return replace(made, **changes)


def with_adapter(made, base, n_classes=None, law="kaiming_uniform"):
    """The same with an adapter of its rank and mode in its folder; with a head where classes are given."""
    adapter = new_adapter(LAYERS, made.rank, made.mode, seed=0, law=law, alpha_over_r=2.0)
    if n_classes:
        head = Head(name="classifier", weight=np.ones((n_classes, 16), np.float32), bias=np.ones(n_classes, np.float32))
        adapter = replace(adapter, head=head)
    save_adapter(adapter, made.adapter, str(base))
    return made
