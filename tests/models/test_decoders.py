"""Decoders: loaded whole and causal, GPT-2's layers as linear ones, targets by name or all-linear, their kind."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from lorabound.adapters import load_adapter, new_adapter, save_adapter
from lorabound.adapters.adapter import Adapter, Factors
from lorabound.adapters.targets import select_layers
from lorabound.errors import InputError, ModelError
from lorabound.models import config_outline, find_kind, kinds, weight_outline
from lorabound.models.decoder import load_decoder
from lorabound.models.kinds.causal import CAUSAL
from lorabound.stack import Stack, modules_of, select_linears
from tests.decoder_models import SAVE, save_gpt2, save_llama, save_neox, save_qwen2
from tests.text_models import edit_json, save_text_model

IDS = torch.randint(0, 200, (4, 11), generator=torch.Generator().manual_seed(0))
FUSED = {"gpt2": ["c_attn"], "neox": ["query_key_value"]}


@pytest.fixture(scope="module", params=SAVE)
def decoder(request, tmp_path_factory):
    """(name, folder) of a small decoder."""
    return request.param, SAVE[request.param](tmp_path_factory.mktemp(request.param))


@torch.no_grad()
def test_scores_are_those_of_transformers(decoder):
    _, folder = decoder
    module, where, notes = load_decoder(str(folder), "cpu")
    expected = transformers.AutoModelForCausalLM.from_pretrained(folder)
    mask = torch.ones_like(IDS)
    mask[1, 5:] = 0  # padding on the right
    ours, theirs = (model(input_ids=IDS, attention_mask=mask).logits for model in (module, expected))
    assert torch.allclose(ours, theirs, atol=1e-5)  # logits around 2 differ by 0 to 2e-6, by the order of sums
    assert module.config._attn_implementation == "sdpa"  # not our attention for encoders
    assert (where, notes) == (folder, ())
    assert not module.training
    assert not any(weight.requires_grad for weight in module.parameters())


def random_adapter(module, targets, layers=None, rank=3) -> Adapter:
    random = np.random.default_rng(1)
    shapes = select_linears(module, targets, layers)
    factors = {
        name: Factors(
            a=random.normal(size=(rank, d_in)).astype(np.float32),
            b=random.normal(0, 0.1, (d_out, rank)).astype(np.float32),
            scale=0.5,
        )
        for name, (d_out, d_in) in shapes.items()
    }
    return Adapter(layers=factors, mode="train_both")


@torch.no_grad()
def test_peft_computes_the_same_with_an_adapter(decoder, tmp_path):
    from peft import PeftModel

    _, folder = decoder
    module, _, _ = load_decoder(str(folder), "cpu")
    adapter = random_adapter(module, ["all-linear"], "top2")
    save_adapter(adapter, tmp_path / "adapter", str(folder), type(module))
    theirs = PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    expected = theirs(input_ids=IDS).logits
    assert theirs.peft_config["default"].task_type == "CAUSAL_LM"
    assert theirs.peft_config["default"].fan_in_fan_out == (type(module).__name__ == "GPT2LMHeadModel")
    bare = module(input_ids=IDS).logits
    with Stack(module, [adapter]):
        ours = module(input_ids=IDS).logits
    assert torch.allclose(ours, expected, atol=1e-4)
    assert not torch.allclose(bare, expected, atol=0.1)


@torch.no_grad()
def test_an_adapter_that_peft_saved_is_read(decoder, tmp_path):
    from peft import LoraConfig, get_peft_model

    name, folder = decoder
    torch.manual_seed(2)
    config = LoraConfig(
        r=2, lora_alpha=8, target_modules=FUSED.get(name, ["q_proj", "v_proj"]), init_lora_weights=False,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    theirs = get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(folder), config)
    theirs.save_pretrained(tmp_path / "adapter")
    module, _, _ = load_decoder(str(folder), "cpu")
    with Stack(module, [load_adapter(tmp_path / "adapter")]):
        assert torch.allclose(module(input_ids=IDS).logits, theirs.eval()(input_ids=IDS).logits, atol=1e-4)


def test_all_linear_takes_the_layers_that_peft_takes(decoder):
    from peft import LoraConfig, get_peft_model

    _, folder = decoder
    module, _, _ = load_decoder(str(folder), "cpu")
    peft = get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=1, target_modules="all-linear")
    ).base_model.model
    theirs = {name.removesuffix(".base_layer") for name, _ in peft.named_modules() if name.endswith(".base_layer")}
    assert set(select_linears(module, ["all-linear"])) == theirs


@pytest.mark.parametrize("layers", [None, [1, 3], "top2", "bottom"])
def test_headers_and_configuration_tell_the_layers_of_the_loaded_model(decoder, layers):
    name, folder = decoder
    module, _, _ = load_decoder(str(folder), "cpu")
    for targets in (["all-linear"], FUSED.get(name, ["q_proj", "k_proj"])):
        loaded, headers, config = (
            select_layers(modules, targets, layers)
            for modules in (modules_of(module), weight_outline(folder).modules, config_outline(folder).modules)
        )
        assert loaded == headers == config
        indices = {None: {0, 1, 2, 3}, "top2": {2, 3}, "bottom": {0}}.get(layers) if layers != [1, 3] else {1, 3}
        assert {int(part) for name in loaded for part in name.split(".") if part.isdigit()} == indices


@pytest.mark.parametrize("target", ["lm_head", "embed_out"])
def test_the_output_layer_gets_no_adapter(decoder, target):
    _, folder = decoder
    module, _, _ = load_decoder(str(folder), "cpu")
    for modules in (modules_of(module), weight_outline(folder).modules):
        with pytest.raises(ModelError, match=f"{target} is the output layer of a language model"):
            select_layers(modules, [target])
        with pytest.raises(ModelError, match=r"called 'quer': choose among (?!.*lm_head)"):
            select_layers(modules, ["quer"])


@pytest.mark.parametrize(("save", "tied"), [(save_llama, True), (save_qwen2, False)])
def test_the_output_layer_may_be_missing_where_it_is_the_embedding(tmp_path, save, tied):
    folder = save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight", None)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    if tied:
        module, _, _ = load_decoder(str(folder), "cpu")
        assert module.lm_head.weight is module.get_input_embeddings().weight
    else:
        with pytest.raises(ModelError, match="lacks lm_head.weight, which would start at random"):
            load_decoder(str(folder), "cpu")


def test_a_file_of_the_transformer_alone_loads(tmp_path):
    """GPT-2 on the hub: names without the prefix of the transformer, and masks that old versions saved."""
    folder = save_gpt2(tmp_path / "model")
    expected = load_decoder(str(folder), "cpu")[0](input_ids=IDS).logits
    shapes = weight_outline(folder)
    weights = {name.removeprefix("transformer."): x for name, x in load_file(folder / "model.safetensors").items()}
    weights["h.0.attn.bias"] = torch.ones(1, 1, 128, 128)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    module, _, _ = load_decoder(str(folder), "cpu")
    assert torch.equal(module(input_ids=IDS).logits, expected)
    assert weight_outline(folder).n_weights == shapes.n_weights == sum(x.numel() for x in module.parameters())


def test_an_encoder_is_no_decoder(tmp_path):
    folder = save_text_model(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"lacks cls\.predictions"):
        load_decoder(str(folder), "cpu")
    head = transformers.BertLMHeadModel.from_pretrained(folder)
    head.save_pretrained(folder)
    with pytest.raises(ModelError, match="depend on the tokens after it, so this BertLMHeadModel is an encoder"):
        load_decoder(str(folder), "cpu")
    edit_json(folder / "config.json", is_decoder=True)
    load_decoder(str(folder), "cpu")


def test_code_of_the_folder_is_told_and_not_run(tmp_path):
    folder = save_llama(tmp_path / "model")
    edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "theirs.Model"})
    _, _, notes = load_decoder(str(folder), "cpu")
    assert notes == (
        f"{folder / 'config.json'} names code of its own (theirs.Model), which is never run here: the model is "
        "transformers' LlamaForCausalLM.",
    )


def test_what_decides_the_kind(monkeypatch, tmp_path):
    monkeypatch.setattr(kinds, "KINDS", (kinds.ENCODER, kinds.SEQUENCE, kinds.CLIP, CAUSAL))
    llama, gpt2, neox = (
        save(tmp_path / name) for name, save in {"llama": save_llama, "gpt2": save_gpt2, "neox": save_neox}.items()
    )
    targets = [find_kind(str(folder)).targets for folder in (llama, gpt2, neox)]
    assert targets == [("q_proj", "k_proj", "v_proj"), ("c_attn",), ("query_key_value",)]
    assert find_kind(str(gpt2)) == CAUSAL
    with pytest.raises(InputError, match="is a causal language model, its classes are prompts: head trained is for a"):
        find_kind(str(llama), "trained")
    (llama / "modules.json").write_text("[]")  # what sentence-transformers writes beside an encoder made of it
    assert find_kind(str(llama)) == kinds.ENCODER
    assert CAUSAL.width({"n_embd": 48}) == 48


@pytest.mark.parametrize(("configuration", "known"), [
    ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, True),
    ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}, True),
    ({"architectures": ["Qwen2Model"], "model_type": "qwen2"}, False),
    ({"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}, False),
    ({"architectures": ["XLNetLMHeadModel"], "model_type": "xlnet"}, False),
    ({"architectures": ["BertLMHeadModel"], "model_type": "bert"}, False),
    ({"architectures": ["BertLMHeadModel"], "model_type": "bert", "is_decoder": True}, True),
    ({"architectures": None, "model_type": "llama"}, False),
    ({}, False),
])  # fmt: skip
def test_decoders_by_their_configuration(configuration, known):
    assert CAUSAL.knows(configuration) is known


def test_the_kind_needs_no_torch():
    code = "import sys; from lorabound.models.kinds.causal import CAUSAL; print(CAUSAL.name, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "a causal language model False\n"


def test_an_untrained_adapter_changes_nothing(decoder):
    name, folder = decoder
    module, _, _ = load_decoder(str(folder), "cpu")
    adapter = new_adapter(
        select_linears(module, FUSED.get(name, ["q_proj"])), 2, "freeze_a", seed=0, law="gaussian", alpha_over_r=1.0
    )
    bare = module(input_ids=IDS).logits
    with Stack(module, [adapter]):
        assert torch.equal(module(input_ids=IDS).logits, bare)
