"""Runs for which nothing can be certified: each is refused before its first step, in one sentence that says what mends it."""

import numpy as np
import pytest
import torch
import transformers
from torch.utils.data import IterableDataset, SequentialSampler, WeightedRandomSampler

from lorabound.errors import InputError
from lorabound.hf import GeneralizationCallback
from tests.trainer_tasks import language_model, net, points, texts, trainer

ROWS = points(64, np.random.default_rng(0))
TEXTS = texts(64, np.random.default_rng(0))


class Stream(IterableDataset):
    def __iter__(self):
        yield from ROWS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_sampling_strategy": "group_by_length"}, "rows of like length.*train_sampling_strategy='random'"),
        ({"train_sampling_strategy": "sequential"}, "order of the file.*train_sampling_strategy='random'"),
        ({"auto_find_batch_size": True}, "set a batch size that fits"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0"),
        ({"max_steps": 1}, "needs two at least"),
        ({"per_device_train_batch_size": 64}, "set smaller batches or give more rows"),
    ],
)
def test_settings(tmp_path, changes, said):
    made = trainer(language_model(), TEXTS, tmp_path, GeneralizationCallback(), **changes)
    if "group" in str(changes):
        made.processing_class = None
    before = [one.detach().clone() for one in made.model.parameters()]
    with pytest.raises(InputError, match=f"^GeneralizationCallback: .*{said}"):
        made.train()
    assert all(torch.equal(one, other) for one, other in zip(before, made.model.parameters(), strict=True))
    made.model.train()
    made.model(**{name: value[None] for name, value in TEXTS[0].items()})  # no hook is left to count this


def test_streams_and_samplers(tmp_path):
    with pytest.raises(InputError, match="come as a stream"):
        trainer(net(), Stream(), tmp_path, GeneralizationCallback(), max_steps=8).train()
    for sampler, said in (
        (SequentialSampler(ROWS), "order of SequentialSampler"),
        (WeightedRandomSampler([1.0] * 64, 64), "order of WeightedRandomSampler"),
        (torch.utils.data.RandomSampler(ROWS, replacement=True), "with replacement"),
        (torch.utils.data.RandomSampler(ROWS, num_samples=128), "with replacement"),
    ):
        made = trainer(net(), ROWS, tmp_path, GeneralizationCallback())
        made._get_train_sampler = lambda *_, sampler=sampler: sampler
        with pytest.raises(InputError, match=said):
            made.train()


def test_batches_that_come_when_they_are_ready(tmp_path):
    made = trainer(net(), ROWS, tmp_path, GeneralizationCallback(), dataloader_num_workers=1, dataloader_in_order=False)
    with pytest.raises(InputError, match="dataloader_in_order=False"):
        made.train()


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_padding_on_the_left_of_absolute_positions(tmp_path, kind):
    """It moves a row by the lengths of others: seen by GPT-2, not by Llama, whose positions are relative."""
    rows = [dict(row) for row in TEXTS]
    for row in rows[1::2]:
        row["attention_mask"] = torch.tensor([0, 1, 1, 1, 1])
    config = transformers.GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2, n_positions=16)
    model = transformers.GPT2LMHeadModel(config) if kind == "gpt2" else language_model()
    made = trainer(model, rows, tmp_path, GeneralizationCallback(repeats="drawn"))
    if kind == "gpt2":
        with pytest.raises(InputError, match="padding_side='right'"):
            made.train()
    else:
        made.train()


def test_packing_of_trl(tmp_path):
    """The switches are those of SFTConfig, which need not be installed."""
    for switch in ("packing", "padding_free"):
        made = trainer(net(), ROWS, tmp_path, GeneralizationCallback())
        setattr(made.args, switch, True)
        with pytest.raises(InputError, match=f"set {switch}=False"):
            made.train()


def test_models_without_labels_or_logits(tmp_path):
    rows = [{"points": row["points"]} for row in ROWS]
    made = trainer(net(), rows, tmp_path, GeneralizationCallback())
    made.compute_loss = lambda model, inputs, **_: model(**inputs).logits.sum()
    with pytest.raises(InputError, match="the model gets no labels"):
        made.train()
    made = trainer(language_model(), TEXTS, tmp_path, GeneralizationCallback())
    forward = made.model.base_model.model.forward

    def fused(*args, **kwargs):
        outputs = forward(*args, **kwargs)
        return type(outputs)(loss=outputs.loss)

    made.model.base_model.model.forward = fused
    with pytest.raises(InputError, match=r"no logits: set use_liger_kernel=False"):
        made.train()


def test_two_passes_over_a_batch(tmp_path):
    made = trainer(net(), ROWS, tmp_path, GeneralizationCallback())
    made.compute_loss = lambda model, inputs, **_: model(**inputs).loss + model(**inputs).loss
    with pytest.raises(InputError, match="ran 2 times over a batch"):
        made.train()


def test_batches_that_join_rows(tmp_path):
    """As a collator does that lays the rows of a batch end to end."""
    made = trainer(language_model(), TEXTS, tmp_path, GeneralizationCallback())
    made.data_collator = lambda rows: {
        name: torch.cat([row[name] for row in rows])[None, :16] for name in ("input_ids", "labels", "attention_mask")
    }
    with pytest.raises(InputError, match="a step has 2 rows, not 8"):
        made.train()


def test_what_goes_wrong_later_ends_the_certificate_alone(tmp_path):
    made = trainer(net(), ROWS, tmp_path, GeneralizationCallback())
    plain = type(made).compute_loss

    def twice(model, inputs, **options):
        loss = plain(made, model, inputs, **options)
        return loss + (plain(made, model, inputs, **options) if made.state.global_step == 3 else 0)

    made.compute_loss = twice
    with pytest.warns(UserWarning, match="certifies nothing: the model ran 2 times"):
        made.train()
    assert made.state.global_step == 8
    assert not (tmp_path / "certificate.json").exists()


def test_a_second_training_meets_the_same_rows(tmp_path):
    callback = GeneralizationCallback()
    made = trainer(net(), ROWS, tmp_path, callback)
    made.train()
    with pytest.raises(InputError, match="has met these rows already"):
        made.train()


def test_another_certificate_in_the_folder_is_left_alone(tmp_path):
    (tmp_path / "certificate.json").write_text("{}")
    with pytest.raises(InputError, match="which would be lost"):
        trainer(net(), ROWS, tmp_path, GeneralizationCallback()).train()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delta": 0.0}, "delta"),
        ({"window": 1.0}, "window"),
        ({"loss": "perplexity"}, "loss must be one of error, wrong_tokens, probability, got 'perplexity'"),
        ({"candidates": 0}, "candidates must be 1 or more"),
        ({"keep": "best"}, "keep must be 'random' or None"),
        ({"repeats": "no"}, "repeats must be 'once' or 'drawn'"),
        ({"unlabelled": ROWS, "loss": "probability"}, "unlabelled rows certify loss='error'"),
    ],
)
def test_arguments(options, said):
    with pytest.raises(InputError, match=said):
        GeneralizationCallback(**options)


def test_unlabelled_rows_of_another_form(tmp_path):
    for rows, said in (([], "holds no rows"), ([{"text": "a"}], "lack 'points'")):
        with pytest.raises(InputError, match=said):
            trainer(net(), ROWS, tmp_path, GeneralizationCallback(unlabelled=rows)).train()
    rows = [{name: row[name] for name in ("input_ids", "attention_mask")} for row in TEXTS]
    with pytest.raises(InputError, match="takes classes"):
        trainer(language_model(), TEXTS, tmp_path, GeneralizationCallback(unlabelled=rows)).train()
