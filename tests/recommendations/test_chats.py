"""Recommendations for language models: rows that are too long, in whichever fold they stand."""

import json

import numpy as np
import pytest

import lorabound as lb
from lorabound.certificates.stored import read_certificate
from tests.decoder_models import save_llama

WORDS = ["the", "room", "was", "lovely", "house", "cat", "dog", "water", "bread", "maison", "chat", "chien"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chats")
    save_llama(folder / "model")
    return folder


def test_a_long_row_whose_prompt_repeats_is_left_out_whichever_fold_it_stands_in(place):
    random = np.random.default_rng(0)
    rows = []  # twelve prompts stand there twice, once with a long answer
    for number in range(60):
        a, b = random.choice(WORDS, 2)
        answers = [f"{b} {a}", *([f"{b} {a}" + " water" * 80] if number < 12 else [])]
        asked = {"role": "user", "content": f"say {a} {b} {number}"}
        rows += [[asked, {"role": "assistant", "content": answer}] for answer in answers]
    (place / "rows.jsonl").write_text("\n".join(json.dumps({"messages": row}) for row in rows))
    made = lb.recommend(
        str(place / "rows.jsonl"), model=str(place / "model"), out=place / "out", targets=["all-linear"],
        layers="top2", ranks=[2], modes=["freeze_a"], lrs=[0.03], epochs=1, batch_size=8, precision="float32",
        max_length=60, drop_long=True, data_seed=1,  # one of them is in no set of the first fold
    )  # fmt: skip
    assert made.n_rows == 60
    assert any(line.startswith("Left out 12 examples of more than 60 tokens") for line in made.notes)
    certificate = read_certificate(place / "out").certificate
    assert any(line.startswith("Left out 12 examples") for line in certificate.notes)
