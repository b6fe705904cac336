"""A recommendation comes back from its file as it was; damage is told; the command that is written makes it again."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest

import lorabound as lb
from lorabound.cli import recommend
from lorabound.errors import InputError
from lorabound.recommendations.config import read_recommendation
from lorabound.recommendations.layout import laid_out
from lorabound.recommendations.origin import command_words
from lorabound.recommendations.stored import FILE, is_recommendation, write_recommendation
from lorabound.sweeps import SweepConfig
from tests.commands import run, shown
from tests.decoder_models import save_llama
from tests.recommendation_cases import made_in


@pytest.fixture
def stored(tmp_path):
    made = made_in(tmp_path / "out")
    write_recommendation(made)
    return made


def test_it_comes_back_as_it_was_written(stored):
    again = lb.open_recommendation(stored.folder)
    assert again == stored
    assert again.limit.to_dict() == stored.limit.to_dict()
    assert shown(again) == shown(stored)


def test_without_a_limit_it_comes_back_too(tmp_path):
    made = made_in(tmp_path, limit=None)
    write_recommendation(made)
    assert lb.open_recommendation(tmp_path) == made


def test_gradients_without_a_limit_come_back_too(tmp_path):
    made = made_in(tmp_path)
    made = replace(made, settings={**made.settings, "clip_norm": SweepConfig().clip_norm})
    write_recommendation(made)
    assert lb.open_recommendation(tmp_path).settings["clip_norm"] == float("inf")


def test_a_folder_that_was_moved_names_itself_and_its_adapter(stored, tmp_path):
    shutil.move(stored.folder, tmp_path / "moved")
    again = lb.open_recommendation(tmp_path / "moved")
    assert (again.folder, again.adapter) == (str(tmp_path / "moved"), str(tmp_path / "moved" / "adapter"))


def changed(*path, to):
    def change(record):
        for name in path[:-1]:
            record = record[name]
        if to is None:
            del record[path[-1]]
        else:
            record[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("rank", to=None), "rank: field required"),
        (changed("rank", to="4"), "rank: input should be a valid integer"),
        (changed("rank", to=7), "the recommended rank and mode are not among its candidates"),
        (changed("options", to=[]), "the recommended rank and mode are not among its candidates"),
        (changed("options", 0, "forecast", "low", to=None), "options.0.forecast.low: field required"),
        (changed("options", 1, "mode", to="freeze_all"), "there is no mode 'freeze_all'"),
        (changed("points", 0, "rank", to=0), "a rank is 0"),
        (changed("points", 0, "test", "n_train", to=-5), "points.test.n_train is -5"),
        (changed("zero_shot", to=float("nan")), "zero_shot is not finite"),
        (changed("settings", "epochs", to=float("inf")), "settings.epochs is not finite"),
        (changed("limit", "n_samples", to=None), "limit: it is no bound"),
        (changed("limit", to=3), "limit: it is no bound"),
        (changed("limit", "value", to="low"), "limit: it is no bound"),
        (changed("limit", "kind", to="gap"), "its limit is no upper bound on an error"),
        (changed("limit", "terms", to={}), "its limit is no upper bound on an error"),
    ],
)
def test_a_damaged_file_is_told_in_one_sentence(stored, change, said):
    path = f"{stored.folder}/{FILE}"
    record = json.loads(open(path).read())
    change(record)
    open(path, "w").write(json.dumps(record))
    with pytest.raises(InputError) as caught:
        lb.open_recommendation(stored.folder)
    assert str(caught.value).startswith(f"{path} is damaged: {said}")
    assert "same --out" in str(caught.value)


@pytest.mark.parametrize("text", ["", '{"format": 1, "rank"', "[1]", "\xff\xfe", "[" * 100_000])
def test_what_is_no_json_is_told(stored, text):
    open(f"{stored.folder}/{FILE}", "wb").write(text.encode("latin-1"))
    with pytest.raises(InputError, match="is damaged: it"):
        lb.open_recommendation(stored.folder)


def test_another_format_is_told(stored):
    path = f"{stored.folder}/{FILE}"
    record = json.loads(open(path).read())
    open(path, "w").write(json.dumps(record | {"format": 2}))
    with pytest.raises(InputError, match="has format 2, and this version of lorabound reads 1"):
        lb.open_recommendation(stored.folder)


def test_a_place_without_one_is_told(tmp_path):
    with pytest.raises(InputError, match="holds no recommendation"):
        lb.open_recommendation(tmp_path)
    assert not is_recommendation(tmp_path)
    (tmp_path / "pilots").mkdir()
    with pytest.raises(InputError, match=r"holds pilots and no answer yet .*same --out"):
        lb.open_recommendation(tmp_path)
    assert is_recommendation(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file: give the folder"):
        lb.open_recommendation(tmp_path / "file")


def asks_for_the_same(capsys, monkeypatch, given, out):
    """The words of the command; read by the command line, they make the same layout."""
    asked, config, names = read_recommendation(None, given)
    layout = laid_out(asked, config, names)
    found = []

    def read(source, flags):
        found.append(read_recommendation(source, flags))
        raise InputError("enough")

    monkeypatch.setattr(recommend, "read_recommendation", read)
    words = command_words(asked, layout)
    status, _, err = run(capsys, monkeypatch, "recommend", *words, "--out", out)
    assert status == 2
    assert err.endswith("lorabound: enough\n")
    [(asked_again, *rest)] = found
    again = laid_out(asked_again, *rest)
    assert asked_again == asked
    assert [one.asked for one in again.materials] == [one.asked for one in layout.materials]
    assert [one.config for one in again.materials] == [one.config for one in layout.materials]
    return words


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"seeds": [7], "ranks": [2, 16], "lrs": [0.01, 0.03], "rename_labels": ["red=Red"], "drop_empty": True},
        {"seeds": 3, "layers": "top1", "targets": ["query"], "budget": "90s", "test_fraction": 0.2, "delta": 0.1},
        {"layers": [0, 1], "alpha_over_r": 1.0, "schedule": "cosine", "epochs": 2, "head": "prompts", "lr": 1e-5},
    ],
)
def test_the_command_that_is_written_asks_for_the_same(capsys, monkeypatch, letters_bert, tmp_path, flags):
    texts = ["".join("abc"[(i // 3**k) % 3] for k in range(5)) for i in range(200)]
    labels = [("red" if i % 50 == 0 else {"a": "Red", "b": "green", "c": "blue"}[t[0]]) for i, t in enumerate(texts)]
    data = tmp_path / "two words.csv"
    pl.DataFrame({"text": texts, "label": labels}).write_csv(data)
    given = {"data": str(data), "model": str(letters_bert), "head": "trained", "rename_labels": ["red=Red"], **flags}
    words = asks_for_the_same(capsys, monkeypatch, given, tmp_path / "out")
    assert "--prompt" not in words  # its default
    assert words.count("--data") == 1


def test_the_command_for_a_language_model_asks_for_the_same(capsys, monkeypatch, tmp_path):
    model, data = save_llama(tmp_path / "llama"), tmp_path / "t.csv"
    pl.DataFrame({"text": [f"word {i}" for i in range(60)], "label": ["x", "y"] * 30}).write_csv(data)
    given = {"data": str(data), "model": str(model), "ranks": [1, 2], "template": "Text: {} Label:", "max_length": 64}
    words = asks_for_the_same(capsys, monkeypatch, given, tmp_path / "out")
    assert words[words.index("--template") + 1] == "Text: {} Label:"
    assert words[words.index("--task") + 1] == "labels"
    assert "--prompt" not in words
