"""What the first pass over the training examples proves about a run: no test set, no second pass of the model.

Every training example was tested before the update that used it (:class:`lorabound.engine.FirstPass`). The window is
the end of the pass, a share of it that is settled before training, rounded to whole steps. Its errors limit the error
on new data of *a checkpoint drawn at random from the window*; the constant of the bound comes from the errors before
the window. With one epoch those are the checkpoints around the final adapter. With several, they are those of the first
epoch, of which nobody wants to know: then nothing is said.

With unlabelled examples the *final adapter* is certified: each of them has a step of its own, drawn at random from the
last tenth of the pass, and is predicted by the weights before that step; the share that the final adapter predicts
otherwise is added to the limit of the last tenth. The two parts have half of delta each.

With folds (``cross_fit``) any number of epochs is certified: *one of K adapters, each trained without one fold and
tested on it*, picked at random. Those are trained like the run, on fewer examples; the final adapter is none of them.
With ``blocks`` and several sizes it is *an adapter trained alike on one of the smaller sizes*.

Source: theory of :mod:`lorabound.bounds.progressive`; here is only which numbers go in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lorabound.bounds import (
    Bound,
    best_a,
    best_lam,
    cross_fit,
    disagreement,
    holdout,
    paired_gain,
    progressive,
    progressive_losses,
)
from lorabound.sweeps.cells import DELTA
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.row import Row

Array = NDArray[np.float64]
LossName = Literal["error", "risk", "wrong"]

# Share of the pass, at its end, that the final adapter is compared with.
FINAL_WINDOW = 0.1
# Error, and variance of the paired differences, that the constants of folds belong to, fixed before any data.
_GUESS, _GAIN_VARIANCE = 0.25, 0.3
_NO_REPEATS = (
    "on new examples that repeat a training or test example the final adapter differs from late checkpoints no more "
    "than on others; rows of the file that do were left out"
)
_CLASSES_KNOWN = "the classes were known before the examples"
_ZERO_SHOT = "the model without an adapter"


def _known(config: SweepConfig) -> tuple[str, ...]:
    """What must be known of the classes, where there are any."""
    return () if config.task == "completions" else (_CLASSES_KNOWN,)


def why_not(config: SweepConfig) -> str | None:
    """Why the first pass of a sweep certifies no run, in one sentence; None where it does."""
    if config.shots:
        return "Training certifies nothing here: --shots draws examples class by class, not as new data come."
    if config.augment:
        return "Training certifies nothing here: --augment tests changed images before each update, not images as new."
    if config.epochs > 1:
        return (
            "Training certifies nothing here: with several epochs the losses before each update speak of the first "
            "epoch's checkpoints only; --epochs 1, --cross-fit 5 or --blocks gives a certificate without a test set."
        )
    return None


def window_start(n_train: int, batch_size: int, window: float) -> int:
    """Place in the first pass at which the window begins, between two steps; 0 where the pass has one step only.

    At least one step stands before it, for the constant, and one in it.

    Args:
        window: share of the pass in the window, in (0, 1).
    """
    n_steps = -(-n_train // batch_size)
    return min(max(round((1 - window) * n_train / batch_size), 1), n_steps - 1) * batch_size


def last_share(window: float) -> str:
    """A window in words that follow "the last"."""
    named = {0.5: "half", 0.25: "quarter", 0.2: "fifth", 0.1: "tenth"}
    return named.get(window, f"{100 * window:.3g}%")


def speaks_of(config: SweepConfig) -> str:
    """The predictor that the certificates of a sweep speak of, in words that follow "the error of"."""
    if config.unlabelled is not None:
        return "the final adapter"
    if config.cross_fit is not None:
        return f"one of {config.cross_fit} adapters trained alike without one fold each, picked at random,"
    if by_blocks(config):
        return "an adapter trained alike on one of the smaller sizes, drawn at random"
    return f"a checkpoint drawn at random from the last {last_share(config.window)} of training"


def evidence(config: SweepConfig) -> str:
    """What those certificates rest on, in words that follow "by"."""
    if config.unlabelled is None and config.cross_fit is not None:
        return "the errors of each example under the adapter that was trained without its fold"
    if by_blocks(config):
        return "the errors of the runs on smaller sizes on the examples that follow"
    late = "the losses of each example before the update that used it"
    if config.unlabelled is not None:
        return f"{late}, and by unlabelled examples that it and a late checkpoint of their own predict"
    return late


def decides(config: SweepConfig) -> LossName:
    """The loss that decides in a sweep: 0-1 errors, or shares of wrong tokens."""
    return "wrong" if config.task == "completions" and config.metric == "wrong-tokens" else "error"


def losses_of(row: Row, loss: LossName = "error") -> Array:
    """Losses in [0, 1] before each update, in the order of the pass: 0-1 errors, 1 - p(correct) of classes, or shares
    of wrong tokens of completions."""
    assert row.first_errors is not None
    assert row.first_log_losses is not None
    if loss == "error":
        return row.first_errors.astype(np.float64)
    if loss == "wrong":
        assert row.first_wrongs is not None
        return np.clip(row.first_wrongs.astype(np.float64), 0.0, 1.0)
    assert row.first_wrongs is None
    return np.clip(-np.expm1(-row.first_log_losses.astype(np.float64)), 0.0, 1.0)


def certificate(
    row: Row, config: SweepConfig, delta: float = DELTA, loss: LossName | None = None, start: int | None = None
) -> Bound | None:
    """Limit on the error on new data of a random checkpoint of the window; of the bare model for the zero-shot row.

    None where the pass proves nothing (:func:`why_not`), where a store records none, or for a diverged run.

    Args:
        loss: loss that is limited; None takes the one that decides.
        start: place where the window begins; None takes the window of the sweep. Another one must begin between two
            steps, and be fixed before training too.
    """
    if row.first_errors is None or row.status != "done" or config.shots:
        return None
    loss = loss or decides(config)
    losses = losses_of(row, loss)
    if not row.rank:  # nothing was trained: all examples are fresh
        if loss == "error":
            found = holdout(losses.sum(), len(losses), delta)
            return replace(found, predictor=_ZERO_SHOT, assumptions=(*found.assumptions, *_known(config)))
        start = min(config.batch_size, len(losses) - 1)
        found = progressive_losses(losses[start:], delta, a=best_a(losses[:start], len(losses) - start, delta))
        return replace(found, predictor=_ZERO_SHOT, assumptions=(*found.assumptions, *_known(config)))
    if start is None:
        start = window_start(row.n_train, config.batch_size, config.window)
    if why_not(config) or not start:
        return None
    before, inside = losses[:start], losses[start:]
    if loss == "error":
        lam = best_lam((before.sum() + 0.5) / (start + 1), len(inside), delta)
        found = progressive(inside.mean(), len(inside), delta, lam=lam)
    else:
        found = progressive_losses(inside, delta, a=best_a(before, len(inside), delta))
    return replace(found, assumptions=(*found.assumptions, *_known(config)))


def final_start(n_train: int, batch_size: int) -> int:
    """Place in the first pass from which on checkpoints are compared with the final adapter; 0 for a single step."""
    return window_start(n_train, batch_size, FINAL_WINDOW)


def drawn_steps(count: int, n_train: int, batch_size: int, start: int) -> NDArray[np.int64]:
    """A step for each unlabelled example: that of a place drawn uniformly from ``start`` on; the data decide nothing.

    Philox words, so that the draw is the same under every NumPy release.
    """
    key = int.from_bytes(f"unlabelled:{n_train}:{batch_size}:{start}".encode(), "little")
    words = np.random.Philox(np.random.SeedSequence(key)).random_raw(count)
    places = start + (words >> np.uint64(11)).astype(np.float64) * 2.0**-53 * (n_train - start)
    return (places // batch_size).astype(np.int64)


def final_certificate(row: Row, config: SweepConfig, delta: float = DELTA) -> Bound | None:
    """Limit on the error on new data of the final adapter; None without unlabelled examples, or as :func:`certificate`.

    Half of delta is for the late checkpoints, half for how often the final adapter differs from them.
    """
    if row.n_differing is None or row.n_unlabelled is None or row.final_start is None:
        return None
    late = certificate(row, config, delta / 2, start=row.final_start)
    if late is None:
        return None
    found = disagreement(late, row.n_differing, row.n_unlabelled, delta / 2)
    file = (_NO_REPEATS,) if isinstance(config.unlabelled, str) else ()
    return replace(found, assumptions=(*found.assumptions, *file))


def cross_fit_certificate(row: Row, config: SweepConfig, delta: float = DELTA) -> Bound | None:
    """Limit on the error on new data of one of the K adapters that were trained without a fold each; None without them.

    The constant of the bound belongs to an error of 0.25, whatever the data: from 0.05 to 0.5 that costs at most a
    quarter of the margin.
    """
    if row.fold_errors is None or row.n_folds is None or config.shots:
        return None
    count = len(row.fold_errors)
    lam = best_lam(_GUESS, count / row.n_folds, delta)
    found = cross_fit(row.fold_errors.mean(), count, row.n_folds, delta, lam=lam)
    return replace(found, assumptions=(*found.assumptions, *_known(config)))


def stages_of(row: Row, rows: Sequence[Row]) -> list[Row]:
    """Runs like ``row`` on fewer examples that were tested on the rows after their own, the smallest first."""
    alike = [
        other
        for other in rows
        if (other.mode, other.rank, other.seed, other.sample) == (row.mode, row.rank, row.seed, row.sample)
        and other.n_train < row.n_train
        and other.next_errors is not None
    ]
    return sorted(alike, key=lambda other: other.n_train)


def block_certificate(row: Row, rows: Sequence[Row], config: SweepConfig, delta: float = DELTA) -> Bound | None:
    """Limit on the error on new data of an adapter trained like ``row`` on one of the smaller sizes, drawn at random.

    Stages are the runs of the same mode, rank, seed and sample on fewer examples, each tested on the rows from its own
    size to the next one; a stage is drawn with the share that its block has of all blocks. None without blocks.

    Args:
        rows: runs of the sweep.
    """
    alike = stages_of(row, rows)
    if not row.rank or not alike or config.shots:
        return None
    ends = [*(other.n_train for other in alike[1:]), row.n_train]
    blocks = [
        other.next_errors[: end - other.n_train]
        for other, end in zip(alike, ends, strict=True)
        if other.next_errors is not None
    ]
    errors = np.concatenate(blocks)
    found = progressive(errors.mean(), len(errors), delta, lam=best_lam(_GUESS, len(errors), delta))
    stages = ", ".join(f"{other.n_train:,} ({len(block):,})" for other, block in zip(alike, blocks, strict=True))
    return replace(
        found,
        terms={"block_error": found.terms["progressive_loss"], "margin": found.terms["margin"]},
        combine="block_error + margin",
        predictor=f"an adapter trained alike on one of the sizes {stages}, drawn with the weights in brackets",
        assumptions=(
            "the examples are independent and identically distributed, in an order that does not depend on them",
            "each adapter was trained on the examples before its block, and nothing was tuned on the block",
            "the sizes and the constant were fixed before the data",
            *_known(config),
        ),
    )


def by_blocks(config: SweepConfig) -> bool:
    """Whether blocks of nested sizes are what certifies a sweep: several epochs, and nothing nearer to the run."""
    return config.blocks and config.epochs > 1 and config.cross_fit is None and config.unlabelled is None


def best_certificate(row: Row, config: SweepConfig, delta: float = DELTA, rows: Sequence[Row] = ()) -> Bound | None:
    """What a sweep shows of a run: the limit of the final adapter where it has unlabelled examples, of a random adapter
    of its folds where it has folds, of one on a smaller size where it has blocks and several epochs, else of a random
    checkpoint (:func:`speaks_of`). Which is settled before training.

    Args:
        rows: all runs of the sweep, for blocks.
    """
    if row.rank and config.unlabelled is not None:
        return final_certificate(row, config, delta)
    if row.rank and config.cross_fit is not None:
        return cross_fit_certificate(row, config, delta)
    if row.rank and by_blocks(config):
        return block_certificate(row, rows, config, delta)
    return certificate(row, config, delta)


def gain(row: Row, zero_shot: Row, config: SweepConfig, delta: float = DELTA, start: int | None = None) -> Bound | None:
    """Least number of errors per new example that a random checkpoint of the window saves the bare model.

    The two are compared example by example; None as :func:`certificate`, with its ``start``.
    """
    if start is None:
        start = window_start(row.n_train, config.batch_size, config.window)
    if certificate(row, config) is None or not row.rank or zero_shot.first_errors is None:
        return None
    assert row.first_order is not None
    loss = decides(config)
    differences = losses_of(zero_shot, loss)[row.first_order] - losses_of(row, loss)
    a = best_a(differences[:start], len(differences) - start, delta, "gain")
    found = paired_gain(differences[start:], delta, a=a)
    return replace(found, assumptions=(*found.assumptions, *_known(config)))


def best_gain(row: Row, zero_shot: Row, config: SweepConfig, delta: float = DELTA) -> Bound | None:
    """The gain of what :func:`best_certificate` speaks of: for the final adapter, late checkpoints' gain minus the
    limit on how often it differs from them, at half of delta each; for folds, row by row as for a window."""
    if config.cross_fit is not None:
        return _gain_of_folds(row, zero_shot, config, delta)
    if config.unlabelled is None:
        return gain(row, zero_shot, config, delta)
    final = final_certificate(row, config, delta)
    late = final and gain(row, zero_shot, config, delta / 2, row.final_start)
    if not final or not late:
        return None
    differs = float(final.terms["disagreement"])
    return replace(
        late,
        value=float(late.value) - differs,
        delta=delta,
        terms={"checkpoint": late.value, "disagreement": differs},
        combine="checkpoint - disagreement",
        predictor=final.predictor,
        assumptions=tuple(dict.fromkeys((*late.assumptions, *final.assumptions))),
    )


def _gain_of_folds(row: Row, zero_shot: Row, config: SweepConfig, delta: float) -> Bound | None:
    """Least mean gain of the K adapters of the folds: that of a window at delta^K.

    Source: ours. Given the other folds prod (1 + a Z_t)/(1 + a mu_j) over fold j has mean 1, and so has its average
    over j; Markov, then Jensen for exp and for ln(1 + a mu): (K/n) ln(1/delta) in place of ln(1/delta)/n.
    """
    if row.fold_errors is None or row.n_folds is None or zero_shot.first_errors is None or delta**row.n_folds < 1e-300:
        return None
    saved = zero_shot.first_errors[: len(row.fold_errors)].astype(np.float64) - row.fold_errors
    a = min(math.sqrt(2 * row.n_folds * math.log(1 / delta) / (_GAIN_VARIANCE * len(saved))), 0.5)
    found = paired_gain(saved, delta**row.n_folds, a=a)
    return replace(
        found,
        delta=delta,
        predictor=f"one of the {row.n_folds} adapters trained without a fold each, picked at random",
        assumptions=(
            "the examples are independent and identically distributed",
            "each adapter was trained without the fold that tests it",
            "the folds and the constant were fixed before the data",
            *_known(config),
        ),
    )
