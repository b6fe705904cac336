"""One rule behind every reader: the same rows give the same table, or the same refusal, in every format."""

import csv
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lorabound.data import load_images, load_table, read_table
from lorabound.errors import DataError

NAN = float("nan")


def spelled_by_pandas(value):
    return "" if value is None or value != value else str(value)


def spelled_by_polars(value):
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value).replace("nan", "NaN")


def to_csv(path, columns, delimiter=",", spell=spelled_by_pandas):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(
            [value if isinstance(value, str) else spell(value) for value in row]
            for row in zip(*columns.values(), strict=True)
        )
    return path


def to_json(path, columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)) if path.suffix != ".json" else json.dumps(rows, indent=1))
    return path


def to_parquet(path, columns):
    pl.DataFrame(columns, strict=False).write_parquet(path)
    return path


def to_disk(path, columns, names=None):
    import datasets

    rows = datasets.Dataset.from_dict(columns)
    if names:
        rows = rows.cast_column("label", datasets.ClassLabel(names=names))
    rows.save_to_disk(path)
    return path


TYPED = {
    "jsonl": lambda folder, columns: to_json(folder / "data.jsonl", columns),
    "json": lambda folder, columns: to_json(folder / "data.json", columns),
    "parquet": lambda folder, columns: to_parquet(folder / "data.parquet", columns),
    "save_to_disk": lambda folder, columns: to_disk(folder / "disk", columns),
    "arrow": lambda folder, columns: next(to_disk(folder / "disk", columns).glob("*.arrow")),
}  # fmt: skip
ALL = TYPED | {
    "csv": lambda folder, columns: to_csv(folder / "data.csv", columns),
    "csv of polars": lambda folder, columns: to_csv(folder / "data.csv", columns, spell=spelled_by_polars),
    "csv with semicolons": lambda folder, columns: to_csv(folder / "data.csv", columns, ";"),
    "tsv": lambda folder, columns: to_csv(folder / "data.tsv", columns, "\t"),
}  # fmt: skip


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize(("labels", "classes"), [
    (["good", "bad", "good", "bad"], ["good", "bad", "good", "bad"]),
    ([1, 0, 1, 0], ["1", "0", "1", "0"]),
    ([-1, 1, 1, -1], ["-1", "1", "1", "-1"]),
    ([-2, -1, 0, 1], ["-2", "-1", "0", "1"]),
    ([1.0, 0.0, 1.0, 0.0], ["1", "0", "1", "0"]),
    ([True, False, True, False], ["true", "false", "true", "false"]),
    (["TRUE", "FALSE", "TRUE", "FALSE"], ["true", "false", "true", "false"]),
    ([1e5, 2e5, 1e5, 2e5], ["100000", "200000", "100000", "200000"]),
    (["1e+05", "2E5", "100000", "2e5"], ["100000", "200000", "100000", "200000"]),
    (["01", "02", "01", "02"], ["01", "02", "01", "02"]),
    (["1", "1.5", "x", "x"], ["1", "1.5", "x", "x"]),
    ([" good", "bad ", "good", "bad"], ["good", "bad", "good", "bad"]),
    (["none", "against", "none", "for"], ["none", "against", "none", "for"]),
    (["True", "maybe", "True", "maybe"], ["True", "maybe", "True", "maybe"]),
])  # fmt: skip
def test_labels_mean_the_same_in_every_format(tmp_path, form, labels, classes):
    path = ALL[form](tmp_path, {"text": ["a", "b", "c", "d"], "label": labels})
    assert load_table(path).labels == classes


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize(("labels", "message"), [
    (["x", None, "y", "x"], "1 row has no label ("),
    (["x", "", "y", None], "2 rows have no label ("),
    (["x", " \u200b", "y", "x"], "1 row has no label ("),
    ([1.0, NAN, 0.0, 1.0], "1 row has no label ("),
    ([None, None, None, None], "every row has no label ("),
    ([-1, 0, 1, -1], "2 rows have no label ("),
    ([1, 2, 3, -100], "1 row has no label ("),
    (["x", "-1", "y", "-1"], "2 rows have no label ("),
    (["x", "NaN", "y", "nan"], "2 rows have no label ("),
    (["x", "None", "null", "N/A"], "3 rows have no label ("),
    ([0.5, 1.0, 2.0, 3.5], "column 'label' looks like a number to predict, not a class ("),
    (["0,5", "1,0", "2,25", "1"], "column 'label' looks like a number to predict, not a class ("),
])  # fmt: skip
def test_what_is_no_class_is_refused_in_every_format(tmp_path, form, labels, message):
    path = ALL[form](tmp_path, {"text": ["a", "b", "c", "d"], "label": labels})
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert f"{path}: {message}" in str(caught.value)


@pytest.mark.parametrize("form", TYPED)
@pytest.mark.parametrize(("columns", "message"), [
    ({"text": list("abcd"), "label": [["x"], ["x", "y"], [], ["y"]]}, "column 'label' holds lists in 4 rows ("),
    ({"text": list("abcd"), "label": [{"en": "x"}] * 4}, "column 'label' holds records in 4 rows ("),
    ({"text": [{"en": "x"}] * 4, "label": list("xyxy")}, "column 'text' holds records in 4 rows ("),
    ({"text": [["x", "y"]] * 4, "label": list("xyxy")}, "column 'text' holds lists in 4 rows ("),
])  # fmt: skip
def test_lists_and_records_are_no_labels_and_no_texts(tmp_path, form, columns, message):
    with pytest.raises(DataError) as caught:
        load_table(TYPED[form](tmp_path, columns))
    assert message in str(caught.value)


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize(("texts", "message"), [
    ([0, 1, 2, 3], "column 'text' holds numbers, not texts: name the column of texts with --text-column"),
    ([0.5, NAN, 2.0, 3.0], "column 'text' holds numbers, not texts"),
    ([True, False, True, None], "column 'text' holds true or false, not texts"),
    (["a", None, "", "d"], "2 rows have no text ("),
])  # fmt: skip
def test_texts_mean_the_same_in_every_format(tmp_path, form, texts, message):
    with pytest.raises(DataError) as caught:
        load_table(ALL[form](tmp_path, {"text": texts, "label": list("xyxy")}))
    assert message in str(caught.value)


def test_a_number_among_texts_is_a_text_and_zero_is_not_empty(tmp_path):
    path = to_json(tmp_path / "data.jsonl", {"text": ["a", 0, "nan", "d"], "label": list("xyxy")})
    table = load_table(path)
    assert table.examples == ["a", "0", "nan", "d"]
    assert table.notes == (f"{path}: 'nan' is read as a text, in 1 row.",)


def recorded(tmp_path, form, numbers, names):
    """A data set whose labels are numbers with recorded names."""
    import datasets

    columns = {"text": [f"text {i}" for i in range(len(numbers))], "label": numbers}
    disk = to_disk(tmp_path / "disk", columns, names)
    if form == "arrow":
        return next(disk.glob("*.arrow"))
    if form == "parquet":
        datasets.load_from_disk(disk).to_parquet(tmp_path / "data.parquet")
        return tmp_path / "data.parquet"
    if form == "save_to_disk, another format":
        datasets.load_from_disk(disk).with_format("numpy").save_to_disk(tmp_path / "again")
        return tmp_path / "again"
    return disk


RECORDED = ("save_to_disk", "save_to_disk, another format", "parquet", "arrow")


@pytest.mark.parametrize("form", RECORDED)
def test_recorded_class_names_are_used_and_said(tmp_path, form):
    path = recorded(tmp_path, form, [1, 0, 1], ["None", "spam"])
    table = load_table(path)
    assert table.labels == ["spam", "None", "spam"]
    assert table.notes == (
        f"{path}: the labels are numbers and are read as the class names that the data set records: "
        "0 = None, 1 = spam.",
    )


@pytest.mark.parametrize("form", RECORDED)
def test_minus_one_is_unlabelled_where_names_are_recorded(tmp_path, form):
    path = recorded(tmp_path, form, [1, -1, 0, -1, None], ["ham", "spam"])
    with pytest.raises(
        DataError, match="3 rows have no label .rows 2, 4, 5; '-1' in 2 of them.: leave them out with.*in$"
    ):
        load_table(path)
    table = load_table(path, empty="drop")
    assert (table.labels, table.places) == (["spam", "ham"], ["row 1", "row 3"])
    assert "left out 3 rows (--drop-empty): 3 rows have no label" in table.notes[-1]
    assert load_table(path, empty="keep").labels == ["spam", "", "ham", "", ""]


def test_a_split_without_any_label_says_so(tmp_path):
    with pytest.raises(DataError, match="every row has no label .*all hold '-1'.: name another column, split or file"):
        load_table(recorded(tmp_path, "save_to_disk", [-1, -1], ["ham", "spam"]))


def test_numbers_without_a_recorded_name_are_refused(tmp_path):
    import datasets

    columns = {"text": ["a", "b", "c"], "label": [0, 1, 7]}
    rows = datasets.Dataset.from_dict(columns)
    rows.to_parquet(tmp_path / "data.parquet")
    frame = pl.read_parquet(tmp_path / "data.parquet")
    names = {"info": {"features": {"label": {"names": ["ham", "spam"], "_type": "ClassLabel"}}}}
    frame.write_parquet(tmp_path / "named.parquet", metadata={"huggingface": json.dumps(names)})
    with pytest.raises(DataError, match="no name for 1 label .row 3: 7.: the data set records the names of 0 to 1"):
        load_table(tmp_path / "named.parquet")


def test_every_hole_is_told_at_once_dropped_or_kept(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("text,label\na,x\n,y\nc,\n,\ne,y\nf,N/A\n")
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert str(caught.value) == (
        f"{path}: 2 rows have no text (lines 3, 5), 3 rows have no label (lines 4, 5, 7; 'N/A' in 1 of them): leave "
        "them out with --drop-empty, or fill them in; if 'N/A' is a class, write a word for it"
    )
    dropped = load_table(path, empty="drop")
    assert (dropped.examples, dropped.labels, dropped.places) == (["a", "e"], ["x", "y"], ["line 2", "line 6"])
    assert dropped.notes == (
        f"{path}: left out 4 rows (--drop-empty): 2 rows have no text (lines 3, 5), 3 rows have no label (lines 4, "
        "5, 7; 'N/A' in 1 of them).",
    )
    kept = load_table(path, empty="keep")
    assert (kept.examples, kept.labels) == (["a", "", "c", "", "e", "f"], ["x", "y", "", "", "y", ""])
    path.write_text("text,label\na,\n,y\n")
    with pytest.raises(DataError, match="no row has both text and label"):
        load_table(path, empty="drop")


def test_several_faults_stand_in_one_sentence(tmp_path):
    path = to_parquet(tmp_path / "data.parquet", {"text": [1, 2, 3], "label": [["x"], ["y"], None]})
    with pytest.raises(DataError, match="column 'text' holds numbers.*; column 'label' holds lists in 2 rows"):
        load_table(path)


SOURCES = ("csv", "jsonl", "paths in parquet", "bytes in parquet", "save_to_disk")


def image_table(folder, form, labels):
    """Images of brightness 0, 10, 20, ..., the third one missing."""
    import datasets

    names = []
    for i in range(len(labels)):
        Image.new("L", (4, 4), 10 * i).save(folder / f"{i}.png")
        names.append(None if i == 2 else f"{i}.png")
    columns = {"image": names, "label": labels}
    if form == "csv":
        return to_csv(folder / "data.csv", columns)
    if form == "jsonl":
        return to_json(folder / "data.jsonl", columns)
    if form == "paths in parquet":
        return to_parquet(folder / "data.parquet", columns)
    paths = [name and str(folder / name) for name in names]
    rows = datasets.Dataset.from_dict({"image": paths, "label": labels}).cast_column("image", datasets.Image())
    if form == "save_to_disk":
        rows.select([0, 1, 2, 3]).save_to_disk(folder / "disk")
        return folder / "disk"
    rows.to_parquet(folder / "data.parquet")
    return folder / "data.parquet"


@pytest.mark.parametrize("form", SOURCES)
@pytest.mark.parametrize(("labels", "refusal", "classes"), [
    (["x", "y", "x", "y"], "1 row has no image (", ["x", "y", "y"]),
    ([True, False, True, False], "1 row has no image (", ["true", "false", "false"]),
    ([1.0, 0.0, NAN, 0.0], "1 row has no image (", ["1", "0", "0"]),
    (["x", "NaN", "x", "y"], "1 row has no label (", ["x", "y"]),
    ([-1, 0, 1, 1], "1 row has no label (", ["0", "1"]),
])  # fmt: skip
def test_image_tables_follow_the_same_rule(tmp_path, form, labels, refusal, classes):
    path = image_table(tmp_path, form, labels)
    with pytest.raises(DataError) as caught:
        load_images(path)
    assert refusal in str(caught.value)
    assert "1 row has no image (" in str(caught.value)
    table = load_images(path, empty="drop")
    assert table.labels == classes
    assert table.examples[-1].decode().getpixel((0, 0)) == (30, 30, 30)
    assert load_images(path, empty="keep").examples[2] == ""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text("ab ,;\t|\"'\n\\ü{[", max_size=12), st.sampled_from(["x", "y", "z z", ""])),
        min_size=1,
        max_size=8,
    )
)
def test_any_rows_read_alike_from_csv_tsv_json_and_parquet(tmp_path, rows):
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    paths = [
        to_csv(tmp_path / "data.csv", columns), to_csv(tmp_path / "bars.csv", columns, "|"),
        to_csv(tmp_path / "data.tsv", columns, "\t"), to_json(tmp_path / "data.jsonl", columns),
        to_parquet(tmp_path / "data.parquet", columns),
    ]  # fmt: skip
    tables = [load_table(path, empty="keep") for path in paths]
    for table in tables:
        assert table.examples == [text.strip() for text in columns["text"]]
        assert table.labels == columns["label"]


def numbered(n, odd, delimiter=","):
    """n lines under a header, label last; ``odd`` replaces some texts."""
    rows = [f"{odd.get(i, f'the phone number {i}')}{delimiter}{'good' if i % 2 else 'bad'}" for i in range(n)]
    return f"text{delimiter}label\n" + "\n".join(rows) + "\n"


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize(("odd", "n_odd"), [
    ({5: '"opens here', 12: 'closes here"'}, 2),
    ({5: '12" screen', 12: 'a 7" and a 9" one'}, 0),
    ({5: '"never closed'}, 1),
    ({5: '"bigger" than the other', 6: '"opens', 9: '"proper"', 11: 'x'}, 2),
    ({30: '" is an inch', 39: '"'}, 2),
])  # fmt: skip
def test_odd_quotes_swallow_no_rows(tmp_path, delimiter, odd, n_odd):
    path = tmp_path / ("data.tsv" if delimiter == "\t" else "data.csv")
    path.write_text(numbered(40, odd, delimiter))
    table = load_table(path)
    assert len(table) == 40
    assert table.labels == ["bad", "good"] * 20
    assert table.examples[20] == "the phone number 20"
    assert table.places[20] == "line 22"
    for i, text in odd.items():
        assert table.examples[i] == (text if text != '"proper"' else "proper")
    notes = [note for note in table.notes if "do not pair up" in note]
    assert len(notes) == (n_odd > 0)


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_odd_quotes_in_a_file_that_quotes_everything_leave_the_labels_alone(tmp_path, delimiter):
    path = tmp_path / ("data.tsv" if delimiter == "\t" else "data.csv")
    texts = ["fine", 'a 12" pizza', f'the "best"{delimiter} of 3" and 4"', '"', 'a ""pair""']
    lines = ['"text"' + delimiter + '"label"', *(f'"{text}"{delimiter}"{"xy"[i % 2]}"' for i, text in enumerate(texts))]
    path.write_text("\n".join(lines))
    table = load_table(path)
    assert table.labels == ["x", "y", "x", "y", "x"]
    assert table.examples == [*texts[:-1], 'a "pair"']
    assert table.notes == (f"{path}: quotes that do not pair up within lines 3, 4, 5 are read as characters.",)


def test_only_the_column_with_the_odd_quote_is_read_as_characters(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('label,text\n"x",fine\n"x","5" or 6\n"y",12" wide\n"y",ok\n')
    table = load_table(path)
    assert (table.labels, table.examples) == (["x", "x", "y", "y"], ["fine", '"5" or 6', '12" wide', "ok"])


def test_a_class_that_stands_only_between_odd_quotes_is_found_too(tmp_path):
    rows = ["label\ttext"] + [f"first\ttext {i}" for i in range(10)] + ['second\t"text']
    path = tmp_path / "data.tsv"
    path.write_text("\n".join([*rows, *(f"second\ttext {i}" for i in range(20)), 'second\ttext"']))
    assert len(load_table(path)) == 32


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv", ";")])
@pytest.mark.parametrize("label_first", [True, False])
def test_texts_of_several_lines_stay_whole_and_are_counted(tmp_path, ending, delimiter, label_first):
    letter = f'Dear all{delimiter} thanks\nI am happy{delimiter} really "happy"\n\nBest{delimiter} Eva'
    columns = {"text": ["short", letter, "short too", letter], "label": ["x", "y", "x", "y"]}
    if label_first:
        columns = dict(reversed(columns.items()))
    path = to_csv(tmp_path / f"data.{ending}", columns, delimiter)
    table = load_table(path)
    assert table.examples == ["short", letter, "short too", letter]
    assert table.places == ["line 2", "line 3", "line 7", "line 8"]
    assert (
        "4 rows, fewer than lines: 8 lines belong to 2 texts between quotes (the first from line 3 to 6)"
        in table.notes[-1]
    )


@pytest.mark.parametrize(("name", "content", "note"), [
    ("semi.csv", b"text;label\na, b;x\nc;y\n", "the columns are separated by semicolons."),
    ("excel.csv", b"sep=;\r\ntext;label\r\na, b;x\r\nc;y\r\n", None),
    ("tab.csv", b"text\tlabel\na, b\tx\nc\ty\n", "the columns are separated by tabs."),
    ("comma.tsv", b'text,label\n"a, b",x\nc,y\n', "the columns are separated by commas."),
    ("bar.csv", b"id|text|label\n1|a, b|x\n2|c|y\n", "the columns are separated by bars."),
    ("bom.csv", b'\xef\xbb\xbftext,label\n"a, b",x\nc,y\n', None),
    ("utf16.csv", 'text,label\n"a, b",x\nc,y\n'.encode("utf-16"), "the file is encoded in UTF-16."),
    ("cr.csv", b'text,label\r"a, b",x\rc,y\r', None),
    ("crlf.csv", b'text,label\r\n"a, b",x\r\nc,y\r\n', None),
    ("blank.csv", b'\n text , label \n"a, b",x\n\n  \nc,y\n\n\n', None),
    ("wide.csv", b'text,label,,\n"a, b",x,,\nc,y\n', None),
    ("spaced.csv", b'text, label\n  "a, b", x\nc, "y"\n', None),
    ("index.csv", b',text,label\n0,"a, b",x\n1,c,y\n', None),
    ("stray.csv", b'text,label\n"a,\r b",x\nc,y\n', "read as spaces: 1 carriage return within lines."),
    ("bom.jsonl", b'\xef\xbb\xbf{"text": "a, b", "label": "x"}\r\n\r\n{"label": "y", "text": "c"}', None),
    ("list.jsonl", b'[{"text": "a, b", "label": "x"},\n {"text": "c", "label": "y"}]', "the file is one JSON list"),
])  # fmt: skip
def test_usable_files_are_read_and_what_is_unusual_is_said(tmp_path, name, content, note):
    path = tmp_path / name
    path.write_bytes(content)
    table = load_table(path)
    assert [" ".join(text.split()) for text in table.examples] == ["a, b", "c"]
    assert table.labels == ["x", "y"]
    assert len(table.notes) == (note is not None)
    assert all(f"{path}: {note}" in found for found in table.notes)


@pytest.mark.parametrize(("name", "content", "message"), [
    ("ragged.csv", "text,label\na,b\nc,d,e\nf\n", "line 3 has 3 columns instead of 2 (1 more line like it): put double quotes"),
    ("excel.csv", "sep=;\n\n", "excel.csv is empty"),
    ("names.csv", "text,label\n1,a,b\n2,c,d\n", "every line has 3 columns instead of 2, as the header has: give each column a name in line 1"),
    ("data.csv.gz", "", "unknown format '.gz', use .csv, .tsv, .jsonl, .ndjson, .json, .parquet; unpack it first"),
    ("open.csv", 'text,label\na,b\n"c, d,e\n', "line 3 has quotes that do not pair up"),
    ("twice.csv", "text,label,label\na,b,c\n", "2 columns are called 'label': rename all but one"),
    ("bare.csv", "nice phone,good\nbad phone,bad\nok,good\n", "has no column 'text', only nice phone, good: its first line looks like data"),
    ("other.csv", "Text,Label\na,b\n", "only Text, Label: name the columns with --text-column and --label-column"),
    ("one.csv", "just words\nand more\n", "has no column 'text', only just words"),
    ("latin.csv", "text,label\na,b\nü,b\n".encode("latin-1"), "line 3 is not UTF-8; convert it (iconv"),
    ("zero.csv", "text,label\na,b\n".encode("utf-16-le"), "line 1 holds zero bytes; if it is UTF-16, convert it (iconv"),
    ("excel.csv", b"PK\x03\x04abc", "is a zip archive or an Excel workbook, not text"),
    ("comma.jsonl", '{"text": "a", "label": "b"},\n{"text": "c", "label": "d"}\n', "line 1 ends with a comma: take the commas"),
    ("pretty.jsonl", '{\n "text": "a",\n "label": "b"\n}\n', "line 1 begins a record and does not end it: write each record on one line"),
    ("two.jsonl", '{"text": "a", "label": "b"}{"text": "c", "label": "d"}\n', "line 1 holds more than one record: write each"),
    ("half.jsonl", '{"text": "a", "label": "b"}\n{"text": c}\n', "line 2 is not JSON (Expecting value at character 10)"),
    ("words.jsonl", '{"text": "a", "label": "b"}\n"c"\n', "line 2 holds 'c', not a record"),
    ("twice.jsonl", '{"text": "a", "label": "b", "label": "c"}\n', "line 1 holds 'label' twice: leave one of them out"),
    ("list.json", '[{"text": "a", "label": "b"},\n]', "the file begins as a list with ["),
    ("entry.json", '[{"text": "a", "label": "b"}, 7]', "entry 2 of its list is 7, not a record"),
    ("deep.jsonl", "[" * 100_000, "it is not JSON (records too deep)"),
    ("late.jsonl", '{"text": "a", "label": "b"}\n' * 150 + '{"text": "a"}\n', "1 row has no label (line 151)"),
    ("sums.jsonl", '{"text": "a", "label": 1}\n' * 150 + '{"text": "a", "label": "x"}\n{"text": "b", "label": [1]}\n', "(line 152: [1])"),
])  # fmt: skip
def test_faults_name_the_line_and_the_mend(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content"), [
    ("wide.csv", ",".join(f"column {i}" for i in range(5000)) + "\n"),
    ("long.csv", "x" * 100_000 + ",label\n"),
    ("long.jsonl", '"' + "x" * 100_000 + '"\n'),
    ("keys.jsonl", json.dumps({f"key {i}" * 50: i for i in range(500)})),
    ("value.jsonl", json.dumps({"text": ["x" * 100_000], "label": ["y" * 1000] * 10})),
    ("labels.csv", "text,label\n" + "".join(f"a,{0.5 + i}{'0' * 1000}\n" for i in range(10))),
])  # fmt: skip
def test_no_message_is_longer_than_a_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        load_table(path)
    assert len(str(caught.value)) <= 400 + len(str(path))


def test_a_column_cannot_be_text_and_label(tmp_path):
    path = to_csv(tmp_path / "data.csv", {"text": ["a"], "label": ["b"]})
    with pytest.raises(DataError, match="column 'text' is to hold examples and labels"):
        read_table(path, "text", "text")


def test_long_documents_are_read(tmp_path):
    text = "word " * 50_000
    table = load_table(to_csv(tmp_path / "data.csv", {"text": [text, "b"], "label": ["x", "y"]}))
    assert table.examples[0] == text.strip()
    assert csv.field_size_limit() == 131_072


def test_notes_and_places_stay_with_rows_that_are_left(tmp_path):
    path = to_csv(tmp_path / "data.csv", {"text": list("abc"), "label": list("xyx")}, ";")
    left = load_table(path).rows([0, 2])
    assert (left.examples, left.labels, left.places) == (["a", "c"], ["x", "x"], ["line 2", "line 4"])
    assert left.notes == (f"{path}: the columns are separated by semicolons.",)
    assert np.all(np.array(left.labels) == "x")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["csv", "tsv", "jsonl", "json", "parquet"]),
    st.lists(st.sampled_from(["text", "label", ",", "\t", "\n", "\r", '"', "{", "}", "[", "]", ":", "x", "1", "-1", "é", "\0", "\ud800", '{"text": ', "null", "NaN", ";"]), max_size=40),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    st.sampled_from(["", "text,label\n", "text\tlabel\n"]),
)  # fmt: skip
def test_any_content_gives_a_table_or_one_short_sentence(tmp_path, ending, pieces, encoding, header):
    path = tmp_path / f"data.{ending}"
    path.write_bytes(
        (header + "".join(pieces)).encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")
    )
    try:
        table, refusal = load_table(path), ""
    except DataError as error:
        table, refusal = None, str(error)
    assert len(refusal) <= 400 + len(str(path))
    assert "\n" not in refusal
    if table:
        assert all(table.examples)
        assert all(table.labels)
        assert len(table.examples) == len(table.labels) == len(table.places)


def test_brackets_in_a_name_are_no_pattern(tmp_path):
    """polars would read t1.parquet for the name t[12].parquet."""
    for name, word in (("t1", "other"), ("t[12]", "asked")):
        pl.DataFrame({"text": [f"{word} a", f"{word} b"], "label": ["x", "y"]}).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    assert load_table(tmp_path / "t[12].parquet").examples == ["asked a", "asked b"]


def test_large_numbers_with_a_decimal_point_stay_apart(tmp_path):
    labels = ["12345678901234567890.0", "12345678901234567891.0", "12345678901234567890.5"]
    table = read_table(to_csv(tmp_path / "large.csv", {"text": ["a", "b"], "label": labels[:2]}))
    assert table.labels == ["12345678901234567890", "12345678901234567891"]
    with pytest.raises(DataError, match="looks like a number to predict"):
        read_table(to_csv(tmp_path / "half.csv", {"text": ["a", "b", "c"], "label": labels}))


def test_half_of_an_emoji_is_refused_with_its_line(tmp_path):
    rows = [{"text": "whole \U0001f600", "label": "x"}, {"text": "cut \ud83d", "label": "y"}]
    assert read_table(to_json(tmp_path / "whole.jsonl", {"text": [rows[0]["text"]] * 2, "label": ["x", "y"]}))
    (tmp_path / "cut.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"line 2 holds half of a character in 'text' \(such as \\ud83d"):
        read_table(tmp_path / "cut.jsonl")
