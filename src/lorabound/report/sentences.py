"""The sentences of a report, said once for terminal and page."""

from __future__ import annotations

import math

from lorabound.report.summary import BITS, DELTA, WORST_CASE, Comparison, Growth, Summary, drawn_apart
from lorabound.sweep.notes import cut_note


def exponent_text(growth: Growth) -> str:
    """ "0.41 [0.30, 0.52]", or why there is none."""
    exponent = growth.exponent
    if math.isnan(exponent.value):
        return f"none ({exponent.note})"
    if math.isnan(exponent.low):
        return f"{exponent.value:.2f} ({exponent.note})"
    return f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def exponent_sentence(growth: Growth) -> str:
    """One line: how the gap grows along one axis, beside the worst case."""
    symbol, other = ("r", "N") if growth.axis == "rank" else ("N", "rank")
    return (
        f"{growth.mode}, {other} = {growth.fixed}: gap in {growth.loss.title} grows like {symbol}^beta, "
        f"beta = {exponent_text(growth)}; worst case {WORST_CASE[growth.axis]:+.1f}"
    )


def comparison_sentence(comparison: Comparison) -> str:
    """One line: freeze A and double the rank, at equal trainable parameters."""
    frozen, both = comparison.n_params
    budget = f"{both:,} parameters" if frozen == both else f"{frozen:,} against {both:,} parameters"
    gap, test = comparison.gap, comparison.test
    return (
        f"freeze_a r={2 * comparison.rank} minus train_both r={comparison.rank} ({budget}, N = {comparison.n_train}): "
        f"gap {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], "
        f"test error {test.mean:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
    )


def notes(summary: Summary) -> list[str]:
    """What a reader must know to read the numbers rightly."""
    n_test = summary.cells[0].gaps["error"].n_test if summary.cells else 0
    seeds = len({row.seed for row in summary.rows if row.rank})
    lines = [
        f"Gap = test minus training error. Intervals: spread over {seeds} draws (frozen factor and order of examples) "
        f"and sampling of {n_test} test examples, for this training sample.",
        f"True error <=: from the {n_test} test examples, with probability {1 - DELTA:.0%}, for each row on its own, "
        "for one of its adapters picked at random (Hoeffding 1963).",
    ]
    if summary.config.shots:
        lines.append(
            "Training sets hold equally many examples of every class, the test set has them as they come: the gap also "
            "holds what that changes, and neither a bound on the expected gap nor the worst case speaks of them."
        )
    elif drawn_apart(summary):
        lines.append(
            "Training and test set come from different places: the gap also holds what that changes, and no bound on "
            "the expected gap is given."
        )
    else:
        lines.append(
            "E gap <=: on average over draws of sample and factor, not for one run, for losses in [0, 1], at "
            f"{BITS} bits a parameter (Zhu et al. 2024, Lemma 4.5); * vacuous: 1 or more."
        )
    lines.extend(summary.about.get("notes", []))
    kind = summary.about.get("takes", "texts").removesuffix("s")
    if summary.config.precision == "bfloat16":
        lines.append("The frozen model ran in bfloat16; factors, losses and optimizer in float32 (see --precision).")
    if summary.about["n_removed"]:
        lines.append(
            f"{summary.about['n_removed']} test rows were removed because their {kind} stands in the training pool: "
            f"test and true error are over {kind}s that do not."
        )
    if summary.config.augment:
        lines.append(
            "Training images were cropped and flipped at random (--augment); training and test errors are of whole "
            "images: the gap is not that of a model fitted to the images it is measured on."
        )
    if summary.about.get("n_skipped"):
        lines.append(
            f"{summary.about['n_skipped']} images cannot be decoded and were left out: every error is over images that "
            "can."
        )
    lines += summary.about.get("model_notes", [])
    cut = summary.about.get("cut")
    if cut and (note := cut_note(cut)):
        lines.append(note)
    elif cut is None and summary.about["n_cut"]:  # an older store does not say what cut them
        lines.append(f"{summary.about['n_cut']} of {n_test} test texts were too long and lost their end.")
    classes = summary.about["classes"]
    if all(name.isdigit() for name in classes):
        lines.append(f"The classes are called {', '.join(classes[:3])}, ...: prompts work better with words for names.")
    if any(min(wrong, n_test - wrong) < 10 for wrong in (round(c.test["error"] * n_test) for c in summary.cells)):
        lines.append(
            "Cells with fewer than 10 test examples wrong, or fewer than 10 right: their gap intervals are too narrow; "
            "use the hold-out limit."
        )
    n_diverged = sum(row.status == "diverged" for row in summary.rows)
    if n_diverged:
        lines.append(f"{n_diverged} runs diverged and are left out: lower lr or set clip_norm.")
    if summary.n_missing:
        lines.append(f"{summary.n_missing} runs of the grid are still missing: run the sweep again to go on.")
    return lines
