"""The embedded task `words`: which of ten European languages a word belongs to (wordfreq's word lists).

About 203,000 words of at least four letters that stand in the list of one language only. Real, hard for a
model trained mostly on English (zero-shot error about 0.65), short (about five tokens), and large enough
for any training size, which makes it a good place to measure gaps.
"""

from __future__ import annotations

from collections import Counter

from lorabound.data.labelled import Labelled
from lorabound.errors import DataError

LANGUAGES = {
    "en": "English",
    "fr": "French",
    "de": "German",
    "es": "Spanish",
    "it": "Italian",
    "nl": "Dutch",
    "pt": "Portuguese",
    "pl": "Polish",
    "sv": "Swedish",
    "fi": "Finnish",
}
_WORDS_PER_LANGUAGE = 30_000
_SHORTEST = 4


def words() -> Labelled:
    """Every unambiguous word of the ten languages, labelled with the language's English name.

    Raises:
        DataError: wordfreq is not installed.
    """
    try:
        from wordfreq import top_n_list
    except ImportError:
        raise DataError("the task 'words' needs wordfreq: run  pip install 'lorabound[demo]'") from None
    lists = {
        code: [
            w for w in top_n_list(code, _WORDS_PER_LANGUAGE, wordlist="large") if w.isalpha() and len(w) >= _SHORTEST
        ]
        for code in LANGUAGES
    }
    languages_of = Counter(word for listed in lists.values() for word in set(listed))
    rows = [(w, LANGUAGES[code]) for code, listed in lists.items() for w in listed if languages_of[w] == 1]
    return Labelled("words", [text for text, _ in rows], [label for _, label in rows])
