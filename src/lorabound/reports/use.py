"""What to do with the best adapter of a sweep: where it lies, lines that load it, the command that certifies it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from lorabound.errors import AdapterError
from lorabound.reports.peft_code import loading_code, scored
from lorabound.reports.sentences import cell_name, shows_certificate
from lorabound.sweeps import Row
from lorabound.sweeps.grid import Run
from lorabound.sweeps.records import ADAPTERS
from lorabound.sweeps.summary import Summary


@dataclass(frozen=True, kw_only=True)
class Use:
    """The next steps after a sweep.

    Attributes:
        said: which adapter it is, up to the name of its folder.
        folder: that folder.
        loading: Python that loads it with PEFT; "" where its folder is not there.
        scored: sentence on how it scores classes; "" where that needs no word.
        command: command that certifies it, None where there is none.
        purpose: what the command does, after its name.
    """

    said: str
    folder: str
    loading: str
    scored: str
    command: str | None
    purpose: str


def use_of(summary: Summary) -> Use | None:
    """The next steps; None where no adapter is the answer."""
    row = _adapter(summary)
    if row is None:
        return None
    best = summary.verdicts[0].best
    folder = Path(summary.folder or "DIR") / ADAPTERS / _name(row)
    which = f"seed {row.seed}" + (f" and training sample {row.sample}" if best.n_samples > 1 else "")
    said = f"The adapter of {cell_name(best)}, N = {best.n_train:,}, {which} is a PEFT folder"
    try:
        loading = loading_code(folder, summary.config.model, summary.config.base)
    except AdapterError:
        loading, said = "", f"{said} that is not where the sweep wrote it"
    command, purpose = _next(summary, folder)
    return Use(said=said, folder=str(folder), loading=loading, scored=scored(folder), command=command, purpose=purpose)


def _next(summary: Summary, folder: Path) -> tuple[str | None, str]:
    if summary.completes:
        return None, ""
    if shows_certificate(summary):
        command = ["lorabound", "certify", summary.folder or "DIR", "--out", "DIR"]
        return shlex.join(command), "certifies the best run by its training, no row spared"
    command = ["lorabound", "certify", str(folder), "--holdout", "FILE"]
    return shlex.join(command), "limits the error of that adapter by rows that nobody used"


def _adapter(summary: Summary) -> Row | None:
    """The first run of the best cell; None where the answer is no adapter, or there is none."""
    verdict = next(iter(summary.verdicts), None)
    if verdict is None or not verdict.best.rank:
        return None
    best = verdict.best
    cell = (best.mode, best.rank, best.n_train, "done")
    return next(row for row in summary.rows if (row.mode, row.rank, row.n_train, row.status) == cell)


def _name(row: Row) -> str:
    return Run(row.rank, row.mode, row.n_train, row.seed, row.sample).name  # type: ignore[arg-type]  # it was trained
