"""Tokens of the texts of a sweep, counted before any model is loaded, by the tokenizer's own file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorabound.data import Labelled
from lorabound.models.locate import find_tokenizer, read_configuration, stated_limit
from lorabound.sweeps.config import SweepConfig

# Texts whose tokens are counted, evenly spaced in the data.
_COUNTED = 2000
# Share of the texts that the advised --max-length keeps whole.
_KEPT_WHOLE = 0.95


@dataclass(frozen=True)
class TokenCount:
    """Tokens of texts.

    Attributes:
        lengths: (n,) tokens of texts evenly spaced in the data, as they will be cut.
        sentence: sentence on how many lose their end, and on what keeps it; "" where none does.
    """

    lengths: NDArray[np.int64]
    sentence: str


def count_tokens(config: SweepConfig, table: Labelled, test: Labelled | None) -> TokenCount | None:
    """Count the tokens of texts, cut to ``max_length`` or to what the model takes; None where no tokenizer is here."""
    path = find_tokenizer(config.model)
    if path is None:
        return None
    from tokenizers import Tokenizer

    texts = [str(text) for part in (table, test) if part for text in part.examples]
    sample = texts[:: -(-len(texts) // _COUNTED)]
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # the library raises plain Exceptions; loading the model will say what is wrong
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lengths = np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(sample)], dtype=np.int64)
    own_limit = stated_limit(read_configuration(config.model))
    limit = min(config.most_tokens, own_limit)
    return TokenCount(np.minimum(lengths, limit), _cut_sentence(lengths, limit, own_limit, len(texts)))


def _cut_sentence(lengths: NDArray[np.int64], limit: int, own_limit: int, n_texts: int) -> str:
    n_cut = int((lengths > limit).sum())
    if not n_cut:
        return ""
    said = f"{n_cut:,} of {n_texts:,} texts have"
    if len(lengths) < n_texts:
        share = n_cut / len(lengths)
        said = f"About {share:.0%} of the texts have" if share >= 0.01 else "Less than 1% of the texts have"
    said += f" more than {limit} tokens and lose their end"
    if limit == own_limit:
        return f"{said}: the model reads no more."
    advised = min(max(-(-int(np.quantile(lengths, _KEPT_WHOLE)) // 8) * 8, 2 * limit), own_limit)
    return f"{said}; --max-length {advised} keeps {np.mean(lengths <= advised):.0%} of all texts whole."
