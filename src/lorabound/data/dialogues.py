"""Dialogues for supervised fine-tuning: turns of a chat or of a plain pair, and which of them are learnt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

Form = Literal["messages", "prompt-completion", "alpaca", "alpaca-text", "sharegpt", "text"]
"""How a file holds dialogues."""
LEARNT = ("assistant", "completion")


@dataclass(frozen=True)
class Turn:
    """What one side says.

    Attributes:
        role: system, user, assistant or tool in a chat; prompt or completion in a plain pair.
        content: its text, as the data hold it.
    """

    role: str
    content: str


@dataclass(frozen=True)
class Dialogue:
    """One example: its turns in their order.

    Attributes:
        turns: all turns.
        chat: whether the tokenizer's chat template writes the turns; otherwise their texts follow one another.
        given: number of turns that are never learnt, whoever speaks: those of a prompt that is a chat itself.
    """

    turns: tuple[Turn, ...]
    chat: bool
    given: int = 0

    @property
    def trained(self) -> tuple[int, ...]:
        """Numbers of the turns whose tokens are learnt: what the assistant says, or the completion."""
        return tuple(i for i, turn in enumerate(self.turns) if i >= self.given and turn.role in LEARNT)

    @property
    def prompt(self) -> str:
        """What stands before the first turn that is learnt, without case, with single blanks; "" where nothing does."""
        return _plain(self.turns[: next(iter(self.trained), len(self.turns))])

    @cached_property
    def identity(self) -> str:
        """What makes two dialogues the same: the prompt; where no one speaks before the first turn that is learnt
        (a system prompt is no one), all of the dialogue."""
        before = self.turns[: next(iter(self.trained), len(self.turns))]
        asked = any(turn.role != "system" and turn.content.strip() for turn in before)
        return self.prompt if asked else _plain(self.turns)

    def ended(self) -> Dialogue:
        """The same without the turns after the last one that is learnt."""
        return replace(self, turns=self.turns[: self.trained[-1] + 1]) if self.trained else self

    @property
    def sha256(self) -> str:
        """SHA-256 of everything above: two dialogues have one only where every turn is the same."""
        held = [self.chat, self.given, [[turn.role, turn.content] for turn in self.turns]]
        return hashlib.sha256(json.dumps(held, ensure_ascii=True).encode()).hexdigest()


@dataclass(frozen=True)
class Dialogues:
    """Dialogues, row by row.

    Attributes:
        name: name or path of the data, as messages call it.
        examples: the dialogues.
        form: how the data held them.
        notes: sentences on how the data were read, and on what was unusual in them.
        places: place of each row ("line 12", "row 7").
    """

    name: str
    examples: list[Dialogue]
    form: Form
    notes: tuple[str, ...] = ()
    places: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def labels(self) -> list[str]:
        """One class for all rows: there is nothing to tell apart."""
        return ["completion"] * len(self.examples)

    @property
    def n_trained(self) -> int:
        """Number of turns that are learnt, in all rows."""
        return sum(len(dialogue.trained) for dialogue in self.examples)

    def rows(self, numbers: Sequence[int]) -> Dialogues:
        """The rows with these numbers, counted from 0, with the same name and notes."""
        return replace(
            self,
            examples=[self.examples[i] for i in numbers],
            places=None if self.places is None else [self.places[i] for i in numbers],
        )


def _plain(turns: Sequence[Turn]) -> str:
    return " ".join(" ".join(turn.content for turn in turns).casefold().split())
