"""Search, choice of columns and CSV of the tables on a page, in a real browser."""

import json
from html import unescape

import pytest

from lorabound.reports.page import write_page
from tests.reports.test_report import browse, build, summarize

# Clicks through the page in a frame; the file that "Download CSV" would save is read instead of saved.
_CLICKS = """<body><iframe id=page style="width:400px;height:900px" src="report.html"></iframe><pre id=found></pre><script>
setTimeout(() => {
  const page = document.getElementById("page").contentWindow, $ = what => page.document.querySelector(what);
  const saved = [], table = $("table[data-name=cells]"), tools = table.closest(".scroll").previousElementSibling;
  page.Blob = function (parts) { saved.push(parts.join("")); };
  page.URL.createObjectURL = () => "#";
  page.HTMLAnchorElement.prototype.click = () => {};
  const save = () => { tools.querySelector(".csv").click(); return saved.at(-1); };
  const search = text => { tools.querySelector("input").value = text; tools.querySelector("input").dispatchEvent(new Event("input")); };
  const visible = () => [...table.tBodies[0].rows].filter(row => row.getClientRects().length).map(row => row.cells[0].textContent);
  const found = {before: visible(), all: save()};
  search("freeze_a"); found.some = visible(); found.said = tools.querySelector("[role=status]").textContent;
  tools.querySelectorAll("label input")[1].click();
  found.chosen = save();
  search("nothing has this"); found.none = visible();
  search(""); found.after = visible();
  const root = page.document.documentElement; found.sideways = root.scrollWidth - root.clientWidth;
  document.getElementById("found").textContent = JSON.stringify(found);
}, 3000);
</script>"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    write_page(summarize(build(folder)), folder / "report.html")
    (folder / "clicks.html").write_text(_CLICKS)
    dom, console = browse(folder / "clicks.html", folder, "--allow-file-access-from-files", "--hide-scrollbars")
    assert console == []
    return json.loads(unescape(dom.split('<pre id="found">')[1].split("</pre>")[0]))


def test_a_search_leaves_the_rows_that_hold_the_word(found):
    wanted = [mode for mode in found["before"] if "freeze_a" in mode]
    assert 0 < len(wanted) < len(found["before"])
    assert found["some"] == wanted
    assert found["said"] == f"{len(wanted)} of {len(found['before'])} rows"
    assert found["none"] == []
    assert found["after"] == found["before"]


def test_the_csv_holds_what_the_table_shows(found):
    lines = [line.split(",") for line in found["all"].split("\r\n")]
    assert lines[0][:4] == ["mode", "mark", "rank", "n_train"]
    assert len(lines) == len(found["before"]) + 2  # the heads, and nothing after the last end of line
    chosen = [line.split(",")[:3] for line in found["chosen"].split("\r\n")]
    assert chosen[0] == ["mode", "mark", "n_train"]  # the rank was taken out
    assert len(chosen) == len(found["some"]) + 2


def test_the_page_has_no_sideways_scroll(found):
    assert found["sideways"] == 0
