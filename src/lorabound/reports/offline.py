"""Pages that work offline: the scripts that draw charts, inside the page; files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import version
from pathlib import Path

import altair as alt
import vl_convert

from lorabound.errors import StoreError


def scripts() -> str:
    """The scripts that draw Vega-Lite charts, kept in the user's cache: putting them together takes two seconds."""
    vega_lite = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorabound"
    path = cache / f"vega-{version('vl-convert-python')}-{vega_lite}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    bundle = str(vl_convert.javascript_bundle(vl_version=vega_lite))  # type: ignore[call-arg]
    with contextlib.suppress(OSError, StoreError):
        cache.mkdir(parents=True, exist_ok=True)
        write_text(path, bundle)
    return bundle


def write_text(path: str | Path, text: str) -> Path:
    """Write a file under a temporary name first.

    Raises:
        StoreError: the file cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    return path
