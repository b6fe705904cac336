"""Sentences on what a model made of its examples, from plain records: for stores, tables and pages, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorabound.models.locate import NO_LIMIT


def cut_note(cut: Mapping[str, Any]) -> str | None:
    """How many texts were cut, at how many tokens, and whether --max-length can mend it; None where none was.

    Args:
        cut: ``test`` and ``train``: [cut, all] texts; ``max_tokens``: tokens that are kept; ``model_tokens``: tokens
            that the model could take; ``by``: what sets those; ``end``: whether texts lose their end.
    """
    words = {"test": "test", "train": "training"}
    parts = [f"{cut[name][0]:,} of {cut[name][1]:,} {word} texts" for name, word in words.items() if cut[name][0]]
    if not parts:
        return None
    kept, most = cut["max_tokens"], cut["model_tokens"]
    if kept < most:
        remedy = "raise max_length (--max-length)" + (f", up to {most:,}" if most < NO_LIMIT else "")
    else:
        remedy = f"the model takes no more ({cut['by']})"
    lost = "end" if cut["end"] else "beginning"
    return f"{' and '.join(parts)} are longer than {kept:,} tokens and lost their {lost}: {remedy}."
