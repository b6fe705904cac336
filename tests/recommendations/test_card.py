"""The model card of a recommended adapter: its lines of Python do what training did."""

import re

import polars as pl

import lorabound as lb
from lorabound.data.words import words


def rows(place, first, last):
    labels = words().labels
    chosen = [
        i for name in ("English", "Finnish") for i in [k for k, label in enumerate(labels) if label == name][first:last]
    ]
    table = words().rows(chosen)
    pl.DataFrame({"text": table.examples, "label": table.labels}).write_csv(place)
    return str(place), table


def test_its_lines_give_texts_the_classes_that_certify_counts(tmp_path):
    data, _ = rows(tmp_path / "data.csv", 0, 60)
    fresh, table = rows(tmp_path / "fresh.csv", 60, 100)
    made = lb.recommend(
        data, layers=[5], ranks=[2], modes=["freeze_a"], seeds=[0], lrs=[0.01], epochs=1, prompt="This is a {} word.",
        precision="float32", out=tmp_path / "out",
    )  # fmt: skip
    card = (tmp_path / "out" / "adapter" / "README.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
    assert 'embed(["the text"])' in code
    names = {"texts": list(table.examples)}
    exec(code.replace('embed(["the text"])', "embed(texts)").rpartition("print(")[0], names)
    found = [names["classes"][i] for i in names["scores"].argmax(1).tolist()]
    wrong = sum(one != label for one, label in zip(found, table.labels, strict=True))
    counted = lb.certify(made.adapter, holdout=fresh)
    assert counted.best.bound.n_samples == len(table)
    assert counted.best.error == wrong / len(table)
