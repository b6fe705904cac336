"""Pages that work offline: the scripts that draw charts, inside the page."""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import version
from pathlib import Path

import altair as alt
import vl_convert

from lorabound.errors import OutputError
from lorabound.files import write_text


def scripts() -> str:
    """The scripts that draw Vega-Lite charts, kept in the user's cache: putting them together takes two seconds."""
    vega_lite = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorabound"
    path = cache / f"vega-{version('vl-convert-python')}-{vega_lite}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    bundle = str(vl_convert.javascript_bundle(vl_version=vega_lite))  # type: ignore[call-arg]
    with contextlib.suppress(OutputError):
        write_text(path, bundle)
    return bundle
