"""A factor frozen on a model that bitsandbytes quantized, on a CPU: trained, saved, loaded again."""

import warnings

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

import lorabound as lb
from lorabound.hf import freeze_factor, from_pretrained
from tests.text_models import save_text_model

CONFIGS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "int8": {"load_in_8bit": True},
}


def loaded(folder, base=None):
    quantized = {"quantization_config": transformers.BitsAndBytesConfig(**CONFIGS[base])} if base else {}
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, device_map="cpu", **quantized)


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_a_factor_stays_frozen_on_a_quantized_model_and_its_folder_names_the_rounding(tmp_path, base):
    folder = save_text_model(tmp_path / "model", hidden_size=64, intermediate_size=128)
    model = prepare_model_for_kbit_training(loaded(folder, base))
    model = freeze_factor(
        get_peft_model(model, LoraConfig(r=2, target_modules=["query", "value"])), "A", seed=3
    ).train()
    ids = torch.randint(4, 20, (4, 6), generator=torch.Generator().manual_seed(0))
    trained = [one for one in model.parameters() if one.requires_grad]
    assert len(trained) == 4  # B of two layers in each of two
    optimizer = torch.optim.SGD(trained, 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(input_ids=ids).last_hidden_state.square().sum().backward()
        optimizer.step()
    model.save_pretrained(tmp_path / "saved")
    stored = lb.load_adapter(tmp_path / "saved")
    assert (stored.mode, stored.seed, stored.base.format) == ("freeze_a", 3, base)
    assert all(np.abs(factors.b).max() > 0 for factors in stored.layers.values())
    with pytest.warns(UserWarning, match=f"was trained on a model rounded to {base}, and this one is not"):
        from_pretrained(loaded(folder), tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*was trained on a model rounded")
        again = from_pretrained(loaded(folder, base), tmp_path / "saved")
    assert not any("lora_A" in name for name, _ in again.named_parameters())
