"""The figure as one offline page, as SVG and as PNG."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import vl_convert
from jinja2 import Environment

from lorabound import __version__
from lorabound.files import write_bytes, write_text
from lorabound.paper.figures import paper_figure
from lorabound.paper.make import Evidence
from lorabound.reports.complexity import growth_sentence, verdict
from lorabound.reports.offline import scripts
from lorabound.reports.sentences import exponent_sentence

HTML, SVG, PNG = "paper.html", "paper.svg", "paper.png"


def write_paper(evidence: Evidence, folder: str | Path) -> list[Path]:
    """Write ``paper.html``, ``paper.svg`` and ``paper.png`` into ``folder``.

    Raises:
        OutputError: a file cannot be written.
    """
    folder = Path(folder)
    spec = paper_figure(evidence)
    template = Environment(autoescape=True).from_string(
        (files("lorabound.paper") / "page.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        spec=spec, bundle=scripts(), version=__version__, sentences=readings(evidence), evidence=evidence
    )
    paths = [write_text(folder / HTML, page), write_text(folder / SVG, vl_convert.vegalite_to_svg(spec))]
    return [*paths, write_bytes(folder / PNG, vl_convert.vegalite_to_png(spec, scale=2))]


def readings(evidence: Evidence) -> list[str]:
    """What the figure says, one line per fact."""
    lines = []
    for about in evidence.families:
        rows = [row for row in evidence.complexity.rows if row.family == about.name]
        lines.append(f"{about.name}: {verdict(rows)}")
        lines += [growth_sentence(growth) for growth in evidence.complexity.growth if growth.family == about.name]
    cells = evidence.trained.cells
    for growth in evidence.trained.growth:
        fixed = max(cell.n_train if growth.axis == "rank" else cell.rank for cell in cells)
        if growth.loss.column == "risk" and growth.fixed == fixed:
            lines.append("trained: " + exponent_sentence(growth))
    for mode, gaps in evidence.gaps.items():
        low, middle, high = np.quantile(gaps, [0.05, 0.5, 0.95])
        lines.append(
            f"single runs, {mode}: median gap {middle:.3f}, 90% of {len(gaps)} runs in [{low:.3f}, {high:.3f}], "
            f"standard deviation {np.std(gaps, ddof=1):.3f} (guaranteed for another number: the standard deviation of "
            f"the largest gap of the class is at most {evidence.guarantee:.3f})"
        )
    return lines
