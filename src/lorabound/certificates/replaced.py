"""A certificate takes the place of an earlier one of the same adapter and rows, and of nothing else. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorabound.certificates.stored import NAME
from lorabound.errors import InputError
from lorabound.files import Place

_ROWS = {"data": "the rows it was trained on", "holdout": "fresh rows", "table": "a table of answers"}


def refuse_to_replace(
    folder: Place | None, rows: Mapping[str, Any], adapters: Sequence[Mapping[str, str]] = ()
) -> None:
    """See, before anything costly is done, that a folder holds no certificate of something else.

    Args:
        folder: folder that is to be written to; None where none is.
        rows: "data", "holdout" or "table" -> hash of the rows of the new certificate; None stands for those that follow
            from the adapter, as for a run of a sweep.
        adapters: hashes of the files of each adapter that the new certificate may be of.
    Raises:
        InputError: it holds a certificate of another adapter, or by rows that the new one would not have.
    """
    path = Path(folder) / NAME if folder is not None else None
    if path is None or not path.exists():
        return
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        what = _other(record["name"], record["of"], rows, adapters)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        what = "a file that is no certificate of this program, or a damaged one"
    if what:
        raise InputError(f"{path} is {what}, which would be lost: choose another --out, or remove it first")


def _other(name: str, of: Mapping[str, Any], rows: Mapping[str, Any], adapters: Sequence[Mapping[str, str]]) -> str:
    """What the certificate of this record is of, where the new one is not of the same; else ""."""
    if "adapter" in of and of["adapter"]["sha256"] not in [dict(adapter) for adapter in adapters]:
        return f"a certificate of another adapter ({name}, or other files under that name)"
    for kind, said in _ROWS.items():
        if kind not in of:
            continue
        if kind not in rows:
            return f"a certificate by {said} too ({of[kind]['name']})"
        if rows[kind] is not None and rows[kind] != of[kind]["sha256"]:
            return f"a certificate by other rows, labels or answers ({of[kind]['name']} as it was)"
    return ""
