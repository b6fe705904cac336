"""One training run under way: the losses of each step before its update, taken from the forward pass that trains.

A hook on the model sees every forward pass in training mode. A step's rows are put together when its last backward pass
is done and the optimizer has not moved yet: from all batches of the step, and from all processes in the order of the
rows. What does not fit the plan (another number of rows, a second pass over a batch) is refused at the first step;
later it ends the certificate, not the training.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor, nn

from lorabound.certificates.training import FirstEpoch, LossName
from lorabound.errors import InputError
from lorabound.hf.fingerprints import UNKNOWN, fingerprints
from lorabound.hf.losses import NO_LABEL, Kind, kind_of, row_losses
from lorabound.hf.plan import Plan, counts_places, refuse_moved_rows

# Place in a step that no row stands at: the last batch of an epoch may be short.
_EMPTY = -2.0


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
        self._only = only
        self.plan, self.settings, self.noise = plan, settings, noise
        self.fault: str | None = None
        self.rows, self.over = 0, False
        self.n_params = sum(one.numel() for one in model.parameters() if one.requires_grad)
        self._model, self._name, self._counts_places = model, class_name(model), counts_places(model)
        self._losses: list[NDArray[np.float32]] = []
        self._marks: list[NDArray[np.int64]] = []
        self._repeats: list[bool] = []
        self._met: set[int] = set()
        self._kind: Kind | None = None
        self._step: list[tuple[Tensor, Tensor]] = []
        self._passes, self._open, self._testing = 0, False, False
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._open = False

    def begin_step(self) -> None:
        """From here on forward passes in training mode are those of a step."""
        self._open = self.fault is None and not self.over
        self._step, self._passes = [], 0

    def end_batch(self) -> None:
        """One batch of the step is done: it must have gone through the model exactly once."""
        if self._open and self._passes != 1:
            self._refuse(
                f"the model ran {self._passes} times over a batch in training, so that the loss of a row is not known: "
                "take the plain loss of Trainer or SFTTrainer"
            )
        self._passes = 0

    def end_step(self) -> int:
        """All batches of the step are done and the weights have not moved: keep its losses.

        Returns:
            number of rows with a label that the step has added to the window.
        """
        if not self._open:
            return 0
        self._open = False
        losses, marks = self._gathered()
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
        if self._kind is None:
            raise InputError("no step of the first epoch is done")
        return FirstEpoch(
            losses=np.concatenate(self._losses),
            repeats=np.array(self._repeats, dtype=np.bool_),
            loss=self._loss,
            classes=self._kind == "classes",
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
        config = getattr(self._model, "config", None)
        return {
            "loss": self._loss,
            "model": str(getattr(config, "_name_or_path", "") or ""),
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
            "kind": self._kind,
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
        self._kind, self.fault, self.over = record["kind"], record["fault"], record["over"]
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

    @property
    def _loss(self) -> LossName:
        return self.settings.loss or ("error" if self._kind == "classes" else "wrong_tokens")

    def _before(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before a forward pass in training: the same batch without dropout, where that is asked for."""
        if not self._trains(model) or not self.settings.eval_before_step:
            return
        training = [one for one in model.modules() if one.training]
        self._testing = True
        try:
            model.eval()
            with torch.no_grad():
                outputs = model(*inputs, **named)
        finally:
            for one in training:
                one.training = True
            self._testing = False
        self._take(named, outputs)

    def _after(self, model: nn.Module, _: tuple[Any, ...], named: dict[str, Any], outputs: Any) -> None:
        """After a forward pass in training."""
        if not self._trains(model):
            return
        self._passes += 1
        if not self.settings.eval_before_step:
            self._take(named, outputs)

    def _trains(self, model: nn.Module) -> bool:
        """Whether a forward pass is one that a step trains on: others have no gradient, or the model is evaluated."""
        return self._open and model.training and torch.is_grad_enabled() and not self._testing

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _take(self, named: Mapping[str, Any], outputs: Any) -> None:
        """Losses and fingerprints of a batch."""
        labels = named.get("labels")
        try:
            if self._kind is None:
                self._kind = kind_of(labels, outputs, self._name)
                if self._only not in (None, self._kind):
                    raise InputError("unlabelled takes classes: a text that is continued has no one class to compare")
                if self._kind == "classes" and self._loss == "wrong_tokens":
                    raise InputError("loss='wrong_tokens' is for models that continue texts: take error or probability")
            if not isinstance(labels, Tensor):
                raise InputError("a batch came without labels")
            if self._counts_places:
                refuse_moved_rows(named)
            losses = row_losses(labels, outputs, self._kind, self._loss)
            self._step.append((losses, fingerprints(named, len(losses)).to(losses.device)))
        except InputError as error:
            self._refuse(str(error))

    def _gathered(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Losses and fingerprints of a step, in the order of its rows, from all processes."""
        plan, step = self.plan, self._step
        self._step = []
        if plan.processes == 1:
            losses, marks = (torch.cat(parts) for parts in zip(*step, strict=True)) if step else (torch.zeros(0),) * 2
            return losses.float().cpu().numpy(), marks.long().cpu().numpy()
        from accelerate.utils import gather

        if not step or any(len(losses) > plan.batch_rows for losses, _ in step):
            raise InputError("batches of the processes have unlike numbers of rows: nothing can be certified")
        shape, device = (plan.n_batches, plan.batch_rows), step[0][0].device
        losses = torch.full(shape, _EMPTY, dtype=torch.float32, device=device)
        marks = torch.zeros(shape, dtype=torch.int64, device=device)
        for place, (some, their) in enumerate(step):
            losses[place, : len(some)], marks[place, : len(some)] = some, their
        # (processes, batches, rows) -> the order in which batches are dealt to processes.
        losses, marks = (gather(one[None]).transpose(0, 1).reshape(-1) for one in (losses, marks))
        there = losses != _EMPTY
        return losses[there].cpu().numpy(), marks[there].cpu().numpy()

    def _refuse(self, reason: str) -> None:
        """Raise before anything was trained; later, end the certificate and let training go on."""
        self._open = False
        if not self._losses:
            self.close()
            raise InputError(f"GeneralizationCallback: {reason}")
        self.fail(reason)

    def fail(self, reason: str) -> None:
        """End the certificate and say why."""
        self.fault = reason
        warnings.warn(f"GeneralizationCallback certifies nothing: {reason}", stacklevel=2)


def class_name(model: nn.Module) -> str:
    """Name of the class of a model, beneath its adapter."""
    beneath: Any = getattr(model, "get_base_model", None)
    return type(beneath() if beneath else model).__name__
