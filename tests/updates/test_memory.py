"""A pair of models far larger than the memory that is used: sparse files, most of which no disk holds."""

import json
import subprocess
import sys

import numpy as np
import pytest

_MEASURED = """
import sys, time
from lorabound.updates import freezing_costs
imported = [m for m in ("torch", "transformers", "peft") if m in sys.modules]
start = time.perf_counter()
costs = freezing_costs(against=sys.argv[1], base=sys.argv[2], ranks=[16])
seconds = time.perf_counter() - start
high = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(imported, len(costs.layers), costs.kept("free"), sum(layer.price.energy > 0 for layer in costs.layers))
print(seconds, high[0] / 2**20)
"""
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")


def sparse_model(folder, layers, shapes, changed=()):
    """Shards of bfloat16 zeros, one per layer of the model; the matrices of ``changed`` are random."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    places = {}
    for layer in range(layers):
        header, offset = {}, 0
        for name, shape in shapes.items():
            end = offset + 2 * shape[0] * shape[1]
            key = f"model.layers.{layer}.{name}.weight"
            header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
            places[key] = shard = f"model-{layer:05}.safetensors"
            offset = end
        text = json.dumps(header).encode()
        with (folder / shard).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)
            for name in changed if layer == 0 else ():
                entry = header[f"model.layers.0.{name}.weight"]
                random = np.random.default_rng(0).normal(size=entry["shape"]).astype(np.float32)
                file.seek(8 + len(text) + entry["data_offsets"][0])
                file.write((random.view(np.uint32) >> 16).astype(np.uint16).tobytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def measured(tuned, base):
    code = [sys.executable, "-c", _MEASURED, str(tuned), str(base)]
    first, second = subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()
    return first, *map(float, second.split())


@needs_proc
def test_one_layer_is_in_memory(tmp_path):
    """64 matrices of 4 MiB in each model, 512 MiB in all; E in float32 and its Gram matrix take 8 MiB each."""
    shapes = {"self_attn.q_proj": (1024, 2048), "mlp.up_proj": (2048, 1024)}
    base = sparse_model(tmp_path / "base", 32, shapes)
    found, seconds, gib = measured(sparse_model(tmp_path / "tuned", 32, shapes, changed=["mlp.up_proj"]), base)
    assert found.startswith("[] 64 ")
    assert found.endswith(" 1")
    assert float(found.split()[2]) == pytest.approx(16 / 1024, abs=0.05)  # of noise, rank 16 keeps little
    assert gib < 0.35  # of which 0.1 are imports
    assert seconds < 60


@needs_proc
@pytest.mark.slow
def test_a_7b_pair_in_a_gibibyte(tmp_path):
    """Llama 2 7B's shapes, 2 x 12 GiB; the largest matrix is random, the others 0: see docs/adapters.md for times."""
    shapes = {f"self_attn.{x}_proj": (4096, 4096) for x in "qkvo"} | {
        "mlp.gate_proj": (11008, 4096), "mlp.up_proj": (11008, 4096), "mlp.down_proj": (4096, 11008),
    }  # fmt: skip
    base = sparse_model(tmp_path / "base", 32, shapes)
    found, seconds, gib = measured(sparse_model(tmp_path / "tuned", 32, shapes, changed=["mlp.down_proj"]), base)
    print(found, seconds, gib)
    assert found.startswith("[] 224 ")
    assert gib < 1
