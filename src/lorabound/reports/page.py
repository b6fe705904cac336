"""One self-contained HTML page: charts, exponents, table, configuration; it works offline."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from lorabound import __version__
from lorabound.errors import InputError
from lorabound.recommendations import Recommendation
from lorabound.reports.charts import gap_against_rank, gap_against_size
from lorabound.reports.frame import PAGE, write_framed
from lorabound.reports.sentences import (
    ceiled,
    comparison_sentence,
    exponent_text,
    n_samples,
    notes,
    shows_certificate,
    verdict_sentences,
)
from lorabound.reports.spread import reading, spread_cells, spread_heads
from lorabound.sweeps import Sweep
from lorabound.sweeps.cells import DELTA, WORST_CASE
from lorabound.sweeps.spread import Crossed
from lorabound.sweeps.summary import Summary

_INTERVALS = (
    "Points are means over seeds and samples, bars 95% intervals. Dashed: the slope of the theory's worst case, "
    "{slope}, drawn through the middle of the points; a direction, not a bound. The axes are logarithmic: a bar that "
    "reaches below a tenth of its mean is cut there, and a gap that is not positive is left out."
)
# Of what a store says about its sweep: what the page shows elsewhere, or nobody reads.
_SHOWN_ABOVE = ("config", "classes", "class_counts", "format", "notes", "model_notes", "cut", "extended")


def report(result: object, page: str | Path | None = None) -> Path:
    """Write the offline page of a sweep, of a recommendation or of any other result; returns its path.

    Args:
        result: sweep that was run or opened, recommendation that was made or opened, or what ``plan``, ``certify``,
            ``verify``, ``inspect_adapter`` or ``freezing_costs`` returned.
        page: file to write; None writes ``report.html`` in the folder of a sweep or of a recommendation.
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
    if not isinstance(result, Sweep):
        if page is None:
            raise InputError(f"report: {type(result).__name__} has no folder: name the file of its page")
        return Path(import_module(f"{__package__}.result_page").write_result_page(result, page))
    return write_page(result.summary(), page or result.folder / PAGE)


def write_page(summary: Summary, path: str | Path) -> Path:
    """Write the report to ``path``.

    Raises:
        OutputError: the file cannot be written.
    """
    charts: list[dict[str, Any]] = [
        {"name": name, "title": title, "caption": _INTERVALS.format(slope=slope), "spec": spec}
        for name, title, slope, spec in (
            ("by-rank", "Gap against rank", "sqrt(r)", gap_against_rank(summary)),
            ("by-size", "Gap against the amount of data", "1/sqrt(N)", gap_against_size(summary)),
        )
        if spec is not None
    ]
    about = {**summary.config.model_dump(mode="json"), "lorabound": __version__}
    about |= {name: value for name, value in summary.about.items() if name not in _SHOWN_ABOVE}
    return write_framed(
        path,
        "page.html.j2",
        {chart["name"]: chart["spec"] for chart in charts},
        summary=summary,
        done=sum(row.status == "done" for row in summary.rows),
        verdict=verdict_sentences(summary),
        best={id(verdict.best) for verdict in summary.verdicts},
        alike={id(cell) for verdict in summary.verdicts for cell in verdict.members},
        identity=id,
        charts=charts,
        exponents=_exponent_rows(summary),
        comparisons=[comparison_sentence(comparison) for comparison in summary.comparisons],
        samples=n_samples(summary),
        spread=_spread(summary.spread) if summary.spread else None,
        losses=summary.losses,
        compared=summary.losses[:1] if summary.completes else summary.losses,
        notes=notes(summary),
        level=f"{1 - DELTA:.0%}",
        proved=shows_certificate(summary),
        ceiled=lambda value: ceiled(float(value)),
        configuration=yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
    )


def _spread(crossed: Crossed) -> dict[str, Any]:
    return {
        "heads": spread_heads(crossed),
        "rows": [spread_cells(crossed, spread) for spread in crossed.spreads],
        "sentences": reading(crossed),
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
