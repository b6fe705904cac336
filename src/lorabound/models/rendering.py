"""Dialogues as rows of tokens, with the tokens that are learnt: what the assistant says, and the mark that ends it.

A chat is written by the tokenizer's own template. What is learnt of it are the turns of the assistant: everything that
the template adds to the beginning of such a turn, up to the mark that ends it, the first special token behind what was
said. What is written after the mark (a newline) is never generated, so it is read but not learnt. Every piece is turned
into tokens by itself, as it is when the model answers: then greedy decoding meets the same tokens as training.

    prompt, completion    [start] prompt | completion [end]
    text                  [start] text [end], everything after the first token learnt
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import transformers
from torch import nn

from lorabound.data import Dialogue, Turn
from lorabound.errors import DataError, InputError, ModelError, first_line
from lorabound.models.locate import NO_LIMIT
from lorabound.models.packing import PackedRows, Row
from lorabound.models.pieces import PieceTokenizer
from lorabound.models.pretrained import load_part
from lorabound.models.text import TokenLimit, check_vocabulary

# Pieces of a row: text, and whether it is learnt.
Piece = tuple[str, bool]


class TooLong(DataError):
    """Rows that have more tokens than they may; ``examples`` are they."""

    def __init__(self, message: str, examples: Sequence[Any]) -> None:
        super().__init__(message)
        self.examples = list(examples)


class ChatReader:
    """The tokenizer of a decoder.

    Attributes:
        limit: the longest row.
    """

    def __init__(self, folder: Path, module: nn.Module, max_length: int | None = None) -> None:
        """Load the tokenizer and find the limits.

        Raises:
            ModelError: there is none, or it has more tokens than the model has vectors for.
        """
        self.folder = folder
        self._tokenizer = load_part(transformers.AutoTokenizer, folder, "a causal language model")
        check_vocabulary(folder, self._tokenizer, module)
        self._tokens = PieceTokenizer(self._tokenizer)
        config: Any = module.config
        own = [
            (_stated(config, "max_position_embeddings", "n_positions"), "it has no more positions"),
            (_window(config), "its attention looks back no further"),
            (_one_scale(config), "beyond that a long row changes the positions of all rows of a pass"),
            (int(self._tokenizer.model_max_length), "model_max_length of its tokenizer"),
            (NO_LIMIT, "the tokenizer"),
        ]
        tokens, by = min(((count, why) for count, why in own if count), key=lambda pair: pair[0])
        self.limit = TokenLimit(min(max_length or tokens, tokens), tokens, by, cuts_end=True)

    def dialogues(self, dialogues: Sequence[Dialogue]) -> PackedRows:
        """Rows whose completions are learnt.

        Raises:
            DataError: a chat that the template cannot write, or a row without anything to learn.
            TooLong: rows of more tokens than ``limit.tokens``.
        """
        rows = [self._row(self._pieces(dialogue), chat=dialogue.chat) for dialogue in dialogues]
        if bare := sum(not any(row.learnt) for row in rows):
            raise DataError(
                f"{bare:,} of {len(rows):,} examples have no token to learn (the chat template writes nothing for what "
                "the assistant says): leave them out, or give another model"
            )
        self._refuse_long(dialogues, [len(row.ids) for row in rows])
        return PackedRows(rows)

    def texts(self, texts: Sequence[str], template: str, labels: Sequence[str]) -> PackedRows:
        """Rows that end in a branch per label. A template has one ``{}`` for the text; ``{labels}`` names all labels.

        Raises:
            InputError: a template without exactly one ``{}``.
            TooLong: as :meth:`dialogues`.
        """
        answers = self.answers(template, labels)
        named = ", ".join(labels)
        prompts = [self._row(self._prompt(template, text, named), chat=self._has_template).ids for text in texts]
        rows = [Row(ids, branches=[answer[:-1] for answer in answers]) for ids in prompts]
        longest = max(len(answer) for answer in answers) - 1
        self._refuse_long(texts, [len(ids) + longest for ids in prompts])
        return PackedRows(rows)

    def answers(self, template: str, labels: Sequence[str]) -> list[list[int]]:
        """Tokens of each label, as they follow the template; with an end where one label begins another.

        A chat template writes the label as it writes what an assistant says.

        Raises:
            InputError: a template without exactly one ``{}``, or two labels of the same tokens.
        """
        if template.count("{}") != 1:
            raise InputError(f"the template needs exactly one {{}} for the text, got {template!r}")
        prompt = self._row(self._prompt(template, ""), chat=self._has_template).ids
        written = [self._label(template, label) for label in labels]
        answers = [self._tokens.after(prompt, said) for said, _ in written]
        begins = any(a == b[: len(a)] for i, a in enumerate(answers) for j, b in enumerate(answers) if i != j)
        if begins:
            ends = [self._tokens.tokens(mark) if mark else [self._end] for _, mark in written]
            answers = [[*answer, *end] for answer, end in zip(answers, ends, strict=True)]
        seen: dict[tuple[int, ...], str] = {}
        for answer, label in zip(answers, labels, strict=True):
            if tuple(answer) in seen:
                other = seen[tuple(answer)]
                raise InputError(f"the model reads the labels {other!r} and {label!r} as the same tokens: rename one")
            seen[tuple(answer)] = label
        return answers

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of these tokens, without special ones."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    @property
    def _has_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    @property
    def _end(self) -> int:
        end = self._tokenizer.eos_token_id
        if end is None:
            raise ModelError(
                f"{self.folder}: its tokenizer names no end of a text, which texts without a chat template need: set "
                "eos_token in tokenizer_config.json"
            )
        return int(end)

    def _prompt(self, template: str, text: str, labels: str = "") -> list[Piece]:
        # Texts and labels may hold braces themselves.
        content = text.join(part.replace("{labels}", labels) for part in template.split("{}"))
        if not self._has_template:
            return [(content, False)]
        return [(self._write([Turn("user", content)], begin_answer=True), False)]

    def _label(self, template: str, label: str) -> tuple[str, str]:
        """A label as the model is to write it, and the mark that ends it; "" for the end of a text."""
        if not self._has_template:
            return ("" if template[-1:].isspace() else " ") + label, ""
        asked = Turn("user", template)
        before = self._write([asked], begin_answer=True)
        after = self._write([asked, Turn("assistant", label)])
        if not after.startswith(before):
            return label, ""
        said, mark = self._tokens.said(after[len(before) :], label)
        return said, mark.strip()

    def _pieces(self, dialogue: Dialogue) -> Iterator[Piece]:
        """The texts of a dialogue, one after the other, each learnt or not."""
        learnt = set(dialogue.trained)
        if not dialogue.chat:
            for number, turn in enumerate(dialogue.turns):
                yield turn.content, number in learnt
            return
        self._refuse_unwritten_tools(dialogue)
        done, after = "", ""
        for number in sorted(learnt):
            before = self._write(dialogue.turns[:number], begin_answer=True)
            after = self._write(dialogue.turns[: number + 1])
            if not before.startswith(done):
                raise ModelError(
                    f"the chat template of {self.folder} writes earlier answers anew when a turn is added (as "
                    "templates of models that think do), so not all answers of a chat can be learnt from one text: "
                    "give each answer a row of its own, with what was said before it as the prompt"
                )
            if not after.startswith(before):
                raise ModelError(
                    f"the chat template of {self.folder} does not go on from its own beginning of an answer, so nobody "
                    "can say which tokens an answer begins with: give prompt and completion as plain texts"
                )
            yield before[len(done) :], False
            said = "".join(self._tokens.said(after[len(before) :], dialogue.turns[number].content))
            yield said, True
            done = before + said
        if after[len(done) :]:
            yield after[len(done) :], False

    def _refuse_unwritten_tools(self, dialogue: Dialogue) -> None:
        """See that what tools answered is read: some templates leave it out."""
        if not any(turn.role == "tool" for turn in dialogue.turns):
            return
        others = [Turn(turn.role, f"{turn.content} ...") if turn.role == "tool" else turn for turn in dialogue.turns]
        if self._write(dialogue.turns) == self._write(others):
            raise DataError(
                f"the chat template of {self.folder} leaves out what tools answer (turns of the role tool): give a "
                "model whose template writes it, or leave such rows out"
            )

    def _write(self, turns: Sequence[Turn], begin_answer: bool = False) -> str:
        if not self._has_template:
            raise DataError(
                f"{self.folder} has no chat template, and the data are chats: give an instruction-tuned model, or "
                "columns prompt and completion that hold plain texts"
            )
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            return str(
                self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=begin_answer)
            )
        except Exception as error:  # a template may raise anything
            roles = ", ".join(turn.role for turn in turns)
            raise DataError(
                f"the chat template of {self.folder} does not take a chat of the roles {roles} ({first_line(error)}): "
                "leave such rows out, or give a model whose template takes them"
            ) from None

    def _row(self, pieces: Iterator[Piece] | list[Piece], *, chat: bool) -> Row:
        ids: list[int] = []
        learnt: list[bool] = []
        for number, (text, wanted) in enumerate(pieces):
            if number:
                tokens = self._tokens.after(ids, text)
            else:
                tokens = self._tokens.tokens(text) if chat else self._tokens.start(text)
            if wanted and not chat and tokens[-1:] != [self._end]:
                tokens = [*tokens, self._end]
            ids += tokens
            learnt += [wanted] * len(tokens)
        if learnt:
            learnt[0] = False  # nothing stands before it
        return Row(ids, learnt)

    def _refuse_long(self, examples: Sequence[Any], lengths: list[int]) -> None:
        most = self.limit.tokens
        long = [number for number, length in enumerate(lengths) if length > most]
        if not long:
            return
        longest = max(lengths)
        enough = longest <= self.limit.model_tokens
        raise TooLong(
            f"{len(long):,} of {len(lengths):,} examples have more than {most:,} tokens, the longest {longest:,}: "
            + (f"give --max-length {longest}, or " if enough else f"the model takes no more ({self.limit.by}); ")
            + "leave them out with --drop-long",
            [examples[number] for number in long],
        )


def _stated(config: Any, *names: str) -> int | None:
    values = [getattr(config, name, None) for name in names]
    return next((int(value) for value in values if isinstance(value, int) and value > 0), None)


def _window(config: Any) -> int | None:
    """Tokens that sliding attention looks back; rows within it are computed as with whole attention."""
    if getattr(config, "use_sliding_window", True) is False:
        return None
    return _stated(config, "sliding_window")


def _one_scale(config: Any) -> int | None:
    """Tokens up to which rotary positions are scaled alike, however long other rows of a pass are."""
    scaling = getattr(config, "rope_parameters", None) or {}
    if scaling.get("rope_type") not in ("longrope", "dynamic"):
        return None
    return scaling.get("original_max_position_embeddings") or _stated(config, "original_max_position_embeddings")
