"""What training proves without a test set: its column, its sentence, and why there is none."""

import math
import re

import numpy as np
import pytest

from lorabound.reports.page import write_page
from lorabound.sweeps import Row, Sweep, SweepConfig
from lorabound.sweeps.summary import summarize
from tests.commands import shown
from tests.pages import words_of
from tests.reports.test_report import browse


def build(folder, share=0.3, epochs=1, **about):
    """Two ranks, two seeds; errors before the update fall from 0.7 to ``share`` (rank 2) or 0.1 above (rank 1)."""
    config = SweepConfig(
        ranks=[1, 2], modes=["freeze_a"], n_train=[12_000], seeds=2, n_test=100, data="words", epochs=epochs
    )
    about = {
        "config": config.model_dump(mode="json"), "n_removed": 0, "n_cut": 0, "n_test": 100, "classes": ["a", "b"],
        "data_sha256": "d", "model_sha256": "m", "engine": 4, "n_pool": 20_000, **about,
    }  # fmt: skip
    store = Sweep.open_or_create(folder, about)
    store.add([_row(rank, seed, share) for rank, seed in ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1))])
    return store


def _row(rank, seed, share):
    random = np.random.default_rng([rank, seed])
    chance = np.full(12_000, 0.7)
    if rank:
        chance[3000:] = share + 0.1 * (2 - rank)
    errors = random.random(12_000) < chance
    losses = np.where(errors, 1.0, 0.1).astype(np.float32)
    return Row(
        key=f"{rank}-{seed}", rank=rank, mode="freeze_a" if rank else "zero_shot", n_train=12_000, seed=seed,
        n_params=1_234_567 * rank, train_error=0.2, test_error=0.3, train_risk=0.2, test_risk=0.3, train_ce=0.5,
        test_ce=0.6, seconds=1.0, status="done", test_errors=errors[:100], test_log_losses=losses[:100],
        first_order=np.arange(12_000), first_errors=errors, first_log_losses=losses,
    )  # fmt: skip


def test_the_column_and_the_sentence(tmp_path):
    store = build(tmp_path)
    terminal = shown(store)
    assert max(map(len, terminal.splitlines())) <= 80
    at_most = {(row["mode"], row["rank"]): row["progressive_at_most"] for row in store.cells().iter_rows(named=True)}
    assert at_most["freeze_a", 2] < at_most["freeze_a", 1] < at_most["zero_shot", 0]
    file = write_page(summarize(store), tmp_path / "page.html")
    page = words_of(file)
    for (mode, rank), exact in at_most.items():
        limit = math.ceil(exact * 1000) / 1000  # never shown lower than it is
        assert re.search(rf"{mode} +{rank} .* {limit:.3f}", terminal)
        assert f'<td data-raw="{exact!r}">{limit:.3f}</td>' in file.read_text()
    (choice,) = [verdict.proved for verdict in store.summary().verdicts]
    said = (
        f"Without a test set training proves most for freeze_a, rank 2, seed {choice.row.seed}: the error of a checkpoint "
        f"drawn at random from the last half of training is at most {math.ceil(choice.bound.value * 1000) / 1000:.3f} on new data (95%, the choice "
        f"among 4 runs counted), at least {math.floor(choice.gain.value * 1000) / 1000:.3f} lower than without an adapter (95%)."
    )
    for written in (terminal, page):
        assert said in " ".join(written.split())


@pytest.mark.parametrize(("width", "fits"), [(1280, True), (400, False)])
def test_tables_fit_a_window_of_1280_and_scroll_by_themselves_in_a_narrower_one(tmp_path, width, fits):
    """The page asks the browser itself; in a narrow window tables are wider than their frame, and nothing else is."""
    page = write_page(summarize(build(tmp_path)), tmp_path / "page.html")
    ask = (
        "const frames = [...document.querySelectorAll('.scroll')].filter(x => x.querySelector('table'));"
        "document.title = [frames.length, frames.every(x => x.scrollWidth <= x.clientWidth),"
        "[...document.querySelectorAll('body *')].every(x => x.closest('.scroll') || x.getBoundingClientRect().right <= innerWidth),"
        "getComputedStyle(document.querySelector('.wide')).display].join(' ')"
    )
    page.write_text(page.read_text().replace("</body>", f"<script>{ask}</script></body>"))
    dom, _ = browse(page, tmp_path, f"--window-size={width},1000")
    count, inside, body, hint = re.search("<title>(.*)</title>", dom)[1].split()
    assert int(count) >= 1
    assert (inside, body, hint) == ("true" if fits else "false", "true", "none" if fits else "block")


def test_a_grid_that_was_extended_is_told(tmp_path):
    assert "before runs were added to the grid" not in " ".join(shown(build(tmp_path / "one")).split())
    assert "before runs were added to the grid" in " ".join(shown(build(tmp_path / "two", extended=True)).split())


@pytest.mark.parametrize("share", [0.9999, 0.3])
def test_a_limit_that_says_nothing_is_called_that(tmp_path, share):
    terminal = " ".join(shown(build(tmp_path, share=share)).split())
    assert ("training proves nothing about any run" in terminal) == (share > 0.9)


def test_several_epochs_have_no_column_and_say_why(tmp_path):
    store = build(tmp_path, epochs=3)
    assert "training" not in shown(store).split("zero_shot")[0].split("mode")[-1]
    told = "--epochs 1, --cross-fit 5 or --blocks gives a certificate"
    assert told in words_of(write_page(summarize(store), tmp_path / "page.html"))
    assert store.cells().filter(rank=2)["progressive_at_most"].null_count() == 1
