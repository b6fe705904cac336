"""GGUF files: made into folders once, whole or not at all, computing what the file says; or one sentence."""

import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
import transformers

from lorabound.errors import ModelError
from lorabound.models import gguf_files, gguf_weights, locate_model, model_sha256, name_for_others, read_configuration
from lorabound.models.decoder import load_decoder
from lorabound.models.model_folder import file_sha256
from tests.decoder_models import save_gguf, save_llama

gguf = pytest.importorskip("gguf")
IDS = torch.randint(0, 200, (4, 11), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lorabound" / "gguf"


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


@torch.no_grad()
def test_a_file_is_the_model_that_it_was_made_of(llama, tmp_path, cache):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    module, folder, notes = load_decoder(str(path), "cpu")
    expected, _, _ = load_decoder(str(llama), "cpu")
    assert torch.equal(module(input_ids=IDS).logits, expected(input_ids=IDS).logits)
    assert folder == cache / file_sha256(path)
    assert module.lm_head.weight is module.get_input_embeddings().weight
    assert notes == (
        f"tiny.gguf (GGUF, weights F32) was converted to float32 and is kept in {folder}: adapters learn and are "
        "measured on its weights as they are rounded in that file.",
    )
    assert model_sha256(folder) == file_sha256(path)
    assert name_for_others(str(path)) == str(folder)  # what PEFT loads as the base of an adapter
    assert read_configuration(str(path))["architectures"] == ["LlamaForCausalLM"]
    ours, theirs = (transformers.AutoTokenizer.from_pretrained(place) for place in (folder, llama))
    text = "<|im_start|>user\nthe room was lovely, 12 seats!\n\n<|im_end|>"
    assert ours(text).input_ids == theirs(text).input_ids
    assert ours.decode(ours(text).input_ids) == text
    assert (ours.pad_token, ours.eos_token, ours.chat_template) == ("<|im_end|>", "<|im_end|>", theirs.chat_template)


def test_a_file_is_converted_once_and_that_is_told(llama, tmp_path, cache, monkeypatch, capsys):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    folder = locate_model(str(path))
    told = capsys.readouterr()
    assert told.out == ""
    assert re.fullmatch(rf"converting tiny\.gguf to float32, once.* GiB in {re.escape(str(folder))}\n", told.err)
    monkeypatch.setattr(gguf_weights, "save_as_folder", None)
    assert locate_model(str(path)) == locate_model(str(tmp_path)) == folder  # a folder that holds one is that model
    shutil.move(path, tmp_path / "renamed.gguf")
    assert locate_model(str(tmp_path / "renamed.gguf")) == folder
    assert capsys.readouterr().err == ""
    assert [place.name for place in cache.iterdir() if not place.name.endswith(".lock")] == [folder.name]


def test_a_changed_folder_is_another_model(llama, tmp_path):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    folder = locate_model(str(path))
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert model_sha256(folder) != file_sha256(path)


def test_a_conversion_that_was_stopped_leaves_nothing_half_made(llama, tmp_path, cache, monkeypatch):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    stale = cache / f".{file_sha256(path)}.12345.tmp"  # what a killed process leaves
    stale.mkdir(parents=True)
    whole = gguf_weights.save_as_folder

    def stopped(path, folder, n_numbers):
        whole(path, folder, n_numbers)
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf_weights, "save_as_folder", stopped)
    with pytest.raises(KeyboardInterrupt):
        locate_model(str(path))
    assert not [place for place in cache.iterdir() if not place.name.endswith(".lock")]
    monkeypatch.setattr(gguf_weights, "save_as_folder", whole)
    assert (locate_model(str(path)) / "gguf.json").is_file()


@pytest.mark.parametrize(("changes", "message"), [
    ({"general__architecture": "clip"}, "as a causal language model .GGUF.: GGUF model with architecture clip is not supp.*; give the model in safe"),
    ({"general__architecture": "gemma9"}, "GGUF model with architecture gemma9 is not supported yet; give the model in safetens"),
    ({"general__architecture": "bert"}, "GGUF model with architecture bert is not supported yet; give the model in safetensors"),
    ({"tokenizer__ggml__tokens": None}, r"holds no tokens \(tokenizer.ggml.tokens\): give the model in safetensors"),
    ({"llama__feed_forward_length": 40}, r"has shape \[.*48.*\] and should have \[.*40.*\] by the file's own header"),
    ({"split__count": 3}, "is one of 3 parts of a model: join them"),
    ({"llama__rope__scaling__type": "yarn"}, r"scales its rotary positions \(rope.scaling.type = yarn\)"),
    ({"llama__block_count": 3}, "holds .* numbers and the LlamaForCausalLM that transformers makes of it has"),
    ({"llama__block_count": 5}, "lacks model.layers.4.* would start at random"),
])  # fmt: skip
def test_a_file_that_would_be_another_model_is_refused(llama, tmp_path, cache, changes, message):
    path = save_gguf(tmp_path / "tiny.gguf", llama, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        locate_model(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [place for place in cache.iterdir() if not place.name.endswith(".lock")]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.999])
def test_an_unfinished_file(llama, tmp_path, share):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"tiny.gguf cannot be read as GGUF .*: the file is damaged or unfinished"):
        locate_model(str(path))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (gguf.GGMLQuantizationType.I8, "Dequantization for I8 is not yet implemented; give the model in safetensors"),
        (99, "holds weights of type 99, which the gguf package here does not know: give the model in safetensors"),
    ],
)
def test_weights_of_a_type_that_cannot_be_read(llama, tmp_path, kind, message):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    (tensor,) = [tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "blk.0.ffn_up.weight"]
    *before, _, _ = tensor.field.parts  # the type and the place of the weights end the record of a tensor
    content = bytearray(path.read_bytes())
    place = tensor.field.offset + sum(part.nbytes for part in before)
    content[place : place + 4] = int(kind).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        locate_model(str(path))
    assert str(path) in str(caught.value)


def test_values_that_are_not_finite_are_the_files_own_fault(llama, tmp_path, cache):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    (tensor,) = [tensor for tensor in gguf.GGUFReader(path).tensors if tensor.name == "blk.0.ffn_up.weight"]
    content = bytearray(path.read_bytes())
    content[tensor.data_offset : tensor.data_offset + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny.gguf: .*up_proj.weight holds values that are no finite numbers.*again"):
        locate_model(str(path))
    assert not [place for place in cache.iterdir() if not place.name.endswith(".lock")]


def test_places_that_cannot_take_it(llama, tmp_path, monkeypatch):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(gguf_files.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        ModelError, match=r"takes 0.1 GiB as float32 and .* has room for 0.0 GiB: make room, or name an"
    ):
        locate_model(str(path))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot write .*file/lorabound/gguf/.*name another place by XDG_CACHE_HOME"):
        locate_model(str(path))


def test_which_file_of_a_folder(llama, tmp_path):
    save_gguf(tmp_path / "a.gguf", llama)
    save_gguf(tmp_path / "b.gguf", llama, general__name="other")
    with pytest.raises(ModelError, match=r"holds 2 GGUF files \(a.gguf, b.gguf\): name one of them, as .*a.gguf"):
        locate_model(str(tmp_path))
    both = shutil.copytree(llama, tmp_path / "both")
    shutil.copy(tmp_path / "a.gguf", both)
    assert locate_model(str(both)) == both  # safetensors beside it are the model


def test_without_the_package(llama, tmp_path, monkeypatch):
    path = save_gguf(tmp_path / "tiny.gguf", llama)
    find = gguf_files.importlib.util.find_spec
    monkeypatch.setattr(gguf_files.importlib.util, "find_spec", lambda name: None if name == "gguf" else find(name))
    with pytest.raises(ModelError, match=r"tiny.gguf is a GGUF file, .*: run  pip install 'lorabound\[llm\]'"):
        locate_model(str(path))
