"""What users read: cells, comparisons and exponents from known runs; the page in a real browser."""

import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from lorabound.bounds import holdout_bounded, information_gap
from lorabound.errors import InputError
from lorabound.reports import runs_table
from lorabound.reports.export import export_runs, write_figure
from lorabound.reports.page import write_page
from lorabound.reports.verdict_sentences import verdict_sentences
from lorabound.sweeps import COLUMNS, Row, Sweep, SweepConfig
from lorabound.sweeps.summary import summarize
from tests.commands import shown
from tests.pages import words_of
from tests.stores import rewrite

N_TEST = 400


def build(folder, ranks=(1, 2, 4), sizes=(100, 400), seeds=(0, 1, 2), data="words", **about):
    """A sweep whose 0-1 gap is exactly 0.02 sqrt(r) on average, plus a spread of +-0.01 across seeds."""
    config = SweepConfig(ranks=list(ranks), n_train=list(sizes), seeds=list(seeds), n_test=N_TEST, data=data)
    about = {
        "config": config.model_dump(mode="json"), "n_removed": 0, "n_cut": 0, "n_test": N_TEST, "classes": ["a", "b"],
        "data_sha256": "d", "model_sha256": "m", "engine": 1, "n_pool": 10_000, **about,
    }  # fmt: skip
    store = Sweep.open_or_create(folder, about)
    rows = []
    for n in sizes:
        rows.append(_row("zero_shot", 0, n, 0, 0, 0.0))
        for mode in ("freeze_a", "train_both"):
            for rank in ranks:
                for seed in seeds:
                    q = 100 * rank * (2 if mode == "train_both" else 1)
                    gap = (
                        0.02 * rank**0.5 * (100 / n) ** 0.5 * (2 if mode == "train_both" else 1)
                        + 0.01 * (seed - 1) * n**-0.5
                    )
                    rows.append(_row(mode, rank, n, seed, q, gap))
    store.add(rows)
    return store


def _row(mode, rank, n, seed, q, gap):
    errors = np.arange(N_TEST) < 0.4 * N_TEST
    log_losses = np.where(errors, 1.0, 0.1).astype(np.float32)
    risk, ce = float((1 - np.exp(-log_losses)).mean()), float(log_losses.mean())
    return Row(
        key=f"{mode}{rank}-{n}-{seed}", rank=rank, mode=mode, n_train=n, seed=seed, n_params=q,
        train_error=0.4 - gap, test_error=0.4, train_risk=risk - gap, test_risk=risk, train_ce=ce - gap, test_ce=ce,
        seconds=1.0, status="done", test_errors=errors, test_log_losses=log_losses,
    )  # fmt: skip


def test_cells(tmp_path):
    summary = summarize(build(tmp_path))
    assert [(c.n_train, c.mode, c.rank) for c in summary.cells][:5] == [
        (100, "zero_shot", 0), (100, "freeze_a", 1), (100, "freeze_a", 2), (100, "freeze_a", 4), (100, "train_both", 1),
    ]  # fmt: skip
    cell = next(c for c in summary.cells if (c.mode, c.rank, c.n_train) == ("freeze_a", 4, 100))
    for loss in ("error", "risk", "ce"):
        assert cell.gaps[loss].mean == pytest.approx(0.04, abs=1e-6)
        assert cell.gaps[loss].se_draw == pytest.approx(0.001 / np.sqrt(3), rel=1e-6)
    assert cell.train["error"] == pytest.approx(0.36)
    assert cell.holdout.value == pytest.approx(holdout_bounded(0.4, N_TEST, 0.05).value, rel=1e-12)
    assert cell.information.value == information_gap(400, 100, 32).value
    assert summary.cells[0].information.value == 0
    assert summary.n_missing == 0


def test_growth_finds_the_exponents_that_were_built_in(tmp_path):
    summary = summarize(build(tmp_path))
    assert len(summary.growth) == 3 * (2 * 2 + 2 * 3)  # losses x (modes x sizes + modes x ranks)
    for growth in summary.growth:
        expected = 0.5 if growth.axis == "rank" else -0.5
        assert growth.exponent.value == pytest.approx(expected, abs=1e-4), growth


def test_lines_without_a_slope_are_counted(tmp_path):
    store = build(tmp_path)
    rewrite(
        store,
        "update runs set train_error = 0.5, train_risk = 0.9, train_ce = 2.0 where mode = 'freeze_a' and rank = 1",
    )
    page = words_of(write_page(summarize(store), tmp_path / "page.html"))
    assert "3 more lines show no slope: a mean gap there is not positive." in page  # along rank at both N, along N
    assert "none (a mean gap" not in page


def test_comparison_is_freeze_a_at_twice_the_rank(tmp_path):
    summary = summarize(build(tmp_path))
    assert [(c.rank, c.n_train) for c in summary.comparisons] == [(1, 100), (2, 100), (1, 400), (2, 400)]
    first = summary.comparisons[0]
    assert first.n_params == (200, 200)
    assert first.gap.mean == pytest.approx(0.02 * 2**0.5 - 0.04)
    assert first.gap.se_draw == pytest.approx(0, abs=1e-9)  # the spread is the seed's, and seeds are paired
    assert first.test.mean == 0


def test_diverged_and_missing_runs_are_told(tmp_path):
    store = build(tmp_path)
    rewrite(store, "update runs set status = 'diverged' where mode = 'freeze_a' and rank = 1 and seed = 0")
    rewrite(store, "delete from runs where mode = 'train_both' and seed = 2")
    summary = summarize(store)
    cell = next(c for c in summary.cells if (c.mode, c.rank) == ("freeze_a", 1))
    assert (cell.n_seeds, cell.n_diverged) == (2, 1)
    text = shown(summary)
    assert "2 runs diverged and are left out" in text
    assert "6 runs of the grid are still missing" in text


def test_the_table_fits_a_terminal_of_80_columns(tmp_path):
    text = shown(build(tmp_path))
    assert "…" not in text
    # freeze_a, rank 4, N = 100: test sampling 1.966 sqrt(0.4 * 0.6 / 399), spread over draws 4.303 * 0.001 / sqrt(3)
    assert "+0.040 ±0.048" in text


def test_large_numbers_stay_whole_in_80_columns(tmp_path):
    store = build(tmp_path, sizes=(100, 50_000))
    rewrite(store, "update runs set n_params = 12345678 where rank = 4 and n_train = 100")
    rewrite(store, "update runs set n_params = 100 where n_train = 50000 and rank > 0")
    for size in (None, 50_000):  # with a bound that says something, and without
        if size:
            rewrite(store, "delete from runs where n_train = 50000")
        text = shown(summarize(store))
        assert "…" not in text
        assert "12345678" in text
        assert (" new   mean " in text) == (size is None)  # the head of the last column


def with_errors(store, **wrong):
    """Give every cell the test errors ``wrong[mode]`` (a share, or a function of rank), the first examples wrong."""
    changes = []
    for row in store.rows():
        share = wrong[row.mode](row.rank) if callable(wrong[row.mode]) else wrong[row.mode]
        errors = np.arange(N_TEST) < round(share * N_TEST)
        values = (np.packbits(errors).tobytes(), float(errors.mean()), row.key)
        changes.append(("update runs set test_errors = ?, test_error = ? where key = ?", values))
    rewrite(store, *changes)
    return summarize(store)


def test_the_verdict_names_the_lowest_test_error_and_what_is_as_good(tmp_path):
    """train_both is far better and its gap is larger: the gap must not choose. Ranks 1, 2, 4 differ by one example."""
    errors = {"zero_shot": 0.5, "freeze_a": 0.4, "train_both": lambda rank: 0.205 - 0.0025 * (rank == 4)}
    summary = with_errors(build(tmp_path), **errors)
    assert [verdict.n_train for verdict in summary.verdicts] == [400, 100]
    verdict = summary.verdicts[0]
    assert (verdict.best.mode, verdict.best.rank) == ("train_both", 4)
    assert (verdict.cheapest.mode, verdict.cheapest.rank) == ("train_both", 1)
    assert {cell.mode for cell in verdict.members} == {"train_both"}
    assert verdict.limit.value == pytest.approx(holdout_bounded(0.2025, N_TEST, 0.05 / 7).value, rel=1e-12)
    assert verdict.gain[1] == pytest.approx(0.2975)
    text = " ".join(shown(summary).split())
    assert text.startswith(
        "Take train_both, rank 4: at N = 400 training examples it has the lowest test error of 7 choices, 0.203"
    )
    assert "Cheaper: train_both, rank 1 trains 4.0 times fewer (200)" in text
    assert "On new data the error of train_both, rank 4, averaged over its 3 adapters, is at most 0." in text
    assert "N = 100: train_both, rank 4 has the lowest test error" in text
    page = words_of(write_page(summary, tmp_path / "p.html"))
    assert page.index("Take train_both, rank 4") < page.index("On new data the error") < page.index("Error and gap")


def test_when_no_adapter_is_better_that_comes_first(tmp_path):
    alike = with_errors(build(tmp_path / "a"), zero_shot=0.4, freeze_a=0.4, train_both=0.3975)
    assert shown(alike).startswith("No adapter is shown to be better than none by the test set: at N = 400 training")
    worse = with_errors(build(tmp_path / "b"), zero_shot=0.3, freeze_a=0.4, train_both=0.4)
    assert shown(worse).startswith("Take no adapter: at N = 400 training examples")
    assert "Gap: its" not in shown(worse)


def test_limits_that_say_nothing_are_told_as_such(tmp_path):
    """As 5 test rows have them: no "at most 1.000", no "at least 0.000 higher"."""
    store = build(tmp_path, sizes=(100,))
    made = with_errors(store, zero_shot=0.5, freeze_a=0.3025, train_both=lambda rank: 0.3 if rank == 4 else 0.3025)
    nothing = replace(made.verdicts[0], gain=(-0.1, 0.2), extra=(0.0025, 1.0))
    nothing = replace(nothing, limit=replace(nothing.limit, value=0.9996))
    text = " ".join(verdict_sentences(replace(made, verdicts=[nothing])))
    assert "0.200 higher (400 test examples guarantee no part of that on new data)" in text
    assert "These say nothing about how far it is above the best choice on new data." in text
    assert "400 test examples guarantee nothing about the error of train_both, rank 4, averaged over its 3 adap" in text
    assert "1.000" not in text
    page = write_page(replace(made, verdicts=[nothing]), tmp_path / "page.html").read_text()
    assert "<b>nothing</b><span>95%, the choice among 7 counted</span>" in page


def test_cells_without_all_seeds_are_no_candidates(tmp_path):
    store = build(tmp_path)
    rewrite(store, "delete from runs where mode = 'train_both' and rank = 4 and seed = 2")
    rewrite(store, "update runs set status = 'diverged' where mode = 'freeze_a' and rank = 1 and seed = 0")
    summary = summarize(store)
    assert {(c.mode, c.rank) for c in summary.verdicts[0].left_out} == {("train_both", 4), ("freeze_a", 1)}
    assert summary.verdicts[0].n_candidates == 5
    text = " ".join(shown(summary).split())
    assert "Not compared, because seeds diverged or are missing: freeze_a, rank 1; train_both, rank 4." in text
    rewrite(store, "delete from runs where seed = 1 and rank > 0")
    assert shown(summarize(store)).startswith("No verdict yet")


def test_choices_that_were_not_compared_are_not_shown_to_be_worse(tmp_path):
    store = build(tmp_path, sizes=(100,))
    with_errors(store, zero_shot=0.5, freeze_a=lambda rank: 0.5 - 0.1 * rank, train_both=0.45)
    text = " ".join(shown(summarize(store)).split())
    assert "Every choice with fewer parameters is shown to be worse" in text
    rewrite(store, "delete from runs where mode = 'freeze_a' and rank = 1 and seed = 2")
    summary = summarize(store)
    text = " ".join(shown(summary).split())
    assert "Every choice with fewer parameters that is compared here is shown to be worse" in text
    assert "All other 5 choices that are compared here are shown to be worse" in words_of(
        write_page(summary, tmp_path / "page.html")
    )


def test_who_looks_at_a_sweep_that_runs_and_stops_when_the_limit_is_low_is_promised_no_more(tmp_path):
    """Every cell has one limit from the first look to the last, so a reader who stops picks among 7 and no more."""
    store = build(tmp_path, sizes=(100,))
    with_errors(
        store, zero_shot=0.5, freeze_a=lambda rank: 0.4 - 0.01 * rank, train_both=lambda rank: 0.3 + 0.02 * rank
    )
    limits = {}
    for rank in (4, 2, 1):
        summary = summarize(store)
        best = summary.verdicts[0].best
        limits[best.mode, best.rank] = summary.verdicts[0].limit.value
        assert summary.verdicts[0].limit.value == holdout_bounded(best.test_loss, N_TEST, 0.05 / 7).value
        assert summary.verdicts[0].n_counted == 7
        counted = "all 7 of the grid counted, finished or not" if summary.n_missing else "7 counted"
        assert f"(95%, the choice among {counted})" in " ".join(shown(summary).split())
        rewrite(
            store, f"delete from runs where rank = {rank} and seed = 1", "delete from runs where mode = 'train_both'"
        )
    assert set(limits) == {("train_both", 1), ("freeze_a", 2), ("freeze_a", 1)}


def test_a_limit_at_a_training_size_that_others_may_follow_says_what_it_takes_for_granted(tmp_path):
    store = build(tmp_path)
    stopped = "That holds if the sweep is not stopped because of this number."
    assert stopped not in " ".join(shown(summarize(store)).split())
    rewrite(store, "delete from runs where n_train = 400 and rank > 0")
    summary = summarize(store)
    assert stopped in " ".join(shown(summary).split())
    assert "if the sweep is not stopped for it" in words_of(write_page(summary, tmp_path / "page.html"))


def test_training_that_has_not_come_down_is_told(tmp_path):
    store = build(tmp_path)
    rewrite(store, "update runs set train_error = 0.33 where mode = 'freeze_a' and rank = 2")
    rewrite(store, "update runs set train_error = 0.1 where mode = 'train_both' or rank in (1, 4)")
    summary = summarize(store)
    assert {(c.mode, c.rank) for c in summary.unfinished} == {("freeze_a", 2)}  # from 0.4, above 0.8 x 0.4
    text = " ".join(shown(summary, 80).split())
    assert 0 < text.index("Training may not have finished") < text.index("> lowest test error")
    store.note("majority_error", 0.8)
    assert summarize(store).unfinished
    rewrite(store, "update runs set train_error = 0.05 where mode = 'zero_shot'")
    assert not summarize(store).unfinished  # the model knew it all from the start: nothing to learn


def test_cut_texts_are_told(tmp_path):
    cut = {
        "test": [7, 400],
        "train": [0, 400],
        "max_tokens": 32,
        "model_tokens": 512,
        "by": "it has no more positions",
        "end": True,
    }
    store = build(tmp_path, cut=cut, classes=["0", "1"], n_removed=5)
    text = " ".join(shown(store).split())
    page = words_of(write_page(summarize(store), tmp_path / "page.html"))
    told = "7 of 400 test texts are longer than 32 tokens and lost their end: raise max_length"
    removed = "5 test rows were removed because their text stands in the training pool"
    for written in (text, page):
        assert told in written
        assert removed in written
    assert text.index(told) < text.index(removed) < text.index("> lowest test error")


def test_about_ten_lines_stand_under_the_table(tmp_path):
    """However much there is to say; what is left out is counted, and stands on the page."""
    notes = [
        f"t.csv: note {i} on what is unusual about the rows of this file and how they were read." for i in range(9)
    ]
    store = build(tmp_path, notes=notes)
    for width, told, hidden in ((80, 0, 10), (300, 5, 4)):  # at 80 a growth is hidden too
        under = shown(store, width).split("0.461")[-1].split("> lowest test error")[1].splitlines()
        assert len(under) <= 11
        assert sum("t.csv: note" in line for line in under) == told
        assert f"{hidden} more notes on the page" in under[-1]
    page = words_of(write_page(summarize(store), tmp_path / "page.html"))
    assert all(note in page for note in notes)


def test_export(tmp_path):
    store = build(tmp_path)
    for name in ("runs.csv", "runs.parquet", "runs.json"):
        assert export_runs(store, tmp_path / name) == 2 * (1 + 18)
        frame = getattr(pl, f"read_{name.split('.')[1]}")(tmp_path / name)
        assert tuple(frame.columns) == COLUMNS
        assert frame.filter(pl.col("rank") == 4)["train_error"].min() < 0.4
    with pytest.raises(InputError, match="must end in .csv, .parquet or .json"):
        export_runs(store, tmp_path / "runs.xlsx")


def test_figure(tmp_path):
    summary = summarize(build(tmp_path))
    assert write_figure(summary, tmp_path / "gap.svg").read_text().count("freeze_a") >= 1
    assert write_figure(summary, tmp_path / "gap.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="must end in .svg or .png"):
        write_figure(summary, tmp_path / "gap.gif")
    single = summarize(build(tmp_path / "single", ranks=(2,)))
    with pytest.raises(InputError, match="needs? runs of two ranks"):
        write_figure(single, tmp_path / "gap.svg")


def test_single_cell_makes_a_page_without_charts(tmp_path):
    page = write_page(summarize(build(tmp_path, ranks=(2,), sizes=(100,), seeds=(0,))), tmp_path / "p.html")
    assert "A slope needs two ranks" in words_of(page)


def test_slopes_that_no_run_shows_are_one_sentence_and_no_table(tmp_path):
    store = build(tmp_path)
    rewrite(store, "update runs set train_error = 0.9, train_risk = 0.99, train_ce = 9")
    text = words_of(write_page(summarize(store), tmp_path / "p.html"))
    assert "These runs do not show how the gap grows: a mean gap is not positive." in text
    assert "none (" not in text
    assert "worst case is the exponent" not in text


def test_conditions_stand_in_plain_words_and_in_exact_terms(tmp_path):
    text = words_of(write_page(summarize(build(tmp_path)), tmp_path / "p.html"))
    conditions = (
        "The limit by the test set holds if:",
        "the rows are drawn like the new data will be",
        "nobody looked at the test examples to settle anything but which of the choices to take",
        "In exact terms: the n examples are independent and identically distributed",
        "Theorem: Hoeffding 1963",
    )
    places = [text.index(said) for said in conditions]
    assert places == sorted(places)
    assert "nothing about the predictor was chosen" not in text  # it was, and the choice is counted


def browse(page, folder, *options):
    """Dump the DOM of a page after its scripts ran, with no network, and what the console said."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium: .ci/run installs it")
        pytest.skip("no chromium on this machine; CI has one")
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={folder / 'profile'}",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=10000",
            *options, "--dump-dom", f"file://{page}",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_the_page_in_a_browser_without_network(tmp_path):
    hostile = "<script>console.error('owned')</script>.csv"
    page = write_page(summarize(build(tmp_path, data=hostile)), tmp_path / "report.html")
    assert page.stat().st_size < 1_100_000
    dom, console = browse(page, tmp_path)
    assert console == []
    assert dom.count('class="marks"') == 2  # errors and gaps
    assert dom.count(">gap in 0-1 error<") == 1  # the title of an axis, drawn as text
    assert dom.count("freeze_a") > 10
    assert "http-equiv" not in dom
    assert 'src="http' not in dom


def test_a_broken_page_would_be_noticed(tmp_path):
    """The browser test can fail: the same page with its libraries cut out draws nothing and complains."""
    page = write_page(summarize(build(tmp_path)), tmp_path / "report.html")
    text = page.read_text()
    page.write_text(text[: text.index("<script>")] + text[text.rindex("<script>") :])
    dom, console = browse(page, tmp_path)
    assert console
    assert 'class="marks"' not in dom


def test_the_page_lists_classes_with_their_rows_and_what_is_unusual_about_the_data(tmp_path):
    note = "'Biling' (1 row) may be 'Billing' (412 rows) spelled otherwise."
    build(tmp_path, ranks=(1,), sizes=(100,), class_counts={"Billing": 412, "<b>Login</b>": 1301}, notes=[note])
    page = write_page(summarize(Sweep.open(tmp_path)), tmp_path / "page.html").read_text()
    assert "<li>Billing: 412</li><li>&lt;b&gt;Login&lt;/b&gt;: 1,301</li>" in page.replace("\n", "")
    assert "&#39;Biling&#39; (1 row) may be" in page
    assert page.count("Biling") == 1
    assert "class_counts" not in page


def test_beside_many_cells_fewer_runs_are_listed_and_the_page_says_so(tmp_path, monkeypatch):
    """Twelve cells of three runs, and the model without an adapter at both sizes: 14 cells, 38 runs."""
    summary = summarize(build(tmp_path))
    assert len(runs_table.runs_table(summary)["rows"]) == len(summary.rows) == 38
    monkeypatch.setattr(runs_table, "MOST_ROWS", 30)
    monkeypatch.setattr(runs_table, "FEWEST_RUNS", 5)
    assert len(runs_table.runs_table(summary)["rows"]) == 30 - 14
    assert "The first 16 of 38;" in write_page(summary, tmp_path / "page.html").read_text()
    monkeypatch.setattr(runs_table, "MOST_ROWS", 10)
    assert len(runs_table.runs_table(summary)["rows"]) == 5
