"""Tables and splits: every format, every fault in one sentence, nested and disjoint sets."""

import numpy as np
import polars as pl
import pytest

from lorabound.data import Labelled, read_table, split, words
from lorabound.errors import DataError

FRAME = pl.DataFrame({"text": ["one, two", 'a "quoted" one', "ünï"], "label": ["x", "y", "x"]})


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet", "CSV"])
def test_formats_agree(tmp_path, ending):
    path = tmp_path / f"data.{ending}"
    kind = ending.lower()
    if kind == "parquet":
        FRAME.write_parquet(path)
    elif kind in ("jsonl", "ndjson"):
        FRAME.write_ndjson(path)
    else:
        FRAME.write_csv(path, separator="\t" if kind == "tsv" else ",")
    table = read_table(path)
    assert (table.examples, table.labels) == (FRAME["text"].to_list(), FRAME["label"].to_list())


def test_numeric_labels_and_other_column_names(tmp_path):
    path = tmp_path / "data.parquet"
    pl.DataFrame({"sentence": ["a", "b"], "y": [0, 1]}).write_parquet(path)
    assert read_table(path, "sentence", "y").labels == ["0", "1"]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("missing.csv", None, "no data file .*missing.csv"),
    ("empty.csv", "", "empty.csv is empty"),
    ("header.csv", "text,label\n", "has a header but no rows"),
    ("columns.csv", "word,lang\na,b\n", "has no column 'text', only word, lang: name the columns with --text-column"),
    ("hole.csv", "text,label\na,b\nc,\n,d\n", r"1 row has no text .line 4., 1 row has no label .line 3.: leave them out with --drop-empty"),
    ("ragged.csv", "text,label\na,b\nc,d,e\n", "line 3 has 3 columns instead of 2"),
    ("data.xlsx", "x", "unknown format '.xlsx', use .csv"),
    ("broken.parquet", "not parquet", "broken.parquet cannot be read"),
    ("broken.jsonl", "{nonsense", "line 1 begins a record and does not end it"),
    ("binary.csv", b"\xff\xfe\x00text", "binary.csv"),
    ("nested.jsonl", '{"text": ["a"], "label": "x"}\n', "column 'text' holds lists in 1 row .line 1: ..a..., it must hold one text per row"),
])  # fmt: skip
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def table(n, name="t", classes=3):
    return Labelled(name, [f"text {i}" for i in range(n)], [f"class {i % classes}" for i in range(n)])


def test_training_sets_are_nested_and_the_test_set_stays():
    small, large = split(table(100), 10, 30), split(table(100), 60, 30)
    assert small.sha256 == large.sha256
    assert small.train_examples[:10] == large.train_examples[:10]
    assert not set(large.train_examples) & set(large.test_examples)
    assert len(large.test_examples) == 30
    assert split(table(100), 10, 30, seed=1).sha256 != small.sha256


def test_the_shuffle_is_the_documented_one():
    order = np.argsort(np.random.Philox(key=5).random_raw(20), kind="stable")
    made = split(table(20), 5, 5, seed=5)
    assert made.train_examples + made.test_examples == [f"text {i}" for i in order]


def test_labels_follow_their_texts():
    made = split(table(50), 10, 10)
    for texts, labels in ((made.train_examples, made.train_labels), (made.test_examples, made.test_labels)):
        for text, label in zip(texts, labels, strict=True):
            assert made.classes[label] == f"class {int(text.split()[1]) % 3}"


def test_test_rows_whose_text_stands_in_the_pool_are_removed():
    base = table(60)
    order = np.argsort(np.random.Philox(key=0).random_raw(62), kind="stable")
    doubled = Labelled("t", [*base.examples, "  TEXT 7", "text  8"], [*base.labels, "class 1", "class 0"])
    made = split(doubled, 10, 20)
    pool = {" ".join(doubled.examples[i].casefold().split()) for i in order[:42]}
    tail = [doubled.examples[i] for i in order[42:]]
    assert made.test_examples == [t for t in tail if " ".join(t.casefold().split()) not in pool]
    assert made.n_removed == 20 - len(made.test_examples) > 0  # this seed puts a pair on both sides
    assert len(made.train_examples) == 42


def test_repeated_rows_of_one_side_stay():
    test = Labelled("test", ["new", "new", "old", "NEW"], ["x", "y", "x", "x"])
    made = split(Labelled("pool", ["a", "a", "old"], ["x", "y", "x"]), 3, 4, test=test)
    assert sorted(made.train_examples) == ["a", "a", "old"]
    assert sorted(made.test_examples) == ["NEW", "new", "new"]
    assert made.n_removed == 1


def test_holdout_limit_holds_on_a_population_with_a_frequent_text():
    """One text is 5% of all rows and always wrong, ten rare ones too. The limit speaks of the texts outside the
    pool: violations over 2,000 samples may not exceed delta beyond chance (binomial, 1e-4).
    """
    from scipy import stats

    from lorabound.bounds import holdout

    random = np.random.default_rng(0)
    violations = tested = 0
    for _ in range(2000):
        frequent = random.random(60) < 0.05
        ids = np.where(frequent, 0, random.integers(1, 200, 60))  # text 0 is frequent, texts 1-10 are errors too
        made = split(Labelled("t", [f"text {i}" for i in ids], ["x", "y"] * 30), 10, 30)
        wrong = {"text 0", *(f"text {i}" for i in range(1, 11))}
        outside = [i for i in range(200) if f"text {i}" not in set(made.train_examples)]
        mass = np.array([0.05 if i == 0 else 0.95 / 199 for i in outside])
        risk = float(mass[[f"text {i}" in wrong for i in outside]].sum() / mass.sum())
        errors = sum(text in wrong for text in made.test_examples)
        violations += holdout(errors, len(made.test_examples), 0.1).value < risk
        tested += len(made.test_examples)
    assert tested > 10_000
    assert stats.binom.sf(violations - 1, 2000, 0.1) > 1e-4, violations


def test_a_label_column_of_nothing_but_different_values_is_questioned():
    with pytest.raises(DataError, match="t has 50 different labels in 50 rows: is it the right label column"):
        split(table(50, classes=50), 10, 10)


def test_nothing_left_to_test_on():
    with pytest.raises(DataError, match="test rows stand in the training pool too: nothing is left"):
        split(Labelled("t", ["a", "b"] * 50, ["x", "y"] * 50), 10, 20)


def test_too_few_rows_and_one_class():
    with pytest.raises(DataError, match="t has 50 rows: too few for 40 training rows beside 20 test rows"):
        split(table(50), 40, 20)
    with pytest.raises(DataError, match="t has 50 rows: too few for 10 training rows beside 60 test rows"):
        split(table(50), 10, 60)
    with pytest.raises(DataError, match="t has 50 rows, fewer than the 60 of n_test"):
        split(table(80, "pool"), 10, 60, test=table(50))
    with pytest.raises(DataError, match="one class only .'class 0'."):
        split(table(50, classes=1), 10, 10)


def test_words():
    """The counts of wordfreq 3.1.1's word lists; the words of a language stand in no other language's list."""
    table = words()
    assert len(table) == 203_490
    assert len(set(table.examples)) == len(table)
    assert sorted(set(table.labels)) == [
        "Dutch", "English", "Finnish", "French", "German", "Italian", "Polish", "Portuguese", "Spanish", "Swedish",
    ]  # fmt: skip
    assert dict(zip(table.examples, table.labels, strict=True))["kirja"] == "Finnish"
