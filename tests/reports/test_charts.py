"""What charts are made of: points, yardsticks and panels, and what a page says first."""

import math

import pytest
from markupsafe import escape

from lorabound.modes import MODES
from lorabound.reports.answer import answer
from lorabound.reports.chart_specs import Series
from lorabound.reports.charts import explorer
from lorabound.reports.colours import MODE_COLOURS
from lorabound.reports.frame import packed
from lorabound.reports.glossary import GLOSSARY, Words
from lorabound.sweeps.summary import summarize
from tests.reports.test_report import build, with_errors
from tests.stores import rewrite


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return summarize(build(tmp_path_factory.mktemp("charts")))


def test_every_cell_is_a_point_of_every_loss(summary):
    made = explorer([Series(name="", summary=summary)])
    points = [row for row in made["rows"] if row["kind"] == "cell"]
    assert len(points) == 3 * 12
    point = next(p for p in points if (p["mode"], p["rank"], p["N"], p["loss"]) == ("freeze_a", 4, 100, "error"))
    assert (point["train"], point["test"], point["gap"], point["bare"]) == pytest.approx((0.36, 0.4, 0.04, 0.4))
    # 1.966 sqrt(0.4 0.6/399) for the test set; the same errors in every seed
    assert point["test_high"] - 0.4 == pytest.approx(1.966 * math.sqrt(0.24 / 399), abs=1e-4)
    assert {axis["name"]: axis["panels"] for axis in made["axes"]} == {
        "rank": ["N = 100", "N = 400"], "N": ["freeze_a", "train_both"], "mode": ["N = 100", "N = 400"],
    }  # fmt: skip
    assert set(made["specs"]) == {
        f"{measure}-{axis}-{scale}" for measure in ("error", "gap") for axis in ("rank", "N", "mode") for scale in ("linear", "log")
    }  # fmt: skip


def test_the_yardstick_has_the_slope_of_the_theory_and_passes_the_middle_of_the_points(summary):
    """Gaps are 0.02 sqrt(r) and 0.04 sqrt(r) by construction: the middle is 0.02 sqrt(2) sqrt(2), at rank 2."""
    rows = explorer([Series(name="", summary=summary)])["rows"]
    yard = [
        r for r in rows if r["kind"] == "yard" and (r["axis"], r["loss"], r["panel"]) == ("rank", "error", "N = 100")
    ]
    middle = min(yard, key=lambda row: abs(row["x"] - 2))
    assert (middle["x"], middle["y"]) == pytest.approx((2, 0.04), rel=1e-3)
    assert yard[-1]["y"] / yard[0]["y"] == pytest.approx((yard[-1]["x"] / yard[0]["x"]) ** 0.5, rel=1e-4)
    along = [
        r for r in rows if r["kind"] == "yard" and (r["axis"], r["loss"], r["panel"]) == ("N", "error", "freeze_a")
    ]
    assert along[-1]["y"] / along[0]["y"] == pytest.approx(4**-0.5, rel=1e-4)


def test_intervals_of_errors_end_where_errors_end(tmp_path):
    """One mistake in 400, and one right answer: intervals from the spread would reach below 0 and above 1."""
    made = with_errors(build(tmp_path, sizes=(100,)), zero_shot=0.5, freeze_a=0.0025, train_both=0.9975)
    assert min(cell.tests["error"].low for cell in made.cells) < 0
    points = [row for row in explorer([Series(name="", summary=made)])["rows"] if row["kind"] == "cell"]
    lows = {row["mode"]: row["test_low"] for row in points if row["loss"] == "error"}
    highs = {row["mode"]: row["test_high"] for row in points if row["loss"] == "error"}
    assert (lows["freeze_a"], highs["train_both"]) == (0, 1)


def test_packed_points_are_the_same_points(summary):
    rows = explorer([Series(name="", summary=summary)])["rows"]
    tables = packed(rows)
    unpacked = [dict(zip(table["fields"], row, strict=True)) for table in tables for row in table["rows"]]
    assert len(tables) == 3  # cells with and without a limit, yardsticks
    assert sorted(map(str, unpacked)) == sorted(map(str, rows))


def test_modes_keep_their_colours_and_sweeps_have_their_own(summary):
    spec = explorer([Series(name="", summary=summary)])["specs"]["gap-rank-linear"]
    scale = next(
        layer["encoding"]["color"]["scale"] for layer in spec["spec"]["layer"] if "scale" in layer["encoding"]["color"]
    )
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        mode: MODE_COLOURS[mode] for mode in ("freeze_a", "train_both")
    }
    both = explorer([Series(name=name, summary=summary) for name in ("one", "two")])
    assert both["axes"][0]["panels"] == [
        "freeze_a, N = 100",
        "freeze_a, N = 400",
        "train_both, N = 100",
        "train_both, N = 400",
    ]
    assert {row.get("sweep") for row in both["rows"] if row["kind"] == "cell"} == {"one", "two"}


def test_a_grid_of_two_sizes_is_not_asked_for_a_third_while_it_runs(tmp_path):
    store = build(tmp_path)
    rewrite(store, "delete from runs where n_train = 400")
    made = answer(summarize(store))
    assert "needs another training size" not in " ".join(made.sure)
    assert made.remedy == ""


def test_one_cell_has_no_chart(tmp_path):
    store = build(tmp_path, ranks=(2,), sizes=(100,))
    rewrite(store, "delete from runs where mode = 'train_both'")
    assert explorer([Series(name="", summary=summarize(store))]) is None


def test_the_answer_has_a_forecast_or_the_command_that_gives_one(tmp_path):
    errors = {"zero_shot": 0.5, "freeze_a": 0.4, "train_both": lambda rank: 0.3 - 0.01 * rank}
    made = answer(with_errors(build(tmp_path / "two"), **errors))
    assert made.first.startswith("Take train_both, rank 4")
    assert "With twice the data (N = 800) the forecast for" in made.sure[2]
    assert made.remedy == ""
    assert [tile["name"] for tile in made.tiles] == [
        "test error",
        "gap",
        "guaranteed on new data, at most",
        "forecast for N = 800",
    ]
    single = answer(with_errors(build(tmp_path / "one", sizes=(400,)), **errors))
    assert single.sure[2].startswith("What more data would buy needs another training size.")
    assert "--n-train 100,400" in single.remedy
    assert single.remedy.endswith(f"--out {tmp_path / 'one'}")


def test_the_first_of_each_term_is_linked_and_the_rest_is_escaped():
    words = Words()
    text = words.worded("<b> The gap of rank 8, the gap of freeze_a-x; p(correct) (95% interval): forecast.json")
    assert text.startswith("&lt;b&gt; The <a ")
    assert text.count("word-gap") == 2  # the link and its description, once
    assert [term.name for term in words.listed()] == ["rank", "gap", "95% interval"]


def test_words_of_the_users_files_and_names_of_files_are_not_explained():
    words = Words()
    said = "2 texts have more than one label: 'a rank of p...' and others; see certificate.json of the user's"
    assert words.worded(said) == escape(said)
    assert not words.listed()


def test_an_interval_of_another_level_is_not_explained_as_one_of_95_percent():
    words = Words()
    words.worded("a forecast of 0.4 (80% interval 0.3 to 0.5), a slope with its 90% interval")
    assert [term.name for term in words.listed()] == ["80% interval", "forecast"]


def test_every_mode_and_every_term_has_a_meaning_and_a_place_of_its_own():
    assert set(MODES) <= {term.name for term in GLOSSARY}
    assert len({term.anchor for term in GLOSSARY}) == len(GLOSSARY)
    forms = [form for term in GLOSSARY for form in (term.name, *term.forms)]
    assert len(set(forms)) == len(forms)
