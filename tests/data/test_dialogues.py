"""Dialogues as TRL, LLaMA-Factory and axolotl document their files; every row that cannot be learnt from is told."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorabound.data import Dialogue, Dialogues, Turn, check_dialogues, load_dialogues, load_table, split
from lorabound.data.hub import rows_of_part
from lorabound.errors import DataError
from tests.data.test_readers import TYPED, to_csv

ASK, ANSWER = {"role": "user", "content": "What color is the sky?"}, {"role": "assistant", "content": "It is blue."}
SKY = Dialogue((Turn("user", ASK["content"]), Turn("assistant", ANSWER["content"])), chat=True)

# TRL, "Dataset formats and types"
TRL = {
    "messages": ({"messages": [ASK, ANSWER]}, SKY),
    "prompt-completion": (
        {"prompt": "The sky is", "completion": " blue."},
        Dialogue((Turn("prompt", "The sky is"), Turn("completion", " blue.")), chat=False),
    ),
    "conversational prompt-completion": (
        {"prompt": [ASK], "completion": [ANSWER]},
        Dialogue(SKY.turns, chat=True, given=1),
    ),
    "text": ({"text": "The sky is blue."}, Dialogue((Turn("completion", "The sky is blue."),), chat=False)),
}
# LLaMA-Factory, "data/README"
FACTORY = {
    "alpaca": (
        {"instruction": "Name it.", "input": "A large cat.", "output": "Tiger", "system": "Be short.",
         "history": [["First?", "One."], ["Second?", "Two."]]},
        [("system", "Be short."), ("user", "First?"), ("assistant", "One."), ("user", "Second?"), ("assistant", "Two."),
         ("user", "Name it.\nA large cat."), ("assistant", "Tiger")],
    ),
    "alpaca without input": (
        {"instruction": "Name a cat.", "input": "", "output": "Tiger", "system": "", "history": []},
        [("user", "Name a cat."), ("assistant", "Tiger")],
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
                           {"from": "human", "value": "Bye"}, {"from": "gpt", "value": "So long"}],
         "system": "Be kind.", "tools": "[]"},
        [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "So long")],
    ),
    "openai": (
        {"messages": [{"role": "system", "content": "Be kind."}, ASK, ANSWER]},
        [("system", "Be kind."), *((turn.role, turn.content) for turn in SKY.turns)],
    ),
}  # fmt: skip
# axolotl, "Conversation"
AXOLOTL = {
    "chat_template": {"conversations": [ASK, ANSWER]},
    "sharegpt": {"conversations": [{"from": "human", "value": ASK["content"]},
                                   {"from": "assistant", "value": ANSWER["content"]}]},
    "pygmalion": {"conversations": [{"role": "user", "value": ASK["content"]},
                                    {"role": "gpt", "value": ANSWER["content"]}]},
}  # fmt: skip


def saved(folder, *records, name="data.jsonl"):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, records)) if name.endswith("l") else json.dumps(records))
    return path


def columns(record):
    return {name: [value, value] for name, value in record.items()}


@pytest.mark.parametrize("file", TYPED)
@pytest.mark.parametrize("form", TRL)
def test_files_of_trl(tmp_path, form, file):
    record, expected = TRL[form]
    found = load_dialogues(TYPED[file](tmp_path, columns(record)))
    assert found.examples == [expected, expected]
    assert found.form == form.removeprefix("conversational ")
    assert len(found.places) == len(found) == 2


@pytest.mark.parametrize("file", TYPED)
@pytest.mark.parametrize("form", FACTORY)
def test_files_of_llama_factory(tmp_path, form, file):
    record, expected = FACTORY[form]
    if file in ("save_to_disk", "arrow") and record.get("history") == []:
        record = record | {"history": None}  # the library cannot tell what an empty list would hold
    (dialogue, _) = load_dialogues(TYPED[file](tmp_path, columns(record))).examples
    assert [(turn.role, turn.content) for turn in dialogue.turns] == expected
    assert dialogue.chat
    assert dialogue.trained == tuple(i for i, (role, _) in enumerate(expected) if role == "assistant")


@pytest.mark.parametrize("form", AXOLOTL)
def test_files_of_axolotl(tmp_path, form):
    found = load_dialogues(saved(tmp_path, AXOLOTL[form]))
    assert found.examples == [SKY]
    assert found.form == "sharegpt"


@pytest.mark.parametrize(("delimiter", "name"), [(",", "data.csv"), (";", "data.csv"), ("\t", "data.tsv")])
def test_tables_hold_pairs(tmp_path, delimiter, name):
    pairs = {"id": [1, 2], "prompt": ["Say\n'a, b; c'", "2 + 2 ="], "completion": [" a, b; c", " 4"]}
    found = load_dialogues(to_csv(tmp_path / name, pairs, delimiter))
    held = [(d.turns[0].content, d.turns[1].content) for d in found.examples]
    assert held == list(zip(pairs["prompt"], pairs["completion"], strict=True))
    (dialogue,) = load_dialogues(
        to_csv(tmp_path / "b.csv", {"instruction": ["Add"], "input": ["1, 2"], "output": ["3"]})
    ).examples
    assert [turn.content for turn in dialogue.turns] == ["Add\n1, 2", "3"]


@pytest.mark.parametrize("table", ["prompt, completion\na, b\n", 'prompt,completion\na, "b"\nc,d\n'])
def test_blanks_behind_commas_are_no_text_where_the_table_is_written_so(tmp_path, table):
    (tmp_path / "data.csv").write_text(table)
    found = load_dialogues(tmp_path / "data.csv")
    assert found.examples[0].turns[1].content == "b"
    assert found.notes[0].endswith("blanks right behind commas are not read.")


def test_lists_of_records_that_became_records_of_lists(tmp_path):
    """How the datasets library keeps ``Sequence({"role": ..., "content": ...})``."""
    turned = {"role": ["user", "assistant"], "content": [ASK["content"], ANSWER["content"]]}
    assert load_dialogues(saved(tmp_path, {"messages": turned})).examples == [SKY]


def test_what_is_learnt_is_said_in_one_line(tmp_path):
    note = load_dialogues(saved(tmp_path, {"messages": [ASK, ANSWER]}, {"messages": [ASK, ANSWER, ASK, ANSWER]})).notes
    path = tmp_path / "data.jsonl"
    assert note == (
        f"{path}: read as messages (roles user, assistant): what assistants say is learnt, 3 turns in 2 rows.",
    )
    pairs = load_dialogues(saved(tmp_path, {"prompt": "a", "completion": "b"}, {"prompt": "a ", "completion": "b"}))
    assert "the completion is learnt" in pairs.notes[0]
    assert "in 1 row neither does the prompt end nor the completion begin with a blank" in pairs.notes[1]
    alpaca = load_dialogues(saved(tmp_path, FACTORY["alpaca"][0]))
    assert alpaca.notes[0].endswith("outputs are learnt, those of history too.")


def test_answers_within_a_conversational_prompt_are_not_learnt(tmp_path):
    (dialogue,) = load_dialogues(saved(tmp_path, {"prompt": [ASK, ANSWER, ASK], "completion": [ANSWER]})).examples
    assert dialogue.trained == (3,)
    assert dialogue.prompt == "what color is the sky? it is blue. what color is the sky?"


def test_texts_in_parts_are_joined(tmp_path):
    parts = [{"type": "text", "text": "It is"}, {"type": "text", "text": " blue."}]
    assert load_dialogues(saved(tmp_path, {"messages": [ASK, ANSWER | {"content": parts}]})).examples == [SKY]


def test_a_column_text_beside_another_form_is_not_read(tmp_path):
    """As in alpaca's own file, where it holds the filled template."""
    record = {"instruction": "Name a cat.", "input": "", "output": "Tiger", "text": "Below is an instruction"}
    found = load_dialogues(saved(tmp_path, record))
    assert found.form == "alpaca"
    assert found.notes[-1].endswith("not read: 1 column text.")
    assert load_dialogues(saved(tmp_path, record), form="text").examples[0].turns[0].content == record["text"]


def test_other_names_of_columns(tmp_path):
    path = saved(tmp_path, {"question": "2 + 2 =", "answer": 4, "prompt": "not meant"})
    (dialogue,) = load_dialogues(path, columns={"prompt": "question", "completion": "answer"}).examples
    assert dialogue.turns == (Turn("prompt", "2 + 2 ="), Turn("completion", "4"))


@pytest.mark.parametrize(("record", "message"), [
    ({"text": "a", "label": "b"}, "a labelled text, whose label is to be predicted .*--task labels.* add --form text"),
    ({"messages": [ASK, ANSWER], "prompt": "a", "completion": "b"}, "the columns of messages and of prompt-completion: say which is meant, with --form messages"),
    ({"prompt": "a"}, "has the columns prompt, and dialogues need completion beside prompt, or messages; .* --columns prompt=question"),
    ({"question": "a", "answer": "b"}, "has the columns question, answer, and dialogues need messages; "),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "holds preferences .columns chosen, rejected.*rename chosen to completion"),
    ({"conversations": [ASK], "chosen": ANSWER, "rejected": ANSWER}, "holds preferences"),
    ({"prompt": "a", "completion": "b", "label": False}, "a column label, which says whether an answer is good"),
    ({"instruction": "a", "output": "b", "kto_tag": True}, "a column kto_tag, which says whether an answer is good"),
    ({"messages": [ASK, ANSWER], "images": []}, "a column 'images', and only texts are learnt"),
])  # fmt: skip
def test_columns_that_are_no_dialogues_or_two(tmp_path, record, message):
    with pytest.raises(DataError, match=message) as caught:
        load_dialogues(saved(tmp_path, record))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"form": "chatml"}, "no form 'chatml': --form is one of messages, prompt-completion, alpaca, alpaca-text, sharegpt, text"),
    ({"form": "alpaca"}, "no column 'instruction', 'output', which the form alpaca needs, only messages: name it with"),
    ({"columns": {"question": "a"}}, "no form has a column 'question', only messages, conversations, prompt"),
    ({"columns": {"prompt": "a", "completion": "a"}}, "column 'a' is to be two things at once"),
    ({"columns": {"messages": "-"}}, "--columns messages=-: only system, tools, input, history may be left unread"),
    ({"columns": {"messages": "chat"}}, "has the columns messages, and dialogues need"),
])  # fmt: skip
def test_options_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        load_dialogues(saved(tmp_path, {"messages": [ASK, ANSWER]}), **options)


def test_alpaca_in_its_own_template(tmp_path):
    row = {"instruction": "Name {it}.", "input": "A large {cat}.", "output": "Tiger", "system": "Be short."}
    read = load_dialogues(saved(tmp_path, row), "alpaca-text")
    prompt, answer = read.examples[0].turns
    assert prompt.content.endswith("### Instruction:\nName {it}.\n\n### Input:\nA large {cat}.\n\n### Response:\n")
    assert (prompt.role, answer) == ("prompt", Turn("completion", "Tiger"))
    assert any("not read: 1 column system" in note for note in read.notes)
    bare = load_dialogues(saved(tmp_path, row), "alpaca-text", {"input": "-"}).examples[0].turns[0].content
    assert bare.endswith("completes the request.\n\n### Instruction:\nName {it}.\n\n### Response:\n")


def test_columns_that_are_left_unread(tmp_path):
    row = {"instruction": "Name it.", "input": "A large cat.", "output": "Tiger", "system": "Be short.", "": "0"}
    read = load_dialogues(saved(tmp_path, row), None, {"input": "-", "system": "-", "history": "-"})
    assert read.form == "alpaca"
    assert [turn.content for turn in read.examples[0].turns] == ["Name it.", "Tiger"]


TOOL_CALL = {"role": "assistant", "tool_calls": [
    {"type": "function", "function": {"name": "control_light", "arguments": {"room": "living room", "state": "on"}}}
]}  # fmt: skip
GOOD = {
    "messages": {"messages": [ASK, ANSWER]},
    "prompt": {"prompt": "a", "completion": " b"},
    "instruction": {"instruction": "a", "input": "", "output": "b"},
    "text": {"text": "a"},
}


@pytest.mark.parametrize(("record", "fault"), [
    ({"prompt": "a"}, "no completion"),
    ({"prompt": "a", "completion": None}, "no completion"),
    ({"prompt": "a", "completion": " \n"}, "no completion"),
    ({"prompt": "", "completion": "b"}, "no prompt"),
    ({"prompt": "a", "completion": [ANSWER]}, "a list of messages and a text as prompt and completion"),
    ({"prompt": [ASK], "completion": [ASK]}, "no turn of assistant in the completion"),
    ({"prompt": {"a": "b"}, "completion": "b"}, r"prompt that is not text .*\{'a': 'b'\}"),
    ({"instruction": "", "input": None, "output": "b"}, "no instruction"),
    ({"instruction": "a", "input": "", "output": ""}, "no output"),
    ({"instruction": "a", "output": "b", "history": ["first", "second"]}, "a history that is no list of .instruction, output. pairs"),
    ({"instruction": "a", "output": "b", "history": [["first", None]]}, "no output in its history"),
    ({"text": " "}, "no text"),
    ({"messages": None}, "no messages"),
    ({"messages": []}, "no messages"),
    ({"messages": "user: hello"}, "messages that are no list of messages .*'user: hello'"),
    ({"messages": ["hello"]}, "a message that is no record of role and content .*'hello'"),
    ({"messages": [{"content": "hello"}, ANSWER]}, "a message without a role"),
    ({"messages": [{"role": "narrator", "content": "Once"}, ANSWER]}, r"a role that is none of system, user .human., assistant .gpt., tool .observation. .line 2: 'narrator'"),
    ({"messages": [{"role": 7, "content": "Once"}, ANSWER]}, "a role that is none of .*: 7"),
    ({"messages": [ASK]}, "no turn of assistant"),
    ({"messages": [ASK, ANSWER | {"content": ""}]}, "no text in a turn of assistant"),
    ({"messages": [ASK | {"content": None}, ANSWER]}, "no text in a turn of user"),
    ({"messages": [ASK | {"content": {"a": 1}}, ANSWER]}, "text in a turn of user that is not text"),
    ({"messages": [ASK | {"content": [{"type": "image", "url": "sky.png"}]}, ANSWER]}, "content that is not text .*'image'"),
    ({"messages": [ASK, TOOL_CALL, {"role": "tool", "name": "control_light", "content": "on"}, ANSWER]}, "a call of a tool, which is not read"),
    ({"messages": [ASK, {"from": "function_call", "value": "{}"}, ANSWER]}, "a call of a tool, which is not read"),
    ({"messages": [ASK, ANSWER], "tools": [{"type": "function"}]}, "tools to call, which are not read"),
    ({"messages": [ASK, ANSWER | {"weight": 0}, ASK, ANSWER]}, "a turn of assistant that is marked as not to be learnt"),
    ({"messages": [ASK, ANSWER | {"train": False}, ASK, ANSWER]}, "a turn of assistant that is marked as not to be learnt"),
    ({"messages": [ASK | {"train": True}, ANSWER]}, "a turn of user that is marked as to be learnt"),
    ({"messages": [ASK | {"content": "\ud83d"}, ANSWER]}, "half of a character"),
])  # fmt: skip
def test_rows_that_cannot_be_learnt_from(tmp_path, record, fault):
    good = GOOD[next(name for name in GOOD if name in record)]
    path = saved(tmp_path, good, record, good)
    with pytest.raises(DataError, match=rf"read as [\w-]+: 1 row has {fault}") as caught:
        load_dialogues(path)
    assert re.search(r"\(line 2(: .*)?\): leave such rows out with --drop-empty", str(caught.value))
    assert "\n" not in str(caught.value)
    found = load_dialogues(path, empty="drop")
    assert list(found.places) == ["line 1", "line 3"]
    assert any(re.search(rf"left out 1 row \(--drop-empty\): 1 row has {fault}", note) for note in found.notes)


def test_a_name_twice_in_a_message(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"messages": [{"role": "user", "role": "user", "content": "a"}]}')
    with pytest.raises(DataError, match="every row has a message that holds a name twice .line 1: 'role'"):
        load_dialogues(path)


def test_faults_are_counted_with_their_places(tmp_path):
    pair, half = GOOD["prompt"], {"prompt": "a"}
    with pytest.raises(DataError, match=r"3 rows have no completion \(lines 2, 5, 9\); 1 row has no prompt \(line 4\)"):
        load_dialogues(saved(tmp_path, pair, half, pair, {"completion": "b"}, half, pair, pair, pair, half))
    with pytest.raises(DataError, match=r"no row is left \(every row has no completion \(lines 1, 2\)\)"):
        load_dialogues(saved(tmp_path, half | {"completion": ""}, half), empty="drop")
    with pytest.raises(DataError, match="CSV holds no lists: write JSONL"):
        load_dialogues(to_csv(tmp_path / "data.csv", {"messages": ["[{'role': 'user'}]"]}))


def test_a_chat_that_goes_on_after_its_last_answer(tmp_path):
    found = load_dialogues(saved(tmp_path, {"messages": [ASK, ANSWER, ASK]}, {"messages": [ASK, ANSWER]}))
    assert found.examples == [SKY, SKY]
    assert "1 row goes on after the last turn that is learnt (line 1)" in found.notes[-1]


def test_keys_of_messages_that_are_not_read_are_told(tmp_path):
    answer = ANSWER | {"reasoning_content": "Rayleigh", "name": None}
    assert (
        load_dialogues(saved(tmp_path, {"messages": [ASK, answer]}))
        .notes[-1]
        .endswith("not read in messages: 'reasoning_content'.")
    )


def test_labelled_texts_and_dialogues_do_not_mix(tmp_path):
    with pytest.raises(DataError, match="dictionary is a task of dialogues, and the model reads texts"):
        load_table("dictionary")
    with pytest.raises(DataError, match="words is a task of texts, and the model reads dialogues: give other data, such as dictionary"):  # fmt: skip
        load_dialogues("words")


def pairs(folder, *rows):
    return load_dialogues(saved(folder, *({"prompt": prompt, "completion": answer} for prompt, answer in rows)))


def test_a_test_row_whose_prompt_is_in_the_pool_is_removed(tmp_path):
    table = pairs(tmp_path, *((f"Question {i % 20}\n", f" {i}") for i in range(40)))
    made = split(table, 10, 20)
    known = {dialogue.identity for dialogue in made.train_examples}
    assert not known & {dialogue.identity for dialogue in made.test_examples}
    assert made.n_removed == 20 - len(made.test_examples) > 0
    assert made.classes == ["completion"]
    assert set(made.train_labels) | set(made.test_labels) == {0}
    other = pairs(tmp_path, ("QUESTION  3", "x"), ("Question 77", "y"), ("Question 78", "z"))
    assert split(table, 10, 3, test=other).n_removed == 1
    with pytest.raises(DataError, match="2 of 2 test rows have a prompt that stands in the training pool too"):
        split(table.rows(range(20)), 10, 2, test=table.rows([20, 21]))


def test_the_hash_of_a_split_decides_every_turn():
    def made(place=None, row=0):
        rows = [[f"question {i}", "a", "b", "c"] for i in range(6)]
        if place is not None:
            rows[row][place] += "!"
        roles = ("user", "assistant", "user", "assistant")
        chats = [Dialogue(tuple(map(Turn, roles, row)), chat=True) for row in rows]
        return split(Dialogues("chats", chats, "messages"), 3, 3).sha256

    assert len({made(), *(made(place, row) for place in range(4) for row in range(6))}) == 25
    plain = Dialogue(SKY.turns, chat=False)
    assert len({SKY.sha256, plain.sha256, Dialogue(SKY.turns, chat=True, given=1).sha256}) == 3


def test_the_check_counts_turns_and_repeated_prompts(tmp_path):
    check = check_dialogues(pairs(tmp_path, ("a ", "1"), ("A", " 1"), ("b ", "1"), ("c ", "1")))
    assert check.usable
    assert check.classes_line == "4 rows, 4 turns learnt (1 in each row)"
    assert any("1 row (25.0%) repeats the prompt of an earlier row" in remark for remark in check.remarks)
    assert any("1 prompt has more than one answer" in remark for remark in check.remarks)
    assert not check_dialogues(pairs(tmp_path, ("a ", "1"), ("A", " 1"))).usable
    own = check_dialogues(pairs(tmp_path, ("a ", "1"), ("b ", "1")), pairs(tmp_path, ("A ", "2"), ("z ", "2")))
    assert any("the prompts of 1 row of" in remark for remark in own.remarks)
    assert own.test_counts == {"completion": 2}


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip("\u200b\u200c\u200d\u2060\ufeff \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0").strip())  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_every_form_gives_the_same_turns(tmp_path_factory, rounds):
    folder = tmp_path_factory.mktemp("forms")
    roles = [("user", "human", asked, "assistant", "gpt", answered) for asked, answered in rounds]
    messages = [m for u, _, q, a, _, r in roles for m in ({"role": u, "content": q}, {"role": a, "content": r})]
    shared = [m for _, u, q, _, a, r in roles for m in ({"from": u, "value": q}, {"from": a, "value": r})]
    *history, (asked, answered) = map(list, rounds)
    found = [
        load_dialogues(saved(folder, record)).examples[0]
        for record in (
            {"messages": messages},
            {"conversations": shared},
            {"instruction": asked, "output": answered, "history": history},
        )
    ]
    assert found[0] == found[1] == found[2]
    assert [turn.content for turn in found[0].turns] == [text for pair in rounds for text in pair]


@settings(deadline=None, max_examples=50)
@given(texts, texts, texts)
def test_identity_is_the_prompt_but_for_case_and_blanks(prompt, answer, other):
    def pair(a, b):
        return Dialogue((Turn("prompt", a), Turn("completion", b)), chat=False)

    assert pair(prompt, answer).identity == pair(f"  {prompt}\n", other).identity
    assert (pair(prompt, answer).identity == pair(other, answer).identity) == (
        " ".join(prompt.casefold().split()) == " ".join(other.casefold().split())
    )
    assert (pair(prompt, answer).sha256 == pair(prompt, other).sha256) == (answer == other)


def test_without_a_prompt_the_whole_dialogue_is_its_identity():
    def said(answer, *before):
        return Dialogue((*before, Turn("assistant", answer)), chat=True).identity

    system = Turn("system", "Be kind.")
    assert said("a") != said("b")
    assert said("a", system) != said("b", system)
    assert said("a", system, Turn("user", "Hi")) == said("b", system, Turn("user", "hi"))


@given(
    n_rows=st.integers(1, 300),
    start=st.none() | st.integers(-120, 120),
    stop=st.none() | st.integers(-120, 120),
    percent=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_part_of_a_split_is_that_of_the_datasets_library(n_rows, start, stop, percent):
    from datasets import ReadInstruction

    if percent:
        start, stop = (None if edge is None else max(-100, min(edge, 100)) for edge in (start, stop))
    written = "[" + ":".join("" if edge is None else f"{edge}{'%' if percent else ''}" for edge in (start, stop)) + "]"
    rows = rows_of_part(written, n_rows)
    try:
        (theirs,) = ReadInstruction.from_spec(f"train{written}").to_absolute({"train": n_rows})
    except (AssertionError, ValueError):  # a number beyond the rows, or an empty part
        return
    assert list(rows) == list(range(theirs.from_, theirs.to))


def test_a_part_of_a_split_on_disk(tmp_path):
    import datasets

    rows = datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(10)]})
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "two")
    read = load_dialogues(f"{tmp_path / 'two'}@train[20%:40%]", "text")
    assert [example.turns[0].content for example in read.examples] == ["text 2", "text 3"]
    for name, message in (("train[5]", "names no rows of the 10 in train"), ("valid[:2]", "no split 'valid'")):
        with pytest.raises(DataError, match=re.escape(message)):
            load_dialogues(f"{tmp_path / 'two'}@{name}", "text")
