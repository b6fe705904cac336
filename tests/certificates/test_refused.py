"""Adapters that cannot be certified: each is told what is wrong, where, and what mends it, in one sentence."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file, save_file

from lorabound.adapters import Adapter, new_adapter, save_adapter
from lorabound.adapters.adapter import Head
from tests.certificates.test_certify import letters, write
from tests.commands import run
from tests.text_models import save_text_model

QUERY = "bert.encoder.layer.0.attention.self.query"
ANSWERS = "lorabound certify FILE"


@pytest.fixture(scope="module")
def made(letters_bert, tmp_path_factory):
    """An adapter from elsewhere with a head, ``mine``, and fresh rows."""
    where = tmp_path_factory.mktemp("refused")
    adapter = new_adapter({QUERY: (16, 16)}, 2, "train_both", seed=0, law="gaussian", alpha_over_r=2.0)
    head = Head(
        name="classifier", weight=np.eye(3, 16, dtype=np.float32), bias=np.zeros(3, dtype=np.float32), beside={}
    )
    folder = save_adapter(
        Adapter(layers=adapter.layers, mode="train_both", head=head), where / "mine", str(letters_bert)
    )
    (folder / "lorabound.json").unlink()
    write(letters(60, 7, 10), where / "fresh.csv")
    return where


@pytest.fixture
def mine(made, tmp_path):
    shutil.copy(made / "fresh.csv", tmp_path)
    return shutil.copytree(made / "mine", tmp_path / "mine")


def certify(mine, capsys, monkeypatch, *more):
    status, out, errors = run(
        capsys,
        monkeypatch,
        "certify",
        mine,
        "--holdout",
        mine.parent / "fresh.csv",
        "--classes",
        "red,green,blue",
        *more,
    )
    return status, " ".join((out if status == 0 else errors).split())


def configure(**changes):
    def change(mine):
        path = mine / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def with_tensors(change):
    def rewrite(mine):
        path = mine / "adapter_model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return rewrite


def not_a_number(tensors):
    tensors[f"base_model.model.{QUERY}.lora_A.weight"][0, 0] = np.nan


def deeper(tensors):
    for key in [key for key in tensors if QUERY in key]:
        tensors[key.replace("layer.0", "layer.7")] = tensors.pop(key)


def saved_whole(tensors):
    tensors |= {f"base_model.model.bert.pooler.part{i}.weight": np.zeros((2, 2), np.float32) for i in range(30)}


def cut(name):
    def change(mine):
        path = mine / name
        path.write_bytes(path.read_bytes()[:100])

    return change


def pickled(mine):
    (mine / "adapter_model.safetensors").rename(mine / "adapter_model.bin")


@pytest.mark.parametrize(("change", "says"), [
    (configure(bias="lora_only"), ["bias = 'lora_only'", "biases of the model were trained too", ANSWERS]),
    (configure(use_dora=True), ["use_dora = True", "DoRA rescales", ANSWERS]),
    (configure(peft_type="IA3"), ["peft_type is 'IA3'", ANSWERS]),
    (configure(modules_to_save=["pooler"]), ["modules_to_save = ['pooler']", "one trained head", ANSWERS]),
    (with_tensors(saved_whole), ["one trained head", "and 30 more", ANSWERS]),
    (with_tensors(not_a_number), ["lora_A.weight", "the training run diverged, train again with a lower learning rate"]),
    (lambda mine: (mine / "adapter_config.json").unlink(), ["holds adapter_model.safetensors but no adapter_config.json", "copy the one"]),
    (lambda mine: mine.rename(mine.with_name("mime")), ["no adapter folder at", "did you mean", "mime ?"]),
    (pickled, ["adapter_model.bin is a pickle", "PeftModel.from_pretrained(MODEL, FOLDER).save_pretrained(NEW_FOLDER)"]),
    (cut("adapter_model.safetensors"), ["adapter_model.safetensors", "damaged or unfinished"]),
    (cut("adapter_config.json"), ["adapter_config.json cannot be read as JSON", "damaged or cut off"]),
    (configure(base_model_name_or_path="/gone/model"), ["mine was trained on /gone/model", "name it with --model FOLDER"]),
    (configure(base_model_name_or_path=None), ["does not say which model", "--model"]),
])  # fmt: skip
def test_what_is_wrong_with_an_adapter_is_said(mine, capsys, monkeypatch, change, says):
    change(mine)
    status, said = certify(mine, capsys, monkeypatch)
    assert status == 2
    assert all(part in said for part in says), said
    assert "Errno" not in said
    assert len(said) < 700


def test_a_model_with_other_layers_is_not_its_model(mine, capsys, monkeypatch):
    other = save_text_model(mine.parent / "other", labels=3)
    configure(base_model_name_or_path="whose/model")(mine)
    status, said = certify(mine, capsys, monkeypatch, "--model", other)
    assert status == 0, said  # all layers that it changes are there
    assert "mine says that it was trained on whose/model; it was run on" in said
    with_tensors(deeper)(mine)
    status, said = certify(mine, capsys, monkeypatch, "--model", other)
    assert status == 2
    layer = QUERY.replace("layer.0", "layer.7")
    assert f"mine was not trained on {other}: it changes a layer {layer} of 16 x 16, which is not there" in said


def test_nothing_is_noted_where_the_model_is_its_own(mine, letters_bert, capsys, monkeypatch):
    status, said = certify(mine, capsys, monkeypatch, "--model", letters_bert)
    assert status == 0, said
    assert "nobody trained" not in said


def test_a_file_that_is_not_there_is_called_a_file(tmp_path, capsys, monkeypatch):
    status, _, errors = run(capsys, monkeypatch, "certify", tmp_path / "answers.csv")
    assert status == 2
    assert "there is no file" in errors
    assert "label and predicted" in " ".join(errors.split())
    pl.DataFrame({"label": ["a", "b"] * 20, "predicted": ["a"] * 40}).write_csv(tmp_path / "answers.csv")
    assert run(capsys, monkeypatch, "certify", tmp_path / "answers.csv")[0] == 0


def test_a_certificate_of_something_else_is_never_replaced(mine, capsys, monkeypatch):
    where = mine.parent
    out = ["--out", where / "kept"]
    assert certify(mine, capsys, monkeypatch, *out)[0] == 0
    assert certify(mine, capsys, monkeypatch, *out, "--delta", "0.1")[0] == 0  # of the same adapter and rows
    kept = (where / "kept/certificate.json").read_bytes()

    def refused(*arguments):
        status, _, errors = run(capsys, monkeypatch, "certify", *arguments, "--classes", "red,green,blue", *out)
        assert status == 2
        assert (where / "kept/certificate.json").read_bytes() == kept
        return " ".join(errors.split())

    data = write(letters(60, 9, 10), where / "other.csv")
    assert "by other rows, labels or answers" in refused(mine, "--holdout", data)
    assert "by fresh rows too" in refused(mine, "--data", data, "--methods", "as-stored")
    answers = pl.DataFrame({"label": ["a", "b"] * 20, "predicted": ["a"] * 40})
    answers.write_csv(where / "answers.csv")
    assert "of another adapter (mine" in refused(where / "answers.csv")
    with_tensors(lambda tensors: tensors[f"base_model.model.{QUERY}.lora_A.weight"].fill(0.5))(mine)
    assert "choose another --out" in refused(mine, "--holdout", where / "fresh.csv")
    (where / "kept/certificate.json").write_text("mine own")
    kept = b"mine own"
    assert "a file that is no certificate" in refused(mine, "--holdout", where / "fresh.csv")


def test_a_table_replaces_only_its_own_certificate(tmp_path, capsys, monkeypatch):
    table = tmp_path / "answers.csv"
    answers = pl.DataFrame({"label": ["a", "b"] * 20, "predicted": ["a"] * 40, "other": ["b"] * 40})
    answers.write_csv(table)
    assert run(capsys, monkeypatch, "certify", table, "--out", tmp_path / "kept")[0] == 0
    assert run(capsys, monkeypatch, "certify", table, "--out", tmp_path / "kept")[0] == 0
    assert run(capsys, monkeypatch, "certify", table, "--predicted", "other", "--out", tmp_path / "kept")[0] == 2
