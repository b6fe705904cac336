"""Folders of sentence-transformers: embeddings of SentenceTransformer.encode, or a refusal that names the setting."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from lorabound.errors import InputError, ModelError
from lorabound.models import PromptClassifier, model_sha256
from tests.text_models import TEXTS, edit_json, save_text_model

MODULES = "sentence_transformers.models"


def save_sentences(
    folder, pooling=None, after=(), where="1_Pooling", bert=None, prompts=None, kind="bert", **tokenizer
):
    """A folder as sentence-transformers writes it: modules.json, pooling and settings of the encoder."""
    save_text_model(folder, kind, tokenizer=tokenizer)
    steps = [("Transformer", ""), ("Pooling", where), *after]
    edit_modules(folder, steps)
    (folder / where).mkdir()
    edit_json(
        folder / where / "config.json", **{"word_embedding_dimension": 16, **(pooling or {"pooling_mode": "mean"})}
    )
    edit_json(folder / "sentence_bert_config.json", **(bert or {}))
    edit_json(folder / "config_sentence_transformers.json", **(prompts or {}))
    return folder


def edit_modules(folder, steps):
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"{MODULES}.{kind}"} for i, (kind, path) in enumerate(steps)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))


def save_dense(folder, place, d_in, d_out, **config):
    (folder / place).mkdir()
    torch.manual_seed(3)
    tensors = {"linear.weight": torch.randn(d_out, d_in)} | (
        {"linear.bias": torch.randn(d_out)} if config.get("bias", True) else {}
    )
    save_file(tensors, folder / place / "model.safetensors")
    edit_json(folder / place / "config.json", in_features=d_in, out_features=d_out, **config)


def ours(folder, max_length=64, classes=("good", "bad")):
    classifier = PromptClassifier.load(str(folder), list(classes), "{}", 20.0, max_length, device="cpu")
    texts = classifier.prepare(TEXTS)
    with torch.no_grad():
        return classifier, classifier._embed(*texts.batch(np.arange(len(TEXTS))))


def agrees(folder):
    """Both embeddings of the same texts and class prompts; returns the classifier."""
    classifier, embedded = ours(folder)
    peer = SentenceTransformer(str(folder), device="cpu")
    theirs = torch.tensor(peer.encode(TEXTS))
    torch.testing.assert_close(embedded, theirs, atol=1e-5, rtol=1e-5)
    prompts = torch.tensor(peer.encode(["good", "bad"], normalize_embeddings=True))
    torch.testing.assert_close(classifier.prototypes, prompts, atol=1e-5, rtol=1e-5)
    return classifier


FLAGS = {
    "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens", "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens", "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}  # fmt: skip


@pytest.mark.parametrize("written", ["name", "flag"])
@pytest.mark.parametrize("mode", list(FLAGS))
def test_every_pooling_mode_however_it_is_written(tmp_path, mode, written):
    pooling = (
        {"pooling_mode": mode} if written == "name" else dict.fromkeys(FLAGS.values(), False) | {FLAGS[mode]: True}
    )
    agrees(save_sentences(tmp_path / "model", pooling))


@pytest.mark.parametrize("pooling", [
    {"pooling_mode": ["mean", "cls"]},
    {FLAGS["mean"]: True, FLAGS["cls"]: True, FLAGS["lasttoken"]: True},
    dict.fromkeys(FLAGS.values(), False),
    {},
])  # fmt: skip
def test_several_modes_and_none(tmp_path, pooling):
    agrees(save_sentences(tmp_path / "model", pooling))


@pytest.mark.parametrize("where", ["2_Pooling", "pooling"])
def test_pooling_in_another_folder(tmp_path, where):
    folder = save_sentences(tmp_path / "model", {"pooling_mode": "cls"}, where=where)
    (folder / "1_Pooling").mkdir()
    edit_json(folder / "1_Pooling" / "config.json", pooling_mode="max")  # not named by modules.json
    before = agrees(folder).sha256
    edit_json(folder / where / "config.json", pooling_mode="mean")
    assert model_sha256(folder) != before
    agrees(folder)


@pytest.mark.parametrize("mode", list(FLAGS))
@pytest.mark.parametrize("include_prompt", [True, False])
def test_a_default_prompt_goes_before_every_text_and_class(tmp_path, mode, include_prompt):
    prompts = {"default_prompt_name": "query", "prompts": {"query": "query this ", "other": "a "}}
    folder = save_sentences(
        tmp_path / "model", {"pooling_mode": mode, "include_prompt": include_prompt}, prompts=prompts
    )
    classifier = agrees(folder)
    assert "Every text and class prompt begins with 'query this '" in " ".join(classifier.notes)
    edit_json(folder / "config_sentence_transformers.json", default_prompt_name=None)
    assert not agrees(folder).notes


@pytest.mark.parametrize("lower", [True, False])
def test_lower_case(tmp_path, lower):
    folder = save_sentences(tmp_path / "model", bert={"do_lower_case": lower})
    classifier = agrees(folder)
    ids, _ = classifier.prepare(["Lovely Room", "lovely room"]).batch(np.arange(2))
    assert lower == torch.equal(ids[0], ids[1][: len(ids[0])])


def test_a_special_token_in_lower_case_texts_keeps_its_meaning(tmp_path):
    folder = save_sentences(tmp_path / "model", bert={"do_lower_case": True})
    classifier = agrees(folder)
    peer = SentenceTransformer(str(folder), device="cpu")
    texts = ["the [SEP] Room", "İstanbul Room"]
    inputs = classifier.prepare(texts)
    with torch.no_grad():
        embedded = classifier._embed(*inputs.batch(np.arange(2)))
    torch.testing.assert_close(embedded, torch.tensor(peer.encode(texts)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", ["Tanh", "Identity", "ReLU", "GELU"])
@pytest.mark.parametrize("bias", [True, False])
def test_dense_and_normalize(tmp_path, activation, bias):
    room = "linear" if activation == "Identity" else "activation"
    folder = save_sentences(
        tmp_path / "model", after=[("Normalize", "2_Normalize"), ("Dense", "3_Dense"), ("Dropout", "4_Dropout")]
    )
    for place in ("2_Normalize", "4_Dropout"):
        (folder / place).mkdir()
    edit_json(folder / "4_Dropout" / "config.json", dropout=0.1)
    save_dense(folder, "3_Dense", 16, 5, bias=bias, activation_function=f"torch.nn.modules.{room}.{activation}")
    before = agrees(folder).sha256
    save_file(
        {"linear.weight": torch.ones(5, 16), "linear.bias": torch.ones(5)}, folder / "3_Dense" / "model.safetensors"
    )
    assert model_sha256(folder) != before


def test_a_folder_of_plain_transformers_is_pooled_by_the_mean(tmp_path):
    agrees(save_text_model(tmp_path / "model"))


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "distilbert"])
def test_other_encoders(tmp_path, kind):
    agrees(save_sentences(tmp_path / "model", kind=kind))


def test_the_longest_text_that_the_settings_allow(tmp_path):
    long = "the room was lovely my seat is broken a bad good very long text"
    folder = save_sentences(tmp_path / "model", bert={"max_seq_length": 7, "do_lower_case": False}, limit=40)
    classifier = PromptClassifier.load(str(folder), ["good", "bad"], "{}", 20.0, 32, device="cpu")
    inputs = classifier.prepare([long, "good"])
    assert inputs.lengths.tolist() == [7, 3]
    assert inputs.n_cut == 1
    assert (classifier.limit.tokens, classifier.limit.model_tokens) == (7, 7)
    assert "max_seq_length" in classifier.limit.by
    peer = SentenceTransformer(str(folder), device="cpu")
    with torch.no_grad():
        embedded = classifier._embed(*inputs.batch(np.array([0])))
    torch.testing.assert_close(embedded, torch.tensor(peer.encode([long])), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: edit_modules(f, [("Transformer", ""), ("Pooling", "1_Pooling"), ("LSTM", "2_LSTM")]), "a LSTM module is not supported"),
    (lambda f: edit_modules(f, [("Transformer", ""), ("WordWeights", "1_W"), ("Pooling", "1_Pooling")]), "Transformer, WordWeights, Pooling are not supported"),
    (lambda f: edit_modules(f, [("Transformer", "")]), "the modules Transformer are not supported"),
    (lambda f: edit_modules(f, [("Transformer", ""), ("Pooling", "../other")]), "'../other' of a module lies outside the folder"),
    (lambda f: (f / "modules.json").write_text('{"a": 1}'), "modules.json cannot be read: it holds no list of modules"),
    (lambda f: (f / "modules.json").write_text("["), "modules.json cannot be read"),
    (lambda f: edit_json(f / "1_Pooling" / "config.json", pooling_mode="median"), "pooling median is not supported, only cls, max, mean"),
    (lambda f: edit_json(f / "1_Pooling" / "config.json", pooling_mode=None, pooling_mode_median_tokens=True), "pooling pooling_mode_median_tokens is not supported"),
    (lambda f: edit_json(f / "sentence_bert_config.json", transformer_task="fill-mask"), "transformer_task = 'fill-mask' changes the embedding"),
    (lambda f: edit_json(f / "sentence_bert_config.json", model_args={"torch_dtype": "float16"}), "model_args = .* changes the embedding"),
    (lambda f: edit_json(f / "sentence_bert_config.json", modality_config={"text": {"method": "get_text_features", "method_output_name": None}}), "modality_config = .* changes"),
    (lambda f: edit_json(f / "sentence_bert_config.json", max_seq_length="many"), "max_seq_length = 'many' is no number of tokens"),
    (lambda f: edit_json(f / "config_sentence_transformers.json", default_prompt_name="poem"), "default_prompt_name is 'poem', and prompts holds no text of that name"),
])  # fmt: skip
def test_what_is_not_followed_is_refused(tmp_path, change, message):
    folder = save_sentences(tmp_path / "model")
    ours(folder)
    change(folder)
    with pytest.raises(ModelError, match=message):
        ours(folder)


def test_pooling_whose_list_of_modules_is_lost(tmp_path):
    folder = save_sentences(tmp_path / "model", {"pooling_mode": "cls"})
    (folder / "modules.json").unlink()
    with pytest.raises(
        ModelError, match="holds 1_Pooling without the modules.json that says when it is used: copy it too"
    ):
        ours(folder)


def test_a_dense_module_as_a_pickle_or_of_another_kind(tmp_path):
    folder = save_sentences(tmp_path / "model", after=[("Dense", "2_Dense")])
    save_dense(folder, "2_Dense", 16, 5, activation_function="torch.nn.modules.activation.Tanh")
    ours(folder)
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="2_Dense holds no model.safetensors: convert"):
        ours(folder)
    edit_json(folder / "2_Dense" / "config.json", activation_function="os.system")
    with pytest.raises(ModelError, match="this Dense module is not supported .*os.system"):
        ours(folder)


def test_a_prompt_that_leaves_no_room(tmp_path):
    prompts = {"default_prompt_name": "query", "prompts": {"query": "query this " * 8}}
    folder = save_sentences(tmp_path / "model", {"pooling_mode": "mean", "include_prompt": False}, prompts=prompts)
    with pytest.raises(InputError, match="takes 17 of 16 tokens: raise --max-length"):
        ours(folder, max_length=16)


def test_an_encoder_in_a_folder_of_its_own(tmp_path):
    save_sentences(tmp_path / "old")
    inner = tmp_path / "old" / "0_Transformer"
    inner.mkdir()
    for path in [*(tmp_path / "old").glob("*.safetensors"), tmp_path / "old" / "config.json"]:
        path.rename(inner / path.name)
    with pytest.raises(ModelError, match="keeps its encoder in 0_Transformer, .*save it again"):
        ours(tmp_path / "old")
