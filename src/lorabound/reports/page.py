"""The page of a sweep: the answer, charts to explore, certificates, all cells, how to make it again; offline."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lorabound import __version__
from lorabound.certificates.plain import CHOSEN, exact, plain
from lorabound.errors import InputError
from lorabound.recommendations import Recommendation
from lorabound.reports.answer import answer
from lorabound.reports.cells_table import cells_table
from lorabound.reports.chart_specs import Series
from lorabound.reports.charts import chart_sentences, explorer
from lorabound.reports.frame import PAGE, framed, write_html
from lorabound.reports.rivals_table import rivals_table
from lorabound.reports.runs_table import runs_table
from lorabound.reports.sentences import caveats, comparison_sentence, exponent_text, n_samples, reading, remarks
from lorabound.reports.spread import reading as spread_reading
from lorabound.reports.spread import spread_cells, spread_heads
from lorabound.reports.use import use_of
from lorabound.reports.verdict_sentences import guarantee_sentences
from lorabound.stats import Exponent
from lorabound.sweeps import Sweep
from lorabound.sweeps.cells import WORST_CASE
from lorabound.sweeps.command import sweep_command
from lorabound.sweeps.spread import Crossed
from lorabound.sweeps.summary import Summary

# Of what a store says about its sweep: what the page shows elsewhere, or nobody reads.
_SHOWN_ABOVE = ("config", "classes", "class_counts", "format", "notes", "model_notes", "cut", "extended", "environment")

_PAID = "nobody looked at the test examples to settle anything but which of the choices to take"


def report(result: object, page: str | Path | None = None) -> Path:
    """Write the offline page of a sweep, of a recommendation or of any other result; returns its path.

    Args:
        result: sweep that was run or opened, several of them in a list, recommendation that was made or opened, or
            what ``plan``, ``certify``, ``verify``, ``inspect_adapter`` or ``freezing_costs`` returned.
        page: file to write; None writes ``report.html`` in the folder of a sweep or of a recommendation, and
            ``sweeps.html`` here for several sweeps.
    Raises:
        InputError: a result without a page; without a folder, and no file is named.
        OutputError: the file cannot be written.

    >>> import lorabound as lb
    >>> lb.report(lb.open_sweep("tickets-sweep")).name
    'report.html'
    """
    if isinstance(result, Recommendation):
        chapter = import_module(
            f"{__package__}.recommendation_page"
        )  # by name: pages of sweeps need no more than these
        return Path(chapter.write_recommendation_page(result, page))
    if isinstance(result, list | tuple) and all(isinstance(one, Sweep) for one in result):
        chapter = import_module(f"{__package__}.several_page")
        return Path(chapter.write_several([one.summary() for one in result], page or chapter.SEVERAL))
    if not isinstance(result, Sweep):
        if page is None:
            raise InputError(f"report: {type(result).__name__} has no folder: name the file of its page")
        return Path(import_module(f"{__package__}.result_page").write_result_page(result, page))
    return write_page(result.summary(), page or result.folder / PAGE)


def write_page(summary: Summary, path: str | Path) -> Path:
    """Write the report to ``path``.

    Raises:
        InputError: a file of this name that is no page of ours.
        OutputError: the file cannot be written.
    """
    return write_html(path, page_of(summary))


def page_of(summary: Summary) -> str:
    """The HTML of a sweep's page."""
    about = {**summary.config.model_dump(mode="json"), "lorabound": __version__}
    about |= {name: value for name, value in summary.about.items() if name not in _SHOWN_ABOVE}
    explored = explorer([Series(name="", summary=summary)])
    exponents, n_no_exponent = _exponent_rows(summary)
    folder, use = summary.folder or "DIR", use_of(summary)
    return framed(
        "page.html.j2",
        {},
        summary=summary,
        done=sum(row.status == "done" for row in summary.rows),
        answer=answer(summary),
        warnings=caveats(summary),
        use=use,
        parts=_parts(summary, bool(explored), use is not None),
        explored=explored,
        said=chart_sentences(summary),
        rivals=rivals_table(summary),
        guarantees=_guarantees(summary),
        exponents=exponents,
        n_no_exponent=n_no_exponent,
        no_exponent=_no_exponent(summary),
        comparisons=[comparison_sentence(comparison) for comparison in summary.comparisons],
        samples=n_samples(summary),
        spread=_spread(summary.spread) if summary.spread else None,
        cells=cells_table({"": summary}),
        runs=runs_table(summary),
        notes=[*remarks(summary), *reading(summary)],
        again=[shlex.join(sweep_command(summary.config, folder)), shlex.join(["lorabound", "report", folder])],
        again_said="The first command trains what is missing in the folder, and nothing twice. In another folder it "
        "makes the sweep again: the same data, model and versions give the same numbers up to rounding.",
        environment=summary.about.get("environment", {}),
        configuration=yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
        version=__version__,
    )


def _parts(summary: Summary, explored: bool, use: bool) -> list[tuple[str, str]]:
    """Places of the page, by their anchors."""
    parts = [("use", "Use it")] if use else []
    parts += [("choice", "About the choice")] if summary.verdicts else []
    parts += [("charts", "Error and gap")] if explored else []
    parts += [("pairs", "Compared pair by pair")] if summary.verdicts else []
    parts += [("guaranteed", "What is guaranteed")] if summary.verdicts else []
    return [*parts, ("growth", "How the gap grows"), ("cells", "All cells"), ("again", "Make it again")]


def _guarantees(summary: Summary) -> dict[str, Any] | None:
    """Limits on new data at every training size, and what must be true for them."""
    if not summary.verdicts:
        return None
    sentences = []
    for verdict in summary.verdicts:
        start = f"N = {verdict.n_train:,}: " if len(summary.verdicts) > 1 else ""
        sentences.append(start + " ".join(guarantee_sentences(summary, verdict)))
    if len(sentences) > 1 or summary.verdicts[0].proved:
        sentences.append(
            "Each limit is sure by itself. Several at once are less sure: add up what each leaves open (5%)."
        )
    limit, proved = summary.verdicts[0].limit, summary.verdicts[0].proved
    conditions = [_condition("the test set", limit.theorem, [_PAID if a == CHOSEN else a for a in limit.assumptions])]
    if proved:
        conditions.append(_condition("training", proved.bound.theorem, proved.bound.assumptions))
    return {"sentences": sentences, "conditions": conditions}


def _condition(name: str, theorem: str, assumptions: Sequence[str]) -> dict[str, Any]:
    """What must be true for one limit, in plain words, and in exact terms with its theorem."""
    return {
        "name": f"The limit by {name}",
        "holds_if": plain(assumptions),
        "exact": f"{exact(assumptions)} Theorem: {theorem}.".strip(),
    }


def _spread(crossed: Crossed) -> dict[str, Any]:
    return {
        "heads": spread_heads(crossed),
        "rows": [spread_cells(crossed, spread) for spread in crossed.spreads],
        "sentences": spread_reading(crossed),
    }


def _no_exponent(summary: Summary) -> str:
    """Why no slope has a value; "" where one has."""
    if not summary.growth:
        return "A slope needs two ranks or two training sizes; this sweep has one of each."
    if any(not math.isnan(growth.exponent.value) for growth in summary.growth):
        return ""
    reasons = " or ".join(dict.fromkeys(growth.exponent.note for growth in summary.growth))
    return f"These runs do not show how the gap grows: {reasons}."


def _exponent_rows(summary: Summary) -> tuple[list[list[str]], int]:
    """Slopes that have a value in some loss, and the number of lines where none has."""
    lines: dict[tuple[str, str, int], list[Exponent]] = {}
    for growth in summary.growth:
        lines.setdefault((growth.axis, growth.mode, growth.fixed), []).append(growth.exponent)
    shown = {key: found for key, found in lines.items() if not all(math.isnan(one.value) for one in found)}
    rows = [
        [
            mode,
            "rank" if axis == "rank" else "N",
            f"N = {fixed}" if axis == "rank" else f"rank {fixed}",
            *map(exponent_text, found),
            f"{WORST_CASE[axis]:+.1f}",
        ]
        for (axis, mode, fixed), found in shown.items()
    ]
    return rows, len(lines) - len(shown)
