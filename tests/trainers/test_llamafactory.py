"""``dataset_info.json`` and trainings of LLaMA-Factory, in the forms that its README of data shows."""

import json
from contextlib import suppress

import pytest

from lorabound.data import Turn, load_dialogues
from lorabound.errors import InputError
from lorabound.sweeps.config import SweepConfig
from lorabound.trainers import merged, read_llamafactory
from tests.trainers.test_axolotl import ODD

ALPACA = {"instruction": "Name it.", "input": "A large cat.", "output": "Tiger", "system": "Be short."}
SHAREGPT = {
    "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
    "system": "Be kind.",
}
OPENAI = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
TRAINING = """\
### model
model_name_or_path: owner/model
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: q_proj,v_proj
dataset: mine
template: qwen
cutoff_len: 1024
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A function that writes a row, its description as "mine", and a training with lines added; the row's file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def write(row=ALPACA, training="", **described):
        (tmp_path / "data" / "rows.json").write_text(json.dumps([row]))
        info = {"mine": {"file_name": "rows.json", **described}, "others": {"file_name": "rows.json"}}
        (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
        given = [line.partition(":")[0] for line in training.splitlines()]
        kept = [line for line in TRAINING.splitlines() if line.partition(":")[0] not in given]
        (tmp_path / "train.yaml").write_text("\n".join(kept) + f"\n{training}\n")
        return "data/dataset_info.json:mine"

    return write


def read_back(file):
    settings = SweepConfig(**file.settings)
    return load_dialogues(settings.data, settings.form, settings.columns).examples[0]


TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


@pytest.mark.parametrize(("row", "described", "turns"), [
    # A column that is not named is not read, though the file has it: system, as no columns name it.
    (ALPACA, {}, [("user", "Name it.\nA large cat."), ("assistant", "Tiger")]),
    (ALPACA, {"columns": {"prompt": "instruction", "response": "output", "system": "system"}},
     [("system", "Be short."), ("user", "Name it."), ("assistant", "Tiger")]),
    ({"q": "Name it.", "a": "Tiger", "past": [["First?", "One."]]},
     {"columns": {"prompt": "q", "response": "a", "history": "past"}},
     [("user", "First?"), ("assistant", "One."), ("user", "Name it."), ("assistant", "Tiger")]),
    ({"body": "All of it."}, {"columns": {"prompt": "body"}}, [("completion", "All of it.")]),
    (SHAREGPT, {"formatting": "sharegpt"}, [("user", "Hi"), ("assistant", "Hello")]),
    (SHAREGPT, {"formatting": "sharegpt", "columns": {"messages": "conversations", "system": "system"}},
     [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello")]),
    (OPENAI, {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": TAGS},
     [("user", "Hi"), ("assistant", "Hello")]),
])  # fmt: skip
def test_described_data_sets(folder, row, described, turns):
    file = read_llamafactory(folder(row, **described))
    assert read_back(file).turns == tuple(Turn(*turn) for turn in turns)
    assert file.path is None
    assert file.lora.rank is None


def test_a_training_names_its_data_set(folder, tmp_path):
    folder()
    file = read_llamafactory("train.yaml")
    assert {key: value for key, value in file.settings.items() if key not in ("columns", "task")} == {
        "data": "data/rows.json", "form": "alpaca", "model": "owner/model", "alpha_over_r": 2.0,
        "targets": ["q_proj", "v_proj"], "max_length": 1024, "drop_long": True, "batch_size": 8, "epochs": 3,
        "lr": 1e-4, "schedule": "cosine", "weight_decay": 0.0, "clip_norm": 1.0,
    }  # fmt: skip
    assert (file.lora.rank, file.lora.alpha) == (8, 16)  # lora_alpha is twice the rank where none is given
    told = " ".join(file.remarks)
    assert "template qwen: chats are written by the tokenizer's own template here." in told
    assert "cutoff_len 1024: longer rows are left out here, not cut." in told
    named = read_llamafactory(tmp_path / "data" / "dataset_info.json:others", "train.yaml")
    assert [read["data"] for read in named.other_data] == [str(tmp_path / "data" / "rows.json")]


def test_names_on_the_hub(folder):
    spec = folder(hf_hub_url="owner/set", subset="part", split="train_sft")
    assert read_llamafactory(spec).settings["data"] == "owner/set:part@train_sft"


def test_a_data_set_for_validation(folder):
    folder(training="eval_dataset: others")
    assert read_llamafactory("train.yaml").validation_data == "data/rows.json"
    folder(training="eval_dataset: gone")
    file = read_llamafactory("train.yaml")
    assert file.validation_data is None
    assert any(remark.startswith("eval_dataset gone is not read: no data set 'gone'") for remark in file.remarks)
    folder(training="val_size: 0.1")
    assert read_llamafactory("train.yaml").validation_share == 0.1
    folder(training="val_size: 50")
    assert read_llamafactory("train.yaml").validation_rows == 50


@pytest.mark.parametrize(("described", "training", "said"), [
    ({"ranking": True}, "", "data/dataset_info.json: mine.ranking: preferences, and one completion is learnt here"),
    ({"columns": {"prompt": "a", "response": "b", "kto_tag": "c"}}, "", "verdicts on answers"),
    ({"columns": {"prompt": "a", "response": "b", "images": "c"}}, "", "images beside texts"),
    ({"file_name": "gone.json"}, "", "mine.file_name: no file 'gone.json' in .*data"),
    ({"script_url": "loader"}, "", "'loader' is made by a script: download it"),
    ({"hf_hub_url": "wiki_qa"}, "", "no name of the form owner/name"),
    ({"split": "train[:5]"}, "", "of a file, which is read whole"),
    ({"formatting": "chatml"}, "", "'chatml' is none of alpaca, sharegpt, openai"),
    ({"formatting": "sharegpt", "tags": {"role_tag": "speaker"}}, "", "turns hold 'speaker' and 'value'"),
    ({"formatting": "sharegpt", "tags": {"user_tag": "me"}}, "", "mine.tags.user_tag: 'me' is not read as user"),
    ({}, "finetuning_type: full", "train.yaml: finetuning_type .*: full is not LoRA"),
    ({}, "stage: dpo", "dpo: it learns from preferences"),
    ({}, "dataset: mien", "no data set 'mien', did you mean mine[?]: write .*dataset_info.json:NAME with one of mine"),
    ({}, "dataset_dir: REMOTE:owner/set", "dataset_dir .*: REMOTE:owner/set is on the hub"),
    ({}, "peft_config: {name: lora}", "new version 1, which is not read"),
])  # fmt: skip
def test_what_cannot_be_used_is_told_with_its_place(folder, described, training, said):
    folder(training=training, **described)
    with pytest.raises(InputError, match=said) as caught:
        read_llamafactory("train.yaml")
    assert "\n" not in str(caught.value)


def test_faults_of_both_files_come_at_once(folder):
    folder(training="finetuning_type: full", ranking=True)
    with pytest.raises(InputError, match=r"dataset_info.json: mine.ranking.*; train.yaml: finetuning_type"):
        read_llamafactory("train.yaml")


def test_what_is_read_otherwise_is_told(folder):
    folder(training="dataset: mine,others,gone\nmask_history: true\nuse_rslora: true\nmax_samples: 10", num_samples=5)
    file = read_llamafactory("train.yaml")
    told = " ".join(file.remarks)
    assert file.unread_data == ("gone",)
    assert "dataset names 3 data sets, and the settings name the first" in told
    together = merged(file, "all.jsonl")
    assert "2 rows of 2 data sets" in together.remarks[-1]
    assert not any("name the first" in remark for remark in together.remarks)
    assert "gone is not read: no data set 'gone'" in told
    assert "mask_history: all answers of a chat are learnt here" in told
    assert "max_samples 10: all rows are read here" in told
    assert "num_samples 5: all rows are read here" in told
    assert file.settings["alpha_over_r"] == pytest.approx(16 / 8**0.5)


KEYS = ["model_name_or_path", "stage", "finetuning_type", "lora_rank", "lora_target", "dataset", "dataset_dir",
        "template", "cutoff_len", "learning_rate", "num_train_epochs", "val_size", "eval_dataset", "use_rslora"]  # fmt: skip
DESCRIBED = ["file_name", "hf_hub_url", "ms_hub_url", "formatting", "columns", "tags", "split", "subset", "ranking",
             "num_samples"]  # fmt: skip


@pytest.mark.parametrize("key", [*KEYS, *(f"mine.{key}" for key in DESCRIBED)])
def test_odd_values_are_read_or_told(folder, key):
    for value in ODD:
        described = {key.partition(".")[2]: value} if key.startswith("mine.") else {}
        folder(training="" if described else f"{key}: {json.dumps(value)}", **{"formatting": "sharegpt"} | described)
        with suppress(InputError):
            read_llamafactory("train.yaml")


@pytest.mark.parametrize(("content", "said"), [
    (None, r"no such file \(No such file"),
    ("{", "not valid JSON"),
    ("[]", "describes no data sets"),
    ('{"mine": 3}', "no description of a data set"),
])  # fmt: skip
def test_damaged_descriptions(tmp_path, content, said):
    path = tmp_path / "dataset_info.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=said):
        read_llamafactory(f"{path}:mine")
