"""Pieces of one text, turned into tokens one by one, so that the tokens put together spell the text.

Tokenizers made for whole texts put things around them: a token that starts a text, one that ends it, and, as those of
Llama 2, Mistral and TinyLlama do, a blank before the first word. Inside a text none of them is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lorabound.models.pretrained import quiet

# What a piece is read behind where the tokenizer would begin it with a blank; one that melts into it is passed over.
_BEFORE = ("\n", "|", "]")


class PieceTokenizer:
    """A tokenizer of transformers, for pieces of a text."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        special = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special = frozenset(special) | frozenset(tokenizer.all_special_ids)
        self._marks = sorted({*special.values(), *map(str, tokenizer.all_special_tokens)} - {""})
        self._begins_with_blank = self._spelled(self.tokens("a")) != "a"
        self._before = [mark for mark in _BEFORE if self._spelled(self._behind(mark, "a") or []) == "a"]

    def tokens(self, text: str) -> list[int]:
        """A piece as a tokenizer reads it alone, without marks around it."""
        with quiet():
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def start(self, text: str) -> list[int]:
        """The beginning of a plain text, with the token that starts one where the model has one, and not twice."""
        with quiet():
            ids: list[int] = list(self._tokenizer(text)["input_ids"])
        alone = self.tokens(text)
        if ids and ids[-1] == self._tokenizer.eos_token_id and alone[-1:] != ids[-1:]:
            ids = ids[:-1]
        doubled = len(ids) == len(alone) + 1 and ids[:1] == alone[:1] == [self._tokenizer.bos_token_id]
        return alone if doubled else ids

    def after(self, before: Sequence[int], text: str) -> list[int]:
        """A piece that follows other tokens; behind a special token tokenizers begin anew by themselves."""
        if not self._begins_with_blank or (before and before[-1] in self._special):
            return self.tokens(text)
        found = (self._behind(mark, text) for mark in self._before)
        return next((ids for ids in found if ids is not None), None) or self.tokens(text)

    def said(self, turn: str, content: str) -> tuple[str, str]:
        """A turn as a chat template writes it, cut behind its content: what is said, and the mark that ends it.

        The mark is what follows up to and with the first special token; without one, all that follows. A template that
        writes the content otherwise has its last special token as the mark.
        """
        bare = content.strip()
        place = turn.rfind(bare) if bare else -1
        if place < 0:
            found = [turn.rfind(mark) + len(mark) for mark in self._marks if mark in turn]
            return turn[: max(found, default=len(turn))], ""
        end = place + len(bare)
        found = [turn.find(mark, end) for mark in self._marks]
        _, stop = min(
            ((at, at + len(mark)) for at, mark in zip(found, self._marks, strict=True) if at >= 0),
            default=(len(turn), len(turn)),
            key=lambda pair: (pair[0], -pair[1]),
        )
        return turn[:end], turn[end:stop]

    def _behind(self, mark: str, text: str) -> list[int] | None:
        """Tokens of a text behind a mark; None where the two melt into one token."""
        alone, both = self.tokens(mark), self.tokens(mark + text)
        return both[len(alone) :] if both[: len(alone)] == alone else None

    def _spelled(self, ids: Sequence[int]) -> str:
        return "".join(self._tokenizer.convert_ids_to_tokens(list(ids)))
