"""Sequence classifiers whose head is trained: transformers' logits, the same heads stacked or alone, counted, PEFT."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from lorabound.adapters import load_adapter, new_adapter, save_adapter, select_linears
from lorabound.engine import Examples, Recipe, WithPrefix, train
from lorabound.errors import AdapterError, InputError, ModelError
from lorabound.models import SequenceClassifier, load_classifier
from lorabound.sweep import SweepConfig
from lorabound.sweep.execute import run_sweep

TEXTS = ["ab", "abc cab", "b", "ccc a", "a b c", "cab", "bb", "acab b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of two layers with a head of three labels."""
    torch.manual_seed(0)
    where = tmp_path_factory.mktemp("bert")
    made = Tokenizer(
        models.WordLevel({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4, "b": 5, "c": 6}, "[UNK]")
    )
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=20
    ).save_pretrained(where)
    config = BertConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20, id2label={0: "Red", 1: "green", 2: "blue"}, label2id={"Red": 0, "green": 1, "blue": 2},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    for weight in model.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(where)
    return where


def theirs(model, classifier):
    ids, mask = classifier.prepare(TEXTS).batch(np.arange(len(TEXTS)))
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits


def adapters(classifier):
    shapes = select_linears(classifier.module, ["query", "value"])
    made = [
        new_adapter(shapes, k + 1, mode, k, "gaussian", 2.0)
        for k, mode in enumerate(("freeze_a", "train_both", "freeze_b"))
    ]
    return [type(a)(a.layers, a.mode, a.seed, a.law, classifier.head) for a in made]


def test_the_checkpoints_head_in_the_order_of_the_classes(folder):
    classifier = SequenceClassifier(str(folder), ["blue", "green", "red"], 20)
    expected = theirs(AutoModelForSequenceClassification.from_pretrained(folder).eval(), classifier)[:, [2, 1, 0]]
    torch.testing.assert_close(
        classifier.logits(classifier.prepare(TEXTS), np.arange(8)), expected, atol=1e-5, rtol=1e-5
    )


def test_unknown_classes_start_at_zero(folder):
    classifier = SequenceClassifier(str(folder), ["x", "y", "z", "w"], 20)
    assert classifier.head.weight.shape == (4, 16)
    assert not classifier.logits(classifier.prepare(TEXTS), np.arange(8)).any()


@pytest.mark.parametrize("clip_norm", [np.inf, 0.1])
def test_heads_stacked_are_heads_alone_and_are_counted(folder, clip_norm):
    classifier = SequenceClassifier(str(folder), ["blue", "green", "red"], 20)
    data = Examples(classifier.prepare(TEXTS), np.arange(8) % 3)
    recipe = Recipe(epochs=4, batch_size=3, lr=5e-3, clip_norm=float(clip_norm))
    made = adapters(classifier)
    assert made[0].n_params == 1 * 16 * 4 + 3 * 16 + 3
    with WithPrefix(classifier, list(made[0].shapes), [data.inputs]) as fast:
        together = train(fast, data, data, made, [0, 1, 2], recipe)
    for k, adapter in enumerate(adapters(classifier)):
        (alone,) = train(classifier, data, data, [adapter], [k], recipe)
        np.testing.assert_allclose(together[k].test.log_losses, alone.test.log_losses, atol=1e-5)
        np.testing.assert_allclose(together[k].adapter.head.weight, alone.adapter.head.weight, atol=1e-5)
        assert np.abs(alone.adapter.head.weight - classifier.head.weight).max() > 1e-3
    assert isinstance(classifier.module.classifier, torch.nn.Linear)


def test_peft_reads_the_head_and_so_do_we(folder, tmp_path):
    classifier = SequenceClassifier(str(folder), ["Red", "green", "blue"], 20)
    data = Examples(classifier.prepare(TEXTS), np.arange(8) % 3)
    (done, *_) = train(classifier, data, data, adapters(classifier), [0, 1, 2], Recipe(5, 4, 1e-2))
    saved = save_adapter(done.adapter, tmp_path / "adapter", str(folder))
    back = load_adapter(saved)
    np.testing.assert_array_equal(back.head.weight, done.adapter.head.weight)
    assert back.n_params == done.adapter.n_params
    model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(folder), str(saved)).eval()
    losses = torch.nn.functional.cross_entropy(
        theirs(model, classifier), torch.from_numpy(data.labels), reduction="none"
    )
    np.testing.assert_allclose(losses.numpy(), done.test.log_losses, atol=1e-4)
    record = json.loads((saved / "adapter_config.json").read_text())
    (saved / "adapter_config.json").write_text(json.dumps(record | {"modules_to_save": ["other"]}))
    with pytest.raises(AdapterError, match="one trained head with a bias may stand, found base_model.model.classifier"):
        load_adapter(saved)


def test_a_sweep_counts_the_head(folder, tmp_path):
    random = np.random.default_rng(0)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(3, 9))) for _ in range(150)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": [{"a": "red", "b": "green", "c": "blue"}[t[0]] for t in texts]}).write_csv(
        path
    )
    config = SweepConfig(
        data=str(path), model=str(folder), head="trained", n_test=40, n_train=[30], ranks=[1], modes=["freeze_a"],
        seeds=1, targets=["query"], epochs=20, batch_size=10, lr=0.02, precision="float32",
    )  # fmt: skip
    zero, trained = sorted(run_sweep(config, tmp_path / "out").rows(), key=lambda row: row.rank)
    assert trained.n_params == 2 * 16 + 3 * 16 + 3
    assert trained.train_ce < zero.train_ce
    assert load_adapter(tmp_path / "out/adapters/freeze_a-r1-n30-seed0").head.name == "classifier"


def test_what_has_no_head_of_its_own_is_refused(tmp_path, folder):
    from clip_models import save_clip

    with pytest.raises(InputError, match="its classes are prompts"):
        load_classifier(str(save_clip(tmp_path / "clip")), ["a", "b"], "{}", None, 20, trained_head=True)
    with pytest.raises(ModelError, match="cannot be loaded|does not end in one linear layer"):
        SequenceClassifier(str(tmp_path / "clip"), ["a", "b"], 20)
