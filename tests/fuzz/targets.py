"""What reads files that others wrote: one function each, with files to start from."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl
import yaml
from PIL import Image

from lorabound.adapters import inspect_adapter, load_adapter, new_adapter, save_adapter
from lorabound.certificates import stored
from lorabound.certificates.predictions import certify_predictions
from lorabound.certificates.stored import write_certificate
from lorabound.certificates.verify import verify
from lorabound.config import read_settings
from lorabound.data import Picture, read_answers
from lorabound.data.images import CorruptImage
from lorabound.plans.config import PlanConfig
from lorabound.recommendations.choices import grid_of, record_choices
from lorabound.recommendations.config import RecommendConfig
from lorabound.recommendations.stored import open_recommendation, write_recommendation
from lorabound.sweeps import Sweep, SweepConfig, read_configs, tables
from lorabound.sweeps.look import look_at
from lorabound.sweeps.records import read_rows, read_task, write_rows
from lorabound.sweeps.repair import repair
from lorabound.sweeps.row import MEASURED
from lorabound.sweeps.summary import summarize
from lorabound.trainers import read_axolotl, read_llamafactory
from tests.commands import shown
from tests.fuzz.guard import refusal
from tests.stores import as_format, rewrite


@dataclass(frozen=True)
class Target:
    """Something that reads one file of a folder.

    Attributes:
        folder: folder as it is when all is well.
        file: file in it that is changed.
        read: function that reads the folder, or the file.
    """

    folder: Path
    file: str
    read: Callable[[Path], object]

    @property
    def content(self) -> bytes:
        return (self.folder / self.file).read_bytes()

    def refusal(self, content: bytes, place: Path) -> str | None:
        """What is said of the folder with this content in the file; see :func:`tests.fuzz.guard.refusal`."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder, place)
        (place / self.file).write_bytes(content)
        return refusal(lambda: self.read(place), place)


def _adapter(place: Path) -> None:
    read_task(place)
    inspect_adapter(place).frame()
    load_adapter(place)


def _store(place: Path) -> None:
    store = Sweep.open(place)
    try:
        store.frame()
        shown(summarize(store))
    finally:
        store.close()


def _repaired(place: Path) -> None:
    shown(repair(place))
    _store(place)


def _rewritten(place: Path) -> None:
    """A store whose first run, and whose entries, are those of two files, with the hashes that belong to them."""
    try:
        row = dict(json.loads((place / "row.json").read_bytes()))
        entries = {
            str(name): json.dumps(value)
            for name, value in dict(json.loads((place / "about.json").read_bytes())).items()
        }
        store = Sweep.open(place)
        with store._connection:
            tables.put(store._connection, entries)
        rewrite(store, *(
            (f"update runs set {name} = ? where key = (select key from runs where rank > 0 limit 1)", (value,))
            for name, value in row.items() if name in tables.columns()[1:-1]
        ))  # fmt: skip
        store.close()
    except (ValueError, TypeError, OverflowError, sqlite3.Error, UnicodeEncodeError):
        return  # no such store can be made
    _store(place)


def _resealed(place: Path) -> None:
    """A certificate with the hash that belongs to it."""
    path = place / "certified" / "certificate.json"
    try:
        record = dict(json.loads(path.read_bytes()))
        record.pop("sha256", None)
        path.write_text(json.dumps(record | {"sha256": stored._sha256(record)}))
    except (ValueError, TypeError):
        return
    shown(verify(path.parent))


def _settings(place: Path) -> None:
    read_configs(place / "settings.yaml", {})


def _picture(name: str) -> Callable[[Path], object]:
    def read(place: Path) -> None:
        with suppress(CorruptImage):
            Picture(name, (place / name).read_bytes).decode()

    return read


def _data(name: str, **asked: object) -> Callable[[Path], object]:
    return lambda place: shown(look_at(SweepConfig(data=str(place / name), **asked)))


def _adapters(folder: Path) -> dict[str, Target]:
    found = {}
    shapes = {"layers.0.q": (6, 4), "layers.1.q": (6, 4)}
    weights = {name: np.random.default_rng(0).normal(size=shape) for name, shape in shapes.items()}
    for mode in ("freeze_a", "core", "subspace"):
        made = new_adapter(shapes, 2, mode, 0, "kaiming_uniform", 2.0, weights=weights, subspace_size=11)
        place = save_adapter(made, folder / mode)
        config = json.loads((place / "adapter_config.json").read_text())
        config["rank_pattern"] = {"layers.0.q": 2, r"layers\.1\.q": 2}
        (place / "adapter_config.json").write_text(json.dumps(config))
        (place / "task.json").write_text(json.dumps({
            "model": "m", "model_sha256": "0", "takes": "texts", "head": "prompts", "prompt": "{}", "classes": ["a"],
            "logit_scale": 1.0, "max_length": 8, "precision": "float32", "n_train": 4,
        }))  # fmt: skip
        for file in (
            "adapter_config.json",
            "adapter_model.safetensors",
            "lorabound.json",
            "lorabound.safetensors",
            "task.json",
        ):
            if (place / file).is_file():
                found[f"adapter {mode} {file}"] = Target(place, file, _adapter)
    return found


def _models(folder: Path) -> dict[str, Target]:
    import lorabound as lb
    from lorabound.models import load_classifier
    from tests.text_models import save_text_model

    save_text_model(folder)

    def read(place: Path) -> None:
        lb.plan(model=str(place), ranks=[1], n_train=[100], modes=["freeze_a"])
        load_classifier(str(place), ["a", "b"])

    files = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    return {f"model {file}": Target(folder, file, read) for file in files if (folder / file).is_file()}


def _stores(folder: Path) -> dict[str, Target]:
    from tests.reports.test_report import build

    build(folder, ranks=(1, 2), sizes=(100,), seeds=(0, 1)).close()
    write_rows(folder, ["some text", "another"], ["a third"])
    record_choices(folder, grid_of(["freeze_a"], [1], [10], [0.1], 0))
    old = folder.with_name("old")
    shutil.copytree(folder, old)
    store = Sweep.open(old)
    as_format(store, 5)
    store.close()
    store = Sweep.open(folder)
    first = next(row for row in store.rows() if row.rank)
    row = {name: getattr(first, name) for name in MEASURED}
    (folder / "row.json").write_text(json.dumps(row))
    (folder / "about.json").write_text(json.dumps(store.about))
    store.close()
    return {
        "store, a row": Target(folder, "row.json", _rewritten),
        "store, its entries": Target(folder, "about.json", _rewritten),
        "store": Target(folder, "sweep.sqlite", _store),
        "store of format 5": Target(old, "sweep.sqlite", _store),
        "store, repaired": Target(folder, "sweep.sqlite", _repaired),
        "rows.json": Target(folder, "rows.json", read_rows),
    }


def _texts(folder: Path) -> dict[str, Target]:
    folder.mkdir()
    rows = [{"text": f"some text {i} of {i % 3}", "label": "abc"[i % 3]} for i in range(60)]
    frame = pl.DataFrame(rows)
    frame.write_csv(folder / "a.csv")
    frame.write_csv(folder / "a.tsv", separator="\t")
    frame.write_parquet(folder / "a.parquet")
    (folder / "a.json").write_text(json.dumps(rows))
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    chats = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(i)}]} for i in range(40)
    ]
    (folder / "chats.json").write_text(json.dumps(chats))
    pl.DataFrame(chats).write_parquet(folder / "chats.parquet")
    found = {f"data {name}": Target(folder, name, _data(name)) for name in sorted(p.name for p in folder.iterdir())}
    frame.rename({"text": "predicted"}).with_columns(predicted=pl.col("label")).write_csv(folder / "answers.csv")
    found["answers"] = Target(
        folder, "answers.csv", lambda place: read_answers(place / "answers.csv", "predicted", "label")
    )
    write_certificate(
        certify_predictions(str(folder / "answers.csv"), ["predicted"], "label", 0.05), folder / "certified"
    )
    found["certificate"] = Target(
        folder, "certified/certificate.json", lambda place: shown(verify(place / "certified"))
    )
    found["certificate, sealed"] = Target(folder, "certified/certificate.json", _resealed)
    return found


def _images(folder: Path) -> dict[str, Target]:
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    for ending in ("png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(ending, ending))
        (folder / f"a.{ending}").write_bytes(buffer.getvalue())
    return {f"image {path.suffix}": Target(folder, path.name, _picture(path.name)) for path in sorted(folder.iterdir())}


def _written(folder: Path) -> dict[str, Target]:
    folder.mkdir()
    (folder / "data.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 20)
    files = {
        "settings.yaml": {"data": ["words", "a.csv"], "ranks": [1, 2], "modes": ["freeze_a"], "lr": 0.01, "n_train": [10]},
        "plan.yaml": {"shapes": "4x4", "ranks": [1], "n_train": [10]},
        "recommend.yaml": {"budget": "1m", "lrs": [0.01], "delta": 0.05},
        "axolotl.yaml": {
            "base_model": "owner/name", "datasets": [{"path": "data.jsonl", "type": "alpaca"}], "adapter": "lora", "lora_r": 8,
            "lora_alpha": 16, "lora_target_modules": ["q_proj"], "learning_rate": 0.0002, "num_epochs": 1, "micro_batch_size": 2,
        },
        "factory.yaml": {
            "model_name_or_path": "owner/name", "dataset": "mine", "dataset_dir": str(folder), "stage": "sft", "finetuning_type": "lora",
            "lora_rank": 8, "template": "llama3", "learning_rate": 1e-4, "num_train_epochs": 1.0,
        },
        "dataset_info.json": {"mine": {"file_name": "data.jsonl", "columns": {"prompt": "instruction", "response": "output"}}},
    }  # fmt: skip
    for name, record in files.items():
        (folder / name).write_text(json.dumps(record))  # YAML too: what is JSON is changed by its values
    (folder / "plain.yaml").write_text(yaml.safe_dump(files["settings.yaml"]))
    reads: dict[str, Callable[[Path], object]] = {
        "settings.yaml": _settings,
        "plain.yaml": lambda place: read_configs(place / "plain.yaml", {}),
        "plan.yaml": lambda place: read_settings(PlanConfig, place / "plan.yaml", {}),
        "recommend.yaml": lambda place: read_settings(RecommendConfig, place / "recommend.yaml", {}),
        "axolotl.yaml": lambda place: read_axolotl(place / "axolotl.yaml"),
        "factory.yaml": lambda place: read_llamafactory(str(place / "factory.yaml")),
        "dataset_info.json": lambda place: read_llamafactory(f"{place / 'dataset_info.json'}:mine"),
    }
    return {name: Target(folder, name, read) for name, read in reads.items()}


def _recommendations(folder: Path) -> dict[str, Target]:
    from tests.recommendation_cases import made_in

    write_recommendation(replace(made_in(folder), folder=str(folder)))
    return {"recommendation": Target(folder, "recommendation.json", lambda place: shown(open_recommendation(place)))}


@cache
def targets() -> dict[str, Target]:
    """All of them, by name; their files are made once."""
    home = Path(mkdtemp(prefix="fuzz-"))
    found: dict[str, Target] = {}
    for make in (_adapters, _models, _stores, _texts, _images, _written, _recommendations):
        found |= make(home / make.__name__.strip("_"))
    return found
