"""A certificate in the model card of its adapter: a section of README.md, and results in its metadata.

The metadata are those of the Hugging Face Hub (``model-index``). What somebody else wrote stays as it is; an earlier
certificate of ours is replaced.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from lorabound.certificates.certificate import Certificate
from lorabound.certificates.plain import exact, plain
from lorabound.certificates.words import answer, at_most, evidence, percent
from lorabound.errors import InputError, first_line
from lorabound.files import Place, write_text

CARD = "README.md"
_BEGIN, _END = "<!-- certificate by lorabound -->", "<!-- end of the certificate -->"
_SOURCE = "lorabound certificate"
_TASKS = {"texts": "text-classification", "images": "image-classification"}
# Names of losses of a training loop.
_LOSSES = {"error": "error", "wrong_tokens": "share of wrong tokens", "probability": "1 - p(right answer)"}


def write_card(certificate: Certificate, folder: Place | None = None) -> Path:
    """Put a certificate into the model card of its adapter; returns the path of the card.

    Args:
        folder: folder of the card; None takes that of the adapter.
    Raises:
        InputError: the certificate is of no adapter, or its card has metadata that cannot be read.
        OutputError: the card cannot be written.
    """
    of = certificate.record
    if folder is None and "adapter" not in of:
        raise InputError("a model card belongs to an adapter, and this is a certificate of a table of answers")
    path = Path(of["adapter"]["folder"] if folder is None else folder) / CARD
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        card = ModelCard(text if text.lstrip().startswith("---") else f"---\n{{}}\n---\n{text}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path} cannot be read as a model card ({first_line(error)}): mend the lines between its ---, or move it "
            "away"
        ) from None
    data: ModelCardData = card.data
    others = [result for result in data.eval_results or () if result.source_name != _SOURCE]
    data.eval_results = [*others, *_results(certificate)]
    data.model_name = data.model_name or certificate.name
    data.library_name = data.library_name or "peft"
    if not data.base_model:
        data.base_model = (of["training"]["model"] if "training" in of else of["model"]["name"]) or None
    body = _without(card.text).rstrip()
    card.text = f"{body or f'# {certificate.name}'}\n\n{_section(certificate)}\n"
    return write_text(path, str(card))


def _without(text: str) -> str:
    """The text of a card without our section."""
    return re.sub(rf"\n*{re.escape(_BEGIN)}.*?{re.escape(_END)}\n*", "\n\n", text, flags=re.DOTALL)


def _results(certificate: Certificate) -> list[EvalResult]:
    """The best limit, and the error it comes from, as the Hub's metadata have them."""
    best, of = certificate.best, certificate.record
    rows = of.get("holdout") if best.method == "holdout" else of.get("data")
    name = str((rows or {}).get("name", "own data"))
    loss = of.get("training", {}).get("loss", "error")
    trained = "text-classification" if best.record.get("classes") else "text-generation"
    shared: dict[str, Any] = {
        "task_type": _TASKS[of["task"]["takes"]] if "task" in of else trained,
        "dataset_name": name,
        "dataset_type": name,
        "source_name": _SOURCE,
        "source_url": "https://arxiv.org/abs/2506.14530",
    }
    sure = f"{100 * (1 - certificate.delta):.6g}% sure"
    limit = EvalResult(
        **shared,
        metric_type=f"{loss}_at_most",
        metric_value=round(best.limit + 5e-5, 4),
        metric_name=f"{_LOSSES[loss]} on new data at most ({sure}, {best.method})",
    )
    measured = EvalResult(
        **shared,
        metric_type=loss,
        metric_value=round(best.error, 4),
        metric_name=f"{_LOSSES[loss]} of {best.speaks_of.rstrip(',')}",
    )
    return [measured] if best.silent else [limit, measured]


def _section(certificate: Certificate) -> str:
    rows = [
        f"| {one.method} | {one.speaks_of.rstrip(',')} | {int(one.bound.n_samples):,} | {percent(one.error)} | "
        f"{at_most(one.bound)} |"
        for one in (*certificate.statements, *((certificate.zero_shot,) if certificate.zero_shot else ()))
    ]
    lines = [
        _BEGIN,
        "## How bad it can be on new data",
        "",
        f"**{answer(certificate)}**",
        "",
        *(f"{sentence}\n" for sentence in evidence(certificate)),
        "| method | speaks of | rows | error | new data <= |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "This holds if:",
        *(f"- {sentence}" for sentence in plain(certificate.assumptions)),
        "",
        exact(certificate.assumptions),
        _END,
    ]
    return "\n".join(lines)
