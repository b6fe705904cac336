"""What a check of labelled data found, and how it is told: the answer first, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lorabound.data.labelled import Reads
from lorabound.data.phrases import counted, short


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What is known of the data before anything is trained.

    Attributes:
        name: name of the data.
        kind: "texts" or "images".
        counts: number of rows per class, the largest class first; training and test data together where they are one
            file.
        test_counts: number of rows per class of a test set of its own; None without one.
        faults: sentences on what must be mended; the data cannot be used while there are any.
        flags: options that mend faults, as they are typed.
        remarks: sentences on what is unusual and can stay.
    """

    name: str
    kind: Reads
    counts: Mapping[str, int]
    test_counts: Mapping[str, int] | None
    faults: tuple[str, ...]
    flags: tuple[str, ...]
    remarks: tuple[str, ...]

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
        """ "1,200 rows, 3 classes: Billing 700, Login 400, Other 100"; of many classes the largest and the smallest."""
        named = [(label or "(no label)", count) for label, count in self.counts.items()]
        shown = named if len(named) <= 12 else [*named[:5], *named[-3:]]
        parts = [f"{short(label)} {count:,}" for label, count in shown]
        if len(named) > 12:
            parts[5:5] = ["..."]
        return f"{counted(self.n_rows, 'row')}, {counted(self.n_classes, 'class')}: {', '.join(parts)}"

    def report(self, sizes: str = "", width: int = 80) -> str:
        """The check as text of ``width`` columns; ``sizes`` is a sentence on how a sweep would divide the rows."""
        size = f"{counted(self.n_rows, 'row')}, {counted(self.n_classes, 'class')}"
        if self.test_counts is not None:
            size += f", {counted(sum(self.test_counts.values()), 'test row')}"
        able = "can be used" if self.usable else f"cannot be used yet, {counted(len(self.faults), 'thing')} to mend"
        lines = textwrap.wrap(f"{self.name} {able}: {size}.", width)
        if self.faults:
            lines += ["", "To mend", *_numbered(self.faults, width)]
        if self.flags:
            lines += ["", "Add to the command", *(f"  {flag}" for flag in self.flags)]
        lines += ["", *_class_table(self, width)]
        if sizes:
            lines += ["", *textwrap.wrap(sizes, width)]
        if self.remarks:
            lines += ["", "Worth knowing"]
            lines += [line for remark in self.remarks for line in _item("- ", remark, width)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.report()

    def with_faults(self, *faults: str) -> DataCheck:
        """The same check with more that must be mended."""
        return replace(self, faults=(*self.faults, *faults))


def _numbered(sentences: Sequence[str], width: int) -> list[str]:
    return [line for i, said in enumerate(sentences, start=1) for line in _item(f"{i}. ", said, width)]


def _item(mark: str, said: str, width: int) -> list[str]:
    return textwrap.wrap(
        said, width, initial_indent=f"  {mark}", subsequent_indent=" " * (len(mark) + 2), break_on_hyphens=False
    )


def _class_table(check: DataCheck, width: int) -> list[str]:
    """Classes and their rows, the largest first; of more than 24 the ends."""
    labels = list(dict.fromkeys([*check.counts, *(check.test_counts or ())]))
    shown = labels if len(labels) <= 24 else [*labels[:14], *labels[-8:]]
    named = {label: short(label) if label else "(no label)" for label in shown}
    room = max(len(name) for name in (*named.values(), "class"))
    heads = f"{'class':{room}}  {'rows':>9}" + (f"  {'test rows':>9}" if check.test_counts is not None else "")
    lines = [heads]
    most = max(check.counts.values())
    for label in shown:
        count = check.counts.get(label, 0)
        line = f"{named[label]:{room}}  {count:>9,}"
        if check.test_counts is not None:
            line += f"  {check.test_counts.get(label, 0):>9,}"
        bar = "#" * round(20 * count / most)
        lines.append(f"{line}  {bar}"[:width].rstrip())
    if len(labels) > len(shown):
        lines.insert(15, f"... {len(labels) - len(shown)} more")
    return lines
