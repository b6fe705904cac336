"""A factor of a PEFT adapter that is drawn from a seed and stays: through training, saving, loading, checkpoints."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import lorabound as lb
from lorabound.adapters import load_adapter, random_factor, save_adapter
from lorabound.errors import AdapterError, InputError, ModelError
from lorabound.hf import GeneralizationCallback, freeze_factor, from_pretrained
from tests.adapter_cases import filled, new_on
from tests.trainer_tasks import Net, net, points, trainer

ROWS = points(64, np.random.default_rng(0))


def factors(model):
    return {name: one.detach().clone() for name, one in model.state_dict().items() if "lora_" in name}


@pytest.mark.parametrize(("factor", "mode"), [("A", "freeze_a"), ("B", "freeze_b")])
def test_training_leaves_the_frozen_factor_alone(tmp_path, factor, mode):
    model = freeze_factor(net(), factor, seed=5)
    before = factors(model)
    drawn = random_factor(5, "inner", 3, 6 if factor == "A" else 24, "kaiming_uniform")
    found = before[f"base_model.model.inner.lora_{factor}.default.weight"].numpy()
    assert np.array_equal(found if factor == "A" else found.T, drawn)
    callback = GeneralizationCallback(keep="random")
    made = trainer(model, ROWS, tmp_path, callback, save_strategy="steps", save_steps=4)
    made.train()
    after = factors(model)
    for name, one in before.items():
        assert torch.equal(one, after[name]) == (f"lora_{factor}" in name), name
    assert callback._run.n_params == sum(one.numel() for name, one in before.items() if f"lora_{factor}" not in name)
    made.save_model(tmp_path / "saved")
    for folder in ("saved", "checkpoint-4", "random-checkpoint"):
        stored = lb.load_adapter(tmp_path / folder)
        assert (stored.mode, stored.seed, stored.law) == (mode, 5, "kaiming_uniform")

    # Loaded again, and gone on from a checkpoint, the factor is still frozen.
    torch.manual_seed(0)
    again = from_pretrained(Net(), tmp_path / "saved", is_trainable=True)
    again.set_adapter("default")
    trainer(again, ROWS, tmp_path / "again").train()
    went_on = trainer(freeze_factor(net(), factor, seed=5), ROWS, tmp_path, save_strategy="no")
    went_on.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    for other in (again, went_on.model):
        for name, one in factors(other).items():
            assert not torch.equal(one, before[name]) or f"lora_{factor}" in name
            assert torch.equal(one, before[name]) or f"lora_{factor}" not in name
    for name, one in factors(went_on.model).items():
        assert torch.allclose(one, after[name]), name  # as the run without a break


def test_outputs_are_those_of_peft(tmp_path):
    model = freeze_factor(net(), "A", seed=1)
    trainer(model, ROWS, tmp_path).train()
    model.save_pretrained(tmp_path / "saved")
    torch.manual_seed(0)
    plain = PeftModel.from_pretrained(Net(), str(tmp_path / "saved")).eval()
    batch = torch.stack([row["points"] for row in ROWS])
    assert torch.equal(plain(points=batch).logits, model.eval()(points=batch).logits)


def test_gradients_reach_the_other_factor_through_checkpointing():
    """A frozen base, activations worked out again, as for quantized models."""
    from tests.trainer_tasks import language_model, stacked, texts

    model = freeze_factor(language_model(), "A", seed=0)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    model.train()
    model(**stacked(texts(4, np.random.default_rng(0)))).loss.backward()
    with_gradient = [
        name for name, one in model.named_parameters() if one.grad is not None and one.grad.abs().max() > 0
    ]
    assert len(with_gradient) == 7
    assert all("lora_B" in name for name in with_gradient)


def test_what_cannot_be_frozen_is_refused(tmp_path):
    with pytest.raises(InputError, match="factor must be 'A' or 'B', got 'C'"):
        freeze_factor(net(), "C", seed=0)
    with pytest.raises(ModelError, match="is no PEFT model"):
        freeze_factor(Net(), "A", seed=0)
    trained = net()
    trainer(trained, ROWS, tmp_path).train()
    with pytest.raises(InputError, match="B of inner is not 0"):
        freeze_factor(trained, "A", seed=0)
    two = net()
    two.add_adapter("second", LoraConfig(target_modules=["inner"]))
    with pytest.raises(ModelError, match="has 2 adapters"):
        freeze_factor(two, "A", seed=0)
    trained.save_pretrained(tmp_path / "plain")
    with pytest.raises(AdapterError, match="records no frozen factor"):
        from_pretrained(Net(), tmp_path / "plain")
    table = get_peft_model(torch.nn.Sequential(torch.nn.Embedding(4, 3)), LoraConfig(r=2, target_modules=["0"]))
    with pytest.raises(ModelError, match="is an embedding"):
        freeze_factor(table, "A", seed=0)


@pytest.mark.parametrize("mode", ["core", "subspace"])
def test_what_peft_cannot_train_loads_for_predictions_alone(tmp_path, mode):
    base = Net()
    folder = save_adapter(filled(new_on(base, {"inner": (24, 6)}, mode)), tmp_path / "adapter")
    with pytest.raises(AdapterError, match=f"mode {mode} trains something smaller than a factor"):
        from_pretrained(base, folder)
    with pytest.raises(InputError, match="the law of random entries must be one of"):
        freeze_factor(net(), "A", seed=0, law="svd")


@pytest.mark.parametrize(("mode", "law"), [("common", "gaussian"), ("freeze_a", "svd")])
def test_factors_from_weights_stay_and_are_recorded(tmp_path, mode, law):
    base = Net()
    made = filled(new_on(base, {"inner": (24, 6)}, mode, law=law))
    model = from_pretrained(base, save_adapter(made, tmp_path / "adapter"), is_trainable=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    model.save_pretrained(tmp_path / "again")
    again = load_adapter(tmp_path / "again")
    assert (again.mode, again.seed, again.law) == (mode, made.seed, law)
    assert again.frozen_sha256() == made.frozen_sha256()
    assert (again.layers["inner"].b != made.layers["inner"].b).any() or mode == "common"
