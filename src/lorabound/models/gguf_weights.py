"""A GGUF file, read by transformers and saved as it saves its own models."""

from __future__ import annotations

import copy
import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
import transformers

from lorabound.errors import ModelError
from lorabound.models.pretrained import explained, quiet


def save_as_folder(path: Path, folder: Path, n_numbers: int) -> None:
    """Read the file by transformers and save what it reads, which must be all of its ``n_numbers`` numbers.

    Raises:
        ModelError: it reads none of it, or not all, or values that are not finite.
    """
    what = "a causal language model (GGUF)"
    mend = "give the model in safetensors"
    place: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False}
    # One of the bars of transformers heeds no setting.
    with explained(path, what, mend), quiet(), redirect_stderr(io.StringIO()):
        module, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **place
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **place)
    for name, saved, expected in sorted(loaded["mismatched_keys"]):
        raise ModelError(
            f"{path}: {name} has shape {list(saved)} and should have {list(expected)} by the file's own header: {mend}"
        )
    odd = [name for name, weight in module.named_parameters() if not weight.isfinite().all()]
    if odd:
        raise ModelError(
            f"{path}: {odd[0]} holds values that are no finite numbers: the file is damaged, download it again"
        )
    lacking = sorted(loaded["missing_keys"])
    if lacking:
        raise ModelError(f"{path} lacks {lacking[0]}, which would start at random: it is not whole as {what}")
    n_read = sum(weight.numel() for weight in module.parameters())  # what is tied counts once
    if n_read != n_numbers:
        raise ModelError(
            f"{path} holds {n_numbers:,} numbers and the {type(module).__name__} that transformers makes of it has "
            f"{n_read:,}: it would be another model; {mend}"
        )
    with explained(path, what), quiet():
        # A model that was read from GGUF counts as quantized and is not saved: a fresh one takes its weights.
        config = copy.deepcopy(module.config)
        del config.quantization_config
        with torch.device("meta"):
            fresh = transformers.AutoModelForCausalLM.from_config(config)
        fresh.load_state_dict(module.state_dict(), assign=True)
        fresh.tie_weights()
        fresh.generation_config = module.generation_config
        fresh.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
