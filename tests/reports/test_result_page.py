"""The page of a single result: the sentences of the terminal, in order, escaped; its charts; what it does not replace."""

import base64
import io
import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import polars as pl
import pytest
from rich.table import Table

import lorabound as lb
from lorabound.adapters import new_adapter
from lorabound.bounds import holdout, price_of_freezing
from lorabound.certificates import Certificate, Statement, check_errors
from lorabound.certificates.verification import Part, Verification
from lorabound.errors import InputError
from lorabound.reports.result_charts import charts
from lorabound.reports.result_page import write_result_page
from lorabound.reports.show import parts
from lorabound.stats import shared_test_noise, variance_components
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.spread import Crossed, ModeSpread
from lorabound.updates.costs import FreezingCosts, LayerCost
from lorabound.worst_case.options import LowerConfig
from lorabound.worst_case.simulated import simulate_lower_bound
from tests.axe import axe
from tests.browser import browser
from tests.commands import run
from tests.reports.test_page_in_browser import faults, look
from tests.reports.test_report import browse
from tests.reports.test_tables import complexity

EVIL = "<script>alert(1)</script>"


def planned(**more):
    return lb.plan("384x384", ranks=[1, 4], modes=["freeze_a", "train_both"], n_train=[1000, 100_000], **more)


def spectra(folder):
    adapter = new_adapter({f"layer.{i}.q": (8, 8) for i in range(6)}, 2, "freeze_a", 0, "gaussian", 2.0)
    random = np.random.default_rng(0)
    for factors in adapter.layers.values():
        factors.b[:] = random.normal(size=factors.b.shape)
    return lb.inspect_adapter(lb.save_adapter(adapter, folder / EVIL))


def crossed():
    """Gaps around 0.1 and 0.3: 4 factors on 5 samples, 40 test examples."""
    random = np.random.default_rng(0)
    noise = shared_test_noise(random.random((4, 5, 40)) < 0.4)
    spreads = [
        ModeSpread(mode=mode, rank=8, loss=loss, gaps=gaps, variance=variance_components(gaps, noise, 128.0))
        for mode, mean in (("freeze_a", 0.1), ("train_both", 0.3))
        for gaps in [mean + 0.02 * random.normal(size=(4, 5))]
        for loss in ("error", "risk")
    ]
    config = SweepConfig(data=EVIL, prompt="a {}", ranks=[8], seeds=4, samples=5, n_train=[128], n_test=40)
    return Crossed(config=config, n_train=128, n_test=40, spreads=spreads, left_out=[])


def costs():
    e = np.random.default_rng(0).normal(size=(12, 8))
    layer = LayerCost(
        name=EVIL, d_out=12, d_in=8, ranks=(1, 4), price=price_of_freezing(e, [1, 4]), adapter_error=None, rounding=0.0
    )
    return FreezingCosts(
        base="base", checkpoint="tuned", adapter=None, mode=None, layers=(layer,), n_linear=2, other_energy=1.0
    )


def certificate():
    one = Statement(
        method="holdout", speaks_of="the adapter", bound=holdout(20, 100, 0.05), error=0.2, notes=("Noted.",)
    )
    return Certificate(name=EVIL, delta=0.1, statements=(one, replace(one, method="other")), zero_shot=one)


def verification():
    found = Part(what="adapter", outcome="differs", detail=f"{EVIL} is not there, and the words go on for some time")
    return Verification(name=EVIL, limit=0.2, delta=0.05, parts=(found,), assumptions=certificate().assumptions)


MADE = {
    "plan": lambda _: planned(target_gap=0.3),
    "spectra": spectra,
    "crossed": lambda _: crossed(),
    "costs": lambda _: costs(),
    "complexity": lambda _: complexity(0.4999),
    "certificate": lambda _: certificate(),
    "verification": lambda _: verification(),
    "fresh": lambda _: check_errors([EVIL, "other"], np.arange(400) < np.array([[8], [40]]), n_params=[10, 20]),
    "bound": lambda _: lb.bounds.holdout(8, 400, 0.05),
    "lower": lambda _: simulate_lower_bound(LowerConfig(widths=(4, 1), ranks=(1, 4), n_train=(100,), trials=1000)),
}
CHARTED = {"plan": 1, "crossed": 2, "costs": 1, "complexity": 1}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MADE.items()}


@pytest.fixture(scope="module")
def pages(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {
        name: write_result_page(made, folder / f"{name}.html", f"lorabound {EVIL}") for name, made in results.items()
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


def body_of(page):
    text = page.read_text()
    return text[text.index("<body>") : text.index("<noscript>")]


def words_of(text):
    """The words a reader sees; a link on a term is none."""
    text = re.sub(r"</?(?:a|button|abbr|span)\b[^<>]*>", "", text)
    return " ".join(unescape(re.sub(r"<(?!=)[^<>]*>", " ", text)).split())


@pytest.mark.parametrize("name", MADE)
def test_the_page_says_what_the_terminal_says(name, results, pages):
    body = body_of(pages[name])
    seen = words_of(body)
    said = list(parts(results[name], 1000))
    for part in said:
        if isinstance(part, Table):
            rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr[^>]*><td.*?</tr>", body)]
            shown = [[unescape(cell) for cell in row] for row in rows]
            for row in zip(*(column.cells for column in part.columns), strict=True):
                assert [" ".join(str(cell).split()) for cell in row] in shown
        else:
            assert all(" ".join(line.removeprefix("- ").split()) in seen for line in str(part).splitlines())
    title = words_of(body[body.index("<h1>") : body.index("</h1>")])
    bold = [str(part) for part in said if "bold" in str(getattr(part, "style", "")) and not isinstance(part, Table)]
    assert title == " ".join((bold or str(said[0]).splitlines())[0].split())
    places = [body.find(f"<h2>{head}</h2>") for head in ("The numbers", "How to read this", "Make it again")]
    assert [place for place in places if place >= 0] == sorted(place for place in places if place >= 0)
    assert places[-1] > body.index("</h1>")


@pytest.mark.parametrize("name", MADE)
def test_a_page_is_small_and_shows_strange_names_as_text(name, pages):
    text = pages[name].read_text()
    assert len(text) < (2_000_000 if name in CHARTED else 60_000)  # no chart, no scripts that draw
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "http-equiv" not in text
    assert 'src="http' not in text


def test_every_number_can_be_taken_along(results, pages):
    for name, page in pages.items():
        (content,) = re.findall(r'href="data:text/csv;base64,([^"]*)"', page.read_text())
        frame = pl.read_csv(io.BytesIO(base64.b64decode(content)))
        assert frame.columns == results[name].frame().columns, name
        assert frame.height == results[name].frame().height, name


def rows_in(chart):
    return [row for rows in chart.spec["datasets"].values() for row in rows]


def test_the_chart_of_a_plan_goes_through_its_limits():
    made = planned()
    (chart,) = charts(made)
    drawn = [row for row in rows_in(chart) if "limit" in row]
    assert max(row["limit"] for row in drawn) <= 1
    for need in made.needs:
        line = [row for row in drawn if row["adapter"] == f"{need.mode}, rank {need.rank}"]
        assert min(row["n"] for row in line) == need.says_something
        told = {
            row.bounds.n_train: row.bounds.guarantee
            for row in made.rows
            if row.bounds.mode == need.mode and row.bounds.rank == need.rank
        }
        scaled = float(told[1000].value) * np.sqrt(
            1000 / np.array([row["n"] for row in line])
        )  # each falls like 1/sqrt(N)
        np.testing.assert_allclose([row["limit"] for row in line], scaled, rtol=1e-9)
    vacuous = sum(bool(row.bounds.guarantee.vacuous) for row in made.rows)
    assert f"{vacuous} of the {len(made.rows)} limits" in " ".join(chart.sentences)


def test_the_histograms_hold_every_run_on_one_axis():
    made = crossed()
    drawn = charts(made)
    assert len(drawn) == 2  # the loss that decides only
    spans = set()
    for chart, mean in zip(drawn, (0.1, 0.3), strict=True):
        bars = [row for row in rows_in(chart) if "runs" in row]
        assert sum(row["runs"] for row in bars) == 20
        assert sum(row["runs"] * (row["from"] + row["to"]) / 2 for row in bars) / 20 == pytest.approx(mean, abs=0.02)
        spans.add((bars[0]["from"], bars[-1]["to"]))
    assert len(spans) == 1


def test_the_other_charts_hold_the_numbers_of_their_result(results):
    kept = {(row["factors"], row["rank"]): row["kept"] for row in rows_in(charts(results["costs"])[0])}
    assert kept["A random and frozen", 4] == pytest.approx(4 / 8)
    assert kept["B random and frozen", 1] == pytest.approx(1 / 12)
    assert kept["both factors chosen", 4] == pytest.approx(results["costs"].kept("free", 1))
    (digits,) = charts(results["complexity"])  # the other families have one rank and one N: no curve
    measured = {row["x"]: row["value"] for row in rows_in(digits) if row["what"] == "measured"}
    assert measured[8] == pytest.approx(0.2, abs=1e-6)


def test_charts_are_drawn_and_nothing_scrolls_sideways_on_a_phone(pages):
    folder = next(iter(pages.values())).parent
    frames = "".join(f'<iframe style="width:400px;height:900px" src="{page.name}"></iframe>' for page in pages.values())
    (folder / "all.html").write_text(
        f"<body>{frames}<pre id=found></pre><script>setTimeout(() => {{ const found = [...document.querySelectorAll('iframe')]"
        ".map(frame => { const page = frame.contentDocument, root = page.documentElement; return ["
        "root.scrollWidth - root.clientWidth, page.querySelectorAll('.chart svg.marks').length]; });"
        "document.getElementById('found').textContent = JSON.stringify(found); }, 4000);</script>"
    )
    dom, console = browse(folder / "all.html", folder, "--allow-file-access-from-files", "--hide-scrollbars")
    assert console == []
    found = json.loads(unescape(dom.split('<pre id="found">')[1].split("</pre>")[0]))
    assert dict(zip(pages, found, strict=True)) == {name: [0, CHARTED.get(name, 0)] for name in pages}


def test_a_page_replaces_pages_only(tmp_path, capsys, monkeypatch):
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    plan = ("plan", "--shapes", "8x8", "--ranks", "1", "--n-train", "1000", "--page")
    for _ in range(2):  # the second takes the place of the first
        status, output, _ = run(capsys, monkeypatch, *plan, page)
        assert (status, output.splitlines()[-1]) == (0, f"Page: {page}")
    assert f"lorabound plan --shapes 8x8 --ranks 1 --n-train 1000 --page {page}" in page.read_text()
    other.write_text("<!DOCTYPE html><title>mine</title>")
    status, output, errors = run(capsys, monkeypatch, *plan, other)
    assert (status, output) == (2, "")  # before anything was computed
    assert errors == (
        f"lorabound: {other} is there and is no page of lorabound, so it stays as it is: move it away, or name another "
        "file (--page FILE)\n"
    )
    assert other.read_text() == "<!DOCTYPE html><title>mine</title>"


def test_report_writes_pages_of_any_result(tmp_path):
    assert (
        "<h1>R &lt;= 0.0357966  with probability &gt;= 1 - 0.05</h1>"
        in lb.report(lb.bounds.holdout(8, 400, 0.05), tmp_path / "bound.html").read_text()
    )
    with pytest.raises(InputError, match="Plan has no folder: name the file"):
        lb.report(planned())
    with pytest.raises(InputError, match="no page for dict"):
        lb.report({}, tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_axe_finds_no_serious_fault(pages, shared, width, scheme):
    script = axe()
    look(shared, width, scheme)
    for name in ("plan", "crossed", "certificate", "verification"):
        shared.open(pages[name].as_uri())
        shared.eval(script + "; 1")
        assert faults(shared) == [], name
    assert shared.console == []
