"""The callback in real runs of the Trainer: its numbers worked out again, its files, going on from a checkpoint."""

import hashlib
import json

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

import lorabound as lb
from lorabound.bounds import best_lam, disagreement, progressive, progressive_losses
from lorabound.errors import InputError
from lorabound.hf import GeneralizationCallback
from lorabound.hf.kept import coin
from lorabound.hf.plan import Plan, _order_sha256
from tests.commands import run as command
from tests.trainer_tasks import language_model, net, points, stacked, texts, trainer

PLAN = Plan(rows=96, start=48, step_rows=8, batch_rows=4, n_batches=2, processes=1, epochs=1.0, order_sha256=None)


class Beside(TrainerCallback):
    """Tests the rows of each step itself, with the weights before its update, and reports logs as TensorBoard would."""

    def __init__(self, rows, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.rows, self.order = rows, torch.randperm(len(rows), generator=generator).tolist()
        self.errors, self.seen, self.weights = [], [], []

    def on_step_begin(self, args, state, control, model=None, **_):
        size = args.train_batch_size * args.gradient_accumulation_steps
        mine = self.order[state.global_step * size : (state.global_step + 1) * size]
        self.weights.append({name: one.detach().clone() for name, one in model.named_parameters()})
        if not mine:
            return
        model.eval()
        with torch.no_grad():
            batch = stacked([self.rows[place] for place in mine])
            self.errors += (model(**batch).logits.argmax(-1) != batch["labels"]).tolist()

    def on_log(self, args, state, control, logs=None, **_):
        self.seen.append(dict(logs))


def limits(errors, start, planned, delta):
    """The limit after each step of 8 rows, by the theorem of the bounds alone."""
    errors, found = np.array(errors, dtype=float), []
    lam = best_lam((errors[:start].sum() + 0.5) / (start + 1), planned - start, delta)
    for end in range(start + 8, planned + 8, 8):
        inside = errors[start : min(end, planned)]
        found.append(progressive(inside.mean(), len(inside), delta, lam=lam).value)
    return found


def test_numbers_of_a_run_worked_out_again(tmp_path, capsys, monkeypatch):
    rows = points(100, np.random.default_rng(0))
    beside, callback = Beside(rows), GeneralizationCallback(delta=0.1, keep="random")
    made = trainer(
        net(),
        rows,
        tmp_path / "run",
        beside,
        callback,
        num_train_epochs=2,
        fresh=rows[:10],
        eval_strategy="steps",
        eval_steps=3,
    )
    made.train()
    errors = np.array(beside.errors[:100], dtype=float)
    expected = limits(errors, 48, 100, 0.1)  # 13 steps, the last of 4 rows; the window is the last 7
    logged = [row for row in made.state.log_history if "lorabound/true_error_upper" in row]
    assert [row["lorabound/true_error_upper"] for row in logged[:7]] == pytest.approx(expected, abs=1e-12)
    assert [row["lorabound/true_error_upper"] for row in logged[7:]] == [logged[6]["lorabound/true_error_upper"]]
    assert logged[6]["lorabound/error_before_use"] == pytest.approx(errors[48:].mean())
    assert logged[6]["lorabound/train_error_so_far"] == pytest.approx(errors.mean())
    assert logged[6]["lorabound/margin"] == pytest.approx(expected[-1] - errors[48:].mean())
    assert logged[6]["lorabound/rows"] == 52
    assert logged[6]["lorabound/n_params"] == 3 * (6 + 24 + 24 + 3)
    # A callback that reports logs, though it was there before, is handed the same.
    assert [row for row in beside.seen if "lorabound/margin" in row][6]["lorabound/margin"] == logged[6][
        "lorabound/margin"
    ]

    certificate = callback.certificate
    assert certificate.best.limit == pytest.approx(expected[-1], abs=1e-12)
    assert certificate.best.error == pytest.approx(errors[48:].mean())
    assert "the last half of the first epoch" in repr(certificate.best.speaks_of)
    assert "Only the first epoch counts" in " ".join(certificate.best.notes)
    assert certificate.notes == ("A checkpoint that was drawn so is stored in random-checkpoint.",)
    # The stored checkpoint is one of the window, as its weights stood before their update.
    steps = [
        step
        for step in range(6, 13)
        if coin(made_plan(callback), 0, step) * (min(100, 8 * step + 8) - 48) < min(8, 100 - 8 * step)
    ]
    stored = lb.load_adapter(tmp_path / "run/random-checkpoint")
    weight = beside.weights[steps[-1]]["base_model.model.inner.lora_A.default.weight"].numpy()
    assert np.array_equal(stored.layers["inner"].a, weight)

    status, out, _ = command(capsys, monkeypatch, "verify", tmp_path / "run")
    assert status == 0
    assert "computed again" in out
    assert "only training again shows it" in " ".join(out.split())
    card = (tmp_path / "run/README.md").read_text()
    assert "on new data, a checkpoint drawn at random" in card


def made_plan(callback):
    return callback._run.plan


def test_a_choice_among_runs_is_paid_for(tmp_path):
    rows, found = points(64, np.random.default_rng(1)), []
    for candidates, delta in ((4, 0.2), (1, 0.05)):
        callback = GeneralizationCallback(candidates=candidates, delta=delta)
        trainer(net(), rows, tmp_path / str(candidates), callback).train()
        found.append(callback.certificate)
    assert found[0].best.limit == found[1].best.limit
    assert (found[0].delta, found[0].n_choices) == (0.2, 4)
    assert "the run is one of 4 that were planned" in " ".join(found[0].assumptions)
    assert lb.verify(tmp_path / "4").holds


def test_a_changed_loss_is_seen(tmp_path):
    rows = points(40, np.random.default_rng(1))
    trainer(net(), rows, tmp_path, GeneralizationCallback()).train()
    record = json.loads((tmp_path / "certificate.json").read_text())
    record["statements"][0]["bound"]["value"] -= 0.01
    (tmp_path / "certificate.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="was changed after it was written"):
        lb.verify(tmp_path)


@pytest.mark.parametrize("loss", [None, "probability", "error"])
def test_a_language_model(tmp_path, loss):
    rows = texts(64, np.random.default_rng(2))
    callback = GeneralizationCallback(loss=loss, repeats="drawn")
    made = trainer(language_model(), rows, tmp_path, callback)
    made.train()
    first = callback._run.first()
    assert first.loss == (loss or "wrong_tokens")
    assert set(np.unique(first.losses * 3)) <= {0, 1, 2, 3} if loss is None else True
    best = callback.certificate.best
    assert lb.verify(tmp_path).holds
    if loss != "error":
        a = best.bound.inputs["a"]
        assert best.limit == pytest.approx(progressive_losses(first.losses[32:], 0.05, a=a).value)
    assert "tokens" in " ".join(best.notes)
    assert "text-generation" in (tmp_path / "README.md").read_text()


def test_rows_that_repeat_give_the_larger_limit(tmp_path):
    rows = texts(24, np.random.default_rng(3))
    rows = [*rows, *[dict(row) for row in rows]]
    found = {}
    for repeats in ("once", "drawn"):
        callback = GeneralizationCallback(repeats=repeats)
        trainer(language_model(), rows, tmp_path / repeats, callback).train()
        found[repeats] = callback.certificate.best
    assert found["once"].limit > found["drawn"].limit
    assert "have the input of an earlier row" in " ".join(found["once"].notes)
    assert lb.verify(tmp_path / "once").holds
    few = trainer(language_model(), [dict(row) for row in rows[:4] * 12], tmp_path / "few", GeneralizationCallback())
    with pytest.warns(UserWarning, match="the input of an earlier row"):
        few.train()


def test_dropout_is_said_and_can_be_left_out(tmp_path):
    rows = points(64, np.random.default_rng(4))
    with_dropout, without, bare = GeneralizationCallback(), GeneralizationCallback(eval_before_step=True), Beside(rows)
    trainer(net(dropout=0.5), rows, tmp_path / "a", with_dropout).train()
    assert "with dropout switched on" in with_dropout.certificate.best.speaks_of
    assert with_dropout.certificate.best.limit == lb.verify(tmp_path / "a").limit
    plain = trainer(net(dropout=0.5), rows, tmp_path / "b", without)
    plain.train()
    assert "switched on" not in without.certificate.best.speaks_of
    # It does not change what is trained, and tests what an evaluation would see.
    again = trainer(net(dropout=0.5), rows, tmp_path / "c", bare)
    again.train()
    for one, other in zip(plain.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert without._run.first().losses.tolist() == [float(error) for error in bare.errors]


def test_rows_of_a_batch_that_see_one_another(tmp_path):
    rows = points(32, np.random.default_rng(5))
    with pytest.raises(InputError, match=r"norm takes means over the rows.*eval_before_step=True"):
        trainer(net(norm=True), rows, tmp_path, GeneralizationCallback()).train()
    callback = GeneralizationCallback(eval_before_step=True)
    trainer(net(norm=True), rows, tmp_path, callback).train()
    assert callback.certificate is not None


def test_unlabelled_rows_certify_the_final_adapter(tmp_path):
    random = np.random.default_rng(6)
    rows, fresh = points(96, random), points(300, random)
    callback = GeneralizationCallback(delta=0.1, unlabelled=[{"points": row["points"]} for row in fresh])
    made = trainer(net(), rows, tmp_path, callback, num_train_epochs=2)
    spy = Beside(rows)
    made.add_callback(spy)
    made.train()
    best, first = callback.certificate.best, callback._run.first()
    late = limits(first.losses, 48, 96, 0.05)[-1]
    steps = callback._unlabelled._steps
    assert set(steps) == set(range(6, 12))
    inputs, differing = stacked([{"points": row["points"]} for row in fresh])["points"], 0
    made.model.eval()
    with torch.no_grad():
        final = made.model(points=inputs).logits.argmax(1)
        for step in range(6, 12):  # the model as it stood before that step
            made.model.load_state_dict(spy.weights[step], strict=False)
            mine = np.flatnonzero(steps == step)
            differing += int((made.model(points=inputs[mine]).logits.argmax(1) != final[mine]).sum())
    assert best.record["differing"] == differing
    bound = progressive(first.losses[48:].mean(), 48, 0.05, lam=best.bound.inputs["lam"])
    assert bound.value == pytest.approx(late)
    assert best.limit == pytest.approx(disagreement(bound, differing, 300, 0.05).value)
    assert best.speaks_of == "the final adapter"
    assert lb.verify(tmp_path).holds


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            control.should_training_stop = True


@pytest.mark.parametrize("step", [5, 8])
def test_going_on_from_a_checkpoint(tmp_path, step):
    """Broken off before and within the window: the certificate of one run without a break."""
    random = np.random.default_rng(7)
    rows, fresh = points(96, random), [{"points": row["points"]} for row in points(40, random)]
    whole, halves = GeneralizationCallback(unlabelled=fresh), GeneralizationCallback(unlabelled=fresh)
    trainer(net(), rows, tmp_path / "whole", whole).train()
    saving = {"save_strategy": "steps", "save_steps": 1}
    first = GeneralizationCallback(unlabelled=fresh)
    trainer(net(), rows, tmp_path / "halves", first, Stop(step), **saving).train()
    (tmp_path / "halves/certificate.json").unlink(missing_ok=True)
    trainer(net(), rows, tmp_path / "halves", halves, **saving).train(resume_from_checkpoint=True)
    assert halves._run.first().losses.tolist() == whole._run.first().losses.tolist()
    assert halves.certificate.best.bound == whole.certificate.best.bound
    assert lb.verify(tmp_path / "halves").holds


def test_callbacks_that_the_trainer_restores_itself(tmp_path):
    rows = points(96, np.random.default_rng(7))
    saving = {"save_strategy": "steps", "save_steps": 1}
    trainer(net(), rows, tmp_path, GeneralizationCallback(delta=0.2), Stop(8), **saving).train()
    (tmp_path / "certificate.json").unlink()
    made = trainer(
        net(), rows, tmp_path, GeneralizationCallback(), restore_callback_states_from_checkpoint=True, **saving
    )
    made.train(resume_from_checkpoint=True)
    assert lb.verify(tmp_path).delta == 0.2


def test_a_stored_checkpoint_survives_a_break(tmp_path):
    rows = points(96, np.random.default_rng(8))
    saving = {"save_strategy": "steps", "save_steps": 1}
    whole = GeneralizationCallback(keep="random")
    trainer(net(), rows, tmp_path / "whole", whole).train()
    trainer(net(), rows, tmp_path / "halves", GeneralizationCallback(keep="random"), Stop(9), **saving).train()
    halves = GeneralizationCallback(keep="random")
    trainer(net(), rows, tmp_path / "halves", halves, **saving).train(resume_from_checkpoint=True)
    assert halves._kept.step == whole._kept.step
    assert halves.certificate.record["kept"]["sha256"] == whole.certificate.record["kept"]["sha256"]


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    rows = points(96, np.random.default_rng(9))
    saving = {"save_strategy": "steps", "save_steps": 1}
    trainer(net(), rows, tmp_path, GeneralizationCallback(), Stop(4), **saving).train()
    for callback, changes, said in (
        (GeneralizationCallback(), {"seed": 1}, "another order_sha256"),
        (GeneralizationCallback(window=0.25), {}, "another start"),
        (GeneralizationCallback(delta=0.01), {}, "another delta"),
        (GeneralizationCallback(), {"ignore_data_skip": True}, "ignore_data_skip=True"),
    ):
        with pytest.raises(InputError, match=said):
            trainer(net(), rows, tmp_path, callback, **saving, **changes).train(resume_from_checkpoint=True)
    other = tmp_path / "other"
    trainer(net(), rows, other, Stop(4), **saving).train()
    with pytest.raises(InputError, match="keeps no losses"):
        trainer(net(), rows, other, GeneralizationCallback(), **saving).train(resume_from_checkpoint=True)


def test_a_run_that_is_stopped_early_is_certified_so_far(tmp_path):
    rows = points(96, np.random.default_rng(10))
    callback = GeneralizationCallback()
    trainer(net(), rows, tmp_path, callback, Stop(9)).train()
    assert callback.certificate.best.bound.n_samples == 24
    assert "rows 49 to 72" in callback.certificate.best.speaks_of
    assert lb.verify(tmp_path).holds
    with pytest.warns(UserWarning, match="ended before its window began"):
        trainer(net(), rows, tmp_path / "none", GeneralizationCallback(), Stop(3)).train()


def test_the_stored_checkpoint_is_uniform_over_the_window():
    """Which step a reservoir keeps, over 4,000 seeds: 6 steps of equal rows, chi-squared with 5 degrees of freedom."""
    kept = []
    for seed in range(4000):
        rows = 0
        for step in range(6, 12):
            rows += 8
            if coin(PLAN, seed, step) * rows < 8:
                last = step
        kept.append(last)
    counts = np.bincount(kept, minlength=12)[6:]
    assert ((counts - 4000 / 6) ** 2 / (4000 / 6)).sum() < 20.5  # 0.1% of the distribution lies above


def test_the_order_of_the_rows_is_uniform(tmp_path):
    """Where row 0 comes, over seeds of the Trainer: the sampler takes no row into account."""
    rows = points(8, np.random.default_rng(11))
    places = []
    for seed in range(120):
        loader = trainer(net(), rows, tmp_path, seed=seed).get_train_dataloader()
        order = [int(place) for batch in loader.batch_sampler for place in batch]
        places.append(order.index(0))
        sha256 = hashlib.sha256(np.array(order, dtype="<i8").tobytes()).hexdigest()
        assert _order_sha256(trainer(net(), rows, tmp_path, seed=seed).get_train_dataloader().get_sampler()) == sha256
    counts = np.bincount(places, minlength=8)
    assert ((counts - 15) ** 2 / 15).sum() < 24.3  # chi-squared, 7 degrees of freedom, 0.1%
