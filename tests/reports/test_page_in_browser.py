"""The page of a sweep in headless Chromium without a network: what is drawn, what controls do, what leaves, who can read it."""

import json
import re

import pytest

import lorabound as lb
from lorabound.reports.page import write_page
from lorabound.reports.several_page import write_several
from lorabound.sweeps.summary import summarize
from tests.axe import axe
from tests.browser import browser
from tests.reports.test_report import build
from tests.stores import rewrite

HOSTILE = "<script>alert(1)</script>"
DRAWN = "document.querySelectorAll('#chart-error svg.marks, #chart-gap svg.marks').length === 2"
# What a click on a link would save, in place of saving it.
SAVED = """window.saved = [];
HTMLAnchorElement.prototype.click = function () {
  const entry = {name: this.download}; window.saved.push(entry);
  fetch(this.href).then(answer => answer.blob()).then(async blob => { entry.type = blob.type; entry.size = blob.size; entry.text = await blob.text(); });
};"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def page(folder):
    store = build(
        folder / "s", classes=[HOSTILE, "b"], class_counts={HOSTILE: 7, "b": 9}, notes=[f"{HOSTILE} is rare."]
    )
    # one gap that a logarithm has no place for
    rewrite(store, "update runs set train_error = 0.41 where mode = 'freeze_a' and rank = 2 and n_train = 400")
    return write_page(summarize(store), folder / "report.html")


@pytest.fixture(scope="module")
def shared(folder):
    with browser(folder) as one:
        yield one


@pytest.fixture
def opened(shared, page):
    """The page, loaded anew in a window of 1280 by 900, in the light."""
    look(shared, 1280, "light")
    shared.console.clear()
    shared.open("about:blank")
    shared.open(f"file://{page}", DRAWN)
    yield shared
    assert shared.console == []


def look(one, width, scheme):
    one.do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    one.do("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])


def choose(one, name, value):
    """Pick an entry of a control and wait until the charts are drawn anew."""
    marked = "document.querySelectorAll('svg.marks').forEach(one => { one.dataset.old = 1; });"
    one.eval(
        f"{{ {marked} const box = document.querySelector('[name={name}]'); box.value = {value!r};"
        "box.dispatchEvent(new Event('change')); }"
    )
    one.wait(f"!document.querySelector('svg.marks[data-old]') && {DRAWN}")


def texts(one, chart):
    return one.eval(f"[...document.querySelectorAll('#{chart} svg.marks text')].map(text => text.textContent)")


def test_charts_are_drawn_on_axes_from_0(opened):
    assert "0-1 error" in texts(opened, "chart-error")
    assert {"gap in 0-1 error", "N = 100", "N = 400", "freeze_a"} <= set(texts(opened, "chart-gap"))
    for chart in ("chart-error", "chart-gap"):
        assert {text for text in texts(opened, chart) if re.fullmatch(r"[0.]+", text)}
    assert opened.eval("performance.getEntriesByName('first chart').length") == 1


def test_loss_and_axis_are_chosen(opened):
    choose(opened, "loss", "ce")
    assert "gap in cross-entropy, nats" in texts(opened, "chart-gap")
    assert "gap in 0-1 error" not in texts(opened, "chart-gap")
    choose(opened, "axis", "N")
    assert {"training examples N", "100", "400", "train_both"} <= set(texts(opened, "chart-error"))
    assert opened.eval("[...document.querySelectorAll('[data-for=N]')].every(line => !line.hidden)")
    choose(opened, "axis", "mode")
    assert "training examples N" not in texts(opened, "chart-error")


def test_a_logarithm_leaves_nothing_out_silently(opened):
    outside = "document.querySelector('#chart-gap').parentElement.querySelector('.outside').textContent"
    assert opened.eval(outside) == ""
    points = "document.querySelectorAll('#chart-gap .mark-symbol.role-mark path').length"
    assert opened.eval(points) == 12
    choose(opened, "scale", "log")
    assert opened.eval(points) == 11
    assert opened.eval(outside) == (
        "1 of 12 points are not positive and have no place on a logarithmic axis: gap of freeze_a, rank 2, N = 400 (-0.010)."
    )
    choose(opened, "scale", "linear")
    assert opened.eval(outside) == ""


def test_a_point_tells_its_numbers(opened):
    point = "document.querySelector('#chart-gap .mark-symbol.role-mark path')"
    opened.eval(f"{point}.scrollIntoView({{block: 'center'}})")
    at = opened.eval(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({point}.getBoundingClientRect())")
    for place in ((0, 0), at):
        opened.do("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
    opened.wait("!!document.querySelector('#vg-tooltip-element.visible')")
    told = opened.eval("document.querySelector('#vg-tooltip-element').innerText")
    for name in (
        "mode",
        "rank",
        "training 0-1 error",
        "test 0-1 error",
        "its 95% interval",
        "trained parameters",
        "seeds",
    ):
        assert name in told


def test_pictures_and_numbers_leave_under_the_name_of_the_page(opened):
    opened.eval(SAVED)
    opened.eval("document.querySelectorAll('#charts ~ #explorer .save').forEach(button => button.click())")
    opened.eval(
        "document.querySelector('table[data-name=cells]').closest('.scroll').previousElementSibling.querySelector('.csv').click()"
    )
    opened.wait("window.saved.length === 5 && window.saved.every(one => one.text)")
    saved = {one["name"]: one for one in opened.eval("window.saved")}
    assert set(saved) == {
        f"lorabound-words-{end}" for end in ("error.svg", "error.png", "gap.svg", "gap.png", "cells.csv")
    }
    assert saved["lorabound-words-gap.svg"]["text"].startswith("<svg")
    assert "gap in 0-1 error" in saved["lorabound-words-gap.svg"]["text"]
    assert saved["lorabound-words-gap.png"]["type"] == "image/png"
    assert saved["lorabound-words-gap.png"]["size"] > 5000
    head, *lines = [line.split(",") for line in saved["lorabound-words-cells.csv"]["text"].split("\r\n")[:-1]]
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    assert len(rows) == 14
    assert float(rows[3]["gap_error"]) == pytest.approx(0.04, abs=1e-12)  # 0.02 sqrt(4), not rounded
    assert rows[1]["gap_error_se_sample"] == ""


def test_rows_are_sorted_and_found(opened):
    column = "[...document.querySelector('table[data-name=cells]').tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[3].textContent)"
    opened.eval("document.querySelectorAll('table[data-name=cells] th button')[3].click()")
    errors = [float(text) for text in opened.eval(column)]
    assert errors == sorted(errors)
    opened.eval("document.querySelectorAll('table[data-name=cells] th button')[3].click()")
    assert [float(text) for text in opened.eval(column)] == sorted(errors, reverse=True)
    opened.eval(
        "{ const box = document.querySelector('table[data-name=cells]').closest('.scroll').previousElementSibling.querySelector('input');"
        "box.value = 'zero_shot'; box.dispatchEvent(new Event('input')); }"
    )
    assert len(opened.eval(column)) == 2


def test_a_term_is_explained_on_focus_and_tap_and_escape_closes_it(opened):
    tip = "document.getElementById('tip')"
    opened.eval("document.querySelector('a.term[href=\"#word-new-data\"]').focus()")
    assert opened.eval(f"!{tip}.hidden && {tip}.textContent").startswith(
        "Examples that nothing was trained or chosen on"
    )
    opened.eval("dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert opened.eval(f"{tip}.hidden")
    opened.eval("document.querySelector('a.term[href=\"#word-gap\"]').click()")
    assert "Test error minus training error" in opened.eval(f"!{tip}.hidden && {tip}.textContent")
    missing = "[...document.querySelectorAll('[aria-describedby]')].filter(one => !document.getElementById(one.getAttribute('aria-describedby'))).length"
    assert opened.eval(missing) == 0


def test_dark_where_the_system_is(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    colours = "new Set([...document.querySelectorAll('#chart-gap .mark-symbol.role-mark path')].map(one => one.getAttribute('fill')))"
    light = opened.eval(ground), opened.eval(f"[...{colours}]")
    opened.eval("document.querySelectorAll('svg.marks').forEach(one => { one.dataset.old = 1; })")
    look(opened, 1280, "dark")
    opened.wait(f"!document.querySelector('svg.marks[data-old]') && {DRAWN}")
    night = opened.eval(ground), opened.eval(f"[...{colours}]")
    assert light[0] != night[0]
    assert not set(light[1]) & set(night[1])
    assert len(night[1]) == 2  # two modes


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_scrolls_sideways_but_tables(opened, width):
    look(opened, width, "light")
    opened.wait(f"innerWidth === {width} && {DRAWN}")
    opened.eval("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    beyond = (
        "[...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll') && !one.closest('pre') && "
        f"one.getBoundingClientRect().right > {width}).map(one => one.outerHTML.slice(0, 80))"
    )
    opened.wait(f"{beyond}.length === 0")  # charts follow the window in a moment
    assert opened.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_what_data_say_is_text(opened):
    assert opened.eval(f"document.body.textContent.includes({HOSTILE!r} + ': 7')")
    assert opened.eval("[...document.scripts].every(script => script.textContent !== 'alert(1)')")


def test_on_paper_there_are_no_controls_and_nothing_is_closed(opened):
    opened.do("Emulation.setEmulatedMedia", media="print", features=[])
    assert opened.eval(
        "[...document.querySelectorAll('.tools, nav, .copy')].every(one => !one.getClientRects().length)"
    )
    opened.eval("dispatchEvent(new Event('beforeprint'))")
    assert opened.eval("[...document.querySelectorAll('details:not(.tools *)')].every(part => part.open)")
    assert len(opened.do("Page.printToPDF")["data"]) > 50_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_axe_finds_no_serious_fault(opened, scheme, width):
    script = axe()
    look(opened, width, scheme)
    opened.eval("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    opened.eval(script + "; 1")
    assert faults(opened) == []


def faults(one):
    found = json.loads(one.eval("axe.run().then(found => JSON.stringify(found.violations))"))
    return [
        (fault["id"], fault["nodes"][0]["html"][:200]) for fault in found if fault["impact"] in ("serious", "critical")
    ]


def test_gaps_that_are_never_positive_have_no_yardstick_and_no_logarithm(shared, folder):
    store = build(folder / "negative")
    rewrite(store, "update runs set train_error = 0.45")
    look(shared, 1280, "light")
    shared.console.clear()
    shared.open(f"file://{write_page(summarize(store), folder / 'negative.html')}", DRAWN)
    dashed = "[...document.querySelectorAll('[data-for=rank]')].filter(line => !line.hidden).length"
    assert shared.eval(dashed) == 0
    assert "bars: 95% intervals" in texts(shared, "chart-gap")  # and no word of a slope
    shared.eval(
        "{ const box = document.querySelector('[name=scale]'); box.value = 'log'; box.dispatchEvent(new Event('change')); }"
    )
    shared.wait("document.querySelector('#chart-gap').hidden")
    outside = shared.eval("document.querySelector('#chart-gap').parentElement.querySelector('.outside').textContent")
    assert outside.startswith("12 of 12 points are not positive")
    assert shared.console == []


def test_terms_of_other_pages_are_explained_too(shared, folder):
    """The page of a plan lists the terms it uses, and links the first of each in a paragraph."""
    lb.report(lb.plan("384x384", ranks=[1, 4], n_train=[1000]), folder / "plan.html")
    shared.console.clear()
    shared.open(f"file://{folder / 'plan.html'}")
    listed = shared.eval("[...document.querySelectorAll('dl.words dt')].map(dt => dt.textContent)")
    assert {"rank", "gap", "N"} <= set(listed)
    blocks = "[...document.querySelectorAll('main p, main li')]"
    links = shared.eval(
        f"{blocks}.map(block => [...block.querySelectorAll('a.term')].map(link => link.getAttribute('href')))"
    )
    assert {"#word-rank", "#word-gap"} <= {link for block in links for link in block}
    assert all(len(set(block)) == len(block) for block in links)
    assert shared.eval("document.querySelectorAll('a.term a, code a.term, a.term:empty').length") == 0
    assert shared.console == []


def test_several_sweeps(shared, folder):
    script = axe()
    both = [summarize(build(folder / name, seeds=(0, 1))) for name in ("one", "two")]
    path = write_several(both, folder / "sweeps.html")
    look(shared, 1280, "light")
    shared.console.clear()
    shared.open(f"file://{path}", DRAWN)
    assert {"one", "two", "freeze_a, N = 100"} <= set(texts(shared, "chart-gap"))
    shared.eval(script + "; 1")
    assert faults(shared) == []
    assert shared.console == []


def test_the_page_is_small(page):
    assert page.stat().st_size < 1_300_000  # seen: 1.08 million, 0.9 million of them the scripts that draw
