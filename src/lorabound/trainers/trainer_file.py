"""What the files of a trainer decide, in lorabound's own words, and what was not taken over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Trainer = Literal["axolotl", "LLaMA-Factory"]
TOGETHER = "lorabound.trainers.merged puts all that can be read into one file"
"""End of the remark on several data sets, which no longer holds once they are in one file."""


@dataclass(frozen=True, kw_only=True)
class OwnLora:
    """The LoRA numbers that stand in the file, for comparison with what is recommended.

    Attributes:
        rank: rank r; None where the file states none.
        alpha: lora_alpha; None where the file states none.
        dropout: dropout before A, which is not applied here.
        rslora: whether the scale of B A is alpha / sqrt(r) in place of alpha / r.
        targets: layers that get an adapter, as the file names them; empty where it names none.
    """

    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    rslora: bool = False
    targets: tuple[str, ...] = ()

    @property
    def scale(self) -> float | None:
        """Scale of B A; None where rank or alpha is not stated."""
        if self.rank is None or self.alpha is None:
            return None
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


@dataclass(frozen=True, kw_only=True)
class TrainerFile:
    """A training as its file describes it.

    Attributes:
        trainer: program whose file it is.
        path: file with the LoRA numbers, which :func:`lorabound.trainers.write_back` changes; None where only the
            description of a data set was read.
        settings: settings of a sweep that the file decides, by the names of its fields: data, form, columns, model,
            max_length, batch_size, epochs, lr, schedule, targets and so on.
        lora: the file's own LoRA numbers.
        validation_share: share of the rows that the trainer sets aside; None where it sets none aside by share.
        validation_rows: number of rows that the trainer sets aside; None where it sets none aside by number.
        validation_data: data set of its own for validation, read as ``settings`` say; None without one.
        other_data: further data sets of the training that can be read: data, form and columns of each. Settings hold
            the first one; :func:`lorabound.trainers.merged` puts all into one file.
        unread_data: names of further data sets that cannot be read.
        remarks: sentences on what was not taken over, or is read otherwise than the trainer does.
    """

    trainer: Trainer
    path: Path | None
    settings: dict[str, Any]
    lora: OwnLora
    validation_share: float | None = None
    validation_rows: int | None = None
    validation_data: str | None = None
    other_data: tuple[dict[str, Any], ...] = ()
    unread_data: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
