"""One training run under way: the rows of its first epoch, each with its loss before the update.

A step's rows are put together when its last backward pass is done and the optimizer has not moved yet. What does not
fit the plan is refused at the first step; later it ends the certificate, not the training.
"""

from __future__ import annotations

import base64
import json
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import nn

from lorabound.certificates.training import FirstEpoch, LossName
from lorabound.errors import InputError
from lorabound.hf.fingerprints import UNKNOWN
from lorabound.hf.losses import NO_LABEL, Kind
from lorabound.hf.plan import Plan
from lorabound.hf.watch import Watch


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user asks for, fixed before training.

    Attributes:
        delta: probability that a limit is wrong.
        window: share of the first epoch in the window.
        loss: name of the loss; None for the usual one of the task.
        candidates: number of runs among which this one may be chosen by its results.
        eval_before_step: whether each batch goes through the model once more, without dropout, to be tested.
        repeats: "once" or "drawn", see :class:`~lorabound.hf.callback.GeneralizationCallback`.
        keep: whether a checkpoint drawn at random from the window is stored.
    """

    delta: float = 0.05
    window: float = 0.5
    loss: LossName | None = None
    candidates: int = 1
    eval_before_step: bool = False
    repeats: str = "once"
    keep: bool = False


class Run:
    """The first epoch of a run, row by row.

    Attributes:
        plan: what was settled before training.
        fault: why nothing is certified any more; None while all is well.
        rows: number of rows that were tested so far.
        over: whether the first epoch has ended, complete or not.
        n_params: trained entries.
    """

    def __init__(self, plan: Plan, settings: Settings, model: nn.Module, noise: str, only: Kind | None = None) -> None:
        """Watch a model.

        Args:
            noise: what makes its predictions in training random, in words.
            only: the kind of model that alone can be certified; None for every kind.
        """
        self.plan, self.settings, self.noise = plan, settings, noise
        self.fault: str | None = None
        self.rows, self.over = 0, False
        self.n_params = sum(one.numel() for one in model.parameters() if one.requires_grad)
        config = getattr(model, "config", None)
        self._model = str(getattr(config, "_name_or_path", "") or "")
        self._losses: list[NDArray[np.float32]] = []
        self._marks: list[NDArray[np.int64]] = []
        self._repeats: list[bool] = []
        self._met: set[int] = set()
        self._watch = Watch(model, plan, settings.loss, settings.eval_before_step, only, self._refuse)

    def close(self) -> None:
        """Leave the model as it was."""
        self._watch.close()

    def begin_step(self) -> None:
        """From here on forward passes in training mode are those of a step."""
        if self.fault is None and not self.over:
            self._watch.begin_step()

    def end_batch(self) -> None:
        """One batch of the step is done."""
        self._watch.end_batch()

    def end_step(self) -> int:
        """All batches of the step are done and the weights have not moved: keep its losses.

        Returns:
            number of rows with a label that the step has added to the window.
        """
        if not self._watch.open:
            return 0
        losses, marks = self._watch.end_step()
        expected = min(self.plan.step_rows, self.plan.rows - self.rows)
        last = self.rows + expected == self.plan.rows
        if len(losses) < expected or (len(losses) > expected and not (last and self.plan.processes > 1)):
            self._refuse(
                f"a step has {len(losses):,} rows, not {expected:,}: rows cannot be told apart where batches join them "
                "or pair them"
            )
            return 0
        inside = self.rows >= self.plan.start
        # The last step of several processes is filled up with rows of the first one.
        losses, marks = losses[:expected], marks[:expected]
        losses[losses == NO_LABEL] = np.nan
        self._add(losses, marks)
        return int((~np.isnan(losses)).sum()) if inside else 0

    def first(self, unlabelled: int | None = None, differing: int | None = None) -> FirstEpoch:
        """What is known of the first epoch so far."""
        if self._watch.kind is None:
            raise InputError("no step of the first epoch is done")
        return FirstEpoch(
            losses=np.concatenate(self._losses),
            repeats=np.array(self._repeats, dtype=np.bool_),
            loss=self._watch.loss,
            classes=self._watch.kind == "classes",
            start=self.plan.start,
            planned=self.plan.rows,
            window=self.settings.window,
            epochs=self.plan.epochs,
            repeats_drawn=self.settings.repeats == "drawn",
            noise=self.noise,
            unlabelled=unlabelled,
            differing=differing,
        )

    def record(self) -> dict[str, Any]:
        """What a certificate says of the run."""
        return {
            "loss": self._watch.loss,
            "model": self._model,
            "n_params": self.n_params,
            "rows": self.plan.rows,
            "step_rows": self.plan.step_rows,
            "order_sha256": self.plan.order_sha256,
        }

    def stored(self) -> str:
        """The run as text, for the state of a checkpoint."""
        arrays = {"losses": np.concatenate([*self._losses, np.zeros(0, np.float32)])}
        arrays["marks"] = np.concatenate([*self._marks, np.zeros(0, np.int64)])
        of = {
            "plan": asdict(self.plan),
            "settings": asdict(self.settings),
            "kind": self._watch.kind,
            "fault": self.fault,
            "over": self.over,
        }
        content = base64.b64encode(save(arrays)).decode()
        return json.dumps({**of, "arrays": content})

    def restore(self, text: str, steps: int) -> None:
        """Go on from a checkpoint.

        Args:
            text: what :meth:`stored` gave.
            steps: optimizer steps that were done.
        Raises:
            InputError: the checkpoint is of another plan or other settings, so that rows would be met twice.
        """
        if not text:
            raise InputError(
                "the checkpoint keeps no losses of its first epoch, so that nothing can be certified: leave "
                "GeneralizationCallback out, or train from the start"
            )
        record = json.loads(text)
        for name, mine in (("plan", asdict(self.plan)), ("settings", asdict(self.settings))):
            theirs = record[name]
            differ = sorted(entry for entry in mine if mine[entry] != theirs.get(entry))
            if differ:
                raise InputError(
                    f"the checkpoint was made with another {differ[0]} ({theirs.get(differ[0])}, now "
                    f"{mine[differ[0]]}): take the settings, seed and data it was made with"
                )
        arrays = load(base64.b64decode(record["arrays"]))
        self._add(arrays["losses"], arrays["marks"])
        self._watch.kind, self.fault, self.over = record["kind"], record["fault"], record["over"]
        self.over |= self.rows == self.plan.rows
        if self.fault is None and not self.over and self.rows != min(steps * self.plan.step_rows, self.plan.rows):
            raise InputError(f"the checkpoint keeps losses of {self.rows:,} rows at step {steps:,}: it is damaged")
        if not self.over and self.plan.order_sha256 is None:
            raise InputError(
                "which rows the checkpoint has met is not known: set use_seedable_sampler=True in accelerator_config"
            )

    def _add(self, losses: NDArray[np.float32], marks: NDArray[np.int64]) -> None:
        """Keep the losses and fingerprints of some rows, the next ones."""
        self.rows += len(losses)
        self._losses.append(losses)
        self._marks.append(marks)
        for mark in marks.tolist():
            self._repeats.append(mark in self._met)
            if mark != UNKNOWN:
                self._met.add(mark)

    def _refuse(self, reason: str) -> None:
        """Raise before anything was trained; later, end the certificate and let training go on."""
        self._watch.stop_step()
        if not self._losses:
            self.close()
            raise InputError(f"GeneralizationCallback: {reason}")
        self.fail(reason)

    def fail(self, reason: str) -> None:
        """End the certificate and say why."""
        self.fault = reason
        warnings.warn(f"GeneralizationCallback certifies nothing: {reason}", stacklevel=2)
