"""Labelled images from folders, tables, exports and packages; damaged ones; few-shot pools."""

import gzip
import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from lorabound.data import NAMED, CorruptImage, Labelled, Picture, load_images, load_table, split
from lorabound.data.named import _tidied, fashion_mnist
from lorabound.errors import DataError
from lorabound.models.pixels import CorruptImages, resized


class Processor:
    """Stands for a model's image processor: 4 x 4 pixels."""

    def to_dict(self):
        return {"size": 4}

    def __call__(self, images, **_):
        return {"pixel_values": [np.asarray(image.resize((4, 4))).transpose(2, 0, 1) for image in images]}


def encoded(color, size=(8, 6), kind="PNG", mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images, one class of one, and files that are none."""
    for name, colors in {"red": (200, 220, 240), "blue": (10, 20, 30), "lonely": (100,)}.items():
        (tmp_path / "all" / name).mkdir(parents=True)
        for i, value in enumerate(colors):
            (tmp_path / "all" / name / f"{i}.png").write_bytes(encoded((value, 0, 255 - value)))
    (tmp_path / "all" / "red" / "notes.txt").write_text("not an image")
    (tmp_path / "all" / "README.md").write_text("neither")
    return tmp_path / "all"


def test_a_folder_of_classes(folder):
    table = load_images(folder)
    assert table.labels == ["blue"] * 3 + ["lonely"] + ["red"] * 3
    assert [p.name.rsplit("/", 2)[1:] for p in table.examples][:2] == [["blue", "0.png"], ["blue", "1.png"]]
    assert table.examples[0].decode().getpixel((0, 0)) == (10, 0, 245)
    assert len({p.sha256 for p in table.examples}) == 7


def test_a_class_of_one_image_is_fine_until_shots_ask_for_more(folder):
    table = load_images(folder)
    assert "lonely" in split(table, 3, 2).classes
    with pytest.raises(DataError, match="training examples of 'lonely', fewer than the 2 of shots"):
        split(table, 3, 2, shots=2)


@pytest.mark.parametrize(("make", "reason"), [
    (lambda: encoded((1, 2, 3), (300, 300), "JPEG")[:700], "truncated"),
    (lambda: b"not an image at all", "not an image"),
    (lambda: b"", "not an image"),
    (lambda: encoded(0, (12_000, 12_000), mode="L"), "more than the 89 million pixels that are safe to decode"),
    (lambda: encoded(0, (20_000, 20_000), mode="1"), "more than the 89 million pixels that are safe to decode"),
])  # fmt: skip
def test_what_cannot_be_decoded_is_named_and_says_why(folder, tmp_path, make, reason):
    (folder / "red" / "bad.png").write_bytes(make())
    table = load_images(folder)
    with pytest.raises(CorruptImage, match=reason):
        next(p for p in table.examples if p.name.endswith("bad.png")).decode()
    with pytest.raises(CorruptImages, match=rf"red/bad.png cannot be used: .*{reason}.*--skip-corrupt") as caught:
        resized(table.examples, Processor(), 4, tmp_path / "cache")
    assert caught.value.names == {str(folder / "red" / "bad.png")}
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("mode", "color", "expected"), [
    ("L", 77, (77, 77, 77)), ("P", 0, (0, 0, 0)), ("LA", (77, 255), (77, 77, 77)), ("RGBA", (1, 2, 3, 255), (1, 2, 3)),
    ("1", 1, (255, 255, 255)), ("I;16", 128 * 257, (128, 128, 128)),
])  # fmt: skip
def test_gray_palette_alpha_and_sixteen_bits_become_rgb(mode, color, expected):
    image = Picture("x", lambda: encoded(color, mode=mode)).decode()
    assert (image.mode, image.getpixel((0, 0))) == ("RGB", expected)


def test_decoded_once_then_cached_whole_or_not_at_all(folder, tmp_path):
    pictures = load_images(folder).examples
    first = np.array(resized(pictures, Processor(), 4, tmp_path / "cache"))
    assert first.shape == (7, 3, 4, 4)
    assert first[0, :, 0, 0].tolist() == [10, 0, 245]
    read = []
    again = [Picture(p.name, lambda p=p: read.append(p.name) or p.content()) for p in pictures]
    np.testing.assert_array_equal(resized(again, Processor(), 4, tmp_path / "cache"), first)
    assert len(read) == 7  # for the hashes; nothing was decoded again
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]
    with pytest.raises(DataError, match="decoded images cannot be kept in"):
        resized(pictures, Processor(), 4, folder / "README.md" / "below")


def test_a_table_of_paths_stays_in_its_folder(folder, tmp_path):
    rows = {"image": ["all/red/0.png", "all/blue/1.png"], "label": ["red", "blue"]}
    path = tmp_path / "table.csv"
    pl.DataFrame(rows).write_csv(path)
    table = load_images(path)
    assert table.labels == ["red", "blue"]
    assert table.examples[1].decode().getpixel((0, 0)) == (20, 0, 235)
    pl.DataFrame(rows | {"image": ["../outside.png", "all/blue/1.png"]}).write_csv(path)
    with pytest.raises(DataError, match=r"line 2: '\.\./outside.png' leaves the folder of the table"):
        load_images(path)
    pl.DataFrame(rows | {"image": ["all/red/9.png", "all/blue/1.png"]}).write_csv(path)
    with pytest.raises(DataError, match="line 2: 'all/red/9.png' is no image, sought in"):
        load_images(path)
    with pytest.raises(DataError, match="no column 'picture'.*--image-column"):
        load_images(path, "picture")


def test_exports_of_datasets_hold_images_texts_and_names(folder, tmp_path):
    import datasets

    features = datasets.Features({
        "image": datasets.Image(), "label": datasets.ClassLabel(names=["cold", "warm"]), "text": datasets.Value("string"),
    })  # fmt: skip
    paths = [str(folder / name) for name in ("red/0.png", "blue/0.png", "red/1.png")]
    rows = datasets.Dataset.from_dict({"image": paths, "label": [1, 0, 1], "text": ["x", "y", "z"]}, features)
    rows.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": rows, "test": rows.select([0, 1])}).save_to_disk(tmp_path / "two")
    rows.to_parquet(tmp_path / "rows.parquet")
    for where in (tmp_path / "one", tmp_path / "two", f"{tmp_path / 'two'}@train", tmp_path / "rows.parquet"):
        table = load_images(where)
        assert table.labels == ["warm", "cold", "warm"]
        assert table.examples[2].decode().getpixel((0, 0)) == (220, 0, 35)
        assert table.examples[0].sha256 == Picture("x", (folder / "red/0.png").read_bytes).sha256
        assert load_table(where).examples == ["x", "y", "z"]
        assert load_table(where).labels == table.labels
    assert len(load_images(f"{tmp_path / 'two'}@test")) == 2
    with pytest.raises(DataError, match="no split 'dev', only train, test"):
        load_images(f"{tmp_path / 'two'}@dev")
    with pytest.raises(DataError, match="no column 'answer', only image, label, text"):
        load_table(tmp_path / "one", "answer")
    with pytest.raises(DataError, match="column 'text' holds no images"):
        load_images(tmp_path / "one", "text")


@pytest.mark.parametrize("load", [load_images, load_table])
def test_a_hub_name_without_a_network_names_the_local_ways(load):
    with pytest.raises(DataError, match="no data 'owner/nothing' .*without a network, give a file, a folder"):
        load("owner/nothing")


def test_texts_and_images_are_not_confused(tmp_path):
    with pytest.raises(DataError, match="words is a task of texts"):
        load_images("words")
    with pytest.raises(DataError, match="digits is a task of images"):
        load_table("digits")
    with pytest.raises(DataError, match="no data nowhere"):
        load_images("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images: expected a sub-folder for every class"):
        load_images(tmp_path / "empty")


def test_named_tasks_of_packages():
    table = load_images("digits")
    assert (len(table), table.labels[:3]) == (1797, ["zero", "one", "two"])
    assert table.examples[0].content().max() == 239  # 15 of 16
    assert {name: task.n_classes for name, task in NAMED.items()}["sun397"] == 397
    assert all(task.prompt.count("{}") == (task.holds != "dialogues") for task in NAMED.values())


def test_fashion_mnist_is_read_from_its_own_format(tmp_path):
    pixels = np.arange(2 * 28 * 28, dtype=np.uint64).astype(np.uint8)
    heads = np.array([0x803, 2, 28, 28], ">u4").tobytes(), np.array([0x801, 2], ">u4").tobytes()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(heads[0] + pixels.tobytes()))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(heads[1] + bytes([9, 0])))
    table = fashion_mnist("t10k", tmp_path)
    assert table.labels == ["ankle boot", "t-shirt"]
    np.testing.assert_array_equal(table.examples[1].content().reshape(-1), pixels[784:])
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        fashion_mnist("train", tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(heads[1] + bytes([9])))
    with pytest.raises(DataError, match="is not an IDX file"):
        fashion_mnist("t10k", tmp_path)


@pytest.mark.parametrize(("label", "tidy"), [
    ("American_Bulldog", "American Bulldog"), ("ApplyEyeMakeup", "Apply Eye Makeup"), ("apple_pie", "apple pie"),
    ("707-320", "707-320"), ("Audi S4 Sedan 2012", "Audi S4 Sedan 2012"), ("banded", "banded"),
])  # fmt: skip
def test_labels_of_the_hub_are_tidied(label, tidy):
    assert _tidied(label) == tidy


def labelled(n, classes=3):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 4, 4), dtype=np.uint8)
    found = [Picture(f"{i}", lambda i=i: pixels[i]) for i in range(n)]
    return Labelled("t", found, [f"class {i % classes}" for i in range(n)])


def test_shots_are_balanced_nested_and_apart_from_the_test_set():
    table = labelled(60)
    four, two = split(table, 0, 20, seed=3, shots=4), split(table, 0, 20, seed=3, shots=2)
    assert len(four.train_examples) == 12
    assert four.train_examples[:6] == two.train_examples
    for size in (3, 6, 9, 12):
        assert np.bincount(four.train_labels[:size]).tolist() == [size // 3] * 3
    assert four.test_examples == two.test_examples
    plain = split(table, 12, 20, seed=3)
    assert plain.test_examples == four.test_examples
    known = {p.sha256 for p in four.train_examples}
    assert not known & {p.sha256 for p in four.test_examples}


def test_a_test_image_that_stands_in_the_pool_is_removed_and_content_makes_the_fingerprint():
    table = labelled(12)
    copy = Picture("elsewhere", table.examples[0].content)
    test = Labelled("test", [copy, *labelled(30).examples[20:26]], ["class 0"] * 3 + ["class 1"] * 4)
    made = split(table, 5, 7, test=test)
    assert (made.n_removed, len(made.test_examples)) == (1, 6)
    renamed = Labelled("t", [Picture("other name", p.content) for p in table.examples], table.labels)
    assert split(renamed, 5, 7, test=test).sha256 == made.sha256
    other = Labelled("t", [*table.examples[:-1], labelled(30).examples[29]], table.labels)
    assert split(other, 5, 7, test=test).sha256 != made.sha256


def test_labels_and_the_test_set_are_part_of_the_fingerprint():
    table = labelled(12)
    swapped = Labelled("t", table.examples, [*table.labels[1:], table.labels[0]])
    assert split(table, 5, 4).sha256 != split(swapped, 5, 4).sha256
    assert split(table, 5, 4).sha256 != split(table, 5, 3).sha256


def test_other_recipes_have_other_files_and_damaged_ones_are_made_again(folder, tmp_path):
    class Dark(Processor):
        def to_dict(self):
            return {"size": 4, "dark": True}

        def __call__(self, images, **_):
            return {"pixel_values": [np.zeros((3, 4, 4), np.uint8) for _ in images]}

    pictures = load_images(folder).examples
    first = np.array(resized(pictures, Processor(), 4, tmp_path))
    assert not np.array_equal(resized(pictures, Dark(), 4, tmp_path), first)
    assert np.array_equal(resized(pictures, Processor(), 4, tmp_path), first)
    for content in (b"", b"rubbish", next(tmp_path.glob("*.npy")).read_bytes()[:200]):
        for path in tmp_path.glob("*.npy"):
            path.write_bytes(content)
        assert np.array_equal(resized(pictures, Processor(), 4, tmp_path), first)
    with pytest.raises(DataError, match="becomes 4 x 4 pixels by the model's image processor, the model takes 8 x 8"):
        resized(pictures, Processor(), 8, tmp_path)


def test_what_is_no_file_or_cannot_be_read_is_no_traceback(folder, tmp_path):
    (folder / "red" / "folder.png").mkdir()
    (folder / "red" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    table = load_images(folder)
    assert len(table) == 7
    (folder / "red" / "0.png").unlink()
    assert split(table, 3, 2).classes == ["blue", "lonely", "red"]
    with pytest.raises(CorruptImages, match="red/0.png cannot be used: it cannot be read"):
        resized(table.examples, Processor(), 4, tmp_path / "cache")


def test_hidden_files_are_left_alone(folder):
    (folder / "red" / "._0.png").write_bytes(b"")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "0.png").write_bytes(encoded((1, 2, 3)))
    assert len(load_images(folder)) == 7


def test_what_a_folder_holds_beside_images_of_classes_is_counted(folder):
    (folder / "empty").mkdir()
    (folder / "blue" / "deep").mkdir()
    (folder / "blue" / "deep" / "x.HEIC").write_bytes(b"")
    (folder / "top.png").write_bytes(encoded((1, 2, 3)))
    table = load_images(folder)
    assert len(table) == 7
    assert table.notes == (
        f"{folder}: no class for 1 sub-folder without images: empty.",
        f"{folder}: left out 2 files whose endings are not those of images: 1 .heic, 1 .txt.",
        f"{folder}: left out 1 image beside the sub-folders, which have no class.",
    )


@pytest.mark.parametrize(("names", "mend"), [
    (("train", "test"), "--data {0}/train --test-data {0}/test"),
    (("Training", "Val", "TEST"), "--data {0}/Training --test-data {0}/TEST"),
    (("train", "validation"), "--data {0}/train --test-data {0}/validation"),
    (("train", "valid", "extra"), "--data {0}/train --test-data {0}/valid"),
    (("test",), "--data {0}/test"),
    (("pictures",), "--data {0}/pictures"),
])  # fmt: skip
def test_splits_and_outer_folders_are_no_classes(tmp_path, names, mend):
    for name in names:
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            (tmp_path / name / label / "0.png").write_bytes(encoded((len(name), 2, 3)))
    with pytest.raises(DataError) as caught:
        load_images(tmp_path)
    assert str(caught.value).endswith(f"say {mend.format(tmp_path)}")
    assert load_images(tmp_path / names[0]).labels == ["cat", "dog"]


def test_a_train_among_vehicles_is_a_class(tmp_path):
    for name in ("bus", "car", "train"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(encoded((len(name), 2, 3)))
    assert load_images(tmp_path).labels == ["bus", "car", "train"]


def test_images_beside_their_list_are_found_by_the_hint(tmp_path):
    (tmp_path / "0.png").write_bytes(encoded((1, 2, 3)))
    (tmp_path / "metadata.csv").write_text("file_name,label\n0.png,x\n")
    with pytest.raises(DataError, match=r"--data .*metadata.csv --image-column file_name"):
        load_images(tmp_path)
    assert load_images(tmp_path / "metadata.csv", "file_name").labels == ["x"]


def written(array, kind, **options):
    file = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_images_are_turned_as_the_datasets_library_turns_them(orientation, kind):
    import datasets

    exif = Image.Exif()
    exif[0x0112] = orientation
    ramp = np.add.outer(np.arange(8) * 20, np.arange(6) * 4).astype(np.uint8)
    content = written(ramp, kind, exif=exif)
    theirs = datasets.Image().decode_example({"bytes": content, "path": None}).convert("RGB")
    ours = Picture("x", lambda: content).decode()
    assert ours.size == ((8, 6) if orientation > 4 else (6, 8))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


RAMP = np.linspace(0, 1, 48).reshape(6, 8)


@pytest.mark.parametrize(("content", "reason"), [
    (written(RAMP.astype(np.float32), "TIFF"), "floating-point numbers, whose white is not known: save it with 8 or 16"),
    (written((RAMP * 255).astype(np.float32), "TIFF"), "floating-point numbers"),
    (written((RAMP * 255).astype(np.int32), "TIFF"), "32-bit or signed integers"),
])  # fmt: skip
def test_pixels_without_a_known_white_are_not_guessed(content, reason):
    with pytest.raises(CorruptImage, match=reason):
        Picture("x", lambda: content).decode()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_become_eight(kind):
    content = written((RAMP * 65535).astype(np.uint16), kind)
    pixels = np.asarray(Picture("x", lambda: content).decode())[:, :, 0]
    np.testing.assert_allclose(pixels, RAMP * 255, atol=1)


def test_what_is_transparent_lies_on_white_and_cmyk_keeps_its_colours(recwarn):
    palette = Image.new("P", (2, 1))
    palette.putpalette([250, 0, 0, 0, 0, 250])
    palette.putpixel((1, 0), 1)
    half = Image.new("RGBA", (2, 1), (0, 0, 250, 255))
    half.putpixel((0, 0), (250, 0, 0, 0))
    key = Image.new("RGB", (2, 1), (0, 0, 250))
    key.putpixel((0, 0), (250, 0, 0))
    for content in (
        written(palette, "PNG", transparency=b"\x00\xff"), written(palette, "PNG", transparency=0),
        written(half, "PNG"), written(half, "TIFF"), written(key, "PNG", transparency=(250, 0, 0)),
    ):  # fmt: skip
        image = Picture("x", lambda content=content: content).decode()
        assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 250)]
    gray = written(Image.new("LA", (1, 1), (100, 0)), "PNG")
    assert Picture("x", lambda: gray).decode().getpixel((0, 0)) == (255, 255, 255)
    cmyk = written(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    red, green, blue = Picture("x", lambda: cmyk).decode().getpixel((0, 0))
    assert (red > 250, green < 5, blue < 5) == (True, True, True)
    assert not [warning for warning in recwarn if "Palette" in str(warning.message)]


def test_arrays_of_other_shapes_are_other_images():
    flat = np.arange(16, dtype=np.uint8)
    assert Picture("a", lambda: flat.reshape(4, 4)).sha256 != Picture("b", lambda: flat.reshape(2, 8)).sha256


def test_links_that_are_not_followed_are_counted(tmp_path):
    for name in ("red", "blue", "elsewhere"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), "red").save(tmp_path / name / "0.png")
    data = tmp_path / "data"
    (data / "blue").mkdir(parents=True)
    (data / "blue" / "0.png").symlink_to(tmp_path / "blue" / "0.png")
    (data / "red").symlink_to(tmp_path / "red")
    (data / "blue" / "more").symlink_to(tmp_path / "elsewhere")
    (data / "blue" / "gone.png").symlink_to(tmp_path / "gone.png")
    table = load_images(data)
    assert table.labels == ["blue", "red"]
    assert "left out 2 links within sub-folders" in " ".join(table.notes)
