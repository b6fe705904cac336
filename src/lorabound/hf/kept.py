"""A checkpoint drawn at random from the window, stored: the very predictor that the limit is about.

A reservoir: the step that brings the rows t + 1 .. t + b of the window takes the place of what is stored with
probability b/(t + b). After every step what is stored is uniform over the rows so far, so the run may be stopped at any
time (Vitter 1985). The coins are settled before training and know no row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lorabound.certificates.fingerprints import adapter_sha256
from lorabound.errors import AdapterError
from lorabound.files import drafted
from lorabound.hf.plan import Plan

FOLDER = "random-checkpoint"


def coin(plan: Plan, seed: int, step: int) -> float:
    """Number in [0, 1) that decides on one step; the same on every machine."""
    key = f"kept:{plan.rows}:{plan.step_rows}:{plan.start}:{seed}:{step}"
    digest = hashlib.sha256(key.encode()).digest()
    word = np.random.Philox(key=int.from_bytes(digest[:16], "big")).random_raw(1)[0]
    return float(word >> np.uint64(11)) * 2.0**-53


class Kept:
    """The stored checkpoint of a run.

    Attributes:
        folder: folder that it is written to.
        step: step before whose update it was stored; None before the window.
        rows: number of rows of the window so far.
    """

    def __init__(self, folder: Path, plan: Plan, seed: int) -> None:
        self.folder, self._plan, self._seed = folder, plan, seed
        self.step: int | None = None
        self.rows = 0
        self._sha256: Mapping[str, str] = {}

    def stored(self) -> dict[str, Any]:
        """JSON values for the state of a checkpoint."""
        return {"step": self.step, "rows": self.rows, "sha256": dict(self._sha256)}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Go on from a checkpoint. What stands in the folder must be what stood there then, else it is lost.

        A later step of the run that broke off may have replaced it; then nothing is stored until a coin falls again.
        """
        self.rows, self._sha256 = stored["rows"], stored["sha256"]
        try:
            same = adapter_sha256(self.folder) == self._sha256
        except AdapterError:
            same = False
        self.step = stored["step"] if same else None

    def offer(self, model: Any, step: int, rows: int, writes: bool) -> None:
        """A step of the window whose losses are known and whose update is not made yet.

        Args:
            model: model with the weights that were tested.
            step: number of updates before it.
            rows: number of its rows that count.
            writes: whether this process writes files.
        Raises:
            OutputError: the folder cannot be written.
        """
        if not rows:
            return
        self.rows += rows
        if coin(self._plan, self._seed, step) * self.rows >= rows:
            return
        self.step = step
        if writes:
            with drafted(self.folder) as draft:
                draft.mkdir()
                model.save_pretrained(str(draft))
            self._sha256 = adapter_sha256(self.folder)
