"""Sweeps on a quantized model: keys of old runs, what is refused, how adapters start and what their folders say."""

import json

import numpy as np
import polars as pl
import pytest

import lorabound as lb
from lorabound.errors import AdapterError, InputError, StoreError
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.grid import Run, run_key
from tests.clip_models import save_clip
from tests.commands import run
from tests.text_models import WORDS, config_of, save_text_model

NAME = "freeze_a-r2-n20-seed0"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A sweep that starts at what nf4 took, on a small BERT."""
    where = tmp_path_factory.mktemp("quantized")
    save_text_model(where / "model")
    random = np.random.default_rng(0)
    texts = sorted({" ".join(random.choice(WORDS, 4)) for _ in range(120)})
    rows = pl.DataFrame({"text": texts, "label": [["good", "bad"][i % 2] for i in range(len(texts))]})
    rows[:60].write_csv(where / "rows.csv")
    rows[60:].write_csv(where / "fresh.csv")
    run_sweep(asked(where), where / "out")
    return where


def asked(where, **changes):
    given = {"base": "nf4", "law": "loftq", "ranks": [1, 2], "modes": ["freeze_a", "train_both"], "lr": 0.02}
    return config_of(where / "model", str(where / "rows.csv"), **(given | changes))


@pytest.mark.parametrize(
    ("config", "run", "engine", "key"),
    [
        (
            {"data": "a.csv"}, Run(8, "freeze_a", 256, 0), 1,
            "2de1015f812632a6799b1f10282dfd9fc124bf3c951fc5d9c563a0212aace2cb",
        ),
        (
            {"data": "words", "ranks": [4], "n_train": [64], "law": "gaussian", "epochs": 2}, Run(4, "train_both", 64, 3, 1), 7,
            "682b0215bacd03dacbb661d2ca93b94272065e0a8eb1d62629a0116f47df7778",
        ),
    ],
)  # fmt: skip
def test_runs_without_rounding_keep_the_keys_they_had(config, run, engine, key):
    """The keys are those that commit 6119afd, which knew no rounding, gave to these runs by ``run_key``."""
    fixed = {"data_sha256": "d", "model_sha256": "m", "engine": engine}
    assert run_key(run, fixed | SweepConfig(**config).decisive) == key
    assert run_key(run, fixed | SweepConfig(**config, base="nf4").decisive) != key


def test_a_sweep_goes_on_with_its_own_rounding_alone(work):
    with pytest.raises(StoreError, match="was made with base = 'nf4', now it is 'int8'"):
        run_sweep(asked(work, base="int8"), work / "out")
    with pytest.raises(StoreError, match="was made with base = 'nf4', now it is None"):
        run_sweep(asked(work, base=None, law="gaussian"), work / "out")
    before = lb.open_sweep(work / "out").frame().height
    assert run_sweep(asked(work), work / "out").frame().height == before == 5


def test_adapters_start_at_what_rounding_took_and_say_so(work):
    stored = lb.load_adapter(work / "out/adapters" / NAME)
    task = json.loads((work / "out/adapters" / NAME / "task.json").read_text())
    assert (stored.law, stored.base.format, task["base"]) == ("loftq", "nf4", "nf4")
    assert stored.base.sha256 == task["model_sha256"]
    from lorabound.certificates.holdout import classifier_of
    from lorabound.certificates.rows import AdapterUse, task_of
    from lorabound.certificates.subject import start_by_weights

    path = work / "out/adapters" / NAME
    use = task_of(path, stored, AdapterUse())
    start = start_by_weights(path, stored, use, classifier_of(use, path))
    for name, factors in stored.layers.items():
        assert np.allclose(factors.a, start.layers[name].a, atol=1e-7)
        assert np.abs(start.layers[name].b).max() > 0
        assert 0 < np.abs(factors.b - start.layers[name].b).max() < 0.05  # 2 steps of AdamW of 0.02 each
    sentence = lb.open_sweep(work / "out").about["model_notes"]
    assert any("quantized to nf4" in note for note in sentence)


def test_a_run_is_certified_around_its_start_and_computed_again(work, tmp_path):
    made = lb.certify(
        work / "out/adapters" / NAME,
        methods=["progressive", "as-stored", "compressed", "pac-bayes"],
        out=tmp_path / "c",
    )
    assert {one.method for one in made.statements} == {"progressive", "as-stored", "compressed", "pac-bayes"}
    assert lb.verify(tmp_path / "c").holds
    fresh = lb.certify(work / "out/adapters" / NAME, holdout=work / "fresh.csv", methods=["holdout"])
    assert 0 <= fresh.statements[0].error <= 1


def test_a_factor_that_is_not_what_the_weights_give_is_refused(work, tmp_path):
    """Changed, and its hash with it: only the weights of the model can tell."""
    from dataclasses import replace

    from lorabound.adapters import save_adapter
    from lorabound.certificates.holdout import classifier_of
    from lorabound.certificates.rows import AdapterUse, task_of
    from lorabound.certificates.subject import refuse_another_draw, start_by_weights

    path = work / "out/adapters" / NAME
    stored = lb.load_adapter(path)
    use = task_of(path, stored, AdapterUse())
    classifier = classifier_of(use, path)
    layers = {name: replace(one, a=one.a * np.float32(1.01)) for name, one in stored.layers.items()}
    forged = replace(stored, layers=layers)
    lb.load_adapter(save_adapter(forged, tmp_path / "forged"))  # nothing in the folder shows it
    start = start_by_weights(tmp_path / "forged", forged, use, classifier)
    refuse_another_draw(stored, start, path)
    with pytest.raises(AdapterError, match=r"the frozen factor of .* is not what seed 0 and law loftq make on this"):
        refuse_another_draw(forged, start, tmp_path / "forged")


def test_an_adapted_layer_that_is_not_rounded_starts_at_zero_update_from_the_seed(tmp_path, monkeypatch):
    """The last layer of a CLIP: transformers leaves it to no quantizer. Two seeds, each certified around its own."""
    from lorabound.models import pixels
    from lorabound.sweeps.task import load_task

    monkeypatch.setattr(pixels, "CACHE", tmp_path / "cache")
    config = config_of(
        save_clip(tmp_path / "clip"), "digits", base="nf4", law="loftq", targets=["q", "text_projection"],
        prompt=None, seeds=[0, 1], lr=0.02,
    )  # fmt: skip
    starts = [load_task(config).new_adapter(1, "freeze_a", seed).layers for seed in (0, 1)]
    kept = [start.pop("text_projection") for start in starts]
    assert not any(start.b.any() for start in kept)
    assert not np.allclose(kept[0].a, kept[1].a, atol=0.01)
    assert len(starts[0]) == 6
    assert all(one.b.any() and np.array_equal(one.a, starts[1][name].a) for name, one in starts[0].items())
    run_sweep(config, tmp_path / "out")
    for seed, start in enumerate(kept):
        path = tmp_path / f"out/adapters/freeze_a-r1-n20-seed{seed}"
        assert np.array_equal(lb.load_adapter(path).layers["text_projection"].a, start.a)
        lb.certify(path, methods=["as-stored", "compressed"], out=tmp_path / f"c{seed}")
        assert lb.verify(tmp_path / f"c{seed}").holds


def test_what_does_not_fit_is_said(work, tmp_path, capsys, monkeypatch):
    with pytest.raises(
        InputError, match="law = loftq starts from what rounding the model took away, and the model is not"
    ):
        SweepConfig(law="loftq")
    path = work / "out/adapters" / NAME
    with pytest.raises(InputError, match="was trained on its model rounded to nf4: leave --base out"):
        lb.certify(path, holdout=work / "fresh.csv", base="int8")
    status, _, errors = run(
        capsys, monkeypatch, "recommend", "--data", "words", "--base", "nf4", "--law", "loftq", "--out", tmp_path
    )
    assert (status, errors.startswith("lorabound: law loftq is for sweeps")) == (2, True)
