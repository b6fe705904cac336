"""Several data sets of a training in one file: every row is learnt as it was in its own."""

import json

import pytest

from lorabound.data import load_dialogues
from lorabound.errors import DataError
from lorabound.trainers import OwnLora, TrainerFile, merged

CHATS = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " Hello "}]},
    {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "1"},
                  {"role": "assistant", "content": "2"}, {"role": "user", "content": "3"},
                  {"role": "assistant", "content": "4"}]},
]  # fmt: skip
SHAREGPT = [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]
ALPACA = [{"instruction": "Name it.", "output": "Tiger", "input": ""}]
PAIRS = [{"prompt": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},
                     {"role": "user", "content": "3"}],
          "completion": [{"role": "assistant", "content": "4"}]}]  # fmt: skip
TEXTS = [{"text": "All of it."}]
OPENING = [{"messages": [{"role": "assistant", "content": "How can I help?"}]}]


def trainer_file(tmp_path, *sets):
    read = []
    for number, (form, rows) in enumerate(sets):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        read.append({"data": str(path), "form": form})
    settings = {**read[0], "lr": 1e-4}
    return TrainerFile(trainer="axolotl", path=None, settings=settings, lora=OwnLora(), other_data=tuple(read[1:]))


@pytest.mark.parametrize(("sets", "form"), [
    ((("messages", CHATS), ("sharegpt", SHAREGPT), ("alpaca", ALPACA)), "messages"),
    ((("text", TEXTS), ("text", TEXTS)), "text"),
    ((("messages", CHATS), ("alpaca-text", ALPACA), ("prompt-completion", PAIRS)), "prompt-completion"),
])  # fmt: skip
def test_rows_are_learnt_as_they_were(tmp_path, sets, form):
    file = trainer_file(tmp_path, *sets)
    alone = [load_dialogues(read["data"], read["form"]) for read in (file.settings, *file.other_data)]
    together = merged(file, tmp_path / "all.jsonl")
    assert together.settings == {"data": str(tmp_path / "all.jsonl"), "form": form, "lr": 1e-4}
    assert together.other_data == ()
    read = load_dialogues(together.settings["data"], together.settings["form"])
    expected = [dialogue for found in alone for dialogue in found.examples]
    assert [d.turns for d in read.examples] == [d.turns for d in expected]
    assert [d.trained for d in read.examples] == [d.trained for d in expected]
    assert [d.chat for d in read.examples] == [d.chat for d in expected]
    assert f"{len(expected)} rows of {len(sets)} data sets" in together.remarks[-1]


@pytest.mark.parametrize("other", [("text", TEXTS), ("messages", OPENING)])
def test_rows_without_a_prompt_beside_others_are_refused(tmp_path, other):
    with pytest.raises(DataError, match="do not go into one file"):
        merged(trainer_file(tmp_path, ("alpaca-text", ALPACA), other), tmp_path / "all.jsonl")
    assert not (tmp_path / "all.jsonl").exists()


def test_a_single_data_set_stays_as_it_is(tmp_path):
    file = trainer_file(tmp_path, ("messages", CHATS))
    assert merged(file, tmp_path / "all.jsonl") is file
    assert not (tmp_path / "all.jsonl").exists()
