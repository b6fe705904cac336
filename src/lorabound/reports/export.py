"""What leaves a sweep for other programs: its runs as a table, its chart as a picture."""

from __future__ import annotations

from pathlib import Path

import vl_convert

from lorabound.errors import InputError
from lorabound.files import write_bytes, write_table, write_text
from lorabound.reports.charts import figure
from lorabound.sweeps import Sweep
from lorabound.sweeps.summary import Summary


def export_runs(store: Sweep, path: str | Path) -> int:
    """Write the runs as CSV, Parquet or JSON; returns how many. Measurements of a diverged run are empty.

    Raises:
        InputError: another ending than .csv, .parquet or .json.
        OutputError: the file cannot be written.
    """
    frame = store.frame()
    write_table(path, frame)
    return len(frame)


def write_figure(summary: Summary, path: str | Path) -> Path:
    """Draw error and gap against rank as an SVG or PNG file.

    Raises:
        InputError: another ending than .svg or .png, or a sweep of one rank only.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".svg", ".png"):
        raise InputError(f"cannot draw {path}: the file must end in .svg or .png")
    chart = figure(summary)
    if chart is None:
        raise InputError("no figure: error and gap against rank need runs of two ranks at least")
    if ending == ".svg":
        return write_text(path, vl_convert.vegalite_to_svg(chart))
    return write_bytes(path, vl_convert.vegalite_to_png(chart, scale=2))
