"""Spectra of s B A: equal to those of the dense product and of PEFT's, one pair of factors in memory, fast at 7B."""

import csv
import io
import json
import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from rich.console import Console
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from lorabound.adapters import inspect_adapter, load_adapter, new_adapter, product_spectrum, save_adapter
from lorabound.errors import AdapterError, InputError
from lorabound.files import write_table
from lorabound.reports.show import show
from lorabound.reports.spectra import short_names
from tests.commands import run

EPS = np.finfo(np.float64).eps


def orthonormal(rows, columns, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(rows, columns)))[0]


def of_norms(sigma, d_out=40, d_in=30, seed=0):
    """B (d_out, r) and A (r, d_in) whose product has the singular values sigma."""
    mix = np.linalg.qr(np.random.default_rng(seed + 2).normal(size=(len(sigma), len(sigma))))[0]
    return orthonormal(d_out, len(sigma), seed) * sigma @ mix, mix.T @ orthonormal(d_in, len(sigma), seed + 1).T


# One product


@settings(max_examples=150, deadline=None)
@given(
    d_out=st.integers(1, 24), d_in=st.integers(1, 24), rank=st.integers(1, 30), inner=st.integers(1, 30),
    scale=st.sampled_from([2.0, -0.3, 16.0, 0.01]), log_size=st.integers(-30, 30), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_equal_to_the_dense_svd(d_out, d_in, rank, inner, scale, log_size, seed):
    """Tall, wide, r = 1, r > min(d) and rank-deficient B, at sizes from 1e-30 to 1e30."""
    random = np.random.default_rng(seed)
    b = random.normal(size=(d_out, inner)) @ random.normal(size=(inner, rank)) * 10.0**log_size
    a = random.normal(size=(rank, d_in))
    spectrum = product_spectrum(b, a, scale)
    dense = scale * (b @ a)
    truth = np.linalg.svd(dense, compute_uv=False)
    room = 100 * rank * EPS * abs(scale) * np.linalg.norm(b) * np.linalg.norm(a)
    found = np.zeros_like(truth)
    found[: spectrum.singular_values.size] = spectrum.singular_values
    assert spectrum.singular_values.size == min(d_out, rank, d_in)
    np.testing.assert_allclose(found, truth, rtol=0, atol=room)
    assert (np.diff(spectrum.singular_values) <= 0).all()
    assert spectrum.spectral_norm == pytest.approx(truth[0], rel=1e-12, abs=room)
    assert spectrum.frobenius_norm == pytest.approx(np.linalg.norm(dense), rel=1e-12, abs=room)
    if spectrum.spectral_norm > 1e-6 * abs(scale) * np.linalg.norm(b) * np.linalg.norm(a):
        assert spectrum.stable_rank == pytest.approx((np.linalg.norm(dense) / truth[0]) ** 2, rel=1e-6)
        assert 1 <= spectrum.stable_rank <= spectrum.effective_rank**2 * (1 + 1e-9)
        assert 1 - 1e-12 <= spectrum.effective_rank <= min(d_out, inner, rank, d_in) * (1 + 1e-9)


@pytest.mark.parametrize("sigma", [[3.0], [2.0, 2.0, 2.0, 2.0], [5.0, 1.0, 0.1], [1.0, 0.5, 0.25, 0.125, 0.0]])
@pytest.mark.parametrize("scale", [1.0, -0.5, 16.0])
def test_known_singular_values(sigma, scale):
    spectrum = product_spectrum(*of_norms(np.array(sigma)), scale)
    truth = abs(scale) * np.array(sigma)
    p = [s / sum(sigma) for s in sigma if s > 0]
    np.testing.assert_allclose(spectrum.singular_values, truth, rtol=1e-13, atol=1e-14 * truth[0])
    assert spectrum.spectral_norm == pytest.approx(truth[0], rel=1e-13)
    assert spectrum.frobenius_norm == pytest.approx(math.sqrt(sum(truth**2)), rel=1e-13)
    assert spectrum.stable_rank == pytest.approx(sum(truth**2) / truth[0] ** 2, rel=1e-12)
    assert spectrum.effective_rank == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)), rel=1e-12)


def test_small_singular_values_keep_their_digits():
    """1e-11 beside 1: lost by the Gram matrices, whose error is sqrt(eps) = 1.5e-8; QR keeps five digits here."""
    b, a = of_norms(np.array([1.0, 1e-11]))
    assert product_spectrum(b, a).singular_values[1] == pytest.approx(1e-11, rel=1e-4)
    gram = math.sqrt(abs(np.linalg.eigvals(b.T @ b @ (a @ a.T)).real.min()))
    assert gram != pytest.approx(1e-11, rel=0.1)  # the comparison means something


@pytest.mark.parametrize(("b", "a", "scale"), [
    (np.zeros((7, 3)), np.ones((3, 5)), 2.0),
    (np.ones((7, 3)), np.zeros((3, 5)), 2.0),
    (np.ones((7, 3)), np.ones((3, 5)), 0.0),
    (np.ones((7, 2)), np.array([[1.0] * 5, [-1.0] * 5]), 2.0),  # neither factor is zero, B A is
])  # fmt: skip
def test_the_zero_update(b, a, scale):
    spectrum = product_spectrum(b, a, scale)
    assert not spectrum.singular_values.any()
    numbers = (spectrum.spectral_norm, spectrum.frobenius_norm, spectrum.stable_rank, spectrum.effective_rank)
    assert numbers == (0.0, 0.0, 0.0, 0.0)


def test_rounding_is_not_taken_for_rank():
    """Factors that cancel up to rounding: what is left is 0, not a spectrum of noise with a large effective rank."""
    random = np.random.default_rng(0)
    for _ in range(50):
        basis = np.linalg.qr(random.normal(size=(16, 16)))[0]
        b, a = random.normal(size=(300, 8)) @ basis[:8], basis[8:].T @ random.normal(size=(8, 200))
        assert product_spectrum(b, a).effective_rank == 0


@pytest.mark.parametrize(("b", "a", "scale", "message"), [
    (np.ones((3, 2)), np.ones((3, 4)), 1.0, r"needs r columns and a r rows, got shapes \(3, 2\) and \(3, 4\)"),
    (np.ones(3), np.ones((3, 4)), 1.0, "b must be a matrix"),
    (np.ones((3, 0)), np.ones((0, 4)), 1.0, "b must be a matrix"),
    (np.full((3, 1), np.nan), np.ones((1, 4)), 1.0, "b must lie in"),
    (np.ones((3, 1)), np.full((1, 4), np.inf), 1.0, "a must lie in"),
    (np.ones((3, 1)), np.ones((1, 4)), np.inf, "scale must lie in"),
    (np.full((3, 1), 1e200), np.full((1, 4), 1e150), 1.0, "more than float64 holds"),
])  # fmt: skip
def test_bad_arrays_are_refused(b, a, scale, message):
    with pytest.raises(InputError, match=message):
        product_spectrum(b, a, scale)


# Folders made by PEFT


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 10)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"q": nn.Linear(10, 14), "v": nn.Linear(14, 10), "c": Conv1D(17, 10)}) for _ in range(3)
        )
        self.conv = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(10, 4)


def made_by_peft(folder, dtype=torch.float32, **options):
    torch.manual_seed(0)
    options = {"r": 4, "lora_alpha": 12, "target_modules": ["q", "v"], "init_lora_weights": False, **options}
    model = get_peft_model(Model().to(dtype), LoraConfig(**options), autocast_adapter_dtype=False)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("options", [
    {},
    {"use_rslora": True},
    {"rank_pattern": {"layers.1.q": 2, "v": 11}, "alpha_pattern": {"q": 5, r"layers\.[02]\.v": 1}},
    {"alpha_pattern": {"ayers.0.q": 1, "layers": 2, "layers.1": 3, ".*1.v": 4, "1.v": 5}},  # three match no name
    {"use_rslora": True, "rank_pattern": {"^layers.2.v": 1}, "alpha_pattern": {"layers.2.v": 3}},
    {"target_modules": ["c"], "fan_in_fan_out": True},
    {"bias": "all", "modules_to_save": ["head"], "lora_bias": False},
    {"lora_bias": True},
    {"init_lora_weights": "orthogonal"},
])  # fmt: skip
def test_equal_to_pefts_own_delta(tmp_path, options):
    model = made_by_peft(tmp_path / "theirs", **options)
    layers = {layer.name: layer for layer in inspect_adapter(tmp_path / "theirs").layers}
    modules = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    assert set(layers) == set(modules)
    for name, module in modules.items():
        layer = layers[name]
        delta = module.get_delta_weight("default").detach().double().numpy()
        truth = np.linalg.svd(delta, compute_uv=False)
        factors = module.lora_B["default"].weight.detach().numpy(), module.lora_A["default"].weight.detach().numpy()
        room = 1e-6 * layer.scale * float(np.linalg.norm(factors[0]) * np.linalg.norm(factors[1]))  # PEFT's is float32
        assert layer.scale == pytest.approx(module.scaling["default"], rel=1e-15)
        assert (layer.d_out, layer.rank, layer.d_in) == (factors[0].shape[0], module.r["default"], factors[1].shape[1])
        np.testing.assert_allclose(
            layer.update.singular_values, truth[: layer.update.singular_values.size], rtol=0, atol=room
        )
        assert layer.update.frobenius_norm == pytest.approx(np.linalg.norm(delta), abs=room)
        for spectrum, factor in zip((layer.b, layer.a), factors, strict=True):
            assert spectrum.frobenius_norm == pytest.approx(np.linalg.norm(factor), rel=1e-6)
            assert spectrum.spectral_norm == pytest.approx(np.linalg.norm(factor, 2), rel=1e-6)


@pytest.mark.parametrize(("dtype", "stored"), [
    (torch.bfloat16, "BF16"), (torch.float16, "F16"), (torch.float32, "F32"), (torch.float64, "F64"),
])  # fmt: skip
def test_every_precision_is_read_exactly(tmp_path, dtype, stored):
    model = made_by_peft(tmp_path / "theirs", dtype)
    with safe_open(tmp_path / "theirs" / "adapter_model.safetensors", "pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {stored}  # noqa: SIM118
    for layer in inspect_adapter(tmp_path / "theirs").layers:
        module = model.base_model.model.get_submodule(layer.name)
        delta = 3.0 * module.lora_B["default"].weight.double() @ module.lora_A["default"].weight.double()
        truth = torch.linalg.svdvals(delta.detach())[:4]
        np.testing.assert_allclose(layer.update.singular_values, truth, rtol=1e-11)


def test_what_is_no_linear_factor_is_left_out_and_told(tmp_path, capsys):
    made_by_peft(tmp_path / "theirs", target_modules=["q", "embed", "conv"], modules_to_save=["head"], bias="lora_only")
    spectra = inspect_adapter(tmp_path / "theirs")
    assert [layer.name for layer in spectra.layers] == ["layers.0.q", "layers.1.q", "layers.2.q"]
    inside = {"base_model.model." + name for name in (
        "embed.lora_embedding_A", "embed.lora_embedding_B", "conv.lora_A.weight", "conv.lora_B.weight", "head.weight",
    )}  # fmt: skip
    assert inside <= set(spectra.left_out)
    show(spectra, Console(width=100))
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Left out, not a factor of a linear layer: {len(spectra.left_out)} tensors" in printed
    for kind in ("2 x factor of an embedding", "2 x factor of a convolution", "1 x weight saved whole"):
        assert kind in printed


# Bad folders


def small(folder, layers=2, d=6, rank=2, dtype=np.float32, name="model.layers.{}.self_attn.q_proj", **config):
    """A PEFT folder written by hand; B is (d + 3, r)."""
    folder.mkdir()
    random = np.random.default_rng(0)
    tensors = {}
    for i in range(layers):
        prefix = "base_model.model." + name.format(i)
        tensors[f"{prefix}.lora_A.weight"] = random.standard_normal((rank, d), dtype=np.float32).astype(dtype)
        tensors[f"{prefix}.lora_B.weight"] = random.standard_normal((d + 3, rank), dtype=np.float32).astype(dtype)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 4, **config}))
    return folder


@pytest.mark.parametrize("read", [inspect_adapter, load_adapter])
@pytest.mark.parametrize(("config", "message"), [
    ({"use_dora": True}, "use_dora = True is not supported: DoRA rescales"),
    ({"init_lora_weights": "pissa_niter_4"}, "not supported: this initialization may change the frozen weight W too"),
    ({"use_bdlora": {"nblocks": 2}}, "stands for a block-diagonal matrix"),
    ({"kasa_config": {}}, "KaSA puts a diagonal between B and A"),
    ({"target_parameters": ["experts.weight"]}, "those of several experts"),
    ({"peft_type": "LOHA"}, "peft_type is 'LOHA', only LORA is supported"),
    ({"lora_alpha": None}, "lora_alpha is missing or not a number"),
    ({"lora_alpha": math.inf}, "lora_alpha is missing or not a number"),
    ({"lora_alpha": 10**400}, "lora_alpha is missing or not a number"),
    ({"alpha_pattern": {"q_proj": "big"}}, "lora_alpha is missing or not a number"),
    ({"alpha_pattern": {"(": 3}}, "alpha_pattern must map regular expressions to numbers"),
    ({"alpha_pattern": [3]}, "alpha_pattern must map regular expressions to numbers"),
    ({"r": 8}, "r is 8 for model.layers.0.self_attn.q_proj, whose factors have rank 2"),
    ({"rank_pattern": {"layers.1.self_attn.q_proj": 4}}, "r is 4 for model.layers.1.self_attn.q_proj"),
])  # fmt: skip
def test_configurations_that_change_the_meaning_are_refused(tmp_path, read, config, message):
    with pytest.raises(AdapterError, match=message):
        read(small(tmp_path / "adapter", **config))


@pytest.mark.parametrize("read", [inspect_adapter, load_adapter])
@pytest.mark.parametrize(("changes", "message"), [
    ({"lora_A.weight": np.full((2, 6), np.nan, np.float32)}, r"layers.0.self_attn.q_proj.lora_A.weight holds values that are not finite"),
    ({"lora_B.weight": np.full((9, 2), 1e300)}, "lora_B.weight holds values that are not finite"),
    ({"lora_B.weight": np.ones((9, 2), np.int8)}, r"lora_B.weight I8 \[9, 2\] is in a number format .* one of F64, F32, F16, BF16"),
    ({"lora_B.weight": np.ones((9, 3), np.float32)}, "needs lora_A .* of one rank r"),
    ({"lora_B.weight": np.ones((0, 2), np.float32)}, r"lora_B.weight F32 \[0, 2\] is empty: under DeepSpeed ZeRO-3"),
    ({"lora_B.weight": np.ones(0, np.float32), "lora_A.weight": np.ones(0, np.float32)}, "2 LoRA tensors .* are empty: .* run DeepSpeed's zero_to_fp32.py"),
    ({"lora_B.weight": np.ones(18, np.float32)}, "is flat, the part of one process .* and not the matrix; gather"),
    ({"lora_B.weight": None}, "needs lora_A .* of one rank r"),
    ({"lora_A.weight": None}, "lora_B.weight F32 .* is without a partner"),
    ({"lora_A.weight": np.ones((3, 2, 6), np.float32), "lora_B.weight": np.ones((3, 9, 2), np.float32)}, "2 LoRA tensors .* those of several experts"),
    ({"lora_A.weight": np.ones((2, 6, 3), np.float32), "lora_B.weight": np.ones((9, 2, 3), np.float32)}, "those of several experts"),
    ({"lora_A.weight": None, "lora_B.weight": None, "lora_A.default.weight": np.ones((2, 6), np.float32), "lora_B.default.weight": np.ones((9, 2), np.float32)}, "2 LoRA tensors .* under a key with the adapter's name in it.*save_pretrained"),
    ({"lora_diag": np.ones(2, np.float32)}, "lora_diag F32 .* is not known: it may change what A and B of its layer do"),
    ({"lora_embedding_A.default": np.ones((2, 6), np.float32)}, "under a key with the adapter's name"),
    ({"lora_magnitude_vector": np.ones(9, np.float32)}, "lora_magnitude_vector F32 .* is not known"),
    ({"lora_B.weight": np.ones(0, np.float32), "lora_diag": np.ones(2, np.float32)}, "is empty: .*; tensor .*lora_diag .* is not known"),
])  # fmt: skip
def test_factors_that_cannot_be_are_named(tmp_path, read, changes, message):
    path = small(tmp_path / "adapter") / "adapter_model.safetensors"
    tensors = load_file(path)
    for name, tensor in changes.items():
        tensors[f"base_model.model.model.layers.0.self_attn.q_proj.{name}"] = tensor
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, path)
    with pytest.raises(AdapterError, match=message):
        read(path.parent)


@pytest.mark.parametrize("read", [inspect_adapter, load_adapter])
@pytest.mark.parametrize("prefix", ["", "module.base_model.model.", "_orig_mod.base_model.model."])
def test_keys_without_pefts_prefix_are_not_passed_over(tmp_path, read, prefix):
    """Names of one layer as a state dict, DistributedDataParallel or torch.compile leaves them; PEFT loads none."""
    path = small(tmp_path / "adapter") / "adapter_model.safetensors"
    tensors = {
        key.replace("base_model.model.model.layers.1.", f"{prefix}model.layers.1."): x
        for key, x in load_file(path).items()
    }
    save_file(tensors, path)
    with pytest.raises(AdapterError, match="2 LoRA tensors .* does not begin with base_model.model..*save_pretrained"):
        read(path.parent)


def test_places_without_an_adapter_are_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    folder = small(tmp_path / "adapter")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((folder / "adapter_model.safetensors").read_bytes())
    cut = small(tmp_path / "cut")
    (cut / "adapter_model.safetensors").write_bytes(alone.read_bytes()[:-9])
    nothing = small(tmp_path / "nothing")
    (nothing / "adapter_model.safetensors").write_bytes(b"")
    full = small(tmp_path / "full")
    save_file({"model.weight": np.ones((2, 2), np.float32)}, full / "adapter_model.safetensors")
    (tmp_path / "sweep" / "adapters").mkdir(parents=True)
    inner = small(tmp_path / "sweep" / "adapters" / "one")
    for place, message in (
        (tmp_path / "nowhere", "no adapter folder at"),
        (tmp_path / "sweep", f"it is not a PEFT adapter folder; name one of those in it, as {inner}"),
        (tmp_path / "empty", "holds no adapter_model.safetensors: it is not a PEFT adapter folder"),
        (tmp_path / "pickled", "is a pickle, which can run code when it is read"),
        (tmp_path / "pickled" / "adapter_model.bin", "is a pickle, which can run code when it is read"),
        (alone, "has no adapter_config.json beside it: the scale alpha / r of its factors stands there"),
        (cut, "the file is damaged or unfinished"),
        (nothing, "the file is damaged or unfinished"),
        (full, "holds no LoRA factors of linear layers: its first tensor is model.weight [2, 2]"),
    ):
        status, output, errors = run(capsys, monkeypatch, "inspect", place)
        assert (status, output) == (2, "")
        assert message in errors
        assert errors.count("\n") == 1
    (tmp_path / "file").write_text("")
    status, _, errors = run(capsys, monkeypatch, "inspect", folder, "--csv", tmp_path / "file" / "such.csv")
    assert status == 2
    assert "cannot write" in errors


# The command


def test_the_file_of_a_folder_is_as_good_as_the_folder(tmp_path):
    folder = small(tmp_path / "adapter")
    one, other = inspect_adapter(folder), inspect_adapter(folder / "adapter_model.safetensors")
    assert [x.update.spectral_norm for x in one.layers] == [x.update.spectral_norm for x in other.layers]


def test_an_untrained_adapter_of_ours_reads_as_zero(tmp_path, capsys, monkeypatch):
    save_adapter(new_adapter({"fc": (9, 7)}, 3, "freeze_a", 0, "gaussian", 2.0), tmp_path / "ours")
    status, output, _ = run(capsys, monkeypatch, "inspect", tmp_path / "ours")
    assert status == 0
    assert "nan" not in output.lower().replace(str(tmp_path).lower(), "")
    (layer,) = inspect_adapter(tmp_path / "ours").layers
    assert (layer.update.stable_rank, layer.b.frobenius_norm) == (0, 0)
    assert layer.a.spectral_norm > 0


def test_the_csv_holds_every_layer_in_the_order_of_the_model(tmp_path):
    spectra = inspect_adapter(small(tmp_path / "adapter", layers=12))
    write_table(tmp_path / "layers.csv", spectra.frame())
    with (tmp_path / "layers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert [row["layer"] for row in rows] == [f"model.layers.{i}.self_attn.q_proj" for i in range(12)]
    for row in rows:
        b, a = (tensors[f"base_model.model.{row['layer']}.lora_{x}.weight"].astype(float) for x in "BA")
        assert float(row["spectral_norm"]) == pytest.approx(2 * np.linalg.norm(b @ a, 2), rel=1e-12)
        assert float(row["frobenius_norm"]) == pytest.approx(2 * np.linalg.norm(b @ a), rel=1e-12)
        assert float(row["b_frobenius_norm"]) == pytest.approx(np.linalg.norm(b), rel=1e-12)
        assert float(row["a_spectral_norm"]) == pytest.approx(np.linalg.norm(a, 2), rel=1e-12)
        assert (row["d_out"], row["d_in"], row["rank"], row["scale"]) == ("9", "6", "2", "2.0")


def test_the_largest_update_is_the_one_of_the_largest_spectral_norm(tmp_path):
    """Frobenius norms order these two layers the other way round."""
    tensors = {}
    for name, sigma in {"wide": [2.0, 2.0, 2.0], "steep": [3.0, 0.0, 0.0]}.items():
        b, a = of_norms(np.array(sigma))
        tensors |= {f"base_model.model.{name}.lora_{x}.weight": factor for x, factor in (("A", a), ("B", b))}
    folder = small(tmp_path / "adapter", rank=3, lora_alpha=3)
    save_file(
        {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    assert inspect_adapter(folder).largest.name == "steep"


@pytest.mark.parametrize("name", [
    "model.layers.{}.self_attn.q_proj", "bert.encoder.layer.{}.attention.output.dense", "transformer.h.{}.mlp",
])  # fmt: skip
@pytest.mark.parametrize(("layers", "terminal"), [(1, True), (18, True), (128, True), (18, False)])
def test_the_table_fits_and_loses_nothing(tmp_path, name, layers, terminal):
    spectra = inspect_adapter(small(tmp_path / "adapter", layers=layers, name=name))
    file = io.StringIO()
    show(spectra, Console(file=file, width=100 if terminal else 60, force_terminal=terminal, color_system=None))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert "…" not in file.getvalue()
    if terminal:
        assert max(map(len, lines[1:])) <= 100
    rows = [line for line in lines if " 9x6 " in line]
    assert len(rows) == layers
    for i, (row, layer) in enumerate(zip(rows, spectra.layers, strict=True)):
        cells = row.split()
        assert cells[0] == (str(i) if layers > 1 else name.split(".")[-1])
        assert float(cells[4]) == pytest.approx(layer.update.spectral_norm, rel=1e-3)
        assert float(cells[-2]) == pytest.approx(layer.b.frobenius_norm, rel=1e-3)
        assert float(cells[-1]) == pytest.approx(layer.a.spectral_norm, rel=1e-3)
    assert sum("||B||_F" in line and "size" in line for line in lines) == (layers > 40)  # the heads again at the end
    end = " ".join(lines[-3:] if terminal else lines)
    assert f"{30 * layers:,} parameters: {18 * layers:,} in B, {12 * layers:,} in A" in " ".join(end.split())
    assert spectra.largest.name in file.getvalue()
    assert spectra.largest.update.spectral_norm == max(layer.update.spectral_norm for layer in spectra.layers)


@pytest.mark.parametrize(("names", "short", "pattern"), [
    (["h.0.attn.q", "h.1.attn.q", "h.1.attn.v"], ["0.q", "1.q", "1.v"], "h.*.attn.*"),
    (["h.0.attn.q", "h.1.mlp"], ["0.attn.q", "1.mlp"], "h.*"),
    (["fc", "block.fc"], ["fc", "block.fc"], ""),
    (["fc", "fc.fc"], ["fc", "fc.fc"], ""),
    (["h.fc", "h.fc.fc"], ["fc", "fc.fc"], "h.*"),
    (["a.x.q", "b.x.q.v"], ["a.x.q", "b.x.q.v"], ""),
    (["m.fc"], ["fc"], "m.*"),
    (["fc"], ["fc"], ""),
])  # fmt: skip
def test_short_names(names, short, pattern):
    assert short_names(names) == (short, pattern)


def test_only_one_pair_of_factors_is_in_memory(tmp_path):
    """32 layers of 512 KiB a factor, 32 MiB in all; one pair takes 1 MiB as stored, 2 MiB as float64, twice in QR."""
    folder = small(tmp_path / "adapter", layers=32, d=2048, rank=64)
    tracemalloc.start()
    try:
        inspect_adapter(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20 < (folder / "adapter_model.safetensors").stat().st_size / 3


_MEASURED = """
import resource, sys, time
start = time.perf_counter()
from lorabound.cli import main
sys.argv = ["lorabound", "inspect", sys.argv[1]]
main.__globals__["app"](standalone_mode=False)
seconds = time.perf_counter() - start
high = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print([m for m in ("torch", "transformers", "peft") if m in sys.modules], seconds, high[0] / 2**20, file=sys.stderr)
"""


def measured(folder):
    """Heavy modules that were imported, wall seconds with start-up, GiB of peak resident memory, what was printed.

    VmHWM, as getrusage also counts the process that started this one.
    """
    done = subprocess.run([sys.executable, "-c", _MEASURED, str(folder)], capture_output=True, text=True, check=True)
    heavy, seconds, gib = done.stderr.rsplit(maxsplit=2)
    return heavy, float(seconds), float(gib), done.stdout


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


@needs_proc
def test_a_small_adapter_needs_neither_torch_nor_time(tmp_path):
    heavy, seconds, gib, output = measured(small(tmp_path / "adapter", layers=24, d=512, rank=16))
    assert heavy == "[]"
    assert seconds < 10
    assert gib < 0.2
    assert "24 layers" in output


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_7b_adapter_in_ten_seconds_and_a_gibibyte(tmp_path, dtype):
    """32 layers x 4 projections, d = 4096, r = 64: measured 2.6 to 5 s and 0.06 GiB on one core."""
    folder = small(tmp_path / "adapter", layers=128, d=4096, rank=64, dtype=dtype)
    heavy, seconds, gib, output = measured(folder)
    assert heavy == "[]"
    assert seconds < 10
    assert gib < 1
    assert "67,133,440 parameters" in " ".join(output.split())
