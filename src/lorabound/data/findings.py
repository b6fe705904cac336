"""What a check of labelled data or of dialogues found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from lorabound.data.labelled import Reads
from lorabound.data.phrases import counted, short


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What is known of the data before anything is trained.

    Attributes:
        name: name of the data.
        kind: "texts", "images" or "dialogues".
        counts: number of rows per class, the largest class first; training and test data together where they are one
            file.
        test_counts: number of rows per class of a test set of its own; None without one.
        faults: sentences on what must be mended; the data cannot be used while there are any.
        flags: options that mend faults, as they are typed.
        remarks: sentences on what is unusual and can stay.
        content: what the rows hold, where they have no classes to tell apart.
        sizes: sentence on how a sweep would divide the rows; empty where that is not known.
    """

    name: str
    kind: Reads
    counts: Mapping[str, int]
    test_counts: Mapping[str, int] | None
    faults: tuple[str, ...]
    flags: tuple[str, ...]
    remarks: tuple[str, ...]
    content: str = ""
    sizes: str = ""

    @property
    def n_rows(self) -> int:
        """Rows, those without text or label counted."""
        return sum(self.counts.values())

    @property
    def n_classes(self) -> int:
        """Classes of training and test data together."""
        return len({label for label in (*self.counts, *(self.test_counts or ())) if label})

    @property
    def usable(self) -> bool:
        """Whether a sweep would run on these data."""
        return not self.faults

    @property
    def refusal(self) -> str:
        """All faults, and the options that mend them, in one line for an error message."""
        more = f"; add  {' '.join(self.flags)}" if self.flags else ""
        if len(self.faults) == 1:
            return f"{'' if self.faults[0].startswith(self.name) else f'{self.name}: '}{self.faults[0]}{more}"
        numbered = [f"({i}) {fault}" for i, fault in enumerate(self.faults, start=1)]
        return f"{self.name}: {len(self.faults)} things to mend: {'; '.join(numbered)}{more}"

    @property
    def classes_line(self) -> str:
        """ "1,200 rows, 3 classes: Billing 700, Login 400, Other 100"; of many classes the largest and the smallest; of
        dialogues what is learnt."""
        if self.content:
            return self.content
        named = [(label or "(no label)", count) for label, count in self.counts.items()]
        shown = named if len(named) <= 12 else [*named[:5], *named[-3:]]
        parts = [f"{short(label)} {count:,}" for label, count in shown]
        if len(named) > 12:
            parts[5:5] = ["..."]
        return f"{counted(self.n_rows, 'row')}, {counted(self.n_classes, 'class')}: {', '.join(parts)}"

    def frame(self) -> pl.DataFrame:
        """One row per class, the largest first: ``label``, ``rows``, and ``test_rows`` (null without a test set)."""
        labels = list(dict.fromkeys([*self.counts, *(self.test_counts or ())]))
        tested = [None if self.test_counts is None else self.test_counts.get(label, 0) for label in labels]
        return pl.DataFrame(
            {"label": labels, "rows": [self.counts.get(label, 0) for label in labels], "test_rows": tested},
            schema={"label": pl.String, "rows": pl.Int64, "test_rows": pl.Int64},
        )

    def __repr__(self) -> str:
        """Whether the data can be used, and their classes; ``lorabound.show`` says the rest."""
        able = "can be used" if self.usable else f"{counted(len(self.faults), 'thing')} to mend"
        return f"DataCheck: {self.name}, {able}; {self.classes_line}"

    def with_faults(self, *faults: str) -> DataCheck:
        """The same check with more that must be mended."""
        return replace(self, faults=(*self.faults, *faults))
