"""One check of the data: everything that is wrong is told at once, in every format, for training and test data alike."""

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lorabound.data import Labelled, check_data, fit_sizes, renamed, without_rare
from lorabound.data.findings import DataCheck
from lorabound.data.sizes import round_down
from lorabound.errors import DataError
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.look import look_at
from lorabound.sweeps.material import read_material
from lorabound.sweeps.resume import as_resumed
from tests.commands import shown


def table(counts, name="t", texts=None):
    labels = [label for label, count in counts.items() for _ in range(count)]
    return Labelled(name, texts or [f"text number {i}" for i in range(len(labels))], labels)


def messy():
    """60 rows: two empty texts, an empty label, a label in two spellings, a misspelt one, repeats and a torn text."""
    rows = [(f"text number {i}", ("Billing", "Login", "Other")[i % 3]) for i in range(60)]
    rows[3], rows[7] = ("", "Billing"), ("", "Login")
    rows[10] = ("text number 10", "")
    rows[12], rows[13] = ("text number 12", "billing"), ("text number 13", "Logins")
    rows[20] = ("Text  number 21", "Other")  # row 21 has the same text, and says Billing
    return rows


def save(rows, path):
    frame = pl.DataFrame({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    match path.suffix:
        case ".csv":
            frame.write_csv(path)
        case ".tsv":
            frame.write_csv(path, separator="\t")
        case ".parquet":
            frame.write_parquet(path)
        case _:
            path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_everything_is_told_at_once_in_every_format(tmp_path, ending):
    path = save(messy(), tmp_path / f"data{ending}")
    seen = look_at(SweepConfig(data=str(path)))
    assert len(seen.faults) == 3
    assert seen.faults[0].startswith("2 texts are empty (")
    assert seen.faults[1].startswith("1 label is empty (")
    assert "'Billing' (19 rows), 'billing' (1 row)" in seen.faults[2]
    assert seen.flags == ("--drop-empty", "--rename-label billing=Billing")
    remarks = " ".join(seen.remarks)
    assert "'Logins' (1 row) may be 'Login' (18 rows)" in remarks
    assert "1 row repeats the text of an earlier row" in remarks
    assert "1 text has more than one label: 'text number 21'" in remarks
    with pytest.raises(DataError) as refused:
        read_material(SweepConfig(data=str(path)))
    assert all(fault in str(refused.value) for fault in seen.faults)
    assert "add  --drop-empty --rename-label billing=Billing" in str(refused.value)
    assert "\n" not in str(refused.value)
    mended = SweepConfig(data=str(path), drop_empty=True, rename_labels={"billing": "Billing", "Logins": "Login"})
    material = read_material(mended)
    assert material.check.counts == {"Other": 20, "Billing": 19, "Login": 18}
    assert set(material.divided.classes) == {"Billing", "Login", "Other"}
    said = " ".join(material.check.remarks)
    assert "left out 3 rows (--drop-empty)" in said
    assert "1 row of 'billing' renamed to 'Billing'" in said


@pytest.mark.parametrize("where", ["train", "test"])
def test_faults_of_both_tables_are_told_together(tmp_path, where):
    good = [(f"good {i}", "ab"[i % 2] * 3) for i in range(40)]
    bad = [("", "aaa"), ("x", ""), *((f"bad {i}", "ab"[i % 2] * 3) for i in range(38))]
    train = save(bad if where == "train" else good, tmp_path / "train.csv")
    test = save(good if where == "train" else bad, tmp_path / "test.csv")
    with pytest.raises(DataError, match=r"1 text is empty.*1 label is empty.*--drop-empty"):
        read_material(SweepConfig(data=str(train), test_data=str(test)))
    material = read_material(SweepConfig(data=str(train), test_data=str(test), drop_empty=True))
    assert any("left out 2 rows (--drop-empty)" in remark for remark in material.check.remarks)
    with pytest.raises(DataError, match=r"nowhere\.csv.*neither\.csv"):
        read_material(SweepConfig(data=str(tmp_path / "nowhere.csv"), test_data=str(tmp_path / "neither.csv")))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_what_stands_for_no_label_is_named(tmp_path, ending):
    rows = [(f"text {i}", "-1" if i % 10 == 0 else "01"[i % 2]) for i in range(40)]
    path = save(rows, tmp_path / f"unlabelled{ending}")
    with pytest.raises(DataError, match="4 labels are empty .*; '-1' is read as no label"):
        read_material(SweepConfig(data=str(path)))
    assert read_material(SweepConfig(data=str(path), drop_empty=True)).divided.classes == ["0", "1"]


def test_rare_numbered_and_single_classes():
    rare = " ".join(check_data(table({"Apple": 40, "Pear": 30, "Quince": 2, "Fig": 1})).remarks)
    assert "'Quince', 'Fig': 2 classes of one or two rows" in rare
    assert "--min-class-rows 3" in rare
    assert any("labels are numbers (0, 1" in remark for remark in check_data(table({"0": 20, "1": 20})).remarks)
    assert not any("numbers" in remark for remark in check_data(table({"0": 20, "1": 20}), prompts=False).remarks)
    assert "one class only, 'Apple'" in check_data(table({"Apple": 9})).faults[0]
    assert "is it the right label column" in check_data(table({f"l{i}": 1 for i in range(20)})).faults[0]


@pytest.mark.parametrize(("seldom", "often", "alike"), [
    ("Biling", "Billing", True), ("Bililng", "Billing", True), ("Tickets", "Ticket", True), ("boxes", "box", True),
    ("Refunds ", "Refund", True), ("class 1", "class 2", False), ("positive", "negative", False),
    ("cat", "car", False), ("Fraud", "Billing", False),
])  # fmt: skip
def test_misspelt_labels_are_pointed_out_and_different_ones_are_not(seldom, often, alike):
    seen = check_data(table({often: 60, "Something else": 40, seldom: 2}))
    assert any(f"may be {often!r}" in remark for remark in seen.remarks) is alike
    if alike:
        assert any(f"--rename-label {seldom.strip()}" in remark.replace("'", "") for remark in seen.remarks)


def test_spellings_of_one_name_are_two_classes_where_no_prompt_is_made_of_them():
    counts = {"Cat": 20, "cat": 20, "Dog": 20}
    assert check_data(table(counts)).faults
    kept = check_data(table(counts), prompts=False)
    assert kept.usable
    assert any("kept as different classes" in remark for remark in kept.remarks)
    letters = check_data(table({"a": 20, "A": 20}))  # single characters: handwriting has both
    assert letters.usable
    assert letters.remarks


def test_a_test_set_of_other_classes():
    train = table({"pos": 20, "neg": 20})
    none = check_data(train, Labelled("test", ["a", "b"], ["positive", "negative"]))
    assert "no class of the test set" in none.faults[0]
    some = check_data(train, Labelled("test", ["a", "b", "text number 3"], ["pos", "mixed", "neg"]))
    assert some.usable
    assert any(remark.startswith("'mixed' stands in the test set only (1 row)") for remark in some.remarks)
    assert any("1 row of test stand in t too" in remark for remark in some.remarks)
    _, left = without_rare(train, Labelled("test", ["a", "b"], ["pos", "mixed"]), 2)
    assert left.labels == ["pos"]
    assert "left out 1 row of 'mixed': fewer than 2 rows per class" in left.notes[0]


def test_renaming_says_what_it_did_and_what_it_did_not():
    got = renamed(table({"a1": 3, "b1": 2}), {"a1": "alpha", "gone": "x"})
    assert got.labels == ["alpha"] * 3 + ["b1"] * 2
    assert "3 rows of 'a1' renamed to 'alpha'" in got.notes[0]
    assert "no row is labelled 'gone'" in got.notes[1]


def test_long_texts_are_counted_by_tokens_where_the_tokenizer_is_here(tmp_path):
    rows = [("word " * (40 if i % 4 == 0 else 3) + str(i), "ab"[i % 2] * 3) for i in range(80)]
    path = save(rows, tmp_path / "long.csv")
    material = read_material(SweepConfig(data=str(path), max_length=32))
    assert any(line.startswith("20 of 80 texts have more than 32 tokens") for line in material.sentences)
    assert any("--max-length 64 keeps 100%" in line for line in material.sentences)
    assert material.lengths.max() == 32
    assert not any("tokens" in line for line in read_material(SweepConfig(data=str(path), max_length=64)).sentences)
    seen = look_at(SweepConfig(data=str(path)))
    assert any("20 of 80 texts have more than 144 characters" in remark for remark in seen.remarks)


def test_image_folders_are_checked_and_decoded(tmp_path):
    pixels = np.random.default_rng(0)
    for i in range(24):
        folder = tmp_path / "photos" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "cat" / "broken.png").write_bytes(b"no image")
    seen = look_at(SweepConfig(data=str(tmp_path / "photos")))
    assert seen.kind == "images"
    assert seen.counts == {"cat": 13, "dog": 12}
    assert seen.faults[0].startswith("1 of 25 images cannot be decoded: ")
    assert "broken.png" in seen.faults[0]
    assert seen.flags == ("--skip-corrupt",)
    assert "tests on 12" in seen.sizes


def test_a_table_of_images_is_recognized_by_its_column(tmp_path):
    for i in range(12):
        Image.fromarray(np.full((4, 4), i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    pl.DataFrame({"image": [f"{i}.png" for i in range(12)], "label": ["cat", "dog"] * 6}).write_csv(tmp_path / "t.csv")
    assert look_at(SweepConfig(data=str(tmp_path / "t.csv"))).kind == "images"
    with pytest.raises(DataError, match="no column 'text'"):
        look_at(SweepConfig(data=str(tmp_path / "t.csv"), image_column="photo"))


def test_the_report_has_the_answer_first_and_80_columns():
    counts = {f"a class with a rather long name, number {i}": 40 - i for i in range(30)}
    seen = check_data(table(counts | {"Biling": 1}), table({"x": 3}, "test"))
    written = shown(seen)
    assert max(map(len, written.splitlines())) <= 80
    assert written.startswith("t cannot be used yet, 1 thing to mend: ")
    assert "... 10 more" in written
    fine = shown(check_data(table({"Apple": 30, "Pear": 20})))
    assert fine.startswith("t can be used: 50 rows, 2 classes.")
    assert "Worth knowing" not in fine


def test_many_classes_are_named_by_their_ends():
    line = check_data(table({f"kind {i:03}": 100 - i for i in range(50)})).classes_line
    assert "50 classes: kind 000 100, " in line
    assert line.endswith("kind 049 51")
    assert len(line) < 200
    assert (
        DataCheck(
            name="t", kind="texts", counts={"a": 1}, test_counts=None, faults=(), flags=(), remarks=()
        ).classes_line
        == "1 row, 1 class: a 1"
    )


@pytest.mark.parametrize(("rows", "n_train", "n_test", "own", "expected"), [
    (203_490, None, None, None, ([100, 500], 2000)), (2000, None, None, None, ([100, 500], 500)),
    (1200, [200], None, None, ([200], 300)), (2000, [500, 1600], None, None, ([500, 1600], 400)),
    (600, None, 300, None, ([60, 300], 300)), (100, None, None, None, ([50], 50)), (20, None, None, None, ([10], 10)),
    (300, None, None, 9000, ([60, 300], 2000)), (300, [250], None, 40, ([250], 40)), (1000, [100], 800, None, ([100], 800)),
])  # fmt: skip
def test_sizes_follow_from_the_data(rows, n_train, n_test, own, expected):
    assert fit_sizes("t", rows, 10, n_train, n_test, own) == (expected if rows != 100 else ([50], 50))


@pytest.mark.parametrize(("rows", "n_train", "n_test", "says"), [
    (2000, [500, 2000], None, "at most 1,500 can be trained on beside 500 test rows, not 2,000; give --n-train 500,1500"),
    (2000, [500, 2000], 2000, "leaves none to train on: give --n-test 500 --n-train 500,1500"),
    (600, [500], 200, "at most 400 can be trained on beside 200 test rows, not 500; give --n-train 400, or a smaller --n-test"),
    (100, None, 100, "a test set of 100 leaves none to train on: give --n-test 50, or leave it out"),
    (3, None, None, "3 rows: too few to train on some and to test on others"),
])  # fmt: skip
def test_sizes_that_do_not_fit_name_what_does(rows, n_train, n_test, says):
    with pytest.raises(DataError) as refused:
        fit_sizes("t", rows, 3, n_train, n_test)
    assert says in str(refused.value)


@pytest.mark.parametrize("rows", [4, 5, 9, 17, 40, 101, 333, 999, 4321, 100_000])
@pytest.mark.parametrize("classes", [2, 30])
def test_what_is_worked_out_always_fits_and_is_round(rows, classes):
    sizes, n_test = fit_sizes("t", rows, classes, None, None)
    assert max(sizes) + n_test <= rows
    assert all(size == round_down(size) for size in sizes)
    assert n_test >= 2
    assert sizes == sorted(set(sizes))


def test_a_sweep_that_goes_on_keeps_its_test_size(tmp_path):
    from lorabound.sweeps import Sweep

    path = save([(f"text {i}", "ab"[i % 2] * 3) for i in range(100)], tmp_path / "d.csv")
    asked = SweepConfig(data=str(path))
    first = read_material(as_resumed(asked, tmp_path / "out"))
    assert (first.config.n_train, first.config.n_test) == ([10, 50], 50)
    Sweep.open_or_create(tmp_path / "out", {"config": first.config.model_dump(mode="json")}).close()
    again = read_material(as_resumed(asked, tmp_path / "out"))
    assert again.config == first.config
    assert again.divided.sha256 == first.divided.sha256
    fewer = read_material(as_resumed(SweepConfig(data=str(path), n_train=[20, 50]), tmp_path / "out"))
    assert fewer.divided.sha256 == first.divided.sha256
    with pytest.raises(DataError, match="at most 50 can be trained on beside 50 test rows"):
        read_material(as_resumed(SweepConfig(data=str(path), n_train=[80]), tmp_path / "out"))
    assert read_material(SweepConfig(data=str(path), n_train=[80])).config.n_test == 20


def test_dropping_empty_rows_of_a_named_task_is_answered():
    seen = look_at(SweepConfig(data="digits", drop_empty=True))
    assert "digits: no row is without image or label, so --drop-empty left out none." in " ".join(shown(seen).split())
    assert "--drop-empty" not in shown(look_at(SweepConfig(data="digits")))
