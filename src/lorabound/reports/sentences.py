"""The sentences of a report, said once for terminal and page."""

from __future__ import annotations

import math

from lorabound.data import counted as number_of
from lorabound.modes import MODES
from lorabound.notation import OF_WEIGHTS, RESIDUAL_LAW, rounded_down, rounded_up
from lorabound.stats import Exponent
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import BITS, DELTA, WORST_CASE, Cell
from lorabound.sweeps.notes import cut_note
from lorabound.sweeps.progressive import evidence, speaks_of, why_not
from lorabound.sweeps.summary import Comparison, Growth, Summary, drawn_apart

_MODES: dict[str, str] = {ZERO_SHOT: "no adapter", **{mode: facts.sentence for mode, facts in MODES.items()}}


def ceiled(limit: float) -> str:
    """A limit from above with three digits, never shown lower than it is."""
    return f"{rounded_up(limit):.3f}"


def floored(limit: float) -> str:
    """A limit from below with three digits, never shown higher than it is."""
    return f"{rounded_down(limit):.3f}"


def cell_name(cell: Cell) -> str:
    """ "freeze_a, rank 4"."""
    return "the model without an adapter" if cell.mode == ZERO_SHOT else f"{cell.mode}, rank {cell.rank}"


def error_sentence(summary: Summary) -> list[str]:
    """What an error is, where it is none of a class."""
    if not summary.completes:
        return []
    if summary.config.metric == "exact-match":
        return [
            "Error: share of the completions of which some token is not the most likely one, given the right tokens "
            "before it; greedy decoding writes all others word for word."
        ]
    return [
        "Error: share of the tokens of a completion that are not the most likely ones, given the right tokens before "
        "them; averaged over examples."
    ]


def exponent_text(exponent: Exponent) -> str:
    """ "0.41 [0.30, 0.52]", or why there is none."""
    if math.isnan(exponent.value):
        return f"none ({exponent.note})"
    if math.isnan(exponent.low):
        return f"{exponent.value:.2f} ({exponent.note})"
    return f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def exponent_sentence(growth: Growth) -> str:
    """One line: how the gap grows along one axis, beside the worst case."""
    symbol, other = ("r", "N") if growth.axis == "rank" else ("N", "rank")
    if math.isnan(growth.exponent.value):
        return (
            f"{growth.mode}, {other} = {growth.fixed}: how the gap in {growth.loss.title} grows with {symbol} cannot "
            f"be read from these runs ({growth.exponent.note})"
        )
    return (
        f"{growth.mode}, {other} = {growth.fixed}: gap in {growth.loss.title} grows like {symbol}^beta, "
        f"beta = {exponent_text(growth.exponent)}; worst case {WORST_CASE[growth.axis]:+.1f}"
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


def n_samples(summary: Summary) -> int:
    """Number of training samples that every interval of the summary is over."""
    return min((cell.n_samples for cell in summary.cells if cell.mode != ZERO_SHOT), default=1)


def intervals_sentence(summary: Summary) -> str:
    """What the intervals cover, and what they do not."""
    n_test = _n_test(summary)
    counts = sorted({cell.n_seeds for cell in summary.cells if cell.rank}) or [1]
    seeds, samples = counts[-1], n_samples(summary)
    draws = f"{seeds} draws" if len(counts) == 1 else f"{counts[0]} to {seeds} draws"
    if samples > 1:
        drawn = f"{draws} of the frozen factor, " if seeds > 1 else ""
        missing = "" if seeds > 1 else " They do not cover the chance of the frozen factor: there is one seed."
        return (
            f"Intervals cover {'three' if seeds > 1 else 'two'} chances: {drawn}{samples} training samples that share "
            f"no example (with the order of examples), and {n_test} test examples.{missing}"
        )
    several = ", some cells have no second one yet" if summary.config.samples > 1 else " (give --samples 3 or more)"
    drawn = f"spread over {draws} (frozen factor and order of examples) and " if seeds > 1 else ""
    seed = "" if seeds > 1 else ", nor that of the seed: there is one (give --seeds 3 or more)"
    return (
        f"Intervals: {drawn}sampling of {n_test} test examples. They do not cover the chance of the training sample: "
        f"there is one{several}{seed}."
    )


def shows_average_bound(summary: Summary) -> bool:
    """Whether the bound on the average gap says something about some trained cell."""
    return any(cell.rank and cell.information and not cell.information.silent for cell in summary.cells)


def shows_certificate(summary: Summary) -> bool:
    """Whether training proves something of a trained cell, without a test set."""
    return any(cell.rank and cell.progressive for cell in summary.cells)


def caveats(summary: Summary) -> list[str]:
    """What may change a reader's conclusions, the gravest first: about the runs, then about the examples."""
    n_test = _n_test(summary)
    lines = [_unfinished(summary)] if summary.unfinished else []
    n_diverged = sum(row.status == "diverged" for row in summary.rows)
    if n_diverged:
        lines.append(f"{n_diverged} runs diverged and are left out: lower lr or set clip_norm.")
    if n_unpaired := sum(cell.n_unpaired for cell in summary.cells):
        lines.append(
            f"{n_unpaired} finished runs are in no mean and no interval: other seeds or training samples of their cell "
            "diverged or are missing."
        )
    if summary.n_missing:
        lines.append(f"{summary.n_missing} runs of the grid are still missing: run the sweep again to go on.")
    if any(min(wrong, n_test - wrong) < 10 for wrong in (round(c.test_loss * n_test) for c in summary.cells)):
        lines.append(
            "Where fewer than 10 test examples are wrong, or fewer than 10 right, the interval of the gap is too "
            "narrow; the limit on new data holds."
        )
    if summary.config.shots:
        lines.append(
            "Training sets hold equally many examples of every class, the test set has them as they come: the gap also "
            "holds what that changes, and neither a bound on the average gap nor the worst case speaks of them."
        )
    elif drawn_apart(summary):
        lines.append(
            "Training and test set come from different places: the gap also holds what that changes, and no bound on "
            "the average gap is given."
        )
    return [*lines, *_on_examples(summary, n_test)]


def remarks(summary: Summary) -> list[str]:
    """What is unusual about the model and about the data, as it was told before training."""
    return [*summary.about.get("model_notes", []), *summary.about.get("notes", [])]


def reading(summary: Summary) -> list[str]:
    """What each number is, exactly."""
    n_test, config = _n_test(summary), summary.config
    lines = [
        *error_sentence(summary),
        f"Gap = test minus training error. {intervals_sentence(summary)}",
        "> lowest test error at this N; ~ cannot be told apart from it (paired over test examples and seeds, every "
        f"choice compared with every other one, {1 - DELTA:.0%} for all at once).",
        f"Error on new data <=: from the {n_test} test examples, with probability {1 - DELTA:.0%}, for each row on its "
        "own, for one of its adapters picked at random (Hoeffding 1963).",
    ]
    if shows_average_bound(summary):
        lines.append(
            "Mean gap <=: over draws of sample and factor, not for one run, for losses in [0, 1], at "
            f"{BITS} bits per parameter (Zhu et al. 2024, Lemma 4.5); 1 or more says nothing."
        )
    elif not drawn_apart(summary):
        lines.append(
            f"No bound on the average gap says anything here (Zhu et al. 2024, Lemma 4.5: 1 or more in every "
            f"cell, at {BITS} bits per parameter)."
        )
    if not shows_certificate(summary):
        lines.append(why_not(config) or "Training certifies nothing here: no run kept its losses in several steps.")
    else:
        known = "" if summary.completes else ", that the classes were known before them"
        lines.append(
            f"New data <= by training: of {speaks_of(config)}{'' if config.cross_fit else ','} in one of the cell's "
            f"runs picked at random, by {evidence(config)}; {1 - DELTA:.0%} for each row on its own. It "
            f"assumes that the examples are independent draws{known}, and that the "
            "settings were chosen before these examples were looked at. Without an adapter: by all training examples."
        )
    lines.append(modes_sentence(summary))
    if config.task == "labels":
        lines.append(
            f"A label is asked for as {config.template!r} and scored by the likelihood of its text (--template)."
        )
    elif config.head == "prompts" and config.prompt:
        lines.append(f"A class is asked for by its prompt, {config.prompt!r} (--prompt).")
    if config.precision == "bfloat16":
        lines.append("The frozen model ran in bfloat16; factors, losses and optimizer in float32 (see --precision).")
    return lines


def chain_sentence(links: int) -> str:
    """What rank and parameters are where every adapter is a chain."""
    return (
        f"Every adapter is a chain of {links} links of the rank shown, trained one after the other, which share the "
        f"steps: its rank is {links} times that, and the parameters of all links are counted."
    )


def mode_sentence(mode: str, law: str | None) -> str:
    """What a mode trains, and how the other factor stays under a law."""
    words: dict[str | None, str] = {OF_WEIGHTS: " as drawn", RESIDUAL_LAW: " as it starts"}
    return _MODES[mode].replace(" as drawn at random", words.get(law, " as drawn at random"))


def modes_sentence(summary: Summary) -> str:
    """What every mode of the table trains, from which start, and whether the frozen model is quantized."""
    shown = dict.fromkeys(cell.mode for cell in summary.cells)
    settings = summary.about.get("config", {})
    told = "; ".join(f"{mode}: {mode_sentence(mode, summary.config.law)}" for mode in shown)
    lines = [f"LoRA adds B A to a weight. {told}."]
    if summary.config.law == OF_WEIGHTS:
        lines.append("Factors are main directions of the layer's weight (--law svd), the same for every seed.")
    if settings.get("base"):
        lines.append(f"The frozen model is quantized to {settings['base']} in every row.")
    if settings.get("law") == RESIDUAL_LAW:
        lines.append(
            f"Law {RESIDUAL_LAW}: A and B start at what rounding took from a weight, the same for every seed, not at "
            "random and at 0; a layer that is not rounded starts as under the default law."
        )
    if summary.config.links > 1:
        lines.append(chain_sentence(summary.config.links))
    return " ".join(lines)


def _n_test(summary: Summary) -> int:
    return summary.cells[0].gap.n_test if summary.cells else 0


def _on_examples(summary: Summary, n_test: int) -> list[str]:
    """Examples that were cut, taken out or changed."""
    about = summary.about
    kind = "prompt" if summary.completes else about.get("takes", "texts").removesuffix("s")
    lines = []
    cut = about.get("cut")
    if cut and (note := cut_note(cut)):
        lines.append(note)
    elif cut is None and about["n_cut"]:  # an older store does not say what cut them
        lines.append(f"{about['n_cut']} of {n_test} test texts were too long and lost their end.")
    if about["n_removed"]:
        lines.append(
            f"{about['n_removed']} test rows were removed because their {kind} stands in the training pool: "
            f"errors are over {kind}s that do not."
        )
    if about.get("n_unlabelled_removed"):
        lines.append(
            f"{about['n_unlabelled_removed']:,} unlabelled rows were left out because they stand in the training pool "
            f"or the test set; {about['n_unlabelled']:,} remain."
        )
    if summary.config.augment:
        lines.append(
            "Training images were cropped and flipped at random (--augment); training and test errors are of whole "
            "images: the gap is not that of a model fitted to the images it is measured on."
        )
    lines += _left_out(summary)
    if about.get("n_skipped"):
        lines.append(
            f"{about['n_skipped']} images cannot be decoded and were left out: every error is over images that can."
        )
    return lines


def _left_out(summary: Summary) -> list[str]:
    """How many examples were too long, and what that makes of every error."""
    if not (n_long := summary.about.get("n_long")):
        return []
    return [
        f"{number_of(n_long, 'example')} of more than {summary.config.most_tokens:,} tokens "
        f"{'was' if n_long == 1 else 'were'} left out (--drop-long): every error and every limit is over examples that "
        "are no longer."
    ]


def _unfinished(summary: Summary) -> str:
    cells, config = summary.unfinished, summary.config
    trained = sum(cell.mode != ZERO_SHOT for cell in summary.cells)
    of = f"{len(cells)} of {trained} cells"
    name, reached = f"{cell_name(cells[0])}, N = {cells[0].n_train:,}", f"{cells[0].train_loss:.3f}"
    bare = [cell.train_loss for cell in summary.cells if cell.mode == ZERO_SHOT and cell.n_train == cells[0].n_train]
    frequent = None if summary.completes else summary.about.get("majority_error")
    if frequent is not None and bare and frequent < bare[0]:
        seen = f"is not a fifth below {frequent:.3f}, that of always answering the most frequent class"
        seen += f" (as {name}: {reached})"
    else:
        seen = f"came down by less than a fifth (as {name}, to {reached})"
    return (
        f"Training may not have finished in {of}: the training error {seen}. Raise --epochs or "
        f"--lr{' or --head-lr' if config.head == 'trained' else ''} before you compare."
    )
