"""The forward passes of a training step: the losses of its rows, taken from what the step computes anyway.

A hook on the model sees every pass in training mode. What does not fit (a second pass over a batch, labels or logits
that are missing) is handed to ``refuse``, which may raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lorabound.certificates.training import LossName
from lorabound.errors import InputError
from lorabound.hf.fingerprints import fingerprints
from lorabound.hf.losses import Kind, kind_of, row_losses
from lorabound.hf.plan import Plan, counts_places, refuse_moved_rows, refuse_packed_rows

# Place in a step that no row stands at: the last batch of an epoch may be short.
_EMPTY = -2.0


class Watch:
    """What the steps of a run test.

    Attributes:
        kind: kind of the model, known from its first batch on.
        loss: name of the loss.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        loss: LossName | None,
        noiseless: bool,
        only: Kind | None,
        refuse: Callable[[str], None],
    ) -> None:
        """Hang on to a model until :meth:`close`.

        Args:
            model: model that the Trainer calls.
            plan: what was settled before training.
            loss: name of the loss; None for the usual one of the kind.
            noiseless: whether each batch goes through the model once more, without dropout, to be tested.
            only: the kind of model that alone can be certified; None for every kind.
            refuse: function that is told why nothing can be certified.
        """
        self.kind: Kind | None = None
        self._loss, self._plan, self._noiseless, self._only, self._refuse = loss, plan, noiseless, only, refuse
        self._name, self._counts_places = _class_name(model), counts_places(model)
        self._step: list[tuple[Tensor, Tensor]] = []
        self._passes, self._open, self._testing = 0, False, False
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]

    @property
    def loss(self) -> LossName:
        """Name of the loss that was asked for, or the usual one of the kind."""
        return self._loss or ("error" if self.kind == "classes" else "wrong_tokens")

    @property
    def open(self) -> bool:
        """Whether a step goes on."""
        return self._open

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._open = False

    def begin_step(self) -> None:
        """From here on forward passes in training mode are those of a step."""
        self._open, self._step, self._passes = True, [], 0

    def stop_step(self) -> None:
        """Forward passes count no more."""
        self._open = False

    def end_batch(self) -> None:
        """One batch of the step is done: it must have gone through the model exactly once."""
        if self._open and self._passes != 1:
            self._refuse(
                f"the model ran {self._passes} times over a batch in training, so that the loss of a row is not known: "
                "take the plain loss of Trainer or SFTTrainer"
            )
        self._passes = 0

    def end_step(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Losses and fingerprints of the rows of a step, in their order, from all batches and processes."""
        plan, step = self._plan, self._step
        self._open, self._step = False, []
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

    def _before(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Before a forward pass in training: the same batch without dropout, where that is asked for."""
        if not self._trains(model) or not self._noiseless:
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
        if not self._noiseless:
            self._take(named, outputs)

    def _trains(self, model: nn.Module) -> bool:
        """Whether a forward pass is one that a step trains on: others have no gradient, or the model is evaluated."""
        return self._open and model.training and torch.is_grad_enabled() and not self._testing

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _take(self, named: Mapping[str, Any], outputs: Any) -> None:
        """Losses and fingerprints of a batch."""
        labels = named.get("labels")
        try:
            if self.kind is None:
                self.kind = kind_of(labels, outputs, self._name)
                if self._only not in (None, self.kind):
                    raise InputError("unlabelled takes classes: a text that is continued has no one class to compare")
                if self.kind == "classes" and self.loss == "wrong_tokens":
                    raise InputError("loss='wrong_tokens' is for models that continue texts: take error or probability")
            if not isinstance(labels, Tensor):
                raise InputError("a batch came without labels")
            refuse_packed_rows(named)
            if self._counts_places:
                refuse_moved_rows(named)
            losses = row_losses(labels, outputs, self.kind, self.loss)
            self._step.append((losses, fingerprints(named, len(losses)).to(losses.device)))
        except InputError as error:
            self._refuse(str(error))


def _class_name(model: nn.Module) -> str:
    """Name of the class of a model, beneath its adapter."""
    beneath: Any = getattr(model, "get_base_model", None)
    return type(beneath() if beneath else model).__name__
