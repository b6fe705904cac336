"""Pieces of a text as tokens: put together they spell the text, and nothing is written twice."""

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers

from lorabound.data import Dialogue, Turn
from lorabound.errors import ModelError
from lorabound.models.causal import load_causal
from lorabound.models.pieces import PieceTokenizer
from tests.decoder_models import END, STOP, save_llama

# Templates as models write them: the mark of a turn is no end of a text, and one stands behind all (Phi-3); a blank
# before what is said, another behind (Llama 2); thoughts before the last answer only (Qwen3).
PHI = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
QWEN3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chat(*said):
    return Dialogue(tuple(Turn(("user", "assistant")[i % 2], text) for i, text in enumerate(said)), True)


def plain(prompt, completion):
    return Dialogue((Turn("prompt", prompt), Turn("completion", completion)), False)


@pytest.fixture(scope="module")
def reader_of(tmp_path_factory):
    """The reader of a small Llama with this chat template."""
    folder = save_llama(tmp_path_factory.mktemp("pieces"), tokenizer={"eos": END, "pad": None})

    def made(template):
        (folder / "chat_template.jinja").write_text(template)
        return load_causal(str(folder), [], "", device="cpu")._reader

    return made


def learnt(reader, dialogue):
    """What is learnt of a dialogue, and all of it, as texts."""
    row = reader._row(reader._pieces(dialogue), chat=dialogue.chat)
    wanted = [token for token, learns in zip(row.ids, row.learnt, strict=True) if learns]
    return reader._tokenizer.decode(wanted), reader._tokenizer.decode(row.ids)


@pytest.mark.parametrize(
    ("template", "dialogue", "expected"),
    [
        (PHI, chat("hi", " cat "), f" cat {STOP}"),
        (PHI, chat("hi", "cat", "and", "dog"), f"cat{STOP}dog{STOP}"),
        (LLAMA2, chat("hi", "cat", "and", "dog"), f" cat {END} dog {END}"),
        (QWEN3, chat("hi", "cat"), f"<think>\n\n</think>\n\ncat{STOP}"),
    ],
)
def test_learnt_is_what_is_said_up_to_the_mark_that_ends_the_turn(reader_of, template, dialogue, expected):
    reader = reader_of(template)
    messages = [vars(turn) for turn in dialogue.turns]
    whole = reader._tokenizer.apply_chat_template(messages, tokenize=False)
    assert learnt(reader, dialogue) == (expected, whole)


def test_answers_that_are_written_anew_later_are_refused_with_the_way_out(reader_of):
    with pytest.raises(ModelError, match="each answer a row of its own"):
        learnt(reader_of(QWEN3), chat("hi", "cat", "and", "dog"))


def test_a_label_is_written_as_the_template_writes_an_answer(reader_of):
    reader = reader_of(LLAMA2)
    decode = reader._tokenizer.decode
    assert [decode(ids) for ids in reader.answers("say {}", ["cat", "dog"])] == [" cat", " dog"]
    ended = reader_of(PHI).answers("say {}", ["cat", "cat dog"])
    assert [decode(ids) for ids in ended] == [f"cat{STOP}", f"cat dog{STOP}"]


def test_braces_in_labels_and_texts_stay(reader_of):
    reader = reader_of(PHI)
    ((asked, _),) = reader._prompt("{labels}? {}", "a {} b", "{}, {labels}")
    assert "user\n{}, {labels}? a {} b<|im_end|>" in asked


def test_an_end_or_a_start_that_the_data_bring_along_is_not_written_twice(tmp_path):
    folder = save_llama(tmp_path / "m", tokenizer={"eos": STOP, "pad": None, "bos": True})
    reader = load_causal(str(folder), [], "", device="cpu")._reader
    for prompt, completion in (("say", f" cat{STOP}"), (f"{END}say", " cat")):
        assert learnt(reader, plain(prompt, completion)) == (f" cat{STOP}", f"{END}say cat{STOP}")


@pytest.fixture(scope="module", params=["always", "byte_level"])
def blank_first(request):
    """A tokenizer that puts a blank before every text, as those of Llama 2 and TinyLlama do, and byte-level ones may."""
    from tokenizers import pre_tokenizers

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    if request.param == "always":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    made.train_from_iterator(
        ["the room was lovely", "say (cat) a cat: dog water|", "[INST] say it [/INST]\n"] * 3, trainer
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize(
    ("first", "then"), [("say:", " cat"), ("say (", "cat)"), ("say\n", "a cat"), ("[INST]", " dog")]
)
def test_pieces_put_together_spell_the_text(blank_first, first, then):
    pieces = PieceTokenizer(blank_first)
    ids = pieces.tokens(first)
    joined = [*ids, *pieces.after(ids, then)]
    assert blank_first.unk_token_id not in joined
    assert blank_first.decode(joined).strip() == first + then
    apart = blank_first.decode([*ids, *pieces.tokens(then)]).strip()
    assert apart != first + then or then.startswith(" ")
