"""What a frozen factor keeps of a full fine-tune: models that were really fine-tuned, read from their files."""

import csv
import json

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import lorabound as lb
from lorabound.adapters import new_adapter, save_adapter
from lorabound.errors import AdapterError
from lorabound.modes import MODES
from tests.commands import run, shown
from tests.text_models import TEXTS, put_adapter_into, save_text_model

QUERY = "encoder.layer.{}.attention.self.query"


def fine_tuned(base, where, steps=4, auto=transformers.AutoModel, **options):
    """A copy of a model, every weight trained for some steps."""
    torch.manual_seed(0)
    model = auto.from_pretrained(base, **options)
    tokens = transformers.AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        out = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        (out.last_hidden_state if hasattr(out, "last_hidden_state") else out.logits).square().mean().backward()
        optimizer.step()
    model.save_pretrained(where)
    return where


def of_other_sizes(base, where, **sizes):
    config = transformers.AutoConfig.from_pretrained(base, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(where)


def weight(folder, name):
    (file,) = folder.glob("model.safetensors")
    return load_file(file)[f"{name}.weight"].double().numpy()


def squares(matrix):
    return float(np.sum(np.asarray(matrix, dtype=np.float64) ** 2))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    where = tmp_path_factory.mktemp("pair")
    base = save_text_model(where / "base")
    return base, fine_tuned(base, where / "tuned")


def drawn(base, where, mode, rank=3, trained=0.05):
    """An adapter of ours with a random trained factor."""
    shapes = {QUERY.format(i): (16, 16) for i in range(2)}
    adapter = new_adapter(shapes, rank, mode, seed=1, law="gaussian", alpha_over_r=2.0)
    random = np.random.default_rng(0)
    for factors in adapter.layers.values():
        for name in MODES[mode].trained:
            getattr(factors, name)[:] = trained * random.normal(size=getattr(factors, name).shape)
    return save_adapter(adapter, where, base_model=str(base))


def test_ranks_against_numpy(pair):
    base, tuned = pair
    costs = lb.freezing_costs(against=str(tuned), base=str(base), ranks=[1, 4])
    assert (len(costs.layers), costs.other_energy, costs.ranks) == (12, 0.0, (1, 4))
    for layer in costs.layers:
        e = weight(tuned, layer.name) - weight(base, layer.name)
        sigma2 = np.linalg.svd(e, compute_uv=False) ** 2
        assert (layer.d_out, layer.d_in) == e.shape
        assert layer.price.energy == pytest.approx(squares(e), rel=1e-6)
        np.testing.assert_allclose(layer.price.free, [sigma2[1:].sum(), sigma2[4:].sum()], rtol=1e-5)
        np.testing.assert_allclose(layer.price.frozen_a, squares(e) * (1 - np.array([1, 4]) / e.shape[1]), rtol=1e-6)
        shares = np.cumsum(sigma2) / sigma2.sum()
        assert layer.price.rank_for(0.9) == 1 + int(np.sum(shares < 0.9))
        assert layer.adapter_error is None
    kept = 1 - sum(layer.error("free", 1) for layer in costs.layers) / sum(layer.price.energy for layer in costs.layers)
    assert costs.kept("free", 1) == pytest.approx(kept)
    assert [row["rank"] for row in costs.frame().iter_rows(named=True)] == [1, 4] * 12
    assert costs.frame()["adapter_error"].null_count() == 24


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both"])
def test_an_adapter_against_least_squares(pair, tmp_path, mode):
    base, tuned = pair
    folder = drawn(base, tmp_path / mode, mode)
    costs = lb.freezing_costs(folder, against=str(tuned))  # the base is the one that the folder names
    assert costs.mode == mode
    assert [layer.name for layer in costs.layers] == [QUERY.format(0), QUERY.format(1)]
    stored = load_file(folder / "adapter_model.safetensors")
    for layer in costs.layers:
        e = weight(tuned, layer.name) - weight(base, layer.name)
        b, a = (stored[f"base_model.model.{layer.name}.lora_{x}.weight"].double().numpy() for x in "BA")
        assert layer.adapter_error == pytest.approx(squares(e - 2 * b @ a), rel=1e-6)
        best_b = np.linalg.lstsq(a.T, e.T, rcond=None)[0].T
        best_a = np.linalg.lstsq(b, e, rcond=None)[0]
        frozen = {"freeze_a": squares(e - best_b @ a), "freeze_b": squares(e - b @ best_a), "train_both": None}[mode]
        assert layer.price.realized == (frozen and pytest.approx(frozen, rel=1e-6))
        assert layer.ranks == (3,)
    assert costs.n_linear == 12
    whole = lb.freezing_costs(against=str(tuned), base=str(base))
    assert costs.energy + costs.other_energy == pytest.approx(whole.energy, rel=1e-6)


def test_an_adapter_of_rounded_weights_is_refused(pair, tmp_path):
    base, tuned = pair
    folder = drawn(base, tmp_path / "rounded", "freeze_a")
    path = folder / "lorabound.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base": "nf4", "base_sha256": "0" * 64}))
    with pytest.raises(AdapterError, match=r"rounded to nf4,.* give its rank as --ranks"):
        lb.freezing_costs(folder, against=str(tuned))


def test_the_best_factor_reaches_the_realized_error(pair, tmp_path):
    """The adapter whose B is the least squares solution for its own A is as near as the table says it can be."""
    base, tuned = pair
    names = [QUERY.format(0)]
    adapter = new_adapter({names[0]: (16, 16)}, 5, "freeze_a", seed=2, law="kaiming_uniform", alpha_over_r=4.0)
    factors = adapter.layers[names[0]]
    e = weight(tuned, names[0]) - weight(base, names[0])
    factors.b[:] = np.linalg.lstsq(factors.a.T.astype(float), e.T, rcond=None)[0].T / factors.scale
    costs = lb.freezing_costs(save_adapter(adapter, tmp_path / "best", base_model=str(base)), against=str(tuned))
    (layer,) = costs.layers
    assert layer.adapter_error == pytest.approx(layer.price.realized, rel=1e-5)
    assert layer.error("free") < layer.price.realized < layer.price.energy
    page = shown(costs, width=100)
    share = f"{100 * costs.kept('realized'):.0f}%"
    assert f"with its frozen A it can keep {share}; as it was trained it keeps {share}" in " ".join(page.split())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "mpnet", "gpt2", "opt"])
def test_a_merged_adapter_is_kept_whole(tmp_path, kind):
    """The checkpoint is the base plus s B A: the adapter keeps all of it, and so does any rank from its own on."""
    base = save_text_model(tmp_path / "base", kind=kind)
    model = transformers.AutoModel.from_pretrained(base)
    target = {"distilbert": "q_lin", "gpt2": "c_attn", "opt": "q_proj", "mpnet": "q"}.get(kind, "query")
    config = LoraConfig(r=2, lora_alpha=8, target_modules=[target], init_lora_weights=False)
    adapted = get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    costs = lb.freezing_costs(tmp_path / "adapter", against=str(tmp_path / "merged"), base=str(base))
    assert len(costs.layers) == 2
    assert costs.other_energy == 0
    for layer in costs.layers:
        assert layer.adapter_error < 1e-10 * layer.price.energy
        assert layer.price.free < 1e-10 * layer.price.energy
        assert 1 <= layer.price.rank_for(0.99) <= 2
    assert "as it was trained it keeps 100%" in " ".join(shown(costs).split())


def test_adapters_of_peft_and_prefixes(pair, tmp_path):
    """PEFT's names carry the prefix of the class that was adapted; the base is the bare model."""
    base, tuned = pair
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=["query"], init_lora_weights=False, use_rslora=True)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    headed = fine_tuned(base, tmp_path / "headed", auto=transformers.AutoModelForSequenceClassification, num_labels=2)
    costs = lb.freezing_costs(tmp_path / "adapter", against=str(headed), base=str(base))
    assert costs.mode is None
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    tensors = load_file(headed / "model.safetensors")
    for layer in costs.layers:
        assert layer.name.startswith("encoder.")
        e = tensors[f"bert.{layer.name}.weight"].double().numpy() - weight(base, layer.name)
        b, a = (stored[f"base_model.model.bert.{layer.name}.lora_{x}.weight"].double().numpy() for x in "BA")
        assert layer.adapter_error == pytest.approx(squares(e - 8 / np.sqrt(2) * b @ a), rel=1e-6)
    back = lb.freezing_costs(tmp_path / "adapter", against=str(tuned), base=str(headed))
    assert [layer.name for layer in back.layers] == [f"bert.{layer.name}" for layer in costs.layers]
    assert back.n_linear == 12  # the head of ``headed`` is no layer to compare


def test_gpt2_keeps_its_weights_transposed(tmp_path):
    base = save_text_model(tmp_path / "base", kind="gpt2")
    tuned = fine_tuned(base, tmp_path / "tuned")
    model = transformers.AutoModel.from_pretrained(base)
    put_adapter_into(tmp_path / "adapter", model, ["c_attn"])
    costs = lb.freezing_costs(tmp_path / "adapter", against=str(tuned), base=str(base))
    for layer in costs.layers:
        assert (layer.d_out, layer.d_in) == (48, 16)
        e = (weight(tuned, layer.name) - weight(base, layer.name)).T
        stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
        b, a = (stored[f"base_model.model.{layer.name}.lora_{x}.weight"].double().numpy() for x in "BA")
        assert layer.adapter_error == pytest.approx(squares(e - 16 * b @ a), rel=1e-6)
        assert layer.price.frozen_a == pytest.approx(squares(e) * (1 - 2 / 16))


def test_shards_and_16_bits(pair, tmp_path):
    """The same numbers from shards; half precision is read, and what it rounds away is told."""
    base, tuned = pair
    model = transformers.AutoModel.from_pretrained(tuned)
    model.save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    whole = lb.freezing_costs(against=str(tuned), base=str(base), ranks=[2])
    shards = lb.freezing_costs(against=str(tmp_path / "shards"), base=str(base), ranks=[2])
    assert shards.frame().equals(whole.frame())
    assert "rounding" not in shown(whole)
    for kind in (torch.bfloat16, torch.float16):
        folder = tmp_path / str(kind)
        transformers.AutoModel.from_pretrained(tuned, dtype=kind).save_pretrained(folder)
        half = lb.freezing_costs(against=str(folder), base=str(base), ranks=[2])
        for layer, exact in zip(half.layers, whole.layers, strict=True):
            e = weight(folder, layer.name) - weight(base, layer.name)
            assert layer.price.energy == pytest.approx(squares(e), rel=1e-6)
            added = squares(weight(folder, layer.name) - weight(tuned, layer.name))
            assert layer.rounding == pytest.approx(added, rel=0.4)
            assert exact.rounding == 0
    model = transformers.AutoModel.from_pretrained(base, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "rounded")  # nothing changed but the format
    rounded = lb.freezing_costs(against=str(tmp_path / "rounded"), base=str(base))
    assert rounded.rounding == pytest.approx(rounded.energy, rel=0.2)
    assert "of what differs may be rounding" in " ".join(shown(rounded).split())


def test_the_command(pair, tmp_path, capsys, monkeypatch):
    base, tuned = pair
    folder = drawn(base, tmp_path / "adapter", "freeze_a")
    path = tmp_path / "costs.csv"
    status, output, errors = run(capsys, monkeypatch, "inspect", folder, "--against", tuned, "--csv", path)
    assert status == 0, errors
    plain = " ".join(output.split())
    costs = lb.freezing_costs(folder, against=str(tuned))
    free = f"{100 * costs.kept('free'):.0f}%"
    assert plain.startswith(f"At rank 3 free factors keep at most {free} of what full fine-tuning changed in 2 layers;")
    assert "a random frozen A 19% and a random frozen B 19%, on average" in plain  # 3 / 16
    assert "Compared: 2 of 12 linear layers" in plain
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["frozen_error"]) for row in rows] == [layer.price.realized for layer in costs.layers]
    status, output, errors = run(
        capsys,
        monkeypatch,
        "inspect",
        "--against",
        tuned,
        "--base",
        base,
        "--ranks",
        "1,2",
        "--targets",
        "query,dense",
        "--layers",
        "1",
    )
    assert status == 0, errors
    rows = [line for line in output.splitlines() if "16x16" in line or "16x32" in line or "32x16" in line]
    assert len(rows) == 4
    assert "At rank 1 free" in output
    assert "At rank 2 free" in output


@pytest.mark.parametrize(("arguments", "says"), [
    ("", "inspect wants the folder of an adapter, or --against CHECKPOINT --base MODEL"),
    ("--base base", "--base goes with --against CHECKPOINT"),
    ("adapter --ranks 4", "--ranks goes with --against CHECKPOINT"),
    ("--against tuned", "say which model was fine-tuned: --base MODEL"),
    ("adapter --against tuned --base base --ranks 4", "ranks are looked at without an adapter"),
    ("--against tuned --base base --ranks 0", "ranks = 0: it must be at least 1"),
    ("--against base --base base", "base and base have the same weights in all layers that are compared (12)"),
    ("--against wide --base base", "wide is a checkpoint of other shapes: encoder.layer.0.intermediate.dense is 40 x 16 there and 32 x 16 in base"),
    ("--against deep --base tuned --layers 2", "no layer 2 holds all-linear: the model has layers 0 to 1"),
    ("--against base --base deep", "base has no weight of encoder.layer.2.attention.output.dense and 5 more, which deep has (18 layers)"),
    ("--against deep --base base", "deep has encoder.layer.2.attention.output.dense and 5 more, which base has not (12 layers of these kinds)"),
    ("--against deep --base base --layers 1", "which base has not"),
    ("--against gpt2 --base base", "gpt2 is not of the kind of base"),
    ("--against pickle --base base", "pickle holds its weights only as pytorch_model.bin, a pickle"),
    ("--against nan --base base", "holds values that are not finite"),
    ("--against adapter --base base", "adapter"),
    ("adapter --against wide_adapter --base base", "wide_adapter"),
    ("wide_adapter --against tuned --base base", "wide_adapter is an adapter for other shapes"),
    ("--against tuned --base base --targets qury", "no linear layer of the model is called 'qury'"),
])  # fmt: skip
def test_what_is_refused_in_one_sentence(pair, tmp_path, capsys, monkeypatch, arguments, says):
    base, tuned = pair
    monkeypatch.chdir(tmp_path)
    for name, folder in {"base": base, "tuned": tuned}.items():
        (tmp_path / name).symlink_to(folder)
    drawn(base, tmp_path / "adapter", "freeze_a")
    words = arguments.split()
    if "wide" in words:
        of_other_sizes(base, tmp_path / "wide", intermediate_size=40)
    if "deep" in words:
        of_other_sizes(base, tmp_path / "deep", num_hidden_layers=3)
    if "gpt2" in words:
        save_text_model(tmp_path / "gpt2", kind="gpt2")
    if "wide_adapter" in words:
        wide = new_adapter({QUERY.format(0): (16, 20)}, 2, "freeze_a", seed=0, law="gaussian", alpha_over_r=1.0)
        save_adapter(wide, tmp_path / "wide_adapter")
    if "pickle" in words:
        (tmp_path / "pickle").mkdir()
        (tmp_path / "pickle" / "config.json").write_text((base / "config.json").read_text())
        (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"")
    if "nan" in words:
        (tmp_path / "nan").mkdir()
        (tmp_path / "nan" / "config.json").write_text((base / "config.json").read_text())
        tensors = load_file(base / "model.safetensors")
        tensors[f"{QUERY.format(1)}.weight"][3, 3] = torch.nan
        save_file(tensors, tmp_path / "nan" / "model.safetensors", metadata={"format": "pt"})
    capsys.readouterr()
    status, output, errors = run(capsys, monkeypatch, "inspect", *words)
    assert (status, output) == (2, "")
    *before, last = errors.splitlines()
    assert last.startswith("lorabound: ")
    assert says in last
    assert before in ([], ["1 of 12 layers"])


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both", None])
def test_the_table_fits_a_terminal(pair, tmp_path, mode):
    base, tuned = pair
    adapter = drawn(base, tmp_path / mode, mode) if mode else None
    costs = lb.freezing_costs(adapter, against=str(tuned), base=str(base))
    page = shown(costs, width=80)
    assert "…" not in page
    assert max(map(len, page.splitlines())) <= 80
    rows = [line.split() for line in page.splitlines() if any(size in line for size in ("16x16", "32x16", "16x32"))]
    assert len(rows) == len(costs.layers)
    for row, layer in zip(rows, costs.layers, strict=True):
        assert float(row[2]) == pytest.approx(layer.price.energy, rel=5e-3)
        assert row[-2:] == [str(layer.price.rank_for(0.9)), str(layer.price.rank_for(0.99))]
        free = float(row[4].rstrip("%")) / 100
        assert free == pytest.approx(1 - layer.error("free") / layer.price.energy, abs=0.0051)
        if mode in ("freeze_a", "freeze_b"):
            assert row[5] == "19%"  # 3 / 16
            assert float(row[6].rstrip("%")) / 100 == pytest.approx(
                1 - layer.price.realized / layer.price.energy, abs=0.0051
            )
