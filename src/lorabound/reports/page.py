"""The page of a sweep: the answer, charts to explore, certificates, all cells, how to make it again; offline."""

from __future__ import annotations

import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lorabound import __version__
from lorabound.errors import InputError
from lorabound.files import write_text
from lorabound.recommendations import Recommendation
from lorabound.reports.answer import answer
from lorabound.reports.cells_table import cells_table
from lorabound.reports.charts import Series, chart_sentences, explorer
from lorabound.reports.frame import PAGE, framed, refuse_other_file
from lorabound.reports.rivals_table import rivals_table
from lorabound.reports.sentences import caveats, comparison_sentence, exponent_text, n_samples, reading, remarks
from lorabound.reports.spread import reading as spread_reading
from lorabound.reports.spread import spread_cells, spread_heads
from lorabound.sweeps import Sweep
from lorabound.sweeps.cells import WORST_CASE
from lorabound.sweeps.command import sweep_command
from lorabound.sweeps.spread import Crossed
from lorabound.sweeps.summary import Summary

# Of what a store says about its sweep: what the page shows elsewhere, or nobody reads.
_SHOWN_ABOVE = ("config", "classes", "class_counts", "format", "notes", "model_notes", "cut", "extended", "environment")


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
    refuse_other_file(path)
    return write_text(path, page_of(summary))


def page_of(summary: Summary) -> str:
    """The HTML of a sweep's page."""
    about = {**summary.config.model_dump(mode="json"), "lorabound": __version__}
    about |= {name: value for name, value in summary.about.items() if name not in _SHOWN_ABOVE}
    explored = explorer([Series(name="", summary=summary)])
    folder = summary.folder or "DIR"
    return framed(
        "page.html.j2",
        {},
        summary=summary,
        done=sum(row.status == "done" for row in summary.rows),
        answer=answer(summary),
        warnings=caveats(summary),
        parts=_parts(summary, bool(explored)),
        explored=explored,
        said=chart_sentences(summary),
        rivals=rivals_table(summary),
        exponents=_exponent_rows(summary),
        comparisons=[comparison_sentence(comparison) for comparison in summary.comparisons],
        samples=n_samples(summary),
        spread=_spread(summary.spread) if summary.spread else None,
        cells=cells_table({"": summary}),
        notes=[*remarks(summary), *reading(summary)],
        again=[shlex.join(sweep_command(summary.config, folder)), shlex.join(["lorabound", "report", folder])],
        again_said="The first command trains what is missing in the folder, and nothing twice. In another folder it "
        "makes the sweep again: the same data, model and versions give the same numbers up to rounding.",
        environment=summary.about.get("environment", {}),
        configuration=yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
        version=__version__,
    )


def _parts(summary: Summary, explored: bool) -> list[tuple[str, str]]:
    """Places of the page, by their anchors."""
    parts = [("choice", "About the choice")] if summary.verdicts else []
    parts += [("charts", "Error and gap")] if explored else []
    parts += [("pairs", "Compared pair by pair")] if summary.verdicts else []
    return [*parts, ("growth", "How the gap grows"), ("cells", "All cells"), ("again", "Make it again")]


def _spread(crossed: Crossed) -> dict[str, Any]:
    return {
        "heads": spread_heads(crossed),
        "rows": [spread_cells(crossed, spread) for spread in crossed.spreads],
        "sentences": spread_reading(crossed),
    }


def _exponent_rows(summary: Summary) -> list[list[str]]:
    lines: dict[tuple[str, str, int], list[str]] = {}
    for growth in summary.growth:
        lines.setdefault((growth.axis, growth.mode, growth.fixed), []).append(exponent_text(growth))
    return [
        [
            mode,
            "rank" if axis == "rank" else "N",
            f"N = {fixed}" if axis == "rank" else f"rank {fixed}",
            *texts,
            f"{WORST_CASE[axis]:+.1f}",
        ]
        for (axis, mode, fixed), texts in lines.items()
    ]
