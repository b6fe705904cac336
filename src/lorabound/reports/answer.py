"""The answer of a sweep's page: which adapter, what is guaranteed, what more data would buy; in sentences and tiles."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from lorabound.notation import says_nothing
from lorabound.reports.sentences import ceiled, cell_name
from lorabound.reports.verdict_sentences import counted, guarantee_sentences, taken_for_granted, verdict_sentences
from lorabound.sweeps import ZERO_SHOT
from lorabound.sweeps.cells import DELTA
from lorabound.sweeps.command import sweep_command
from lorabound.sweeps.more_data import MoreData, more_data
from lorabound.sweeps.summary import Summary
from lorabound.sweeps.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What stands at the head of a page.

    Attributes:
        first: the adapter to take, in one sentence.
        sure: how sure that is, what is guaranteed, what more data would buy: a sentence or two for each.
        beside: what else to know about the choice.
        tiles: numbers of the answer, each with its name and what stands beside it.
        remedy: command that measures what could not be said; "" where nothing is missing.
    """

    first: str
    sure: list[str]
    beside: list[str]
    tiles: list[dict[str, str]]
    remedy: str


def answer(summary: Summary) -> Answer:
    """The answer of a sweep, from what its summary holds."""
    first, *others = verdict_sentences(summary)
    if not summary.verdicts:
        return Answer(first=first, sure=[], beside=others, tiles=[], remedy="")
    verdict = summary.verdicts[0]
    guarantees = guarantee_sentences(summary, verdict)
    more = _more(summary, verdict)
    said, remedy = _more_sentence(summary, verdict, more)
    return Answer(
        first=first,
        sure=[_how_sure(verdict), " ".join(guarantees), *([said] if said else [])],
        beside=[sentence for sentence in others if sentence not in guarantees],
        tiles=_tiles(summary, verdict, more),
        remedy=remedy,
    )


def _how_sure(verdict: Verdict) -> str:
    """Which others may be as good, and the gap of the best."""
    best = verdict.best
    alike = [cell_name(cell) for cell in verdict.members if cell is not best]
    if not verdict.n_candidates > 1:
        text = "There is nothing to compare it with at this N."
    elif alike:
        shown = ", ".join(alike[:3]) + (f" and {len(alike) - 3} more" if len(alike) > 3 else "")
        text = (
            f"The lead of {cell_name(best)} is not beyond chance: {shown} cannot be told apart from it (all pairs "
            "compared, 95%)."
        )
    else:
        others = verdict.n_candidates - 1
        here = " that are compared here" if verdict.n_counted > verdict.n_candidates else ""
        which = f"All other {others} choices{here} are" if others > 1 else "The other choice is"
        text = f"{which} shown to be worse (all pairs compared, 95%)."
    if best.mode == ZERO_SHOT:
        return text
    gap = best.gap
    interval = f"95% interval {gap.low:+.3f} to {gap.high:+.3f}"
    return f"{text} Its gap, test minus training error, is {gap.mean:+.3f} ({interval})."


def _more(summary: Summary, verdict: Verdict) -> MoreData | None:
    best = verdict.best
    if best.mode == ZERO_SHOT or not any(loss.column == best.metric for loss in summary.losses):
        return None
    return more_data(summary.rows, summary.config, summary.losses[0], best.mode, best.rank)


def _more_sentence(summary: Summary, verdict: Verdict, more: MoreData | None) -> tuple[str, str]:
    """What twice the data would buy, or the command that would tell."""
    best = verdict.best
    if more is not None:
        return (
            f"With twice the data (N = {more.n_train:,}) the forecast for {cell_name(best)} is an error of "
            f"{more.value:.3f} on new data ({more.level:.0%} interval {more.low:.3f} to {more.high:.3f}, from learning "
            f"curves through {more.n_cells} cells; no guarantee, and rather too low: this adapter was picked by the "
            "same test examples).",
            "",
        )
    if len(summary.config.sizes) > 1 or best.mode == ZERO_SHOT or summary.config.shots:
        return "", ""
    other = best.n_train // 4
    if other < 2 * summary.config.batch_size:  # as far the other way, where the data have the rows
        other = 4 * best.n_train
        if summary.config.samples > 1 or summary.about.get("n_pool", 0) < other:
            return "What more data would buy needs another training size.", ""
    sizes = sorted([other, best.n_train])
    command = sweep_command(summary.config, summary.folder or "DIR", n_train=sizes)
    return "What more data would buy needs another training size. This adds one, and keeps the runs that are there:", (
        shlex.join(command)
    )


def _tiles(summary: Summary, verdict: Verdict, more: MoreData | None) -> list[dict[str, str]]:
    best, zero_shot, limit = verdict.best, verdict.zero_shot, float(verdict.limit.value)
    beside = f"without an adapter {zero_shot.test_loss:.3f}" if zero_shot is not None and zero_shot is not best else ""
    tiles = [
        {"name": "test error", "value": f"{best.test_loss:.3f}", "beside": beside or f"of {verdict.n_test:,} examples"},
        {
            "name": "gap",
            "value": f"{best.gap.mean:+.3f}",
            "beside": f"95% interval {best.gap.low:+.3f} to {best.gap.high:+.3f}",
        },
        {
            "name": "guaranteed on new data" + ("" if says_nothing(limit) else ", at most"),
            "value": "nothing" if says_nothing(limit) else ceiled(limit),
            "beside": ", ".join([f"{1 - DELTA:.0%}", counted(verdict), *(s for _, s in taken_for_granted(summary))]),
        },
    ]
    if more is not None:
        tiles.append(
            {
                "name": f"forecast for N = {more.n_train:,}",
                "value": f"{more.value:.3f}",
                "beside": f"{more.level:.0%} interval {more.low:.3f} to {more.high:.3f}",
            }
        )
    return tiles if best.mode != ZERO_SHOT else [tile for tile in tiles if tile["name"] != "gap"]
