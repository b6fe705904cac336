"""axolotl's configurations, in the forms that its documentation shows, read to settings of a sweep."""

import json
import re
from contextlib import suppress

import pytest

from lorabound.data import Turn, load_dialogues
from lorabound.errors import InputError
from lorabound.sweeps.config import SweepConfig
from lorabound.trainers import read_axolotl

ROW = {"instruction": "Name a cat.", "input": "", "output": "Tiger"}
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
FILE = """\
base_model: owner/model   # the frozen model
adapter: lora
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
datasets: [{path: rows.jsonl, type: alpaca}]
val_set_size: 0.05
sequence_len: 2048
sample_packing: true
micro_batch_size: 2
gradient_accumulation_steps: 4
num_epochs: 3
learning_rate: 2e-4
lr_scheduler: cosine
optimizer: adamw_torch
weight_decay: 0.01
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes rows and a configuration with some lines changed, and reads it; None takes a line out."""
    monkeypatch.chdir(tmp_path)

    def write(row=ROW, extra="", **lines):
        (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
        kept = [line for line in FILE.splitlines() if line.partition(":")[0] not in lines]
        kept += [f"{key}: {value}" for key, value in lines.items() if value is not None]
        path = tmp_path / "config.yaml"
        path.write_text("\n".join(kept) + f"\n{extra}")
        return path

    return write


def entry(**keys):
    return json.dumps([{"path": "rows.jsonl", **keys}])


def read_back(file):
    """The first dialogue of the data set, read as the settings say."""
    settings = SweepConfig(**file.settings)
    return load_dialogues(settings.data, settings.form, settings.columns).examples[0]


def test_what_the_file_states_becomes_settings(written):
    file = read_axolotl(written())
    assert file.settings == {
        "data": "rows.jsonl", "task": "completions", "form": "alpaca-text", "model": "owner/model", "alpha_over_r": 0.5,
        "targets": ["all-linear"], "max_length": 2048, "drop_long": True, "batch_size": 8, "epochs": 3, "lr": 2e-4,
        "schedule": "cosine", "weight_decay": 0.01, "clip_norm": 1.0,
    }  # fmt: skip
    SweepConfig(**file.settings)
    assert (file.lora.rank, file.lora.alpha, file.lora.dropout, file.lora.rslora) == (32, 16, 0.05, False)
    assert (file.validation_share, file.validation_rows, file.validation_data) == (0.05, None, None)
    told = " ".join(file.remarks)
    assert "sample_packing: a step there holds packed rows" in told
    assert "lora_dropout 0.05: no dropout is applied here." in told
    assert "not given, so axolotl's own defaults are taken: max_grad_norm 1." in told


def test_rslora_has_its_own_scale(written):
    file = read_axolotl(written(peft_use_rslora="true"))
    assert file.settings["alpha_over_r"] == pytest.approx(16 / 32**0.5)
    assert any("peft_use_rslora" in remark for remark in file.remarks)


ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nName a cat.\n\n### Response:\n"
)


@pytest.mark.parametrize(("row", "keys", "turns"), [
    (ROW, {"type": "alpaca"}, [("prompt", ALPACA), ("completion", "Tiger")]),
    (ROW, {"type": "alpaca_instruct.load"}, [("prompt", ALPACA), ("completion", "Tiger")]),
    ({"instruction": "Name a cat.", "input": "", "response": "Tiger"}, {"type": "gpteacher"},
     [("prompt", ALPACA), ("completion", "Tiger")]),
    ({"INSTRUCTION": "Name a cat.", "RESPONSE": "Tiger"}, {"type": "oasst"},
     [("prompt", ALPACA), ("completion", "Tiger")]),
    ({"question": "Name a cat.", "answer": "Tiger", "input": "unread"}, {"type": "alpaca_chat.load_qa"},
     [("prompt", ALPACA), ("completion", "Tiger")]),
    ({"system_prompt": "Be short.", "question": "Name a cat.", "response": "Tiger"},
     {"type": "alpaca_w_system.load_open_orca"},
     [("system", "Be short."), ("user", "Name a cat."), ("assistant", "Tiger")]),
    (CHAT, {"type": "chat_template"}, [("user", "Hi"), ("assistant", "Hello")]),
    ({"talk": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
     {"type": "chat_template", "field_messages": "talk", "message_property_mappings": {"role": "from", "content": "value"}},
     [("user", "Hi"), ("assistant", "Hello")]),
    ({"content": "All of it."}, {"type": "completion", "field": "content"}, [("completion", "All of it.")]),
    ({"ask": "Name a cat.", "say": "Tiger"},
     {"type": {"field_instruction": "ask", "field_output": "say", "format": "{instruction}"}},
     [("prompt", "Name a cat."), ("completion", "Tiger")]),
    ({"ask": "Name a cat.", "say": "Tiger"},
     {"type": {"field_instruction": "ask", "field_output": "say", "format": "[INST] {instruction} [/INST]"}},
     [("user", "Name a cat."), ("assistant", "Tiger")]),
])  # fmt: skip
def test_types_of_data_sets(written, row, keys, turns):
    file = read_axolotl(written(row, datasets=entry(**keys)))
    assert read_back(file).turns == tuple(Turn(*turn) for turn in turns)


def test_a_file_of_another_folder_and_a_name_on_the_hub(written, tmp_path, monkeypatch):
    path = written()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_axolotl(path).settings["data"] == str(tmp_path / "rows.jsonl")
    on_hub = json.dumps([{"path": "owner/set", "type": "alpaca", "name": "part", "split": "train[:10%]"}])
    assert read_axolotl(written(datasets=on_hub)).settings["data"] == "owner/set:part@train[:10%]"


@pytest.mark.parametrize(("lines", "said"), [
    ({"adapter": None}, "adapter: not given, so axolotl trains all of the model: write  adapter: lora  or qlora"),
    ({"adapter": "llama-adapter"}, "adapter .*: llama-adapter is not LoRA"),
    ({"datasets": None}, "datasets: no data set is named"),
    ({"datasets": "[{path: gone.jsonl, type: alpaca}]"}, r"datasets\[0\].path \(line 17\): no file 'gone.jsonl' in"),
    ({"datasets": "[{path: s3://bucket/rows.jsonl, type: alpaca}]"}, "is far away: download it"),
    ({"datasets": entry(type="pygmalion")}, "'pygmalion' is not read: types that are read are alpaca, "),
    ({"datasets": entry()}, "not given, so the rows are tokens already"),
    ({"datasets": entry(type="alpaca", split="train[:5]")}, "of a file, which is read whole"),
    ({"datasets": entry(type="chat_template", message_property_mappings={"role": "speaker"})}, "turns hold 'speaker'"),
    ({"datasets": entry(type="chat_template", roles={"user": ["gpt"]})}, "gpt stands for user, and for assistant here"),
    ({"rl": "dpo"}, "rl .*: it learns from preferences"),
    ({"lora_r": "many"}, "lora_r .*: 'many' is not a number above 0"),
    ({"base_model": None}, "base_model: no model is named"),
])  # fmt: skip
def test_what_cannot_be_used_is_told_with_its_place(written, lines, said):
    with pytest.raises(InputError, match=said) as caught:
        read_axolotl(written(**lines))
    assert "config.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_come_at_once(written):
    with pytest.raises(InputError) as caught:
        read_axolotl(written(adapter=None, base_model=None, lora_r="x"))
    assert all(key in str(caught.value) for key in ("adapter", "base_model", "lora_r"))


def test_what_is_no_yaml_is_one_sentence(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("adapter: [lora\nlora_r: 8")
    with pytest.raises(InputError, match=r"config.yaml is not valid YAML"):
        read_axolotl(path)


@pytest.mark.parametrize(("lines", "said"), [
    ({"train_on_inputs": "true"}, "train_on_inputs: prompts are not learnt here"),
    ({"adapter": "qlora", "load_in_4bit": "true"}, "load_in_4bit: the frozen model is not quantized here."),
    ({"chat_template": "chatml"}, "chat_template chatml: chats are written by the tokenizer's own template here."),
    ({"num_epochs": "1.5"}, "num_epochs is 1.5 and passes are whole here: read as 2."),
    ({"lr_scheduler": "linear"}, "lr_scheduler is linear; .* read as cosine."),
    ({"optimizer": "adamw_8bit"}, "optimizer adamw_8bit: plain AdamW is used here."),
    ({"excess_length_strategy": "truncate"}, "longer rows are left out here, not cut"),
    ({"lora_target_linear": None, "lora_target_modules": "[q_proj, lm_head]"}, "lm_head: tables of tokens get no"),
    ({"datasets": '[{path: rows.jsonl, type: alpaca}, {path: more.jsonl, type: alpaca}]'},
     r"not read: datasets\[1\].path \(line 17\): no file 'more.jsonl'"),
    ({"test_datasets": '[{path: gone.jsonl, type: alpaca}]'}, r"not read: test_datasets\[0\].path \(line 18\): no file 'gone.jsonl'"),
    ({"test_datasets": '[{path: rows.jsonl, type: completion}]'}, "test_datasets rows.jsonl: not read, as its rows have"),
])  # fmt: skip
def test_what_is_read_otherwise_is_told(written, lines, said):

    remarks = read_axolotl(written(**lines)).remarks
    assert any(re.search(said, remark) for remark in remarks), remarks


def test_trained_roles_other_than_assistants_are_told(written):
    keys = {"type": "chat_template", "roles_to_train": ["user", "assistant"], "train_on_eos": "last"}
    told = " ".join(read_axolotl(written(CHAT, datasets=entry(**keys))).remarks)
    assert "roles_to_train: axolotl learns user, assistant; here all that assistants say is learnt." in told
    assert "train_on_eos last" in told


def test_a_validation_set_of_its_own_and_one_by_number(written):
    same = read_axolotl(written(test_datasets="[{path: rows.jsonl, type: alpaca}]", val_set_size="100"))
    assert same.validation_data == "rows.jsonl"
    assert (same.validation_share, same.validation_rows) == (None, 100)


ODD = [5, -1, "x", True, [], [1], {}, {"a": 1}, None, [[]], 1e400]
KEYS = ["base_model", "adapter", "lora_r", "lora_alpha", "lora_dropout", "lora_target_linear", "lora_target_modules",
        "datasets", "test_datasets", "val_set_size", "sequence_len", "micro_batch_size", "num_epochs", "learning_rate",
        "lr_scheduler", "optimizer", "weight_decay", "peft_layers_to_transform", "chat_template", "batch_size",
        "excess_length_strategy", "load_in_4bit", "peft_use_rslora", "rl", "warmup_ratio"]  # fmt: skip
ENTRY_KEYS = ["path", "type", "data_files", "name", "split", "field_messages", "message_property_mappings", "roles",
              "roles_to_train", "field", "train_on_eos", "shards", "revision"]  # fmt: skip


@pytest.mark.parametrize("key", [*KEYS, *(f"datasets.{key}" for key in ENTRY_KEYS)])
def test_odd_values_are_read_or_told(written, key):
    for value in ODD:
        lines = {key: json.dumps(value)}
        if key.startswith("datasets."):
            lines = {"datasets": entry(**{"type": "chat_template", key.partition(".")[2]: value})}
        with suppress(InputError):
            read_axolotl(written(**lines))


def test_layers_by_name_and_by_pattern(written):
    lines = {"lora_target_linear": None, "lora_target_modules": r"'model.layers.[\d]+.(mlp|self_attn).(up|q)_proj'"}
    file = read_axolotl(written(**lines, peft_layers_to_transform="[4, 5]"))
    assert file.settings["targets"] == ["up_proj", "q_proj"]
    assert file.settings["layers"] == [4, 5]
    unread = read_axolotl(written(**lines | {"lora_target_modules": r"'.*(a|b.c)|d'"}))
    assert "targets" not in unread.settings
