"""Texts as rows of token ids: how many tokens a row may have, what sets that limit, and how many texts it cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Int
from numpy.typing import NDArray
from tokenizers import normalizers
from torch import Tensor, nn

from lorabound.errors import InputError, ModelError, first_line
from lorabound.models.layers import NO_VOCABULARY, refuse_tokens_beyond
from lorabound.models.locate import NO_LIMIT
from lorabound.models.pretrained import explained, load_part, quiet

# Names of the modules that hold one vector per position.
_TABLES = ("position_embeddings", "position_embedding", "embed_positions", "wpe")


@dataclass(frozen=True)
class TokenLimit:
    """The longest row of tokens, special tokens included.

    Attributes:
        tokens: tokens of a longer text that are kept.
        model_tokens: tokens that the model itself could take.
        by: cause of ``model_tokens``, to be read in brackets after "the model takes no more".
        cuts_end: whether a longer text loses its end; its beginning otherwise.
    """

    tokens: int
    model_tokens: int
    by: str
    cuts_end: bool


class TokenizedTexts:
    """Token ids of n texts.

    Attributes:
        lengths: (n,), tells the engine which rows may share a batch cheaply.
        n_cut: number of texts that were longer than the limit and lost a part.
    """

    def __init__(self, token_ids: Sequence[Sequence[int]], pad_id: int = 0, n_cut: int = 0) -> None:
        self.n_cut = n_cut
        self.lengths: NDArray[np.int64] = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        self._padded = torch.full((len(token_ids), int(self.lengths.max(initial=1))), pad_id, dtype=torch.long)
        for row, ids in enumerate(token_ids):
            self._padded[row, : len(ids)] = torch.tensor(ids)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, index: Int[np.ndarray, " rows"]) -> tuple[Int[Tensor, "rows longest"], Int[Tensor, "rows longest"]]:
        """Token ids and attention mask of the rows ``index``: (rows, longest) each, int64."""
        lengths = torch.from_numpy(self.lengths[index])
        width = int(lengths.max())
        mask = (torch.arange(width) < lengths[:, None]).long()
        return self._padded[torch.from_numpy(index), :width], mask


class TextReader:
    """The tokenizer of a model folder, fit for its model.

    Attributes:
        folder: folder of the model.
        limit: the longest row of an example.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        what: str,
        max_length: int | None = None,
        folder_limit: int | None = None,
        lower_case: bool = False,
        prompt: str = "",
    ) -> None:
        """Load the tokenizer and find the limits.

        Args:
            module: the model that looks the ids up.
            what: "a text encoder", for messages.
            max_length: tokens an example is cut to; None takes the model's own limit.
            folder_limit: tokens that sentence-transformers' settings allow.
            lower_case: texts are put in lower case first, as sentence-transformers does.
            prompt: text that goes before every text.
        Raises:
            ModelError: no tokenizer, or one with more tokens than the model has vectors for.
        """
        self.folder, self._prompt = folder, prompt
        self._tokenizer = load_part(transformers.AutoTokenizer, folder, what)
        check_vocabulary(folder, self._tokenizer, module)
        if lower_case:
            _lower_case(self._tokenizer)
        config: Any = module.config
        pad_id = self._tokenizer.pad_token_id
        self._pad_id = pad_id if pad_id is not None else getattr(config, "pad_token_id", None) or 0
        # sentence-transformers' setting stands in the place of the tokenizer's own.
        own = [
            (_positions(module), "it has no more positions"),
            (folder_limit, "max_seq_length of its sentence-transformers settings")
            if folder_limit
            else (_longest(folder, self._tokenizer.model_max_length), "model_max_length of its tokenizer"),
            (NO_LIMIT, "the tokenizer"),
        ]
        tokens, by = min(((count, why) for count, why in own if count is not None), key=lambda pair: pair[0])
        cuts_end = str(self._tokenizer.truncation_side) != "left"
        self.limit = TokenLimit(min(max_length or tokens, tokens), tokens, by, cuts_end)

    def examples(self, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of the texts, cut to ``limit.tokens``."""
        return self._read(texts, self.limit.tokens)

    def class_prompts(self, prompt: str, classes: Sequence[str]) -> TokenizedTexts:
        """The class prompts, cut only where the model itself takes no more.

        Raises:
            InputError: a prompt without exactly one ``{}``, or two classes that the model cannot tell apart.
        """
        if prompt.count("{}") != 1:
            raise InputError(f"the prompt needs exactly one {{}} for the class name, got {prompt!r}")
        made = self._read([prompt.replace("{}", name) for name in classes], self.limit.model_tokens)
        first: dict[tuple[int, ...], str] = {}
        for row, name in enumerate(classes):
            ids, _ = made.batch(np.array([row]))
            other = first.setdefault(tuple(ids[0].tolist()), name)
            if other != name:
                cut = f", cut after {self.limit.model_tokens} tokens" if made.n_cut else ""
                raise InputError(
                    f"the model reads the classes {other!r} and {name!r} as the same prompt{cut}: rename one"
                )
        return made

    def prompt_notes(self, prompts: TokenizedTexts) -> list[str]:
        """A sentence where class prompts were cut."""
        if not prompts.n_cut:
            return []
        lost = "end" if self.limit.cuts_end else "beginning"
        return [
            f"{prompts.n_cut} of {len(prompts)} class prompts are longer than {self.limit.model_tokens} tokens and "
            f"lost their {lost} (the model takes no more: {self.limit.by}): shorten --prompt or the names of the "
            "classes."
        ]

    def n_prompt_tokens(self) -> int:
        """Tokens of the prompt before every text, as sentence-transformers counts them: without one that ends the row.

        Raises:
            InputError: it leaves no room for a text.
        """
        if not self._prompt:
            return 0
        ids = self._tokenizer([self._prompt], truncation=True, max_length=self.limit.model_tokens)["input_ids"][0]
        count = len(ids) - (ids[-1] in self._tokenizer.all_special_ids)
        if count + 1 >= self.limit.tokens:
            raise InputError(
                f"the prompt {self._prompt!r} that {self.folder} puts before every text takes {count} of "
                f"{self.limit.tokens} tokens: raise --max-length"
            )
        return count

    def _read(self, texts: Sequence[str], limit: int) -> TokenizedTexts:
        prompted = [self._prompt + text for text in texts]
        with (
            explained(self.folder, "a tokenizer"),
            quiet(),
        ):  # tokenizers warn of rows longer than the model takes, which are counted here
            encoded = self._tokenizer(prompted, truncation=True, max_length=limit)
            if encoded.encodings is not None:
                n_cut = sum(bool(encoding.overflowing) for encoding in encoded.encodings)
            else:  # a tokenizer written in Python does not say what it cut
                full = self._tokenizer(prompted, truncation=False)["input_ids"]
                n_cut = sum(len(whole) > len(ids) for whole, ids in zip(full, encoded["input_ids"], strict=True))
        return TokenizedTexts(encoded["input_ids"], self._pad_id, n_cut)


def _longest(folder: Path, stated: Any) -> int:
    """Tokens that a tokenizer says the model reads at most.

    Raises:
        ModelError: it says something else than a number of tokens.
    """
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not stated >= 1:
        raise ModelError(
            f"{folder / 'tokenizer_config.json'}: model_max_length is {str(stated)[:40]!r}, and it is a number of "
            "tokens: mend it, or delete the entry"
        )
    return int(min(stated, NO_LIMIT))


def check_vocabulary(folder: Path, tokenizer: Any, module: nn.Module) -> None:
    """See that the tokenizer has words, and the model a vector for each.

    Raises:
        ModelError: there are no files of a tokenizer (transformers then makes an empty one), or tokens were added and
            the embedding was not resized.
    """
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise ModelError(NO_VOCABULARY.format(folder=folder))
    table: Any = module.get_input_embeddings()  # type: ignore[operator]
    refuse_tokens_beyond(folder, tokenizer.get_vocab(), int(table.weight.shape[0]))


def check_longest_row(run: Any, reader: TextReader) -> None:
    """Run one row as long as an example may be.

    Args:
        run: called with :class:`TokenizedTexts` and the index of its rows.
    Raises:
        ModelError: the model cannot take it.
    """
    tokens = reader.limit.tokens
    if tokens > 4096:
        return  # models without a table of positions: their memory, not their shape, is the limit
    ids, _ = reader.examples(["a"]).batch(np.array([0]))
    row = TokenizedTexts([[int(ids[0, 0])] * tokens])
    try:
        with torch.no_grad():
            run(row, np.array([0]))
    except (IndexError, RuntimeError) as error:
        raise ModelError(
            f"the model fails on a row of {tokens} tokens ({first_line(error)}), though its "
            f"configuration allows {reader.limit.model_tokens}: give a smaller --max-length"
        ) from error


def _positions(module: nn.Module) -> int | None:
    """Tokens that the model has positions for; None where nothing limits them.

    RoBERTa and its like count positions from padding_idx + 1 on: a table of 514 rows holds 512 tokens.
    """
    config: Any = module.config
    stated = getattr(config, "max_position_embeddings", None)
    counts = [int(stated)] if isinstance(stated, int) and stated > 0 else []
    for name, table in module.named_modules():
        if name.rsplit(".", 1)[-1] in _TABLES and isinstance(table, nn.Embedding):
            counts.append(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
    return min(counts, default=None)


def _lower_case(tokenizer: Any) -> None:
    """As sentence-transformers: special tokens keep their case, everything else is put in lower case first."""
    if not tokenizer.is_fast:
        tokenizer.do_lower_case = True
        return
    backend = tokenizer.backend_tokenizer
    own: Any = backend.normalizer
    steps: list[Any] = [] if own is None else [own]
    if isinstance(own, normalizers.Sequence):
        steps = [own[i] for i in range(len(own))]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
