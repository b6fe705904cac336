"""The task `dictionary`: French words and their English cousins, from Debian's dict-freedict-fra-eng.

About 1,370 pairs: one word in small letters whose entry gives one English word and nothing else, and which is spelled
much like it (a third are the same but for accents). Real, short (an answer has about two tokens), and with a pattern
(-té is -ty, -ique is -ic), so that a small chat model learns much of it from few pairs.

A dictionary of the dict server is two files. The index has one line per headword: headword, offset and length of its
entry, as numbers in base 64, between tabs. The entries are a text in a gzip file: a line with headword, pronunciation
and part of speech, then its translations, those of one sense in one line.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
import zlib
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path

from lorabound.data.dialogues import Dialogue, Dialogues, Turn
from lorabound.errors import DataError, first_line

FOLDER = Path("/usr/share/dictd")
QUESTION = "Translate the French word '{}' into English. Answer with the word only."
# Least likeness of the two words, accents aside: twice the letters in common over all letters (difflib).
ALIKE = 0.7
_NAME = "freedict-fra-eng"
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# What one word of one sense is; a first sense may be numbered though it is the only one.
_ONE_WORD = re.compile(r"(?:1\. )?([a-z]+)")


def dictionary(folder: Path = FOLDER) -> Dialogues:
    """Chats that ask for the English word and answer with it, in the order of the index.

    Raises:
        DataError: the package is not installed, or its files are no dictionary.
    """
    pairs = [
        (headword, answer)
        for headword, entry in _entries(folder)
        if headword.isalpha() and headword.islower() and (answer := _only_word(entry)) and _alike(headword, answer)
    ]
    chats = [
        Dialogue((Turn("user", QUESTION.format(word)), Turn("assistant", answer)), chat=True) for word, answer in pairs
    ]
    return Dialogues("dictionary", chats, "messages")


def _only_word(entry: str) -> str:
    """The one English word of an entry, "" where it has none or more."""
    _, *senses = entry.strip().split("\n")
    word = _ONE_WORD.fullmatch(senses[0].strip()) if len(senses) == 1 else None
    return word[1] if word else ""


def _alike(french: str, english: str) -> bool:
    plain = "".join(c for c in unicodedata.normalize("NFD", french) if not unicodedata.combining(c))
    return SequenceMatcher(None, plain, english, autojunk=False).ratio() >= ALIKE


def _entries(folder: Path) -> list[tuple[str, str]]:
    """Headwords that stand in the index once, and their entries."""
    try:
        lines = (folder / f"{_NAME}.index").read_text(encoding="utf-8").splitlines()
        text = gzip.decompress((folder / f"{_NAME}.dict.dz").read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"the task 'dictionary' is not in {folder}: run  apt-get install dict-freedict-fra-eng"
        ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{folder / _NAME} cannot be read ({first_line(error)})") from None
    try:
        found = [
            (word, _number(start), _number(length)) for word, start, length in (line.split("\t") for line in lines)
        ]
        times = Counter(word for word, _, _ in found)
        return [
            (word, text[start : start + length].decode("utf-8"))
            for word, start, length in found
            if times[word] == 1 and not word.startswith("00database")
        ]
    except ValueError:  # a line of other parts, another digit, an entry that is no UTF-8
        raise DataError(f"{folder / _NAME}.index is no index of a dictionary") from None


def _number(digits: str) -> int:
    """A number in base 64, the digits of which are A-Z, a-z, 0-9, +, /."""
    number = 0
    for digit in digits:
        number = 64 * number + _DIGITS.index(digit)
    return number
