"""The model of a folder is the bare one that its own weights are, on every path, or it is refused in one sentence."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from peft import AutoPeftModel
from safetensors.torch import load_file, save_file

from lorabound.adapters import load_adapter
from lorabound.errors import ModelError
from lorabound.models import ClipClassifier, PromptClassifier, SequenceClassifier, locate_model, weight_outline
from lorabound.stack import Stack
from lorabound.sweeps.estimate import estimate
from lorabound.sweeps.execute import run_sweep
from tests.clip_models import save_clip
from tests.commands import run
from tests.text_models import TEXTS, WORDS, config_of, edit_json, put_adapter_into, save_text_model

KINDS = ["prompts", "head", "clip"]


def made(kind, folder):
    """A model folder of each kind that a sweep reads."""
    if kind == "clip":
        return save_clip(folder)
    return save_text_model(folder, labels=2 if kind == "head" else 0)


def loaded(kind, folder):
    if kind == "clip":
        return ClipClassifier.load(str(folder), ["cat", "dog"], "a photo of a {}.", device="cpu")
    if kind == "head":
        return SequenceClassifier.load(str(folder), ["LABEL_0", "LABEL_1"], 32)
    return PromptClassifier.load(str(folder), ["good", "bad"], "{}", 20.0, 32)


@torch.no_grad()
def scores(kind, classifier):
    if kind == "clip":
        return torch.cat(
            [classifier.class_embeddings()[0], classifier.module.vision_model(torch.ones(1, 3, 16, 16))[:, :24]]
        )
    return classifier.logits(classifier.prepare(TEXTS), np.arange(len(TEXTS)))


@pytest.fixture
def without_peft(monkeypatch):
    for place in ("integrations.peft", "models.auto.auto_factory"):
        monkeypatch.setattr(f"transformers.{place}.is_peft_available", lambda: False)


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_beside_the_weights_is_not_loaded(kind, installed, tmp_path, request):
    if not installed:
        request.getfixturevalue("without_peft")
    bare = made(kind, tmp_path / "bare")
    both = tmp_path / "both"
    shutil.copytree(bare, both)
    auto = transformers.AutoModelForSequenceClassification if kind == "head" else transformers.AutoModel
    put_adapter_into(both, auto.from_pretrained(bare), ["q_proj" if kind == "clip" else "query"])
    alone, beside = loaded(kind, bare), loaded(kind, both)
    assert torch.equal(scores(kind, alone), scores(kind, beside))
    assert not [name for name, _ in beside.module.named_modules() if "lora" in name]
    outline = weight_outline(both).modules
    assert not [name for name in (*outline.linears, *outline.others) if "lora" in name]
    assert alone.sha256 == beside.sha256  # the same model: stores of one go on with the other
    assert alone.notes == ()
    assert "also holds an adapter (adapter_config.json): it was not loaded" in " ".join(beside.notes)


def test_transformers_itself_loads_the_adapter(tmp_path):
    """What the tests above guard against: without this, they would pass for nothing."""
    folder = save_text_model(tmp_path / "both")
    put_adapter_into(folder, transformers.AutoModel.from_pretrained(folder), ["query"])
    assert any("lora" in name for name, _ in transformers.AutoModel.from_pretrained(folder).named_modules())


def sentences(folder, n=60):
    random = np.random.default_rng(0)
    words = [word for word in WORDS if word.islower()]
    texts = sorted({" ".join(random.choice(words, random.integers(3, 12))) for _ in range(3 * n)})[:n]
    path = folder / "texts.csv"
    pl.DataFrame({"text": texts, "label": [["good", "bad"][len(t) % 2] for t in texts]}).write_csv(path)
    return str(path)


@pytest.mark.parametrize("head", ["prompts", "trained"])
def test_the_page_tells_of_the_adapter_and_of_cut_texts(tmp_path, head, capsys, monkeypatch):
    folder = save_text_model(tmp_path / "model", "bert", labels=2)
    data = sentences(tmp_path)
    put_adapter_into(folder, transformers.AutoModelForSequenceClassification.from_pretrained(folder), ["query"])
    changes = {"head": "trained"} if head == "trained" else {}
    store = run_sweep(config_of(folder, data, max_length=8, **changes), tmp_path / "out")
    (n_test, of_test), (n_train, of_train) = store.about["cut"]["test"], store.about["cut"]["train"]
    assert (of_test, of_train) == (20, 20)
    assert store.about["n_cut"] == n_test > 0 < n_train
    record = json.loads((tmp_path / "out/adapters/freeze_a-r1-n20-seed0/adapter_config.json").read_text())
    assert record["base_model_name_or_path"] == str(folder)  # what AutoPeftModel needs, see test_folder
    assert record["task_type"] == ("SEQ_CLS" if head == "trained" else None)
    assert head == "trained" or record["auto_mapping"]["base_model_class"] == "BertModel"
    run(
        capsys, monkeypatch, "report", tmp_path / "out"
    )  # the terminal has room for some of the notes, the page for all
    page = re.sub(r"<[^>]*>", "", (tmp_path / "out/report.html").read_text())  # terms are explained by elements
    output = " ".join(page.split())
    assert "adapter (adapter_config.json): it was not loaded" in output
    assert (
        f"{n_test} of 20 test texts and {n_train} of 20 training texts are longer than 8 tokens and lost their end: "
        "raise max_length (--max-length), up to 64." in output
    )


def test_complexity_and_concentration_tell_it_too(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # concentration keeps its runs
    folder = save_text_model(tmp_path / "model", positions=8)
    put_adapter_into(folder, transformers.AutoModel.from_pretrained(folder), ["query"])
    data = sentences(tmp_path, 80)
    for command in (
        ("complexity", "--ranks", "1", "--n-train", "8", "--signs", "4", "--steps", "2", "--layers", "1"),
        ("concentration", "--factors", 3, "--samples", 3, "--rank", 1, "--n-train", 8, "--n-test", 20, "--epochs", 1),
    ):
        status, output, errors = run(capsys, monkeypatch, *map(str, command), "--model", str(folder), "--data", data)
        output = " ".join(output.split())
        assert status == 0, errors
        assert "adapter (adapter_config.json): it was not loaded" in output
        assert (
            "are longer than 8 tokens and lost their end: the model takes no more (it has no more positions)." in output
        )


def test_a_folder_with_an_adapter_alone_names_its_base(tmp_path, capsys, monkeypatch):
    base = save_text_model(tmp_path / "base")
    put_adapter_into(tmp_path / "adapter", transformers.AutoModel.from_pretrained(base), ["query"])
    with pytest.raises(
        ModelError, match=r"adapter is an adapter \(adapter_config.json\), not a model: give its base model, .*base"
    ):
        locate_model(str(tmp_path / "adapter"))
    status, _, errors = run(capsys, monkeypatch, "plan", "--model", str(tmp_path / "adapter"))
    assert status == 2
    assert "not a model: give its base model" in errors


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_the_format_that_a_configuration_names_is_not_the_one_that_runs(tmp_path, dtype):
    plain = loaded("prompts", save_text_model(tmp_path / "model"))
    edit_json(tmp_path / "model" / "config.json", dtype=dtype, torch_dtype=dtype)
    other = loaded("prompts", tmp_path / "model")
    assert {weight.dtype for weight in other.module.parameters()} == {torch.float32}
    assert torch.equal(scores("prompts", plain), scores("prompts", other))


@pytest.mark.parametrize(("changes", "message"), [
    ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, r"are quantized \(quantization_config: bitsandbytes\)"),
    ({"auto_map": {"AutoModel": "modeling_evil.EvilModel"}}, r"code of its own \(auto_map: AutoModel = modeling_evil.EvilModel\), which is never run"),
    ({"transformers_weights": "other.safetensors"}, "transformers_weights sends the loader to 'other.safetensors'"),
    ({"num_hidden_layers": 1}, r"holds .*layer.1.* and more that its config.json has no place for \(16 tensors\)"),
    ({"intermediate_size": 48}, r"encoder.layer.0.* has shape .*32.* in the file and .*48.* by config.json: they do not"),
    ({"num_hidden_layers": 3}, "lacks .*encoder.layer.2.* which would start at random"),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["prompts", "head"])
def test_configurations_that_make_another_model(kind, tmp_path, changes, message):
    folder = made(kind, tmp_path / "model")
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        loaded(kind, folder)


def test_code_that_is_not_on_the_way_is_no_fault(tmp_path):
    folder = save_text_model(tmp_path / "model")
    edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    assert loaded("prompts", folder).notes == ()


def test_weights_that_the_model_does_not_use_are_told(tmp_path):
    folder = save_text_model(tmp_path / "model")
    alone = scores("prompts", loaded("prompts", folder))
    weights = load_file(folder / "model.safetensors")
    older = {"embeddings.position_ids": torch.arange(64)[None], "cls.predictions.bias": torch.ones(3)}
    save_file(weights | older, folder / "model.safetensors", {"format": "pt"})
    other = loaded("prompts", folder)
    assert torch.equal(scores("prompts", other), alone)
    assert "holds 1 tensor that a BertModel does not use: cls.predictions.bias." in other.notes[0]


def test_weights_under_another_prefix_are_not_passed_over(tmp_path):
    folder = save_text_model(tmp_path / "model")
    weights = {f"wrapped.inner.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="which would start at random: it is not whole as a text encoder"):
        loaded("prompts", folder)


def shard(folder):
    """The weights in two files and an index, as transformers writes large models."""
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, inside in parts.items():
        save_file({name: weights[name] for name in inside}, folder / file, {"format": "pt"})
    where = {name: file for file, inside in parts.items() for name in inside}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("kind", KINDS)
def test_shards(kind, tmp_path):
    folder = made(kind, tmp_path / "model")
    whole = scores(kind, loaded(kind, folder))
    shard(folder)
    assert torch.equal(scores(kind, loaded(kind, folder)), whole)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        ModelError, match=r"names 2 files of weights and 1 of them is missing \(model-00002-of-00002.safetensors\)"
    ):
        locate_model(str(folder))
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(
        ModelError, match="holds neither model.safetensors nor .*, only model-00001-of-00002.safetensors"
    ):
        locate_model(str(folder))


@pytest.mark.parametrize(("value", "dtype"), [
    (float("nan"), torch.float32), (float("inf"), torch.float32), (float("-inf"), torch.float16), (float("nan"), torch.bfloat16),
    (1e300, torch.float64),
])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_values_that_are_not_finite_are_named(kind, value, dtype, tmp_path):
    folder = made(kind, tmp_path / "model")
    weights = {name: x.to(dtype) for name, x in load_file(folder / "model.safetensors").items()}
    name = next(name for name in weights if "layers.1." in name or "layer.1." in name)
    weights[name].view(-1)[3] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = f"model.safetensors: 1 of .* values of {name} are not finite numbers"
    with pytest.raises(ModelError, match=message):
        loaded(kind, folder)
    with pytest.raises(ModelError, match=message):
        estimate(config_of(folder, "digits" if kind == "clip" else "words", prompt=None))


@pytest.mark.parametrize(("dtype", "word"), [(torch.int8, "int8"), (torch.float8_e4m3fn, "float8_e4m3fn")])
def test_numbers_of_one_byte_are_quantized_weights(tmp_path, dtype, word):
    folder = save_text_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    save_file(weights | {name: weights[name].to(dtype)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"{name} holds {word}: the weights are quantized"):
        loaded("prompts", folder)


@pytest.mark.parametrize("command", ["dry-run", "plan", "complexity", "concentration"])
def test_gpt2_has_its_own_names_for_layers(tmp_path, command, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, data = str(save_text_model(tmp_path / "gpt2", "gpt2", tokenizer={"pad_token": False})), sentences(tmp_path)
    arguments = {
        "dry-run": ("sweep", "--data", data, "--n-train", "20", "--n-test", "20", "--dry-run"),
        "plan": ("plan",),
        "complexity": ("complexity", "--data", data, "--n-train", "8", "--layers", "1"),
        "concentration": ("concentration", "--data", data, "--n-train", "4", "--samples", "3", "--n-test", "10"),
    }[command]
    capsys.readouterr()  # what transformers says while it writes the model
    status, _, errors = run(capsys, monkeypatch, *map(str, arguments), "--model", folder)
    assert status == 2
    assert "no linear layer of the model is called 'query': choose among c_attn, c_fc, c_proj" in errors
    assert errors.count("lorabound: ") == 1
    assert "Traceback" not in errors


def test_adapters_of_a_gpt2_encoder_load_in_peft(tmp_path):
    """Its Conv1D layers are linear layers here, and PEFT's adapters of them the same (folder of a sweep, read there)."""
    folder = save_text_model(tmp_path / "gpt2", "gpt2", tokenizer={"pad_token": False})
    config = config_of(folder, sentences(tmp_path), targets=["c_attn", "mlp.c_proj"], modes=["train_both"], lr=0.1)
    assert {row.rank for row in run_sweep(config, tmp_path / "out").rows()} == {0, 1}
    (adapter,) = (tmp_path / "out" / "adapters").iterdir()
    theirs = AutoPeftModel.from_pretrained(adapter)
    ours = loaded("prompts", folder)
    ids, mask = ours.prepare(TEXTS).batch(np.arange(len(TEXTS)))
    with torch.no_grad(), Stack(ours.module, [load_adapter(adapter)]):
        together = ours.module(input_ids=ids, attention_mask=mask).last_hidden_state
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        bare = ours.module(input_ids=ids, attention_mask=mask).last_hidden_state
    kept = mask.bool()
    assert torch.allclose(together[kept], expected[kept], atol=1e-5)  # differ by 1e-6: the order of sums
    assert not torch.allclose(bare[kept], expected[kept], atol=1e-2)
