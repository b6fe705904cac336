"""A sweep stays within its memory budget, and says so; what does not fit is refused with the amount that is missing."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
import torch

from lorabound.adapters import new_adapter
from lorabound.engine.batches import TOKENS_PER_PASS
from lorabound.engine.memory import STACK_WIDTH, Activations, Allotment, activations, allot
from lorabound.errors import InputError
from lorabound.models import precision, resolve_precision
from lorabound.stack import select_linears
from lorabound.sweeps import Sweep
from tests import commands

GIB = 2**30


def arguments(out, data, *options):
    """A small sweep of long texts."""
    return [
        "sweep", "--data", data, "--out", out, "--precision", "float32", "--ranks", "2", "--seeds", "6", "--modes",
        "train_both", "--n-train", "4", "--n-test", "10", "--epochs", "1", "--max-length", "128", *options,
    ]  # fmt: skip


def sweep(out, data, *options):
    """A sweep in its own process, imports included."""
    command = [sys.executable, "-m", "lorabound", *map(str, arguments(out, data, *options))]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def peak_gib(out, data, *options):
    """Peak resident memory of a process with two workers, the report included, as the system saw it."""
    file = out.with_suffix(".peak")
    process = commands.start(arguments(out, data, *options), threads=2, peak=file)
    process.join()
    assert process.exitcode == 0
    return float(file.read_text())


@pytest.fixture(scope="module")
def long_texts(tmp_path_factory):
    random = np.random.default_rng(0)
    words = ["pear", "plum", "house", "river", "stone", "cloud"]
    texts = [" ".join(random.choice(words, 140)) for _ in range(60)]
    path = tmp_path_factory.mktemp("data") / "long.csv"
    pl.DataFrame({"text": texts, "label": [["yes", "no"][i % 2] for i in range(60)]}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def without_budget(long_texts, tmp_path_factory):
    """A sweep that may take what it wants, and its peak."""
    out = tmp_path_factory.mktemp("free") / "out"
    return out, peak_gib(out, long_texts)


def test_the_peak_stays_under_the_budget_which_would_be_broken_without_it(long_texts, without_budget, tmp_path):
    budget = 0.9
    free_out, free_peak = without_budget
    bound_peak = peak_gib(tmp_path / "bound", long_texts, "--memory", str(budget))
    free, bound = (Sweep.open(out).about["resources"] for out in (free_out, tmp_path / "bound"))
    assert bound_peak < budget < free_peak, (bound, free)
    assert bound["peak_gib"] <= bound_peak
    assert bound["width"] < free["width"]
    rows = [Sweep.open(out).rows() for out in (free_out, tmp_path / "bound")]
    for a, b in zip(*rows, strict=True):
        assert a.test_ce == pytest.approx(b.test_ce, abs=1e-4)


def test_too_small_a_budget_is_one_sentence(long_texts, tmp_path):
    done = sweep(tmp_path / "out", long_texts, "--memory", "0.1")
    assert done.returncode == 2
    assert "raise --memory" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()[-1]) < 200


def test_allotment_fits_and_never_exceeds_the_most():
    for room in (1e8, 1e9, 1e12):
        fits = allot(room, Activations(5e4, 0), entries=100_000, longest=30)
        assert fits.width * 24 * 100_000 + 2.5 * 50_000 * fits.tokens_per_pass <= room
        assert fits.width * 30 <= fits.tokens_per_pass
        assert fits.width <= STACK_WIDTH
        assert fits.tokens_per_pass <= TOKENS_PER_PASS
    assert allot(1e12, Activations(5e4, 0), 100_000, 30) == Allotment(STACK_WIDTH, TOKENS_PER_PASS)
    with pytest.raises(InputError, match="one adapter and one example of 30 tokens need .* GiB more"):
        allot(1e6, Activations(5e4, 0), 100_000, 30)


def test_activations_are_counted_without_weights(minilm):
    """Six layers; float32; at least the four inputs an encoder layer must keep, at most thirty of them."""
    inputs = minilm.prepare(["a word or two", "three"])
    shapes = select_linears(minilm.module, ["query"])
    adapter = new_adapter(shapes, 1, "train_both", 0, "gaussian", 1.0)
    kept = activations(minilm, inputs, adapter)
    per_token = kept.per_token
    assert kept.of_prompts == 0
    assert 6 * 4 * 384 * 4 < per_token < 6 * 30 * 384 * 4
    weights = sum(p.numel() * 4 for p in minilm.module.parameters())
    assert per_token * 8 * inputs.lengths.max() < weights


def test_auto_is_what_is_faster_here(monkeypatch):
    """Decided by the measured seconds, not by what the processor says of itself; what is asked for is taken."""
    cpu = torch.device("cpu")
    assert resolve_precision("float32", cpu) == "float32"
    assert resolve_precision("bfloat16", cpu) == "bfloat16"
    for narrow, expected in ((0.25, "bfloat16"), (0.9, "float32"), (12.0, "float32"), (float("inf"), "float32")):
        seconds = {torch.float32: 1.0, torch.bfloat16: narrow}
        monkeypatch.setattr(precision, "_seconds", lambda dtype, _, seconds=seconds: seconds[dtype])
        assert resolve_precision("auto", cpu) == expected


def test_auto_measures_for_a_fraction_of_a_second():
    precision._seconds.cache_clear()
    start = time.perf_counter()
    chosen = resolve_precision("auto", torch.device("cpu"))
    assert time.perf_counter() - start < 2.0  # one product in bfloat16 takes up to 0.2 s without hardware for it
    seconds = [precision._seconds(dtype, torch.device("cpu")) for dtype in (torch.float32, torch.bfloat16)]
    assert chosen == ("bfloat16" if 1.5 * seconds[1] <= seconds[0] else "float32")


def test_the_store_says_what_was_used(long_texts, tmp_path):
    sweep(tmp_path / "out", long_texts, "--layers", "5", "--ranks", "1", "--seeds", "1")
    store = Sweep.open(tmp_path / "out")
    assert store.config.precision == "float32"
    assert json.dumps(store.about["resources"])
    assert 0 < store.about["resources"]["stored_gib"] < store.about["resources"]["peak_gib"]
