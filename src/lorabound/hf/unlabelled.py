"""Rows without labels that tell how often the final adapter differs from late checkpoints.

Each row has a place of its own in the window, drawn uniformly before training. The weights before the step of that
place predict it, and the final adapter predicts it at the end. Source: theory 13.3 (c), in
:func:`lorabound.bounds.disagreement`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lorabound.errors import InputError
from lorabound.hf.plan import Plan
from lorabound.sweeps.progressive import drawn_steps

_LABELS = ("label", "labels", "label_ids")
# Class of a row that no checkpoint has predicted yet.
_NONE = -1


class Unlabelled:
    """Rows without labels, and what late checkpoints said of them.

    Attributes:
        predicted: (m,) class of each row under the checkpoint of its own; -1 before its step.
    """

    def __init__(self, rows: Any, plan: Plan, example: Mapping[str, Any], collate: Callable[[list[Any]], Any]) -> None:
        """See that the rows can be used.

        Args:
            rows: data set of inputs, of the form of the training rows.
            plan: what was settled before training.
            example: one training row, whose inputs these rows must have.
            collate: collator of the training rows.
        Raises:
            InputError: no rows, or rows without an input that the training rows have.
        """
        wanted = [name for name in example if name not in _LABELS]
        if not len(rows):
            raise InputError("unlabelled holds no rows: leave it out, or give some")
        if missing := sorted(set(wanted) - set(rows[0])):
            raise InputError(
                f"the unlabelled rows lack {missing[0]!r}, which the training rows have: prepare them in the same way"
            )
        self._rows, self._wanted, self._collate, self._size = rows, wanted, collate, plan.batch_rows
        self._steps = drawn_steps(len(rows), plan.rows, plan.step_rows, plan.start)
        self.predicted: NDArray[np.int64] = np.full(len(rows), _NONE, dtype=np.int64)

    def before_step(self, model: nn.Module, step: int, noiseless: bool) -> None:
        """Predict the rows of a step with the weights before its update.

        Args:
            step: number of updates before it.
            noiseless: whether dropout is switched off for it, as for the training rows.
        """
        places = np.flatnonzero((self._steps == step) & (self.predicted == _NONE))
        if len(places):
            self.predicted[places] = self._classes(model, places, training=not noiseless)

    def restore(self, predicted: Sequence[int]) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: it knows another number of rows.
        """
        if len(predicted) != len(self.predicted):
            raise InputError(f"the checkpoint was made with {len(predicted):,} unlabelled rows: give the same ones")
        self.predicted = np.array(predicted, dtype=np.int64)

    def differing(self, model: nn.Module) -> tuple[int, int]:
        """Number of rows that some checkpoint has predicted, and of those that the final adapter predicts otherwise."""
        places = np.flatnonzero(self.predicted != _NONE)
        found = self._classes(model, places, training=False)
        return len(places), int((found != self.predicted[places]).sum())

    def _classes(self, model: nn.Module, places: NDArray[np.int64], training: bool) -> NDArray[np.int64]:
        device = next(model.parameters()).device
        was = [one for one in model.modules() if one.training]
        model.train(training)
        try:
            with torch.no_grad():
                found = [
                    model(**{name: value.to(device) for name, value in batch.items()}).logits.argmax(-1).cpu().numpy()
                    for batch in self._batches(places)
                ]
        finally:
            model.eval()
            for one in was:
                one.training = True
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def _batches(self, places: NDArray[np.int64]) -> Iterator[Mapping[str, torch.Tensor]]:
        for start in range(0, len(places), self._size):
            rows = [self._rows[int(place)] for place in places[start : start + self._size]]
            yield self._collate([{name: row[name] for name in self._wanted} for row in rows])
