"""Sequence classifiers whose head is trained: transformers' logits, the same heads stacked or alone, counted, PEFT."""

import itertools
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from lorabound.adapters import load_adapter, new_adapter, save_adapter
from lorabound.engine import Examples, Recipe, WithPrefix, train
from lorabound.errors import AdapterError, InputError, ModelError
from lorabound.models import SequenceClassifier, load_classifier
from lorabound.stack import select_linears
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep

TEXTS = ["ab", "abc cab", "b", "ccc a", "a b c", "cab", "bb", "acab b"]


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
    return [replace(adapter, head=classifier.head) for adapter in made]


def test_the_checkpoints_head_in_the_order_of_the_classes(letters_bert):
    classifier = SequenceClassifier.load(str(letters_bert), ["blue", "green", "red"], 20)
    assert classifier.head.weight.shape == (3, 16)
    expected = theirs(AutoModelForSequenceClassification.from_pretrained(letters_bert).eval(), classifier)[:, [2, 1, 0]]
    torch.testing.assert_close(
        classifier.logits(classifier.prepare(TEXTS), np.arange(8)), expected, atol=1e-5, rtol=1e-5
    )


def test_unknown_classes_start_at_zero(letters_bert):
    classifier = SequenceClassifier.load(str(letters_bert), ["x", "y", "z", "w"], 20)
    assert classifier.head.weight.shape == (4, 16)
    assert not classifier.logits(classifier.prepare(TEXTS), np.arange(8)).any()


def test_two_classes_never_share_a_row_of_the_checkpoints_head(letters_bert):
    classifier = SequenceClassifier.load(str(letters_bert), ["Red", "blue", "red"], 20)
    assert not classifier.logits(classifier.prepare(TEXTS), np.arange(8)).any()  # a new head, one row per class


@pytest.mark.parametrize("clip_norm", [np.inf, 0.1])
def test_heads_stacked_are_heads_alone_and_are_counted(letters_bert, clip_norm):
    classifier = SequenceClassifier.load(str(letters_bert), ["blue", "green", "red"], 20)
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


def test_peft_reads_the_head_and_so_do_we(letters_bert, tmp_path):
    classifier = SequenceClassifier.load(str(letters_bert), ["Red", "green", "blue"], 20)
    data = Examples(classifier.prepare(TEXTS), np.arange(8) % 3)
    (done, *_) = train(classifier, data, data, adapters(classifier), [0, 1, 2], Recipe(5, 4, 1e-2))
    saved = save_adapter(done.adapter, tmp_path / "adapter", str(letters_bert))
    back = load_adapter(saved)
    np.testing.assert_array_equal(back.head.weight, done.adapter.head.weight)
    assert back.n_params == done.adapter.n_params
    model = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(letters_bert), str(saved)
    ).eval()
    losses = torch.nn.functional.cross_entropy(
        theirs(model, classifier), torch.from_numpy(data.labels), reduction="none"
    )
    np.testing.assert_allclose(losses.numpy(), done.test.log_losses, atol=1e-4)
    record = json.loads((saved / "adapter_config.json").read_text())
    (saved / "adapter_config.json").write_text(json.dumps(record | {"modules_to_save": ["other"]}))
    with pytest.raises(AdapterError, match="one trained head with a bias may stand, found base_model.model.classifier"):
        load_adapter(saved)


def test_a_sweep_counts_the_head(letters_bert, tmp_path):
    random = np.random.default_rng(0)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(3, 9))) for _ in range(150)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": [{"a": "red", "b": "green", "c": "blue"}[t[0]] for t in texts]}).write_csv(
        path
    )
    config = SweepConfig(
        data=str(path), model=str(letters_bert), head="trained", n_test=40, n_train=[30], ranks=[1], modes=["freeze_a"],
        seeds=1, targets=["query"], epochs=20, batch_size=10, lr=0.02, precision="float32",
    )  # fmt: skip
    zero, trained = sorted(run_sweep(config, tmp_path / "out").rows(), key=lambda row: row.rank)
    assert trained.n_params == 2 * 16 + 3 * 16 + 3
    assert trained.train_ce < zero.train_ce
    assert load_adapter(tmp_path / "out/adapters/freeze_a-r1-n30-seed0").head.name == "classifier"


def test_a_new_head_has_a_step_size_of_its_own(letters_bert, tmp_path):
    """200 rows, few steps: with the head at lr the training error stays at that of guessing, with its own it comes down."""
    random = np.random.default_rng(0)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(4, 9))) for _ in range(330)})[::-1]
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": [max("abc", key=t.count) for t in texts]}).write_csv(path)
    given = dict(
        data=str(path), model=str(letters_bert), head="trained", n_test=40, n_train=[200], ranks=[1], modes=["freeze_a"],
        seeds=1, targets=["query"], epochs=2, batch_size=32, precision="float32",
    )  # fmt: skip
    own = run_sweep(SweepConfig(**given), tmp_path / "own")
    assert own.config.head_lr == 0.02
    same = run_sweep(SweepConfig(**given, head_lr=0.002), tmp_path / "same")
    error = {store: store.rows()[0].train_error for store in (own, same)}
    assert {store.rows()[0].rank for store in error} == {1}
    assert error[own] < error[same] - 0.1
    known = SweepConfig(**{**given, "n_train": [20], "data": str(_named(path, tmp_path / "known.csv"))})
    assert run_sweep(known, tmp_path / "known").config.head_lr == known.lr  # the checkpoint's own head
    with pytest.raises(
        InputError, match="head_lr is the step size of a trained head .--head trained., and .*: leave it out"
    ):
        run_sweep(SweepConfig(**{**given, "head": "prompts"}, head_lr=0.1), tmp_path / "none")


def _named(path, to):
    """The same rows under the checkpoint's own labels."""
    pl.read_csv(path).with_columns(pl.col("label").replace({"a": "Red", "b": "green", "c": "blue"})).write_csv(to)
    return to


def test_distilbert_takes_its_pre_classifier_along(tmp_path):
    """PEFT matches names by their ends, so it takes pre_classifier for the head as well."""
    torch.manual_seed(0)
    made = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=40
    ).save_pretrained(tmp_path / "base")
    config = DistilBertConfig(
        vocab_size=5, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40, num_labels=3
    )
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path / "base")
    classifier = SequenceClassifier.load(str(tmp_path / "base"), ["x", "y", "z"], 40)
    data = Examples(classifier.prepare(TEXTS), np.arange(8) % 3)
    shapes = select_linears(classifier.module, ["q_lin"])
    start = new_adapter(shapes, 2, "freeze_a", 0, "gaussian", 2.0)
    start = replace(start, head=classifier.head)
    (done,) = train(classifier, data, data, [start], [0], Recipe(5, 4, 1e-2))
    saved = save_adapter(done.adapter, tmp_path / "adapter", "base")
    assert set(load_adapter(saved).head.beside) == {"pre_classifier.weight", "pre_classifier.bias"}
    assert done.adapter.n_params == 2 * 2 * 16 + 3 * 17
    model = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "base"), str(saved)
    ).eval()
    losses = torch.nn.functional.cross_entropy(
        theirs(model, classifier), torch.from_numpy(data.labels), reduction="none"
    )
    np.testing.assert_allclose(losses.numpy(), done.test.log_losses, atol=1e-4)


def test_peft_names_the_labels_of_the_checkpoint(letters_bert, tmp_path):
    """Classes sort as blue, green, red; rows of the head stay in the checkpoint's order."""
    classifier = SequenceClassifier.load(str(letters_bert), ["blue", "green", "red"], 20)
    data = Examples(classifier.prepare(TEXTS), np.arange(8) % 3)
    (done, *_) = train(classifier, data, data, adapters(classifier), [0, 1, 2], Recipe(5, 4, 1e-2))
    saved = save_adapter(done.adapter, tmp_path / "adapter", str(letters_bert))
    model = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(letters_bert), str(saved)
    ).eval()
    named = [model.config.id2label[int(row)].casefold() for row in theirs(model, classifier).argmax(1)]
    wrong = [name != ["blue", "green", "red"][label] for name, label in zip(named, data.labels, strict=True)]
    assert wrong == done.test.errors.tolist()


def test_weights_below_the_head_are_not_drawn_at_random(letters_bert, tmp_path):
    from transformers import BertForMaskedLM, RobertaConfig, RobertaForSequenceClassification

    BertForMaskedLM.from_pretrained(letters_bert).save_pretrained(tmp_path / "mlm")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "mlm" / name).write_bytes((letters_bert / name).read_bytes())
    with pytest.raises(ModelError, match="lacks bert.pooler.dense.bias, which would start at random"):
        SequenceClassifier.load(str(tmp_path / "mlm"), ["a", "b", "c"], 20)
    config = RobertaConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    RobertaForSequenceClassification(config).save_pretrained(tmp_path / "roberta")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "roberta" / name).write_bytes((letters_bert / name).read_bytes())
    with pytest.raises(ModelError, match="does not end in one linear layer with a bias for its 2 labels"):
        SequenceClassifier.load(str(tmp_path / "roberta"), ["a", "b"], 20)


def test_an_adapter_on_the_head_is_refused(letters_bert, tmp_path):
    path = tmp_path / "letters.csv"
    texts = ["".join(t) for t in itertools.product("abc", repeat=3)]
    pl.DataFrame({"text": texts, "label": [["red", "blue"][t.startswith("a")] for t in texts]}).write_csv(path)
    config = SweepConfig(
        data=str(path), model=str(letters_bert), head="trained", n_test=5, n_train=[5], targets=["classifier"]
    )
    with pytest.raises(InputError, match="classifier is the head, which is trained whole"):
        run_sweep(config, tmp_path / "out")


def test_what_has_no_head_of_its_own_is_refused(tmp_path, letters_bert):
    from tests.clip_models import save_clip

    with pytest.raises(InputError, match="its classes are prompts"):
        load_classifier(str(save_clip(tmp_path / "clip")), ["a", "b"], "{}", None, 20, head="trained")
    with pytest.raises(ModelError, match="cannot be loaded by transformers as a sequence classifier"):
        SequenceClassifier.load(str(tmp_path / "clip"), ["a", "b"], 20)
