"""The page of a recommendation: what it says, what its charts hold, its lines of Python, and a real browser."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import peft
import pytest
import torch
import transformers

import lorabound as lb
from lorabound.bounds import holdout
from lorabound.recommendations.recommendation import RuleOfThumb
from lorabound.recommendations.stored import write_recommendation
from lorabound.reports.peft_code import peft_code, regular_expression
from lorabound.reports.recommendation_charts import error_against_rows, forecast_against_rank
from lorabound.reports.recommendation_page import write_recommendation_page
from tests.commands import run
from tests.recommendation_cases import LAYERS, MODES, RANKS, SIZES, error, made_in, with_adapter
from tests.reports.test_report import browse


@pytest.fixture
def made(tmp_path):
    return made_in(tmp_path)


def page_of(made):
    """The text of the page, without its scripts and the links of its terms."""
    text = write_recommendation_page(made).read_text()
    text = re.sub(r'<a class="term"[^>]*>([^<]*)</a>', r"\1", text)
    return unescape(re.sub(r"<script>.*?</script>", "", text, flags=re.S))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return page_of(made_in(tmp_path_factory.mktemp("page")))


def test_every_row_tests_once_where_all_folds_were_used_and_not_where_seeds_stopped(made):
    few = replace(made, refit=True, n_rows=400, n_pilot=300)
    assert "so nearly every row tests once" in page_of(replace(few, n_test=400))
    stopped = page_of(replace(few, n_test=200))
    assert "Seeds have test rows of their own, which other seeds learn from." in stopped
    assert "every row tests once" not in stopped


def test_the_answer_stands_first_and_its_words_are_explained(page):
    heads = [
        f"{head}</h2>" for head in ("Error by training rows", "All candidates", "What is guaranteed", "Make it again")
    ]
    parts = ["Take rank 4 and freeze A", "forecast error on new data", "LoraConfig(", *heads, "Words used here"]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)
    for word in ("rank", *MODES, "lora_alpha", "error", "pilot", "forecast", "80% interval", "certificate"):
        assert f"<dt>{word}</dt>" in page


def test_every_candidate_trial_and_step_stands_in_a_table(page):
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr[^>]*><td.*?</tr>", page)]
    marks = {("freeze_a", 4): "> ", ("train_both", 4): "~ "}
    candidates = {(row[0], int(row[1])): row[2:] for row in cells if len(row) == 12}
    assert set(candidates) == {(marks.get((m, r), "") + m, r) for m in MODES for r in RANKS}
    test = error("freeze_a", 16, 400)
    assert candidates["freeze_a", 16][3:6] == [f"{test:.3f}", f"{test - 0.04:.3f} to {test + 0.04:.3f}", "400"]
    assert ["freeze_a", "0.002", "diverged"] in cells
    assert ["freeze_a", "0.006", "0.400"] in cells
    assert ["ranks", "freeze_a 4, 1, 16; train_both 4, 1, 16", "100", "12", "12"] in cells
    assert [row[1:] for row in cells if ">TRL</a>" in row[0]] == [["256", "none", ""]]


def test_the_guarantee_says_what_it_rests_on(page):
    assert "On 100 rows that it was not trained on it was 0.300" in page
    assert "36 adapters could have been recommended" in page
    assert "may fail with probability 0.0014" in page  # 0.05 / 36
    assert "trained anew on all 500 rows, so no row is left to test it" in page
    assert "each independently of the others" in page
    assert "the choice among those is counted" in page


def test_a_limit_that_says_nothing_is_no_guarantee(made):
    page = page_of(replace(made, limit=holdout(2, 2, 0.05 / 36)))
    assert "2 test rows are too few to show that the error on new data is below 1" in page
    assert "Nothing is guaranteed" in page
    assert "guaranteed at most" not in page


def test_what_is_missing_is_said(made, page):
    """No limit, no adapter in its folder, a search that was stopped, an error far above the others."""
    odd = page_of(replace(made, limit=None, stopped="the budget did not reach", zero_shot=0.99))
    missing = (
        "Nothing is guaranteed",
        '<p class="warn">Not finished: the budget did not reach.',
        "Without an adapter it is 0.990, above this axis.",
    )
    for said in missing:
        assert said in odd
        assert said not in page
    assert odd.count("Not finished") == 1
    assert "PeftModel" not in odd
    assert 'target_modules=["query", "value"]' in odd
    assert f"{made.adapter}/adapter_config.json cannot be read" in odd


def points_of(spec):
    """All rows of the data of a chart."""
    return [row for rows in spec["datasets"].values() for row in rows]


def test_the_first_chart_holds_every_pilot_and_forecast(made):
    drawn = error_against_rows(made)
    rows = points_of(drawn.spec)
    pilots = {(row["what"], row["rows"]): row for row in rows if "what" in row}
    assert set(pilots) == {(f"{m}, rank {r}", n) for m in MODES for r in RANKS for n in SIZES}
    for point in made.points:
        row = pilots[f"{point.mode}, rank {point.rank}", point.test.n_train]
        assert (row["test"], row["low"], row["high"], row["train"]) == (
            point.test.value, point.test.low, point.test.high, point.train,
        )  # fmt: skip
    for n in SIZES:  # side by side around the size, all nearer to it than to another one
        places = [row["x"] for (_, rows_), row in pilots.items() if rows_ == n]
        assert len(set(places)) == 6
        assert max(places) / n < (SIZES[1] / SIZES[0]) ** 0.5
        assert min(places) / n > (SIZES[0] / SIZES[1]) ** 0.5
    forecasts = [row["x"] for row in rows if "forecast" in row]
    assert forecasts == [500, 1000, 2000]
    assert drawn.outside == ""


def domains(spec):
    return {
        tuple(layer["encoding"]["y"]["scale"]["domain"])
        for layer in spec["layer"] if "scale" in layer["encoding"].get("y", {})
    }  # fmt: skip


def test_axes_hold_everything_and_what_they_leave_out_is_said(made):
    for draw, least, at_zero in ((error_against_rows, 0.1, True), (forecast_against_rank, 0.37 - 0.04, False)):
        [(low, high)] = domains(draw(made).spec)
        assert 0 <= low < least
        assert (low == 0) == at_zero
        assert ("The axis does not begin at zero." in draw(made).outside) != at_zero
        assert 0.45 < high < 0.7
        far = draw(replace(made, zero_shot=0.99))
        assert "0.990, above this axis" in far.outside
        assert max(high for _, high in domains(far.spec)) < 0.9


def test_the_second_chart_holds_every_candidate_and_rule(made):
    rows = points_of(forecast_against_rank(made).spec)
    assert {(row["mode"], row["rank"]) for row in rows if "close" in row} == {(m, r) for m in MODES for r in RANKS}
    rules = {row["rules"]: (row["rank"], row["forecast"]) for row in rows if "rules" in row}
    assert rules == {"axolotl": (8, 0.36), "TRL": (256, None)}
    same = tuple(replace(rule, rank=8) for rule in made.rules)
    rows = points_of(forecast_against_rank(replace(made, rules=same)).spec)
    assert [row["rules"] for row in rows if "rules" in row] == ["axolotl, TRL"]


def test_charts_of_one_candidate_at_one_size_are_drawn(made):
    alone = replace(
        made, options=tuple(one for one in made.options if one is made.best), rules=(),
        points=tuple(one for one in made.points if (one.mode, one.rank, one.test.n_train) == ("freeze_a", 4, 100)),
    )  # fmt: skip
    assert len([row for row in points_of(error_against_rows(alone).spec) if "what" in row]) == 1
    assert [row["rank"] for row in points_of(forecast_against_rank(alone).spec) if "close" in row] == [4]


HOSTILE = "<script>console.error('owned')</script><img src=x onerror=\"console.error('owned')\">"
WRAPPER = """<body><iframe id=narrow style="width:400px;height:900px"></iframe>
<iframe id=wide style="width:1280px;height:900px"></iframe><pre id=found></pre><script>
const frames = [...document.querySelectorAll("iframe")];
for (const frame of frames) frame.src = "report.html";
setTimeout(() => {
  const found = {};
  for (const frame of frames) {
    const page = frame.contentDocument, root = page.documentElement;
    const first = () => page.querySelector("table.sortable tbody tr").cells[1].textContent;
    const sort = () => page.querySelectorAll("table.sortable th button")[1].click();
    const before = first();
    sort(); const least = first();
    sort(); const most = first();
    found[frame.id] = {sideways: root.scrollWidth - root.clientWidth, width: root.clientWidth, sorted: [before, least, most],
      charts: [...page.querySelectorAll(".chart svg.marks")].map(svg => svg.getBoundingClientRect().width),
      texts: [...page.querySelectorAll("svg.marks text")].map(text => text.textContent),
      night: getComputedStyle(page.body).backgroundColor, lines: page.querySelectorAll('path[stroke="#5fb0ea"]').length};
  }
  document.getElementById("found").textContent = JSON.stringify(found);
}, 4000);
</script>"""


def seen_in_a_browser(folder, *options):
    (folder / "wrapper.html").write_text(WRAPPER)
    dom, console = browse(
        folder / "wrapper.html", folder, "--allow-file-access-from-files", "--hide-scrollbars", *options
    )
    return json.loads(unescape(dom.split('<pre id="found">')[1].split("</pre>")[0])), console


def test_the_page_in_a_browser_without_network(made):
    """At 400 and at 1280 pixels, in the dark, with names that are code."""
    rule = RuleOfThumb(name=HOSTILE, rank=8, source="javascript:console.error('owned')", forecast=None)
    hostile = replace(
        made, data=HOSTILE, model=HOSTILE, notes=(HOSTILE,), tested_on=HOSTILE, rules=(rule, *made.rules),
        settings={**made.settings, "prompt": HOSTILE}, adapter=made.adapter + HOSTILE, limit_of=HOSTILE,
    )  # fmt: skip
    page = write_recommendation_page(hostile)
    assert page.stat().st_size < 1_200_000
    text = page.read_text()
    assert "<script>console" not in text
    assert "<img src=x" not in text
    assert 'href="javascript' not in text
    found, console = seen_in_a_browser(page.parent, "--blink-settings=preferredColorScheme=0")
    assert console == []
    for width, one in ((400, found["narrow"]), (1280, found["wide"])):
        assert one["width"] == width
        assert one["sideways"] == 0
        assert len(one["charts"]) == 2
        assert width / 2 < min(one["charts"]) <= max(one["charts"]) < width
        assert one["sorted"] == ["4", "1", "16"]
        assert {"freeze_a", "train_both", "recommended", "rank 4", "without an adapter 0.450"} <= set(one["texts"])
        assert any("TRL" in name for name in one["texts"])
        assert one["night"] == "rgb(22, 25, 29)"
        assert one["lines"] > 3  # curves in the colours of the night


def executed(code):
    names = {}
    exec(code, names)
    return names["model"]


@pytest.mark.parametrize("mode", ["freeze_a", "freeze_b", "train_both"])
@pytest.mark.parametrize("law", ["kaiming_uniform", "gaussian"])
def test_the_lines_train_what_the_adapter_trains(tmp_path, letters_bert, mode, law):
    made = made_in(tmp_path, mode=mode, settings={"law": law, "epochs": 2})
    with_adapter(made, letters_bert, 3, law)
    code = peft_code(made)
    torch.manual_seed(0)
    model = executed(code.training)
    config = model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.use_rslora) == (4, 8, False)
    factors = {name: w for name, w in model.named_parameters() if ".lora_" in name}
    assert {name.split(".model.", 1)[1].split(".lora_")[0] for name in factors} == set(LAYERS)
    trained = {name.split(".lora_")[1][0] for name, weight in factors.items() if weight.requires_grad}
    assert trained == {"freeze_a": {"B"}, "freeze_b": {"A"}, "train_both": {"A", "B"}}[mode]
    zero = {name.split(".lora_")[1][0] for name, weight in factors.items() if not weight.any()}
    assert zero == ({"A"} if mode == "freeze_b" else {"B"})
    drawn = torch.cat([weight.flatten() for name, weight in factors.items() if f".lora_{'BA'[zero == {'B'}]}" in name])
    assert len(drawn) == 4 * 4 * 16
    # 256 draws: uniform on +-1/4 has standard deviation 0.144, the gaussian 1 / rank = 0.25; a tenth is two errors
    assert drawn.std().item() == pytest.approx(0.25 if law == "gaussian" else 0.25 / 3**0.5, rel=0.1)
    assert any(weight.requires_grad for name, weight in model.named_parameters() if "classifier" in name)


def test_the_lines_load_the_adapter_with_a_head_of_its_own_size(tmp_path, letters_bert):
    made = with_adapter(made_in(tmp_path), letters_bert, n_classes=5)  # the model itself has a head of three labels
    model = executed(peft_code(made).loading)
    assert isinstance(model, peft.PeftModel)
    assert isinstance(model.get_base_model(), transformers.BertForSequenceClassification)
    assert model(input_ids=torch.tensor([[1, 4, 2]])).logits.shape == (1, 5)


@pytest.mark.parametrize(
    "names",
    [
        ["score"],
        ["layer.0"],
        list(LAYERS),
        [f"model.layers.{i}.self_attn.{p}_proj" for i in (0, 7, 11) for p in "qkvo"] + ["lm_head"],
        ["v.layers.0.self_attn.q", "t.layers.0.self_attn.q", "t.layers.1.mlp.fc1", "t.layers.1.self_attn.q"],
        ["h.0.mlp.experts.3.w", "h.0.mlp.experts.4.w"],
    ],
)
def test_the_expression_matches_these_layers_and_no_others(names):
    """As PEFT does: the whole name, with anything before a dot in front of it."""
    expression = re.compile(regular_expression(names))
    others = {re.sub(r"\d+", str(i), name) for name in names for i in range(13)} | {f"{name}x" for name in names}
    others |= {name.rpartition(".")[0] for name in names} | {f"x{name}" for name in names}
    for name in names:
        assert expression.fullmatch(name)
        assert expression.fullmatch(f"base.{name}")
    assert not [name for name in others - set(names) if expression.fullmatch(name)]


def test_report_shows_a_recommendation_again_and_writes_its_page(capsys, monkeypatch, made, tmp_path):
    write_recommendation(made)
    status, out, _ = run(capsys, monkeypatch, "report", tmp_path)
    assert status == 0
    assert "Take rank 4 and freeze A" in out
    assert f"Page:{tmp_path / 'report.html'}" in "".join(out.split())
    page = (tmp_path / "report.html").read_text()
    assert lb.report(lb.open_recommendation(tmp_path), tmp_path / "other.html").read_text() == page
    status, _, err = run(capsys, monkeypatch, "report", tmp_path, "--figure", tmp_path / "x.svg")
    assert (status, "leave it out" in err) == (2, True)
    Path(tmp_path / "recommendation.json").write_text("{")
    status, _, err = run(capsys, monkeypatch, "report", tmp_path)
    assert status == 2
    assert "is damaged" in err
