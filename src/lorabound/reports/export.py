"""What leaves a sweep for other programs: its runs as a table, its chart as a picture."""

from __future__ import annotations

from pathlib import Path

import vl_convert

from lorabound.errors import InputError, StoreError
from lorabound.reports.charts import gap_against_rank
from lorabound.sweeps import Sweep
from lorabound.sweeps.summary import Summary


def export_runs(store: Sweep, path: str | Path) -> int:
    """Write the runs as CSV or Parquet; returns how many. Measurements of a diverged run are empty.

    Raises:
        InputError: another ending than .csv or .parquet.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    frame = store.frame()
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise InputError(f"cannot export to {path}: the file must end in .csv or .parquet")
    try:
        frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from None
    return len(frame)


def write_figure(summary: Summary, path: str | Path) -> Path:
    """Draw the gap against rank as an SVG or PNG file.

    Raises:
        InputError: another ending than .svg or .png, or a sweep of one rank only.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".svg", ".png"):
        raise InputError(f"cannot draw {path}: the file must end in .svg or .png")
    chart = gap_against_rank(summary)
    if chart is None:
        raise InputError("no figure: the gap against rank needs runs of two ranks at least")
    try:
        if ending == ".svg":
            path.write_text(vl_convert.vegalite_to_svg(chart), encoding="utf-8")
        else:
            path.write_bytes(vl_convert.vegalite_to_png(chart, scale=2))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    return path
