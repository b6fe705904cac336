"""The sentences of a report, said once for terminal and page."""

from __future__ import annotations

import math

from lorabound.data import counted as number_of
from lorabound.modes import MODES
from lorabound.notation import OF_WEIGHTS, RESIDUAL_LAW
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import BITS, DELTA, WORST_CASE, Cell
from lorabound.sweeps.notes import cut_note
from lorabound.sweeps.progressive import Choice, evidence, speaks_of, why_not
from lorabound.sweeps.summary import Comparison, Growth, Summary, drawn_apart
from lorabound.sweeps.verdict import Verdict

_MODES: dict[str, str] = {ZERO_SHOT: "none", **{mode: facts.sentence for mode, facts in MODES.items()}}


def ceiled(limit: float) -> str:
    """A limit from above with three digits, never shown lower than it is."""
    return f"{math.ceil(limit * 1000 - 1e-9) / 1000:.3f}"


def floored(limit: float) -> str:
    """A limit from below with three digits, never shown higher than it is."""
    return f"{math.floor(limit * 1000 + 1e-9) / 1000:.3f}"


def verdict_sentences(summary: Summary) -> list[str]:
    """Which adapter to take: in full for the largest training size, a line for each other one."""
    if not summary.verdicts:
        return ["No verdict yet: no cell of the grid holds all of its seeds."]
    main, *others = summary.verdicts
    lines = _in_full(main, bool(summary.about.get("extended")))
    if summary.completes:
        lines.insert(1, _completions(summary, main))
    return [*lines, *(_in_short(verdict) for verdict in others)]


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


def _completions(summary: Summary, verdict: Verdict) -> str:
    """What an error is; exact matches and likelihoods of the best adapter, beside the model without one."""
    best, bare = verdict.best, verdict.zero_shot
    exactly = summary.config.metric == "exact-match"
    what = f"Error is here the share of {'completions that are not exactly right' if exactly else 'wrong tokens'}."
    exact, nll = f"{1 - best.test['error']:.1%}", f"{best.test['ce']:.3f}"
    without = bare is not None and bare is not best
    of_exact = f" (without an adapter {1 - bare.test['error']:.1%})" if without and bare else ""
    of_nll = f" ({bare.test['ce']:.3f})" if without and bare else ""
    return (
        f"{what} Greedy decoding writes {exact} of the test completions word for word{of_exact}; -ln p per token is "
        f"{nll} nats{of_nll}."
    )


def cell_name(cell: Cell) -> str:
    """ "freeze_a, rank 4"."""
    return "the model without an adapter" if cell.mode == ZERO_SHOT else f"{cell.mode}, rank {cell.rank}"


def _in_full(verdict: Verdict, extended: bool) -> list[str]:
    best, cheapest, level = verdict.best, verdict.cheapest, f"{1 - DELTA:.0%}"
    seeds = f"{verdict.n_seeds} seeds" if verdict.n_seeds > 1 else "one seed"
    on_samples = f" on {verdict.n_samples} training samples" if verdict.n_samples > 1 else ""
    tested = f"{verdict.n_test:,} test examples and {seeds}{on_samples}"
    if best is verdict.zero_shot:
        lines = [
            f"Take no adapter: at N = {verdict.n_train:,} training examples the model without an adapter has the "
            f"lowest test error of {verdict.n_candidates} choices, {best.test_loss:.3f}."
        ]
    elif not verdict.beats_zero_shot and verdict.zero_shot is not None:
        lines = [
            f"No adapter is shown to be better than none by the test set: at N = {verdict.n_train:,} training examples "
            f"the model without an adapter has test error {verdict.zero_shot.test_loss:.3f}, the lowest is "
            f"{best.test_loss:.3f} ({cell_name(best)}, {best.n_params:,} trained parameters), and "
            f"{tested} cannot tell the two apart."
        ]
    else:
        lines = [
            f"Take {cell_name(best)}: at N = {verdict.n_train:,} training examples it has the lowest test error of "
            f"{verdict.n_candidates} choices, {best.test_loss:.3f}, and trains {best.n_params:,} parameters."
        ]
        if cheapest is best:
            lines.append(f"Every choice with fewer parameters is shown to be worse (by {tested}).")
        else:
            lines.append(
                f"Cheaper: {cell_name(cheapest)} trains {best.n_params / cheapest.n_params:.1f} times fewer "
                f"({cheapest.n_params:,}); its test error, {cheapest.test_loss:.3f}, cannot be told apart from the "
                f"lowest by {tested}. It is at most {verdict.extra[1]:.3f} above the best choice ({level})."
            )
        if verdict.zero_shot is not None:
            lines.append(
                f"Without an adapter the test error is {verdict.zero_shot.test_loss:.3f}: {verdict.gain[1]:.3f} "
                f"higher (on new data at least {floored(max(verdict.gain[0], 0))} higher, {level})."
            )
    n_adapters = verdict.n_seeds * verdict.n_samples
    averaged = f", averaged over its {n_adapters} adapters," if best.mode != ZERO_SHOT and n_adapters > 1 else ""
    lines.append(
        f"On new data the error of {cell_name(best)}{averaged} is at most {ceiled(float(verdict.limit.value))} "
        f"({level}, the choice among {verdict.n_candidates} counted)."
    )
    if verdict.proved:
        lines.append(_proved(verdict.proved, extended))
    if best is not verdict.zero_shot:
        lines.append(_gap_sentence(verdict))
    if verdict.left_out:
        names = "; ".join(cell_name(cell) for cell in verdict.left_out)
        lines.append(f"Not compared, because seeds diverged or are missing: {names}.")
    return lines


def _proved(choice: Choice, extended: bool) -> str:
    """What training proves without a test set, for the run it proves most of."""
    row, level = choice.row, f"{1 - DELTA:.0%}"
    run = f"{row.mode}, rank {row.rank}, seed {row.seed}" + (f", sample {row.sample}" if row.sample else "")
    several = choice.n_candidates > 1
    counted = f"{level}, the choice among {choice.n_candidates} runs counted" if several else level
    if choice.bound.vacuous:
        text = f"Without a test set training proves nothing about any run ({counted})"
    else:
        proves = "proves most" if several else "proves"
        text = (
            f"Without a test set training {proves} for {run}: the error of {choice.speaks_of} is at most "
            f"{ceiled(float(choice.bound.value))} on new data ({counted})"
        )
        if choice.gain and not choice.gain.vacuous:
            text += f", at least {floored(float(choice.gain.value))} lower than without an adapter ({level})"
    if extended:
        text += ". That holds if nobody looked at the first results before runs were added to the grid"
    return f"{text}."


def _gap_sentence(verdict: Verdict) -> str:
    best, smallest = verdict.best, verdict.smallest_gap
    gap = best.gap.mean
    side = "above" if gap > 0 else "below"
    text = f"Gap: its test error is {abs(gap):.3f} {side} its training error, {best.train_loss:.3f}"
    if smallest is None or smallest is best:
        return f"{text}. {'That says how much training flatters it' if gap > 0 else 'Training does not flatter it'}."
    return (
        f"{text}. That says how much training flatters it, not which model is better: the smallest gap, "
        f"{smallest.gap.mean:+.3f} ({cell_name(smallest)}), goes with a test error of "
        f"{smallest.test_loss:.3f}."
    )


def _in_short(verdict: Verdict) -> str:
    best, cheapest = verdict.best, verdict.cheapest
    start = f"N = {verdict.n_train:,}: "
    if best is verdict.zero_shot:
        return f"{start}the model without an adapter has the lowest test error, {best.test_loss:.3f}."
    lowest = f"{cell_name(best)} has the lowest test error, {best.test_loss:.3f} ({best.n_params:,} parameters)"
    if cheapest is best:
        return f"{start}{lowest}."
    size = f" ({cheapest.n_params:,})" if cheapest.n_params else ""
    return f"{start}{lowest}; {cell_name(cheapest)}{size}, {cheapest.test_loss:.3f}, cannot be told apart from it."


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
    if math.isnan(growth.exponent.value):
        return (
            f"{growth.mode}, {other} = {growth.fixed}: how the gap in {growth.loss.title} grows with {symbol} cannot "
            f"be read from these runs ({growth.exponent.note})"
        )
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


def n_samples(summary: Summary) -> int:
    """Number of training samples that every interval of the summary is over."""
    return min((cell.n_samples for cell in summary.cells if cell.mode != ZERO_SHOT), default=1)


def intervals_sentence(summary: Summary) -> str:
    """What the intervals cover, and what they do not."""
    n_test = _n_test(summary)
    seeds, samples = len({row.seed for row in summary.rows if row.rank}), n_samples(summary)
    if samples > 1:
        drawn = f"{seeds} draws of the frozen factor, " if seeds > 1 else ""
        missing = "" if seeds > 1 else " They do not cover the chance of the frozen factor: there is one seed."
        return (
            f"Intervals cover {'three' if seeds > 1 else 'two'} chances: {drawn}{samples} training samples that share "
            f"no example (with the order of examples), and {n_test} test examples.{missing}"
        )
    several = ", some cells have no second one yet" if summary.config.samples > 1 else " (give --samples 3 or more)"
    drawn = f"spread over {seeds} draws (frozen factor and order of examples) and " if seeds > 1 else ""
    return (
        f"Intervals: {drawn}sampling of {n_test} test examples. They do not cover the chance of the training sample: "
        f"there is one{several}."
    )


def shows_average_bound(summary: Summary) -> bool:
    """Whether the bound on the average gap says something about some trained cell."""
    return any(cell.rank and cell.information and not cell.information.vacuous for cell in summary.cells)


def shows_certificate(summary: Summary) -> bool:
    """Whether training proves something of a trained cell, without a test set."""
    return any(cell.rank and cell.progressive for cell in summary.cells)


def notes(summary: Summary) -> list[str]:
    """All that stands under the table of the page: caveats, what is unusual, how to read the numbers."""
    return [*caveats(summary), *remarks(summary), *reading(summary)]


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


def modes_sentence(summary: Summary) -> str:
    """What every mode of the table trains, from which start, and whether the frozen model is quantized."""
    shown = dict.fromkeys(cell.mode for cell in summary.cells)
    settings = summary.about.get("config", {})
    told = f"An adapter adds B A to a weight. {'; '.join(f'{mode}: {_MODES[mode]}' for mode in shown)}."
    if summary.config.law == OF_WEIGHTS:
        told = told.replace(" at random", "") + " What is drawn are main directions of the layer's weight (--law svd)."
    lines = [told]
    if settings.get("base"):
        lines.append(f"The frozen model is quantized to {settings['base']} in every row.")
    if settings.get("law") == RESIDUAL_LAW:
        lines.append(
            f"Law {RESIDUAL_LAW}: A and B start at what rounding took from a weight, not at random and at 0; a layer "
            "that is not rounded starts as under the default law."
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
