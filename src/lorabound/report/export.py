"""The runs of a sweep as a plain table, one row a run."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from lorabound.errors import InputError, StoreError
from lorabound.sweep import COLUMNS, Store


def export_runs(store: Store, path: str | Path) -> int:
    """Write the runs as CSV or Parquet; returns how many. Measurements of a diverged run are empty.

    Raises:
        InputError: another ending than .csv or .parquet.
        StoreError: the file cannot be written.
    """
    path = Path(path)
    rows = store.rows()
    frame = pl.DataFrame(
        {name: [getattr(row, name) for row in rows] for name in COLUMNS},
        schema={name: _TYPES.get(name, pl.Float64) for name in COLUMNS},
    )
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise InputError(f"cannot export to {path}: the file must end in .csv or .parquet")
    try:
        frame.write_csv(path) if ending == ".csv" else frame.write_parquet(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from None
    return len(rows)


_TYPES: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("rank", "n_train", "seed", "n_params"), pl.Int64),
    **dict.fromkeys(("mode", "status"), pl.String),
}
