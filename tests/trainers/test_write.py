"""Recommendations put back into files: the new values, and every other character as it was."""

import pytest
import yaml

from lorabound.errors import InputError
from lorabound.trainers import read_axolotl, write_back

FILE = """\
# a comment, with   blanks
base_model: "owner/model"

adapter: lora
lora_r:   32 # the rank
lora_alpha: '16'
lora_target_modules: [ q_proj,  v_proj ]
datasets:
    - path: owner/set
      type: alpaca   # indented by four
learning_rate: 2e-4
"""
NEW = (
    FILE.replace("  32 #", "  4 #").replace("'16'", "'8'")
)  # fmt: skip


@pytest.fixture(params=["\n", "\r\n"], ids=["LF", "CRLF"])
def newline(request):
    return request.param


def saved(tmp_path, text, newline="\n", start=""):
    path = tmp_path / "config.yaml"
    path.write_bytes((start + text).replace("\n", newline).encode())
    return path


@pytest.mark.parametrize("start", ["", "\ufeff", "---\n"])
def test_nothing_but_the_values_changes(tmp_path, newline, start):
    path = saved(tmp_path, FILE, newline, start)
    written = write_back(path, "axolotl", rank=4, scale=2.0, mode="train_both")
    assert path.read_bytes() == (start + NEW).replace("\n", newline).encode()
    assert written.sentence == f"Written to {path}: lora_r 4 (was 32), lora_alpha 8 (was '16')."
    assert written.remarks == ()
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
    again = write_back(path, "axolotl", rank=4, scale=2.0, mode="train_both")
    assert "nothing was written" in again.sentence


def test_the_learning_rate_is_written_when_asked(tmp_path):
    path = saved(tmp_path, FILE)
    write_back(path, "axolotl", rank=4, scale=2.0, mode="train_both", lr=2e-5)
    assert path.read_text() == NEW.replace("2e-4", "2.0e-05")
    assert yaml.safe_load(path.read_text())["learning_rate"] == 2e-5


def test_keys_that_are_missing_stand_behind_their_own(tmp_path, newline):
    text = "finetuning_type: lora # yes\nlora_target: all\nlearning_rate:"
    path = saved(tmp_path, text, newline)
    written = write_back(path, "LLaMA-Factory", rank=4, scale=2.0, mode="train_both", lr=0.001)
    expected = "finetuning_type: lora # yes\nlora_rank: 4\nlora_alpha: 8\nlora_target: all\nlearning_rate: 0.001"
    assert path.read_bytes() == expected.replace("\n", newline).encode()
    assert "lora_rank 4 (was not there)" in written.sentence
    assert "learning_rate 0.001 (was empty)" in written.sentence


@pytest.mark.parametrize(("text", "new"), [
    ("other: 1\n...\n", "other: 1\nlora_r: 4\nlora_alpha: 8\n...\n"),
    ("  lora_r: 8\n  other: 1\n", "  lora_r: 4\n  lora_alpha: 8\n  other: 1\n"),
    ("adapter: lora", "adapter: lora\nlora_r: 4\nlora_alpha: 8\n"),
])  # fmt: skip
def test_unusual_layouts(tmp_path, text, new):
    path = saved(tmp_path, text)
    write_back(path, "axolotl", rank=4, scale=2.0, mode="train_both")
    assert path.read_text() == new


def test_a_frozen_a_is_written_where_axolotl_can_say_it(tmp_path):
    path = saved(tmp_path, FILE)
    written = write_back(path, "axolotl", rank=4, scale=2.0, mode="freeze_a")
    assert path.read_text() == NEW.replace("'8'\n", "'8'\nunfrozen_parameters: [\".+lora_B\"]\n")
    assert "leaves B alone trainable" in written.remarks[0]
    read_axolotl(path)
    assert "nothing was written" in write_back(path, "axolotl", rank=4, scale=2.0, mode="freeze_a").sentence
    back = write_back(path, "axolotl", rank=4, scale=2.0, mode="train_both")
    assert "take unfrozen_parameters out of the file" in back.remarks[0]


@pytest.mark.parametrize("line", [
    "gradient_checkpointing_kwargs: {use_reentrant: true}",
    "peft_layers_to_transform: [1]",
    "lora_modules_to_save: [embed_tokens]",
    "unfrozen_parameters: [lm_head]",
])  # fmt: skip
def test_a_frozen_a_beside_what_clashes_with_it_is_told(tmp_path, line):
    path = saved(tmp_path, f"{FILE}{line}\n")
    written = write_back(path, "axolotl", rank=4, scale=2.0, mode="freeze_a")
    assert path.read_text() == f"{NEW}{line}\n"
    assert 'lorabound.hf.freeze_factor(model, "A", seed=0)' in written.remarks[0]


def test_modes_that_no_file_can_say(tmp_path):
    factory = saved(tmp_path, "finetuning_type: lora\n")
    written = write_back(factory, "LLaMA-Factory", rank=4, scale=2.0, mode="freeze_a")
    assert "no setting of LLaMA-Factory draws A and freezes it" in written.remarks[0]
    path = saved(tmp_path, FILE)
    written = write_back(path, "axolotl", rank=4, scale=2.0, mode="freeze_b")
    assert 'lorabound.hf.freeze_factor(model, "B", seed=0)' in written.remarks[0]
    assert path.read_text() == NEW


def test_alpha_is_that_of_rslora_and_a_whole_number(tmp_path):
    path = saved(tmp_path, f"{FILE}peft_use_rslora: true\n")
    written = write_back(path, "axolotl", rank=8, scale=2.0, mode="train_both")
    assert yaml.safe_load(path.read_text())["lora_alpha"] == "6"  # 2 sqrt(8) = 5.657; 6 / sqrt(8) = 2.121
    assert written.remarks == (
        "lora_alpha 5.65685 is written as 6, as axolotl takes whole numbers: the scale of B A is 2.121 in place of 2.",
    )


@pytest.mark.parametrize(("text", "said"), [
    ("lora_r: &r 8\nlora_alpha: *r\n", "lora_r is tied to other values by a YAML anchor: write lora_r: 4 there by hand"),
    ("size: &r 8\nlora_r: *r\nlora_alpha: 1\n", "lora_r is tied to other values"),
    ("{lora_r: 8, lora_alpha: 16}\n", "is one mapping in braces"),
    ("lora_r: [8]\n", "lora_r is no single value"),
    ("lora_r: >\n  8\nlora_alpha: 1\n", "laid out in an unusual way: write there by hand: lora_r 4"),
])  # fmt: skip
def test_layouts_that_cannot_be_changed_stay_as_they_are(tmp_path, text, said):
    path = saved(tmp_path, text)
    with pytest.raises(InputError, match=said):
        write_back(path, "axolotl", rank=4, scale=2.0, mode="train_both")
    assert path.read_text() == text
