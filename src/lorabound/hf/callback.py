"""A callback of transformers' Trainer and TRL's SFTTrainer that limits the error on new data while training goes on.

    trainer = Trainer(..., callbacks=[GeneralizationCallback()])

Every training row meets the model before the update that uses it, so the loss of a training step, which is computed
anyway, tells how the model does on a new row. The mean of those losses over the last half of the first epoch, and a
margin, limit the error on new data of a checkpoint drawn at random from that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from lorabound.arguments import probability
from lorabound.certificates.card import write_card
from lorabound.certificates.certificate import Certificate
from lorabound.certificates.replaced import refuse_to_replace
from lorabound.certificates.stored import write_certificate
from lorabound.certificates.training import LossName, certificate_of, kept_record
from lorabound.errors import InputError
from lorabound.hf.kept import FOLDER, Kept
from lorabound.hf.logs import come_first, numbers
from lorabound.hf.plan import noise_of, plan_of, refuse_shared_statistics
from lorabound.hf.run import Run, Settings
from lorabound.hf.unlabelled import Unlabelled

_LOSSES = ("error", "wrong_tokens", "probability")


class GeneralizationCallback(TrainerCallback, ExportableState):  # type: ignore[misc]
    """Limits the error on new data of a run of the Trainer, from the losses of its own training steps.

    Logged with the Trainer's own numbers, and so shown by TensorBoard, Weights & Biases and others:

        lorabound/train_error_so_far   mean loss of the first epoch so far, each row before its update
        lorabound/error_before_use     the same over the window
        lorabound/true_error_upper     limit on the error on new data of a random checkpoint of the window so far
        lorabound/margin               true_error_upper - error_before_use
        lorabound/rows                 rows of the window so far
        lorabound/n_params             trained entries

    The limit holds after every step at once: a run may be watched and stopped when it pleases. At the end of the first
    epoch ``certificate.json`` is written to ``output_dir``; ``lorabound verify`` reads it. Later epochs add nothing, as
    their rows have been trained on.

    Attributes:
        certificate: the certificate; None before the end of the first epoch, or where nothing is certified.
    """

    def __init__(
        self,
        *,
        delta: float = 0.05,
        window: float = 0.5,
        loss: LossName | None = None,
        candidates: int = 1,
        eval_before_step: bool = False,
        repeats: Literal["once", "drawn"] = "once",
        keep: Literal["random"] | None = None,
        unlabelled: Sequence[Any] | None = None,
    ) -> None:
        """Say what is certified; nothing of it may be changed after a look at results.

        Args:
            delta: probability that a limit is wrong, in (0, 1).
            window: share of the first epoch, at its end, that the limit is about, in (0, 1).
            loss: "error" (for texts that are continued: any token is wrong), "wrong_tokens" (share of them), or
                "probability" (1 - p(right answer), averaged over tokens); None takes "error" for classes and
                "wrong_tokens" for texts.
            candidates: number of runs among which this one may be chosen by its results, all planned beforehand; each
                has delta/candidates.
            eval_before_step: whether each batch is also tested with dropout switched off, by one more forward pass.
                Otherwise the checkpoints are certified as they train, with dropout.
            repeats: what inputs that stand in several rows are: "drawn", as new rows will repeat them too, so that each
                row counts; or "once", perhaps copies, so that the larger of two limits is taken, that of all rows and
                that of each input once.
            keep: "random" stores a checkpoint drawn at random from the window, the predictor that the limit is about,
                in ``output_dir/random-checkpoint``; None stores none.
            unlabelled: data set of rows without labels, prepared as the training rows and never trained on: with them
                the final adapter is certified. For classes and loss="error".
        Raises:
            InputError: a value outside its range.
        """
        probability("GeneralizationCallback", "delta", delta)
        probability("GeneralizationCallback", "window", window)
        if loss is not None and loss not in _LOSSES:
            raise InputError(f"GeneralizationCallback: loss must be one of {', '.join(_LOSSES)}, got {loss!r}")
        if candidates < 1:
            raise InputError(f"GeneralizationCallback: candidates must be 1 or more, got {candidates}")
        if repeats not in ("once", "drawn"):
            raise InputError(f"GeneralizationCallback: repeats must be 'once' or 'drawn', got {repeats!r}")
        if keep not in (None, "random"):
            raise InputError(f"GeneralizationCallback: keep must be 'random' or None, got {keep!r}")
        if unlabelled is not None and loss not in (None, "error"):
            raise InputError(
                "GeneralizationCallback: unlabelled rows certify loss='error', as they have no right answer"
            )
        self._settings = Settings(
            delta=float(delta),
            window=float(window),
            loss=loss,
            candidates=int(candidates),
            eval_before_step=eval_before_step,
            repeats=repeats,
            keep=keep == "random",
        )
        self._rows = unlabelled
        self._run: Run | None = None
        self._kept: Kept | None = None
        self._unlabelled: Unlabelled | None = None
        self._logged = False
        self.certificate: Certificate | None = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint of the Trainer keeps, so that a run goes on from it."""
        asked = asdict(self._settings)
        stored = {
            "run": self._run.stored() if self._run else "",
            "kept": self._kept.stored() if self._kept else None,
            "predicted": self._unlabelled.predicted.tolist() if self._unlabelled else None,
        }
        return {
            "args": {**asked, "keep": "random" if asked["keep"] else None},
            "attributes": {"_stored": stored},
        }

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See that the run can be certified, and settle everything that must be settled before it.

        Raises:
            InputError: it cannot, or it goes on from a checkpoint that does not fit.
        """
        model, loader, settings = kwargs["model"], kwargs["train_dataloader"], self._settings
        first_time = self._run is None
        if self._run is not None:
            self._run.close()
        try:
            if not first_time and not state.global_step:
                raise InputError("its first run has met these rows already: make a new model and a new callback")
            if args.output_dir and state.is_world_process_zero:
                refuse_to_replace(args.output_dir, {})
            if not settings.eval_before_step:
                refuse_shared_statistics(model)
            plan = plan_of(args, state, loader, settings.window)
            if settings.keep and not hasattr(model, "peft_config"):
                raise InputError("keep='random' stores a PEFT adapter, and the model has none: leave keep out")
            if self._rows is not None:
                self._unlabelled = Unlabelled(self._rows, plan, loader.dataset[0], loader.collate_fn)
            noise = "" if settings.eval_before_step else noise_of(model, args)
            run = Run(plan, settings, model, noise, "classes" if self._rows is not None else None)
            self._kept = Kept(Path(args.output_dir) / FOLDER, plan, args.seed) if settings.keep else None
            if state.global_step:
                try:
                    self._go_on(run, args, state)
                except InputError:
                    run.close()
                    raise
        except InputError as error:
            raise InputError(f"GeneralizationCallback: {error}") from None
        self._run = run
        come_first(self)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Weights before an update: rows without labels are predicted, then the step's own rows come."""
        run = self._live
        if run is None:
            return
        if self._unlabelled is not None and state.is_world_process_zero:
            self._unlabelled.before_step(kwargs["model"], state.global_step, self._settings.eval_before_step)
        run.begin_step()

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A batch of the step is done, others come."""
        if run := self._live:
            run.end_batch()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last batch of the step is done, and the weights have not moved yet."""
        run = self._live
        if run is None:
            return
        run.end_batch()
        added = run.end_step()
        if self._kept is not None:
            self._kept.offer(kwargs["model"], state.global_step, added, state.is_world_process_zero)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The first epoch is over, or was cut off: what it proves is written down."""
        run = self._live
        if run is None:
            return
        run.over = True
        run.close()
        if self._unlabelled is None:
            self._certify(run, args, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Put the numbers among those that the Trainer logs; after the first epoch once more, then not again."""
        run = self._run
        if run is None or logs is None or self._logged or any(name.startswith("eval_") for name in logs):
            return
        values = numbers(run, self._late_delta)
        logs.update(values)
        if state.log_history:
            state.log_history[-1].update(values)
        self._logged = run.over

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Certify the final adapter by rows without labels; put the certificate into the model card."""
        run = self._run
        if run is None:
            return
        run.over = True
        run.close()
        if self._unlabelled is not None and state.is_world_process_zero:
            self._certify(run, args, state, *self._unlabelled.differing(kwargs["model"]))
        if self.certificate is not None and state.is_world_process_zero:
            write_card(self.certificate, args.output_dir)

    @property
    def _live(self) -> Run | None:
        """The run while its first epoch goes on."""
        return self._run if self._run is not None and not self._run.over else None

    def _go_on(self, run: Run, args: Any, state: Any) -> None:
        """Take over what a checkpoint keeps."""
        entry = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        stored = entry["attributes"]["_stored"]
        run.restore(stored["run"], state.global_step)
        if not run.over and args.ignore_data_skip:
            raise InputError("ignore_data_skip=True meets rows of the first epoch again: leave it out")
        if self._kept is not None:
            self._kept.restore(stored["kept"])
        if (self._unlabelled is None) != (stored["predicted"] is None):
            raise InputError("the checkpoint was made with unlabelled rows or without, now it is the other way round")
        if self._unlabelled is not None:
            self._unlabelled.restore(stored["predicted"])
        elif run.over:
            run.close()
            self._certify(run, args, state)

    @property
    def _late_delta(self) -> float:
        """Share of delta of the limit that is logged."""
        return self._settings.delta / self._settings.candidates / (1 if self._unlabelled is None else 2)

    def _certify(
        self, run: Run, args: Any, state: Any, unlabelled: int | None = None, differing: int | None = None
    ) -> None:
        """Make the certificate, and write it where this process writes files."""
        if run.fault:
            return
        first = run.first(unlabelled, differing) if run.rows else None
        if unlabelled == 0:
            run.fail("no row without a label was met in the window: give more of them")
            return
        if first is not None and unlabelled is not None and np.isnan(first.losses[first.start :]).any():
            run.fail("rows of the window have no label, which the unlabelled rows know nothing of")
            return
        of: dict[str, Any] = {"training": run.record()}
        if self._kept is not None and self._kept.step is not None and differing is None and state.is_world_process_zero:
            of["kept"] = kept_record(self._kept.folder)
        name, settings = Path(args.output_dir).resolve().name, self._settings
        made = None
        if first is not None:
            made = certificate_of(first, settings.delta, settings.candidates, name, of)
        if made is None:
            copies = "each row of its window has no label or the input of an earlier row (see repeats='drawn')"
            run.fail(copies if run.rows > run.plan.start else "the run ended before its window began")
            return
        self.certificate = made
        if state.is_world_process_zero:
            write_certificate(made, args.output_dir)
