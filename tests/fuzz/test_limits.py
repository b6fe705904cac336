"""Inputs made to do harm: each is refused in a sentence, within seconds and without the memory that it asks for."""

import io
import json
import sqlite3
import time
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from lorabound.adapters import load_adapter, new_adapter, patterns, save_adapter
from lorabound.adapters.patterns import first_matches
from lorabound.cli.sweep import _folder_of
from lorabound.config import read_yaml
from lorabound.data import Picture, read_table
from lorabound.data.images import CorruptImage
from lorabound.errors import AdapterError, DataError, InputError, ModelError, StoreError
from lorabound.models.model_folder import check_folder
from lorabound.sweeps import Sweep
from tests.fuzz.guard import Escaped, refusal


@pytest.fixture
def adapter(tmp_path):
    return save_adapter(new_adapter({"layers.0.q": (6, 4)}, 2, "train_both", 0, "gaussian", 2.0), tmp_path / "adapter")


def with_config(adapter, **changes):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return adapter


@pytest.mark.parametrize("size", [10**12, 2**63 - 1, 2**64 - 1, 99_999_999])
def test_a_header_that_claims_more_than_the_file(adapter, size):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(size.to_bytes(8, "little") + path.read_bytes()[8:])
    assert "cannot be read" in refusal(lambda: load_adapter(adapter), adapter)


def test_a_tensor_that_claims_more_than_the_file(adapter):
    path = adapter / "adapter_model.safetensors"
    header = json.dumps({"base_model.model.layers.0.q.lora_A.weight": {
        "dtype": "F32", "shape": [2, 10**12], "data_offsets": [0, 8 * 10**12],
    }}).encode()  # fmt: skip
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "cannot be read" in refusal(lambda: load_adapter(adapter), adapter)


@pytest.mark.parametrize("pattern", ["((a+)+)+x", "(a|a)*x", "(" * 3000, "a{99999999999}", "(a" * 90])
def test_patterns_without_an_end(pattern, monkeypatch):
    monkeypatch.setattr(patterns, "_SECONDS", 1)
    begun = time.monotonic()
    with pytest.raises(AdapterError, match="rank_pattern"):
        first_matches([pattern, pattern + "*"], ["a" * 60 + ".q"], "c.json: rank_pattern")
    assert time.monotonic() - begun < 15


def test_patterns_match_as_peft_matches_them():
    names = ["model.layers.0.q", "model.layers.10.v", "q"]
    assert first_matches(["q", r"layers\.10\.v"], names, "") == [0, 1, 0]
    assert first_matches([r"layers\.\d+\.v", ".*q"], names, "") == [1, 0, 1]
    assert first_matches(["^q$", "layers.0.q"], names, "") == [1, None, 0]
    assert first_matches([], names, "") == [None] * 3


def test_an_adapter_with_a_pattern_without_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(patterns, "_SECONDS", 1)
    made = new_adapter({"layers.0.self_attention.query_projection": (6, 4)}, 2, "train_both", 0, "gaussian", 2.0)
    adapter = save_adapter(made, tmp_path / "adapter")
    with pytest.raises(AdapterError, match="does not come to an end within 1 seconds"):
        load_adapter(with_config(adapter, rank_pattern={"(([a-z_]|[.0-9a-z_])+)+!": 2}))


def test_pickles_are_left_alone(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert "is a pickle, which can run code" in refusal(lambda: load_adapter(adapter), adapter)
    (adapter / "config.json").write_text("{}")
    (adapter / "adapter_model.bin").rename(adapter / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle, which can run code"):
        check_folder(adapter)


def test_yaml_that_runs_code_or_grows(tmp_path):
    path = tmp_path / "s.yaml"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)]
    deep = "a: " + "[" * 5000 + "]" * 5000
    for text in (
        "!!python/object/apply:os.system ['touch owned']", "a: !!python/name:os.system", "\n".join(lines), deep,
        "a: 2024-99-99", "x: " + "y" * 2**21, "a: &a [*a]",
    ):  # fmt: skip
        path.write_text(text)
        assert "s.yaml" in refusal(lambda: read_yaml(path), tmp_path)


def test_a_large_image(tmp_path):
    """12,000 x 12,000 white pixels in a file of 0.4 MB, and a header that claims 60,000 x 60,000."""
    buffer = io.BytesIO()
    Image.new("L", (12_000, 12_000), 255).save(buffer, "png")
    claims = bytearray(buffer.getvalue())
    claims[16:24] = (60_000).to_bytes(4) * 2
    claims[29:33] = zlib.crc32(claims[12:29]).to_bytes(4)
    for content in (buffer.getvalue(), bytes(claims)):
        with pytest.raises(CorruptImage, match="million pixels that are safe to decode"):
            Picture("large.png", lambda content=content: content).decode()


def test_postscript_is_no_image(tmp_path):
    """Pillow would start another program on it."""
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(owned) print\nshowpage\n%%EOF\n"
    with pytest.raises(CorruptImage, match="not an image"):
        Picture("a.png", lambda: content).decode()


def test_small_tables_of_parquet_that_are_large(tmp_path, monkeypatch):
    """With 2 GiB of free memory."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2**31))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def column(value, count):
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(count, np.int32)), pyarrow.array([value]))

    rows = pyarrow.table({"text": column("x", 1_000_000), "label": column("a", 1_000_000)})
    with parquet.ParquetWriter(tmp_path / "rows.parquet", rows.schema) as writer:
        for _ in range(10):
            writer.write_table(rows)
    parquet.write_table(
        pyarrow.table({"text": column("y" * 2_000_000, 20_000), "label": ["a"] * 20_000}), tmp_path / "t.parquet"
    )
    for name in ("rows.parquet", "t.parquet"):
        assert (tmp_path / name).stat().st_size < 3_000_000
        assert "GiB when it is unpacked" in refusal(lambda name=name: read_table(tmp_path / name), tmp_path)


def test_json_that_is_nested_or_doubled(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError):
        read_table(path)
    record = "{" + ",".join(f'"c{i % 20_000}": 1' for i in range(40_000)) + ', "text": "a", "label": "b"}'
    path.write_text(record)
    begun = time.monotonic()
    read_table(path)
    assert time.monotonic() - begun < 10  # quadratic: minutes


@pytest.mark.parametrize("statement", [
    "create view runs as with recursive c(x) as (select 1 union all select x + 1 from c) select x as key from c",
    "create table runs (key text, test_errors blob generated always as (zeroblob(900000000)))",
    "create table runs (key text check (length(zeroblob(900000000)) > 0))",
])  # fmt: skip
def test_a_store_that_computes(tmp_path, statement):
    connection = sqlite3.connect(tmp_path / "sweep.sqlite")
    connection.execute("create table about (name text primary key, value text not null)")
    connection.execute("insert into about values ('format', '5')")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="more than the tables of a sweep"):
        Sweep.open(tmp_path)


@pytest.mark.parametrize("name", ["..", ".", "../../x", "..\\..\\x", "/etc/x"])
def test_names_of_data_do_not_leave_the_folder(tmp_path, name):
    assert _folder_of(tmp_path, name).resolve().parent == tmp_path


def test_a_model_that_is_deeper_than_any(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 10**9}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="num_hidden_layers is 1,000,000,000"):
        check_folder(tmp_path)


def test_the_guard_of_these_tests_sees_what_it_is_to_see(tmp_path):
    (tmp_path / "in").mkdir()

    def writes():
        (tmp_path / "out").write_text("x")

    def runs():
        yaml.unsafe_load("!!python/object/apply:os.system ['true']")

    def grows():
        np.zeros(2**40, dtype=np.uint8)

    for do, said in ((writes, "open .*out"), (runs, "os.system")):
        with pytest.raises(Escaped, match=said):
            refusal(do, tmp_path / "in")
    with pytest.raises(MemoryError):
        refusal(grows, tmp_path / "in")
    with pytest.raises(ZeroDivisionError):
        refusal(lambda: 1 // 0, tmp_path)
    with pytest.raises(InputError):
        raise InputError(refusal(lambda: (_ for _ in ()).throw(InputError("a sentence")), tmp_path))
