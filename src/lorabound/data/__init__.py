"""Tasks: labelled texts from a file or a package, and their splits. No torch."""

from pathlib import Path

from lorabound.data.split import Split, split
from lorabound.data.table import Table, read_table
from lorabound.data.words import words

__all__ = ["Split", "Table", "load_table", "read_table", "split", "words"]


def load_table(data: str | Path, text_column: str = "text", label_column: str = "label") -> Table:
    """The embedded task ``words``, or a file of labelled texts."""
    return words() if str(data) == "words" else read_table(data, text_column, label_column)
