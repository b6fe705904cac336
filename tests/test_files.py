"""Result files are whole or not there, and what cannot be written is told in one sentence."""

import errno
import json
import os
import subprocess
import sys

import polars as pl
import pytest

from lorabound import files
from lorabound.errors import InputError, OutputError
from lorabound.files import drafted, make_folder, result_folder, write_bytes, write_json, write_table, write_text


@pytest.mark.parametrize("write", [
    lambda path: write_bytes(path, b"new"), lambda path: write_text(path, "new"), lambda path: write_json(path, "new"),
    lambda path: write_table(path, pl.DataFrame({"new": [1]})),
])  # fmt: skip
def test_a_file_is_whole_or_as_it_was(write, tmp_path, monkeypatch):
    path = tmp_path / "a" / "result.csv"
    assert write(path) == path
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(OutputError) as told:
        write(path)
    assert str(told.value) == f"cannot write {path}: No space left on device; make room or name another place"
    assert [file.name for file in path.parent.iterdir()] == ["result.csv"]
    assert path.read_text() == "old"
    monkeypatch.undo()
    write(path)
    assert "new" in path.read_text()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for write, path in (
        (lambda path: write_text(path, ""), tmp_path / "file" / "a.txt"),
        (lambda path: write_text(path, ""), tmp_path),
        (make_folder, tmp_path / "file"),
    ):
        with pytest.raises(OutputError, match=r"^cannot write \S+: [A-Z].*; name another place$"):
            write(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_whole_or_as_it_was(tmp_path):
    with drafted(tmp_path / "made") as draft:
        draft.mkdir()
        (draft / "old").write_text("")
    with pytest.raises(ZeroDivisionError), drafted(tmp_path / "made") as draft:
        draft.mkdir(1 // 0)
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["old"]
    with drafted(tmp_path / "made") as draft:
        draft.mkdir()
        (draft / "new").write_text("")
    assert [file.name for file in (tmp_path / "made").iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["made"]


def test_a_table_by_its_ending(tmp_path):
    frame = pl.DataFrame({"mode": ["ä, b"], "gap": [float("nan")], "n": [3]})
    for name in ("t.csv", "t.parquet", "T.JSON"):
        path = write_table(tmp_path / name, frame)
        read = getattr(pl, f"read_{path.suffix[1:].lower()}")(path)
        assert read.row(0) == ("ä, b", None, 3)
    with pytest.raises(InputError, match=r"t.xlsx is no name for a table: it must end in .csv, .parquet or .json"):
        write_table(tmp_path / "t.xlsx", frame)


def test_json_knows_no_nan(tmp_path):
    path = write_json(tmp_path / "a.json", {"a": [1.5, float("nan"), (None, {"b": float("nan")})]})
    assert json.loads(path.read_text()) == {"a": [1.5, None, [None, {"b": None}]]}


def test_a_link_keeps_pointing_at_its_file(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "there" / "file.txt")
    write_text(tmp_path / "link.txt", "text")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "there" / "file.txt").read_text() == "text"


def test_a_pipe_is_written_straight():
    code = "import polars as pl, lorabound.files as f; f.write_table('/dev/stdout', pl.DataFrame({'a': [1]}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "a\n1\n"


def refused(folder, write=None):
    """Work on a folder of results that ends badly, after a file was written."""
    with result_folder(folder):
        assert folder.is_dir()
        if write is not None:
            write.write_text("x")
        raise KeyboardInterrupt


def test_a_folder_of_results_goes_again_where_the_work_was_refused(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(KeyboardInterrupt):
        refused(tmp_path / "there" / "a" / "b")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_what_was_written_into_it_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        refused(tmp_path / "a" / "b", write=tmp_path / "a" / "half")
    assert (tmp_path / "a" / "half").read_text() == "x"
    assert not (tmp_path / "a" / "b").exists()
    with result_folder(None), result_folder(tmp_path / "c"):
        pass
    assert (tmp_path / "c").is_dir()
