"""The task `dictionary`, from files in the format of the dict server."""

import gzip

import pytest

from lorabound.data import NAMED, split
from lorabound.data.dictionary import FOLDER, QUESTION, dictionary
from lorabound.errors import DataError

NAME = "freedict-fra-eng"
ENTRIES = [
    ("00databaseshort", "00databaseshort\n French-English\n"),
    ("abats", "abats /aba/ <n>\noffal\n"),
    ("ambiance", "ambiance /ɑ̃bjɑ̃s/ <n>\nambience\n"),
    ("à demi", "à demi /ad(ə)mi/\nhalf\n"),
    ("améthyste", "améthyste /ametist/ <n, fem>\n1. amethyst\n"),
    ("amasser", "amasser /amase/ <v>\n1. heap\n2. gather\n"),
    ("amas", "amas /ama/ <n>\nheap, mass\n"),
    ("amazone", "amazone /amazɔn/ <n>\nAmazon\n"),
    ("émotion", "émotion /emosjɔ̃/ <n>\nemotion\n"),
    ("son", "son /sɔ̃/ <n>\nsound\n"),
    ("son", "son /sɔ̃/ <det>\nhis\n"),
    ("table", "table /tabl/ <n>\nwritingtable or table\n"),
]
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def coded(number):
    return (coded(number // 64) if number >= 64 else "") + DIGITS[number % 64]


def written(folder, entries=ENTRIES):
    lines, text = [], b""
    for word, entry in entries:
        content = entry.encode()
        lines.append(f"{word}\t{coded(len(text))}\t{coded(len(content))}")
        text += content
    (folder / f"{NAME}.index").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / f"{NAME}.dict.dz").write_bytes(gzip.compress(text))
    return folder


COUSINS = [("ambiance", "ambience"), ("améthyste", "amethyst"), ("émotion", "emotion")]


def test_one_word_with_one_translation(tmp_path):
    found = dictionary(written(tmp_path))
    assert [(d.turns[0].content, d.turns[1].content) for d in found.examples] == [
        (QUESTION.format(word), answer) for word, answer in COUSINS
    ]
    assert all(dialogue.chat and dialogue.trained == (1,) for dialogue in found.examples)


def test_files_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(DataError, match="the task 'dictionary' is not in .*apt-get install dict-freedict-fra-eng"):
        dictionary(tmp_path)
    written(tmp_path)
    (tmp_path / f"{NAME}.index").write_text("abats\tA\n")
    with pytest.raises(DataError, match=f"{NAME}.index is no index of a dictionary"):
        dictionary(tmp_path)
    (tmp_path / f"{NAME}.index").write_text("abats\tA\t?\n")
    with pytest.raises(DataError, match=f"{NAME}.index is no index of a dictionary"):
        dictionary(tmp_path)
    (tmp_path / f"{NAME}.dict.dz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=f"{NAME} cannot be read"):
        dictionary(tmp_path)


@pytest.mark.skipif(not (FOLDER / f"{NAME}.index").exists(), reason="needs Debian's dict-freedict-fra-eng")
def test_the_package_holds_pairs_for_a_sweep():
    found = NAMED["dictionary"].train("refuse")
    assert len(found) > 1200
    assert split(found, 640, 500).n_removed == 0
