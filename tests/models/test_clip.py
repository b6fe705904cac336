"""CLIP: transformers' own logits, towers that are computed once, the same adapters stacked or alone, PEFT, sweeps."""

import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from lorabound.adapters import new_adapter, save_adapter
from lorabound.data import Picture
from lorabound.engine import Examples, Recipe, WithPrefix, evaluate, train
from lorabound.errors import DataError, InputError, ModelError
from lorabound.models import ClipClassifier, adapted_layers, find_kind, load_classifier
from lorabound.models.kinds import CLIP
from lorabound.plans import read_pilot
from lorabound.reports.page import write_page
from lorabound.reports.sentences import caveats
from lorabound.stack import Stack, modules_of
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.summary import summarize
from tests.clip_models import save_clip

CLASSES = ["ankle boot", "cat", "a very long name of a class"]
PROMPT = "a photo of a {}."


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Decoded images stay out of the user's cache."""

    from lorabound.models import pixels

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def clip(folder):
    return ClipClassifier.load(str(folder), CLASSES, PROMPT)


def pictures(n=12):
    random = np.random.default_rng(0)
    sizes = [(20, 31), (16, 16), (50, 18)]
    pixels = [random.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8) for i in range(n)]
    return [Picture(f"image {i}", lambda p=p: p) for i, p in enumerate(pixels)]


def examples(clip, n=12):
    return Examples(clip.prepare(pictures(n)), np.arange(n) % len(CLASSES))


def shapes_of(clip, encoder="both", layers=None, targets=("q", "v")):
    return adapted_layers(modules_of(clip.module), CLIP, list(targets), layers, encoder)


def adapters(shapes, filled=False):
    modes = ("freeze_a", "train_both", "freeze_b")
    made = [new_adapter(shapes, rank + 1, mode, rank, "gaussian", 2.0) for rank, mode in enumerate(modes)]
    if filled:
        random = np.random.default_rng(1)
        for adapter in made:
            for factors in adapter.layers.values():
                factors.b[:] = random.standard_normal(factors.b.shape) * 0.3
                factors.a[:] = random.standard_normal(factors.a.shape) * 0.3
    return made


def theirs(folder, made=None, scale=True):
    """logits_per_image of transformers' CLIPModel on the same images and prompts."""
    model = made or CLIPModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        [PROMPT.replace("{}", c) for c in CLASSES], padding=True, return_tensors="pt"
    )
    images = [Image.fromarray(p.content()) for p in pictures()]
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(images=images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model(
            pixel_values=pixels, input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).logits_per_image


def test_logits_with_adapters_at_zero_are_those_of_transformers(folder, clip):
    data = examples(clip)
    expected = theirs(folder)
    torch.testing.assert_close(clip.logits(data.inputs, np.arange(12)), expected, atol=1e-5, rtol=1e-5)
    made = adapters(shapes_of(clip))[:1]
    with torch.no_grad(), Stack(clip.module, made, clip.towers):
        torch.testing.assert_close(clip.logits(data.inputs, np.arange(12)), expected, atol=1e-5, rtol=1e-5)
    assert find_kind(str(folder)) is CLIP
    assert clip.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-4)


@pytest.mark.parametrize("encoder", ["vision", "text", "both"])
def test_a_stack_gives_every_adapter_its_own_logits_and_peft_gives_the_same(folder, clip, tmp_path, encoder):
    data = examples(clip)
    made = adapters(shapes_of(clip, encoder), filled=True)
    with torch.no_grad(), Stack(clip.module, made, clip.towers):
        together = clip.logits(data.inputs, np.tile(np.arange(12), 3)).view(3, 12, -1)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    for k, adapter in enumerate(made):
        saved = save_adapter(adapter, tmp_path / f"{k}", str(folder))
        wrapped = PeftModel.from_pretrained(CLIPModel.from_pretrained(folder), str(saved)).eval()
        torch.testing.assert_close(together[k], theirs(folder, wrapped), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("encoder", "layers", "targets"), [
    ("vision", None, ("q", "k", "v")), ("text", None, ("q", "k", "v")), ("both", None, ("q", "v")),
    ("vision", [2], ("mlp",)), ("text", "top1", ("out",)), ("both", "up", ("v",)), ("both", [1, 2], ("k", "out", "mlp")),
])  # fmt: skip
def test_training_on_stored_towers_is_training_on_the_model(clip, encoder, layers, targets):
    """Stacked, with what is frozen looked up, against one adapter after another on the whole model."""
    data, recipe = examples(clip), Recipe(epochs=3, batch_size=5, lr=5e-3)
    shapes = shapes_of(clip, encoder, layers, targets)
    with WithPrefix(clip, list(shapes), [data.inputs]) as fast:
        together = train(fast, data, data, adapters(shapes), [0, 1, 2], recipe)
    assert not [m for m in clip.module.modules() if "Replay" in type(m).__name__]
    for k, adapter in enumerate(adapters(shapes)):
        (alone,) = train(clip, data, data, [adapter], [k], recipe)
        np.testing.assert_allclose(together[k].test.log_losses, alone.test.log_losses, atol=2e-5)
        for name, factors in alone.adapter.layers.items():
            np.testing.assert_allclose(together[k].adapter.layers[name].b, factors.b, atol=2e-5)


@pytest.mark.parametrize(("encoder", "idle", "busy"), [("vision", "text", "vision"), ("text", "vision", "text")])
def test_a_tower_without_adapters_is_computed_once(clip, encoder, idle, busy):
    data = examples(clip)
    shapes = shapes_of(clip, encoder)
    ran = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in clip.module.named_modules()
        if isinstance(module, torch.nn.Linear)
    ]
    with WithPrefix(clip, list(shapes), [data.inputs]) as fast:
        projection = {"text": "text_projection", "vision": "visual_projection"}[idle]
        assert projection in fast.names
        ran.clear()
        train(fast, data, data, adapters(shapes), [0, 1, 2], Recipe(epochs=2, batch_size=4, lr=1e-3))
    for hook in hooks:
        hook.remove()
    assert not [name for name in ran if name.startswith(f"{idle}_model")]
    assert [name for name in ran if name.startswith(f"{busy}_model")]


def test_class_embeddings_are_computed_once_a_step(clip):
    data, shapes = examples(clip), shapes_of(clip, "text")
    calls = []
    hook = clip.module.text_model.register_forward_hook(lambda *_: calls.append(1))
    train(clip, data, data, adapters(shapes)[:1], [0], Recipe(1, 6, 1e-3), tokens_per_pass=10)
    hook.remove()
    assert len(calls) == 2 + 2  # two steps, two measurements; a pass holds two images


def test_both_towers_beyond_their_room_go_to_disk(clip, tmp_path):
    data, shapes = examples(clip), shapes_of(clip, "both", [2])
    with WithPrefix(clip, list(shapes), [data.inputs], room=100.0, folder=tmp_path) as fast:
        assert fast.on_disk
        parts = ("layers.1", "layers.2.layer_norm1")  # what the residual needs, and what the adapted layer sees
        assert set(fast.names) == {f"{tower}_model.encoder.{part}" for tower in ("vision", "text") for part in parts}
        stored = fast.logits(data.inputs, np.arange(12))
    torch.testing.assert_close(stored, clip.logits(data.inputs, np.arange(12)), atol=1e-5, rtol=1e-5)


def test_rows_of_one_tower_are_not_taken_for_those_of_the_other(clip):
    """K groups of images and K groups of prompts have different sizes; each layer is checked against its own."""
    data, shapes = examples(clip), shapes_of(clip)
    with torch.no_grad(), Stack(clip.module, adapters(shapes), clip.towers) as stack:
        clip.logits(data.inputs, np.tile(np.arange(4), 3))
        rows = {name.split("_")[0]: layer.batch_rows for name, layer in stack.layers.items()}
    assert rows == {"vision": 12, "text": 9}


def test_augmented_images_are_the_same_stacked_or_alone_and_measured_whole(clip):
    data, recipe = examples(clip), Recipe(epochs=2, batch_size=5, lr=5e-3, augment=True)
    shapes = shapes_of(clip, "both", [1, 2])
    with WithPrefix(clip, list(shapes), [data.inputs]) as fast:
        together = train(fast, data, data, adapters(shapes), [3, 4, 5], recipe)
    for k, adapter in enumerate(adapters(shapes)):
        (alone,) = train(clip, data, data, [adapter], [3 + k], recipe)
        np.testing.assert_allclose(together[k].test.log_losses, alone.test.log_losses, atol=2e-5)
    (plain,) = train(clip, data, data, adapters(shapes)[:1], [3], Recipe(epochs=2, batch_size=5, lr=5e-3))
    assert not np.allclose(plain.test.log_losses, together[0].test.log_losses, atol=1e-3)
    np.testing.assert_array_equal(together[0].train.log_losses, together[0].test.log_losses)  # the same whole images
    shown = data.inputs.augmented([3], 0)
    torch.testing.assert_close(shown.batch(np.array([2, 5])), data.inputs.augmented([3], 0).batch(np.array([2, 5])))
    assert not torch.allclose(shown.batch(np.array([2])), data.inputs.augmented([3], 1).batch(np.array([2])))
    assert shown.batch(np.array([2])).shape == data.inputs.batch(np.array([2])).shape


def test_bfloat16_keeps_the_zero_shot_risk(folder, clip):
    data = examples(clip)
    narrow = ClipClassifier.load(str(folder), CLASSES, PROMPT, precision="bfloat16")
    wide, rough = (evaluate(model, data.inputs, data.labels)[0] for model in (clip, narrow))
    assert abs(wide.cross_entropy - rough.cross_entropy) < 0.1
    assert narrow.logit_scale == clip.logit_scale


def test_what_cannot_be_loaded_is_one_sentence(folder, tmp_path, clip):
    with pytest.raises(
        ModelError,
        match="has not been downloaded before, and HF_HUB_OFFLINE .*run again with HF_HUB_OFFLINE=0.*local folder",
    ):
        ClipClassifier.load("openai/clip-vit-base-patch16", CLASSES, PROMPT)
    with pytest.raises(InputError, match="exactly one"):
        ClipClassifier.load(str(folder), CLASSES, "a photo")
    broken = save_clip(tmp_path / "broken")
    (broken / "preprocessor_config.json").unlink(missing_ok=True)
    (broken / "processor_config.json").unlink(missing_ok=True)
    with pytest.raises(ModelError, match="cannot be loaded by transformers as a CLIP model"):
        ClipClassifier.load(str(broken), CLASSES, PROMPT)
    with pytest.raises(ModelError, match="choose among fc1, fc2, k_proj"):
        shapes_of(clip, targets=["dense"])
    with pytest.raises(ModelError, match="top9: the model has 3 layers"):
        shapes_of(clip, layers="top9")
    assert isinstance(load_classifier(str(folder), CLASSES, PROMPT, 7.0, 32), ClipClassifier)


def test_a_sweep_of_shots_ends_in_the_same_store_page_and_folders(folder, tmp_path):
    config = SweepConfig(
        model=str(folder), data="digits", shots=[1, 2], n_test=60, ranks=[1, 2], modes=["freeze_a", "train_both"],
        seeds=2, targets=["q"], layers="top1", epochs=2, batch_size=10, precision="float32",
    )  # fmt: skip
    store = run_sweep(config, tmp_path / "out")
    summary = summarize(store)
    assert sorted({cell.n_train for cell in summary.cells}) == [10, 20]
    assert store.config.prompt == "a photo of the number {}."
    assert store.config.logit_scale == pytest.approx(np.exp(2.6592), rel=1e-4)
    assert store.config.targets == ["q_proj"]
    assert {row.rank for row in store.rows()} == {0, 1, 2}
    assert any("equally many examples of every class" in line for line in caveats(summary))
    assert "digits" in write_page(summary, tmp_path / "page.html").read_text()
    layers = json.loads((tmp_path / "out/adapters/freeze_a-r1-n10-seed0/adapter_config.json").read_text())
    assert layers["target_modules"] == [
        "text_model.encoder.layers.2.self_attn.q_proj",
        "vision_model.encoder.layers.2.self_attn.q_proj",
    ]
    before = [(row.key, row.test_ce) for row in store.rows()]
    again = run_sweep(config, tmp_path / "out")
    assert [(row.key, row.test_ce) for row in again.rows()] == before


def test_training_fits_the_few_shots(folder, tmp_path):
    """A capable enough adapter of a random CLIP learns ten digits by heart: gradients reach both towers."""
    config = SweepConfig(
        model=str(folder), data="digits", shots=2, n_test=60, ranks=[8], modes=["freeze_a"], seeds=1, epochs=60,
        batch_size=20, lr=0.01, precision="float32",
    )  # fmt: skip
    rows = [row for row in run_sweep(config, tmp_path / "out").rows() if row.rank]
    assert rows[0].train_error < 0.3


def test_a_corrupt_image_stops_the_sweep_by_name_or_is_left_out_and_reported(folder, tmp_path):
    random = np.random.default_rng(0)
    for name in ("red", "blue"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.jpg", quality=95)
    broken = tmp_path / "images" / "red" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    config = SweepConfig(
        model=str(folder), data=str(tmp_path / "images"), n_train=[6], n_test=17, ranks=[1], modes=["freeze_a"], seeds=1,
        targets=["q"], layers="top", epochs=1, batch_size=4, precision="float32",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"red/3.jpg cannot be used: .*[Tt]runcated.*--skip-corrupt"):
        run_sweep(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    skipping = config.model_copy(update={"skip_corrupt": True})
    store = run_sweep(skipping, tmp_path / "out")
    assert store.about["n_skipped"] == 1
    assert any("1 images cannot be decoded and were left out" in line for line in caveats(summarize(store)))
    before = {row.key for row in store.rows()}
    assert {row.key for row in run_sweep(skipping, tmp_path / "out").rows()} == before
    broken.unlink()
    assert {row.key for row in run_sweep(config, tmp_path / "clean").rows()} == before  # the same as without the file


@pytest.mark.parametrize("off", ["do_normalize", "do_rescale"])
def test_a_processor_that_does_less_is_followed(tmp_path, off):
    folder = save_clip(tmp_path / "clip")
    path = next(p for p in (folder / "preprocessor_config.json", folder / "processor_config.json") if p.is_file())
    record = json.loads(path.read_text())
    record.get("image_processor", record)[off] = False
    path.write_text(json.dumps(record))
    clip = ClipClassifier.load(str(folder), CLASSES, PROMPT)
    torch.testing.assert_close(clip.logits(examples(clip).inputs, np.arange(12)), theirs(folder), atol=1e-4, rtol=1e-4)


def test_crops_cover_what_is_promised_and_half_are_mirrored(clip):
    ramp = torch.linspace(0, 1, 100).expand(3, 100, 100).contiguous()  # brightness tells the column
    mirrored, widths = 0, []
    for seed in range(300):
        crop = clip.prepare(pictures(1)).augmented([0], 0)._crop(ramp, np.random.default_rng(seed))
        columns = crop[0, 50]
        mirrored += bool(columns[-1] < columns[0])
        widths.append(float((columns.max() - columns.min()).abs()))
    assert 110 < mirrored < 190
    assert min(widths) < 0.4
    assert max(widths) > 0.9


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_clip(tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks text_projection.weight, which would start at random"):
        ClipClassifier.load(str(folder), CLASSES, PROMPT)


def test_a_test_set_of_its_own_has_no_bound_on_the_expected_gap(folder, tmp_path):
    random = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("red", "blue"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(8):
                Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(
                    tmp_path / part / name / f"{i}.png"
                )
    config = SweepConfig(
        model=str(folder), data=str(tmp_path / "train"), test_data=str(tmp_path / "test"), n_train=[6], n_test=10,
        ranks=[1], modes=["freeze_a"], seeds=1, targets=["q"], layers="top", epochs=1, batch_size=4, precision="float32",
    )  # fmt: skip
    store = run_sweep(config, tmp_path / "out")
    summary = summarize(store)
    assert [cell.information for cell in summary.cells] == [None, None]
    with pytest.raises(InputError, match="forecasts are for training and test examples drawn alike"):
        read_pilot(store)
    assert any("come from different places" in line for line in caveats(summary))
    assert "nan" not in write_page(summary, tmp_path / "page.html").read_text().split("</table>")[0]
