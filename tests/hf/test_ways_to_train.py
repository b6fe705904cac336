"""Ways to train that must not change what is certified: accumulation, checkpointing, bf16, a callback that comes late."""

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

import lorabound as lb
from lorabound.hf import GeneralizationCallback
from lorabound.hf.losses import row_losses
from tests.trainer_tasks import language_model, net, points, stacked, texts, trainer


class Seen(TrainerCallback):
    """Keeps the limits that are logged; measures the rows of each step itself, before its update, under autocast."""

    def __init__(self, rows=None):
        self.rows, self.limits, self.losses = rows, [], []
        self.order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist() if rows else []

    def on_step_begin(self, args, state, control, model=None, **_):
        size = args.train_batch_size * args.gradient_accumulation_steps
        for place in range(state.global_step * size, min((state.global_step + 1) * size, len(self.order)), 4):
            batch = stacked([self.rows[row] for row in self.order[place : place + 4]])
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                found = row_losses(batch["labels"], model(**batch), "tokens", "probability")
            self.losses += found.tolist()

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs and "lorabound/true_error_upper" in logs:
            self.limits.append(logs["lorabound/true_error_upper"])


def limits(model, rows, folder, late=False, loss=None, **changes):
    seen = Seen()
    callback = GeneralizationCallback(loss=loss)
    made = trainer(model, rows, folder, *([] if late else [callback]), seen, **changes)
    if late:
        made.add_callback(callback)
    made.train()
    return seen.limits


def test_accumulated_batches_are_one_batch(tmp_path):
    rows = points(96, np.random.default_rng(0))
    one = limits(net(), rows, tmp_path / "one", per_device_train_batch_size=8, gradient_accumulation_steps=1)
    two = limits(net(), rows, tmp_path / "two", per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert len(one) >= 5
    assert one == pytest.approx(two, abs=1e-12)


def test_checkpointing_computes_twice_and_counts_once(tmp_path):
    """The forward pass inside the backward one is no second meeting with the rows."""
    rows = texts(64, np.random.default_rng(1))
    plain = limits(language_model(), rows, tmp_path / "plain", loss="probability")
    for reentrant in (False, True):
        model = language_model()
        model.enable_input_require_grads()
        again = limits(
            model, rows, tmp_path / f"again{reentrant}", loss="probability",
            gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": reentrant},
        )  # fmt: skip
        assert len(again) >= 3
        assert again == pytest.approx(plain, abs=1e-6)
    assert np.ptp(plain) > 1e-3  # the comparison means something


def test_under_autocast_the_losses_are_those_of_training(tmp_path):
    """The model that is certified is the one in bfloat16, as its training steps compute it."""
    rows = texts(64, np.random.default_rng(2))
    seen, callback = Seen(rows), GeneralizationCallback(loss="probability")
    made = trainer(language_model(), rows, tmp_path / "bf16", seen, callback, bf16=True)
    made.train()
    logged = [row["lorabound/train_error_so_far"] for row in made.state.log_history if "loss" in row]
    assert logged == pytest.approx([np.mean(seen.losses[: 8 * step]) for step in range(1, 9)], abs=1e-6)
    plain = Seen(rows)
    trainer(language_model(), rows, tmp_path / "float32", plain).train()
    assert np.abs(np.subtract(plain.losses, seen.losses)).max() > 1e-3  # bfloat16 can be told from float32
    assert lb.verify(tmp_path / "bf16").holds


def test_a_callback_that_comes_when_the_trainer_is_made(tmp_path):
    """As plugins of axolotl add it (add_callbacks_post_trainer)."""
    rows = points(96, np.random.default_rng(3))
    assert limits(net(), rows, tmp_path / "late", late=True) == limits(net(), rows, tmp_path / "early")
