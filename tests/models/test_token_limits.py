"""The longest row of tokens: what the model has positions for, what its tokenizer allows, what was asked; and the count
of texts that were cut, for every kind of tokenizer and model."""

import numpy as np
import pytest
import torch
import transformers

from lorabound.errors import InputError, ModelError
from lorabound.models import ClipClassifier, PromptClassifier, SequenceClassifier
from lorabound.sweeps.estimate import estimate
from tests.clip_models import save_clip
from tests.text_models import config_of, save_text_model, save_tokenizer

LONG = "the room was lovely my seat is broken a bad good very long text that cut " * 6


def prompts(folder, max_length=64, prompt="{}"):
    return PromptClassifier.load(str(folder), ["good", "bad"], prompt, 20.0, max_length, device="cpu")


def load(labels, folder, max_length=64):
    if labels:
        return SequenceClassifier.load(str(folder), ["LABEL_0", "LABEL_1"], max_length, device="cpu")
    return prompts(folder, max_length)


# kind, labels of a head (those of RoBERTa, MPNet and OPT are refused, see test_sequence), tokens that fit
@pytest.mark.parametrize(("kind", "labels", "tokens"), [
    ("bert", 0, 20), ("bert", 2, 20), ("distilbert", 0, 20), ("distilbert", 2, 20), ("roberta", 0, 18), ("mpnet", 0, 18),
    ("opt", 0, 20),
])  # fmt: skip
@pytest.mark.parametrize("limit", [None, 512])
def test_as_many_tokens_as_the_model_has_positions(tmp_path, kind, labels, tokens, limit):
    """RoBERTa and MPNet count from padding_idx + 1 = 2 on; transformers' own limit (None) is 1e30."""
    folder = save_text_model(tmp_path / "model", kind, labels, 20, {"limit": limit})
    model = load(labels, folder)
    inputs = model.prepare([LONG, "a good room", LONG])
    assert (model.limit.tokens, model.limit.model_tokens) == (tokens, tokens)
    assert "positions" in model.limit.by
    assert (inputs.lengths.tolist(), inputs.n_cut) == ([tokens, 5, tokens], 2)
    assert torch.isfinite(model.logits(inputs, np.arange(3))).all()  # no position beyond the table


def test_a_gpt2_without_a_token_for_padding(tmp_path):
    folder = save_text_model(tmp_path / "model", "gpt2", 0, 20, {"pad_token": False})
    model = prompts(folder)
    inputs = model.prepare([LONG, "a good room"])
    together, alone = model.logits(inputs, np.arange(2)), model.logits(inputs, np.array([1]))
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)
    assert (inputs.n_cut, model.limit.tokens) == (1, 20)


@pytest.mark.parametrize("labels", [0, 2])
def test_the_smallest_limit_is_the_one_that_is_named(tmp_path, labels):
    folder = save_text_model(tmp_path / "model", labels=labels, tokenizer={"limit": 12})
    model = load(labels, folder)
    assert (model.limit.tokens, model.limit.by) == (12, "model_max_length of its tokenizer")
    assert load(labels, folder, 7).limit.tokens == 7
    assert load(labels, folder, 7).limit.model_tokens == 12


def test_a_tokenizer_that_cuts_the_beginning_says_so(tmp_path):
    folder = save_text_model(tmp_path / "model", tokenizer={"truncation_side": "left"})
    model = prompts(folder, 6)
    ids, _ = model.prepare(["the room was lovely my seat", "lovely my seat is broken"]).batch(np.arange(2))
    assert not model.limit.cuts_end
    words = transformers.AutoTokenizer.from_pretrained(folder)
    assert words.decode(ids[0]) == "[CLS] was lovely my seat [SEP]"


def save_slow(folder, labels=0):
    """A BERT with a tokenizer written in Python, which has no encodings to ask for what was cut."""
    save_text_model(folder, labels=labels)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *dict.fromkeys(LONG.split())]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = transformers.models.bert_japanese.BertJapaneseTokenizer(
        str(folder / "vocab.txt"), word_tokenizer_type="basic", subword_tokenizer_type="wordpiece", model_max_length=64
    )
    assert not tokenizer.is_fast
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("labels", [0, 2])
def test_a_tokenizer_written_in_python_is_counted_too(tmp_path, labels):
    model = load(labels, save_slow(tmp_path / "model", labels), 10)
    inputs = model.prepare([LONG, "a good room", "the room was lovely my seat is broken", LONG])
    assert inputs.lengths.tolist() == [10, 5, 10, 10]
    assert inputs.n_cut == 2  # the third fits exactly


def test_class_prompts_that_are_cut_are_told(tmp_path):
    folder = save_text_model(tmp_path / "model", positions=20)
    model = prompts(folder, prompt="{} " + LONG)
    assert "2 of 2 class prompts are longer than 20 tokens and lost their end" in " ".join(model.notes)
    with pytest.raises(InputError, match="'good' and 'bad' as the same prompt, cut after 20 tokens: rename one"):
        prompts(folder, prompt=LONG + " {}")
    assert not prompts(folder, 5, prompt="the room was lovely my seat {}").notes  # max_length is for texts alone


def test_prompts_of_a_clip_that_are_cut_are_told(tmp_path):
    folder = save_clip(tmp_path / "clip")
    model = ClipClassifier.load(str(folder), ["cat", "dog"], "{} " + "a photo of a thing " * 9, device="cpu")
    assert model.prompts.lengths.tolist() == [40, 40]
    assert "2 of 2 class prompts are longer than 40 tokens" in " ".join(model.notes)
    assert not ClipClassifier.load(str(folder), ["cat", "dog"], "a {}", device="cpu").notes


@pytest.mark.parametrize("kind", ["prompts", "head", "clip"])
def test_a_tokenizer_larger_than_the_embedding(tmp_path, kind):
    if kind == "clip":
        folder = save_clip(tmp_path / "model")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.add_tokens([f"newword{i}" for i in range(1, 300)])
        tokenizer.save_pretrained(folder)
    else:
        folder = save_text_model(tmp_path / "model", labels=2 if kind == "head" else 0)
        save_tokenizer(folder, added=["newword1", "newword2"])
    load_it = {
        "prompts": lambda: prompts(folder),
        "head": lambda: load(2, folder),
        "clip": lambda: ClipClassifier.load(str(folder), ["cat", "dog"], "a {}", device="cpu"),
        "dry run": lambda: estimate(config_of(folder, "digits" if kind == "clip" else "words", prompt=None)),
    }
    for loads in (load_it[kind], load_it["dry run"]):
        with pytest.raises(
            ModelError, match=r"the tokenizer has \d+ tokens and the model vectors for \d+ of them \('newword\d+' is"
        ):
            loads()


@pytest.mark.parametrize("labels", [0, 2])
def test_a_folder_without_a_tokenizer(tmp_path, labels):
    """transformers makes one that knows special tokens alone, to which all texts are the same."""
    folder = save_text_model(tmp_path / "model", labels=labels)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    for loads in (lambda: load(labels, folder), lambda: estimate(config_of(folder, "words", prompt=None))):
        with pytest.raises(ModelError, match="holds no vocabulary of a tokenizer, every word would be unknown: copy"):
            loads()


def test_a_table_of_positions_that_nobody_can_see_is_found_by_running(tmp_path, monkeypatch):
    """A model whose configuration promises more than its code can do."""
    folder = save_text_model(tmp_path / "model", positions=20)
    monkeypatch.setattr("lorabound.models.text._positions", lambda module: 64)
    with pytest.raises(
        ModelError, match=r"fails on a row of 30 tokens \(.*\), though its configuration allows 64: give"
    ):
        prompts(folder, 30)
    assert prompts(folder, 20).limit.tokens == 20
