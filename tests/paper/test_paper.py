"""The figure from evidence of every kind: files that are whole, nothing fetched from elsewhere, a second call that reads."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from lorabound.errors import OutputError, StoreError
from lorabound.paper import Evidence, make, write_paper
from lorabound.paper.figures import paper_figure
from lorabound.paper.page import readings
from lorabound.reports.complexity import write_complexity
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.summary import summarize
from lorabound.worst_case.measured.complexity import measure_complexity
from lorabound.worst_case.options import ComplexityConfig

SMALL = ComplexityConfig(ranks=(1, 2), n_train=(16, 64), signs=4, steps=5)


@pytest.fixture(scope="module")
def complexity():
    pytest.importorskip("sklearn")
    return measure_complexity(SMALL)


@pytest.fixture
def evidence(complexity, tiny, monkeypatch, tmp_path):
    import polars as pl

    from lorabound.sweeps import execute

    random = np.random.default_rng(0)
    texts = sorted({"".join(chr(97 + c) for c in random.integers(0, 26, 5)) for _ in range(200)})
    path = tmp_path / "letters.csv"
    pl.DataFrame({"text": texts, "label": ["abc"[ord(t[0]) % 3] for t in texts]}).write_csv(path)
    monkeypatch.setattr("lorabound.sweeps.task.load_classifier", lambda *_: tiny)
    config = SweepConfig(
        data=str(path), n_test=60, ranks=[1, 3], n_train=[20, 40], seeds=2, targets=["query"], epochs=4, batch_size=8,
        lr=0.05,
    )  # fmt: skip
    store = execute.run_sweep(config, tmp_path / "sweep")
    gaps = {"freeze_a": [0.1, 0.2, 0.15], "train_both": [0.3, 0.2, 0.25]}
    return Evidence(complexity, summarize(store), gaps, 0.044)


def test_three_files_that_need_nothing_else(evidence, tmp_path):
    html, svg, png = write_paper(evidence, tmp_path)
    page = html.read_text()
    assert not re.search(r'(src|href)="https?://', page)
    assert "vegaEmbed(" in page
    assert svg.read_text().startswith("<svg")
    assert png.read_bytes()[:4] == b"\x89PNG"
    for sentence in readings(evidence):
        assert sentence.split("[")[0][:40].replace("'", "&#39;") in page


def test_the_figure_holds_every_measured_point(evidence):
    text = json.dumps(paper_figure(evidence))
    rows = evidence.complexity.rows
    for row in rows:
        fixed = [max(getattr(r, axis) for r in rows if r.family == row.family) for axis in ("n_train", "rank")]
        if row.n_train == fixed[0] or row.rank == fixed[1]:
            assert str(row.mean)[:12] in text
    assert all(str(gap) in text for gaps in evidence.gaps.values() for gap in gaps)


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*out: Not a directory; name another place"):
        make.gather(tmp_path / "file" / "out", observe=lambda now: pytest.fail(f"began with {now}"))


def test_what_was_measured_is_read_again(complexity, tmp_path, monkeypatch):
    write_complexity(complexity, tmp_path)
    monkeypatch.setattr(make, "ComplexityConfig", lambda **_: SMALL)
    monkeypatch.setattr(make, "measure_complexity", None)
    again = make._complexity(tmp_path, True, lambda _: None)
    assert again.rows == complexity.rows
    assert [replace(g, upper=0, exact=0) for g in again.growth] == [
        replace(g, upper=0, exact=0) for g in complexity.growth
    ]
    (tmp_path / "complexity.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read .*: move it away"):
        make._complexity(tmp_path, True, lambda _: None)
