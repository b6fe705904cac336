"""Which adapter to take, in sentences: said once for terminal and page."""

from __future__ import annotations

from lorabound.notation import says_nothing
from lorabound.reports.sentences import ceiled, cell_name, floored
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import DELTA
from lorabound.sweeps.choices import Choice
from lorabound.sweeps.summary import Summary
from lorabound.sweeps.verdict import Verdict

# What a limit takes for granted: where runs were added later, since a choice that was added because of what the others
# showed is one of more choices than are there to be counted; and where training sizes are not finished, since who stops
# at a low limit has chosen the size by it. Each in a sentence, and in short.
_EXTENDED = (
    "That holds if nobody looked at the first results before runs were added to the grid.",
    "if nobody looked before runs were added",
)
_STOPPED = ("That holds if the sweep is not stopped because of this number.", "if the sweep is not stopped for it")


def taken_for_granted(summary: Summary) -> list[tuple[str, str]]:
    """What the limits of a sweep take for granted beside the assumptions of their theorems; in sentences and short."""
    sizes_differ = summary.n_missing > 0 and len(summary.config.sizes) > 1
    return [*([_EXTENDED] if summary.about.get("extended") else []), *([_STOPPED] if sizes_differ else [])]


def verdict_sentences(summary: Summary) -> list[str]:
    """Which adapter to take: in full for the largest training size, a line for each other one."""
    if not summary.verdicts:
        return ["No verdict yet: no cell of the grid holds all of its seeds."]
    main, *others = summary.verdicts
    lines = _in_full(summary, main)
    if summary.completes:
        lines.insert(1, _completions(summary, main))
    return [*lines, *(_in_short(verdict) for verdict in others)]


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


def _in_full(summary: Summary, verdict: Verdict) -> list[str]:
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
            compared = " that is compared here" if verdict.n_counted > verdict.n_candidates else ""
            lines.append(f"Every choice with fewer parameters{compared} is shown to be worse (by {tested}).")
        else:
            above = (
                "These say nothing about how far it is above the best choice on new data."
                if says_nothing(verdict.extra[1])
                else f"On new data it is at most {ceiled(verdict.extra[1])} above the best choice ({level})."
            )
            lines.append(
                f"Cheaper: {cell_name(cheapest)} trains {best.n_params / cheapest.n_params:.1f} times fewer "
                f"({cheapest.n_params:,}); its test error, {cheapest.test_loss:.3f}, cannot be told apart from the "
                f"lowest by {tested}. {above}"
            )
        if verdict.zero_shot is not None:
            least = floored(max(verdict.gain[0], 0))
            sure = (
                f"on new data at least {least} higher, {level}"
                if float(least) > 0
                else f"{verdict.n_test:,} test examples guarantee no part of that on new data"
            )
            lines.append(
                f"Without an adapter the test error is {verdict.zero_shot.test_loss:.3f}: {verdict.gain[1]:.3f} "
                f"higher ({sure})."
            )
    lines += guarantee_sentences(summary, verdict)
    if best is not verdict.zero_shot:
        lines.append(_gap_sentence(verdict))
    if verdict.left_out:
        names = "; ".join(cell_name(cell) for cell in verdict.left_out)
        lines.append(f"Not compared, because seeds diverged or are missing: {names}.")
    return lines


def guarantee_sentences(summary: Summary, verdict: Verdict) -> list[str]:
    """Limits on new data: by the test set, and where there is one by training itself; each with its choice counted."""
    limit = float(verdict.limit.value)
    by_test = (
        f"On new data the error of {averaged(verdict)} is at most {ceiled(limit)} "
        f"({1 - DELTA:.0%}, {counted(verdict)})."
    )
    if says_nothing(limit):
        by_test = (
            f"{verdict.n_test:,} test examples guarantee nothing about the error of {averaged(verdict)} on new data "
            f"({1 - DELTA:.0%}, {counted(verdict)})."
        )
    granted = [sentence for sentence, _ in taken_for_granted(summary)]
    return [by_test, *([_proved(verdict.proved)] if verdict.proved else []), *granted]


def averaged(verdict: Verdict) -> str:
    """Whose error a limit by the test set speaks of."""
    n_adapters = verdict.n_seeds * verdict.n_samples if verdict.best.mode != ZERO_SHOT else 1
    return cell_name(verdict.best) + (f", averaged over its {n_adapters} adapters," if n_adapters > 1 else "")


def counted(verdict: Verdict) -> str:
    """Which choices a limit by the test set pays for."""
    if verdict.n_counted > verdict.n_candidates:
        return f"the choice among all {verdict.n_counted} of the grid counted, finished or not"
    return f"the choice among {verdict.n_counted} counted"


def _proved(choice: Choice) -> str:
    """What training proves without a test set, for the run it proves most of."""
    row, level = choice.row, f"{1 - DELTA:.0%}"
    run = f"{row.mode}, rank {row.rank}, seed {row.seed}" + (f", sample {row.sample}" if row.sample else "")
    several = choice.n_candidates > 1
    counted = f"{level}, the choice among {choice.n_candidates} runs counted" if several else level
    if says_nothing(float(choice.bound.value)):
        text = f"Without a test set training proves nothing about any run ({counted})"
    else:
        proves = "proves most" if several else "proves"
        text = (
            f"Without a test set training {proves} for {run}: the error of {choice.speaks_of} is at most "
            f"{ceiled(float(choice.bound.value))} on new data ({counted})"
        )
        if choice.gain and not choice.gain.silent:
            text += f", at least {floored(float(choice.gain.value))} lower than without an adapter ({level})"
    return f"{text}."


def _gap_sentence(verdict: Verdict) -> str:
    best, smallest = verdict.best, verdict.smallest_gap
    gap = best.gap.mean
    apart = f"{abs(gap):.3f} {'above' if gap > 0 else 'below'}" if gap else "equal to"
    text = f"Gap: its test error is {apart} its training error, {best.train_loss:.3f}"
    if smallest is None or smallest is best:
        return f"{text}. {'That says how much training flatters it' if gap > 0 else 'Training does not flatter it'}."
    return (
        f"{text}. A gap says how much training flatters an adapter, not which one is better: the smallest gap, "
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
