"""The model card of a recommended adapter: what it is, how it was chosen, how to load it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import yaml

from lorabound.adapters import BITSANDBYTES
from lorabound.files import write_text
from lorabound.modes import MODES, Mode
from lorabound.recommendations.recommendation import Recommendation

CARD = "README.md"


def write_model_card(
    made: Recommendation,
    base: str,
    loader: str,
    n_labels: int | None = None,
    classes: Sequence[str] = (),
    prompted: Sequence[str] = (),
) -> Path:
    """Write ``README.md`` into the adapter's folder; returns its path.

    Args:
        base: folder or hub name of the frozen model, as ``from_pretrained`` takes it.
        loader: transformers' class that loads it.
        n_labels: number of rows of a trained head; None without one.
        prompted: classes whose prompts are compared with a text, where an embedding is the mean of the token vectors.
        classes: classes in the order of the rows of a new head, which the model itself does not name.
    Raises:
        OutputError: it cannot be written.
    """
    facts = {"base_model": base, "library_name": "peft", "tags": ["lora", "lorabound"]}
    now = made.best.forecast
    options = "" if n_labels is None else f", num_labels={n_labels}, ignore_mismatched_sizes=True"
    rounding = BITSANDBYTES.get(made.settings.get("base"))
    options += f", quantization_config={rounding}" if rounding else ""
    lines = [
        f"# LoRA of rank {made.rank} on {Path(made.model).name}",
        "",
        f"Trained on {made.adapter_rows:,} rows of `{_code(made.data)}`, {made.settings['epochs']} passes, learning "
        f"rate {made.lr:.3g}, lora_alpha {made.alpha:g}; {MODES[cast('Mode', made.mode)].sentence} "
        f"({made.best.n_params:,} trained parameters). Rank and mode were chosen by `lorabound recommend` among "
        f"{len(made.options)} candidates.",
        "",
        f"- Forecast of the {made.error_name} on new data after training on {now.n_train:,} rows: {now.value:.3f} "
        f"({now.level:.0%} interval {now.low:.3f} to {now.high:.3f}; no guarantee). Without an adapter: "
        f"{made.zero_shot:.3f}.",
    ]
    if made.limit is not None and not made.limit.silent:
        lines.append(
            f"- Guaranteed with probability {1 - made.delta:.10g}: the {made.error_name} of {made.limit_of} is at most "
            f"{float(made.limit.value) + 5e-5:.4f} on new data drawn as these rows were."
            + (f" {made.limit_if}" if made.limit_if else "")
        )
    if classes:
        lines.append(f"- Its scores are those of the classes {', '.join(f'`{_code(name)}`' for name in classes)}.")
    lines += [
        "",
        "```python",
        f"from transformers import {loader}{', BitsAndBytesConfig' if rounding else ''}",
        "from peft import PeftModel",
        "",
        f"base = {loader}.from_pretrained({base!r}{options})",
        f"model = PeftModel.from_pretrained(base, {made.adapter!r})",
        "```",
        "",
    ]
    if prompted:
        lines += _labelling(base, str(made.settings["prompt"]), made.settings["max_length"], prompted)
    header = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
    return write_text(Path(made.adapter) / CARD, f"---\n{header}---\n" + "\n".join(lines))


def _labelling(base: str, prompt: str, max_length: int, classes: Sequence[str]) -> list[str]:
    """Lines of Python that give a text its class: the prompts are embedded by the bare model, as in training."""
    return [
        "The class of a text is the one whose prompt is most like it. Prompts are embedded **without** the adapter:",
        "",
        "```python",
        "import torch",
        "from transformers import AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({base!r})",
        f"classes = {list(classes)!r}",
        "",
        "def embed(texts):",
        f'    batch = tokenizer(texts, padding=True, truncation=True, max_length={max_length}, return_tensors="pt")',
        '    hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)',
        "    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)",
        "",
        "with torch.inference_mode():",
        "    with model.disable_adapter():",
        f"        prompts = embed([{prompt!r}.format(name) for name in classes])",
        '    scores = embed(["the text"]) @ prompts.T',
        "print(classes[int(scores.argmax())])",
        "```",
        "",
    ]


def _code(text: str) -> str:
    """A name inside a code span."""
    return " ".join(text.split()).replace("`", "'")
