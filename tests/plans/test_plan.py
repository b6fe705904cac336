"""Plans: shapes, the exact N, labels that say what a number is, and forecasts from stores whose law is known."""

import csv
import doctest
import importlib
import math
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from lorabound.bounds import information_gap, lower_bound, occam_gap, rank_lower_bound
from lorabound.errors import InputError, ModelError
from lorabound.files import write_table
from lorabound.plans import model_shapes, parse_shapes, read_pilot, smallest_n
from lorabound.plans.verbs import plan
from lorabound.reports.plan_sentences import answer
from lorabound.reports.show import show
from lorabound.sweeps import Row, Sweep, SweepConfig
from tests.commands import python, run
from tests.text_models import save_text_model

SQUARE = {"layer 1": (384, 384), "layer 2": (384, 384)}


def pilot(
    folder,
    ranks=(1, 2, 4),
    sizes=(64, 128, 256),
    modes=("freeze_a", "train_both"),
    gap=None,
    spread=0.05,
    random=None,
    bare=0.0,
):
    """A sweep over one 16 x 16 layer; 0-1 gap 2 r^0.5 N^-0.5 (twice that in train_both) times a chance of its cell."""
    random = random or np.random.default_rng(0)
    gap = gap or (lambda mode, r, n: (2 if mode == "train_both" else 1) * r**0.5 * n**-0.5)
    config = SweepConfig(
        ranks=list(ranks), n_train=list(sizes), seeds=[0, 1], modes=list(modes), n_test=400, model="gone"
    )
    store = Sweep.open_or_create(folder, {
        "config": config.model_dump(mode="json"), "n_removed": 0, "n_cut": 0, "n_test": 400, "classes": ["a", "b", "c"],
        "data_sha256": "d", "model_sha256": "m", "engine": 1, "n_pool": 1000,
    })  # fmt: skip
    rows = [_row("zero_shot", 0, n, 0, 0.0, bare) for n in sizes]
    for mode in modes:
        for rank in ranks:
            for n in sizes:
                value = gap(mode, rank, n) * math.exp(spread * random.normal())
                rows += [_row(mode, rank, n, seed, value, bare) for seed in (0, 1)]
    store.add(rows)
    return store


def _row(mode, rank, n, seed, gap, bare):
    """One run; ``bare`` is the gap that chance gives every run, the model without an adapter included."""
    return Row(
        key=f"{mode}{rank}-{n}-{seed}", rank=rank, mode=mode, n_train=n, seed=seed,
        n_params=16 * rank * (2 if mode == "train_both" else 1), train_error=0.5 - gap - bare, test_error=0.5,
        train_risk=0.4, test_risk=0.5, train_ce=0.4, test_ce=0.5, seconds=1.0, status="done",
        test_errors=np.arange(400) < 200, test_log_losses=np.full(400, 0.1, dtype=np.float32),
    )  # fmt: skip


def text_of(made, width=80):
    console = Console(width=width, record=True, force_terminal=True, file=open(os.devnull, "w"))
    show(made, console)
    return console.export_text()


def parts_of(made):
    """The answer, the table and the lines below it, as shown in 80 columns."""
    lines = text_of(made).rstrip().split("\n")
    rule = next(i for i, line in enumerate(lines) if line.strip().startswith("───"))
    top = max(i for i in range(rule) if not lines[i].strip())
    end = max(i for i in range(len(lines)) if not lines[i].strip())
    return lines[:top], lines[top + 1 : end], lines[end + 1 :]


def test_shapes():
    assert parse_shapes("384x384, 64 x 128") == {"layer 1": (384, 384), "layer 2": (64, 128)}
    for bad in ("384", "384x", "0x4", "4x4x4", "axb"):
        with pytest.raises(InputError, match="is no layer, write d_out x d_in"):
            parse_shapes(f"4x4,{bad}")
    with pytest.raises(InputError, match="one layer at least"):
        parse_shapes(" , ")


def test_shapes_of_a_model_are_those_an_adapter_gets(minilm):
    from lorabound.stack import select_linears

    for targets, layers in ((["query", "value"], None), (["dense"], [4, 5])):
        expected = select_linears(minilm.module, targets, layers)
        assert model_shapes(SweepConfig(targets=targets, layers=layers)) == expected
    with pytest.raises(ModelError, match="no linear layer of the model is called 'qurey'"):
        model_shapes(SweepConfig(targets=["qurey"]))
    with pytest.raises(ModelError, match="no model 'none'"):
        model_shapes(SweepConfig(model="none"))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_a_configuration_alone_has_the_shapes_of_its_model(tmp_path, kind):
    """Also of a model too large for this machine: nothing but config.json is there."""
    whole = save_text_model(tmp_path / "whole", kind)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(whole / "config.json", alone)
    for settings in ({}, {"layers": [1]}):
        if kind == "distilbert":
            settings = {**settings, "targets": ["q_lin", "out_lin"]}
        assert model_shapes(SweepConfig(model=str(alone), **settings)) == model_shapes(
            SweepConfig(model=str(whole), **settings)
        )
    (alone / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="pickle"):
        model_shapes(SweepConfig(model=str(alone)))


def test_smallest_n_is_exact():
    random = np.random.default_rng(0)
    for _ in range(200):
        q, target = int(random.integers(1, 10**6)), float(random.uniform(0.001, 0.99))
        bound = lambda n, q=q: float(occam_gap(n, q, 0.05).value)  # noqa: E731
        n = smallest_n(bound, target)
        assert bound(n) <= target
        assert n == 1 or bound(n - 1) > target
    assert [smallest_n(lambda n, k=k: 1.0 if n < k else 0.0, 0.5) for k in (1, 2, 3, 4, 5, 1023, 1024, 1025)] == [
        1, 2, 3, 4, 5, 1023, 1024, 1025,
    ]  # fmt: skip
    assert smallest_n(lambda n: 1.0, 0.5) is None


def test_rows_hold_the_bounds_of_the_library():
    made = plan(
        SQUARE, modes=["freeze_a", "train_both"], ranks=[8, 2], n_train=[1000, 100], delta=0.05, bits=4, target_gap=0.2
    )
    assert [(row.bounds.n_train, row.bounds.mode, row.bounds.rank) for row in made.rows][:3] == [
        (100, "freeze_a", 2), (100, "freeze_a", 8), (100, "train_both", 2),
    ]  # fmt: skip
    # freeze_a 2, 8, 4, 16 and train_both 2, 8 are spoken of: six guarantees share delta
    assert made.share == pytest.approx(0.05 / 6)
    at = made.rows[1].bounds
    assert at.n_params == 8 * 768
    assert at.guarantee.value == occam_gap(100, 4 * at.n_params, made.share).value
    assert at.average.value == information_gap(at.n_params, 100, 4).value
    assert at.average.value < at.guarantee.value
    assert at.floor.value == lower_bound(100).value
    assert at.rank_floor is None
    need = made.needs[1]
    assert (need.mode, need.rank) == ("freeze_a", 8)
    assert occam_gap(need.guarantee, 4 * at.n_params, made.share).value <= 0.2
    assert occam_gap(need.guarantee - 1, 4 * at.n_params, made.share).value > 0.2
    assert need.average < need.guarantee
    assert need.forecast is None
    assert [(pair.frozen.n_params, pair.both.n_params) for pair in made.pairs] == [(3072, 3072), (12288, 12288)]


def test_cells_need_one_layer_and_a_trained_b():
    made = plan({"head": (10, 64)}, modes=["freeze_a", "freeze_b"], ranks=[4], n_train=[50])
    assert made.rows[0].bounds.rank_floor.value == rank_lower_bound(50, 40).value
    assert made.rows[1].bounds.rank_floor is None
    assert made.rows[0].bounds.rank_floor.value < made.rows[0].bounds.guarantee.value
    assert f"at least {rank_lower_bound(50, 40).value:.3g} at rank 4" in " ".join(text_of(made).split())


def test_words_of_a_plan_without_pilot():
    made = plan(SQUARE, modes=["freeze_a"], ranks=[1, 4], n_train=[1000, 10**6], bits=2, target_gap=0.05)
    text = text_of(made)
    assert "…" not in text
    words = " ".join(text.split())
    # both guarantees at N = 1,000,000 are below 0.05, so the larger adapter is named
    assert words.startswith(
        "Guaranteed at N = 1,000,000 training examples: a gap (error on new data minus training error) of at most 0.05 "
        "for each adapter of the plan with at most 3,072 trained parameters, such as freeze_a, rank 4."
    )
    need = made.needs[1]
    assert made.rows[1].bounds.guarantee.vacuous
    value = made.rows[3].bounds.guarantee.value
    assert f"freeze_a 4 3,072 none {math.ceil(value * 1000) / 1000:.3f} {need.guarantee:,}" in words
    assert "none: 1 or more, which says nothing" in words
    assert "forecast" not in words.lower()
    nearly = " ".join(text_of(replace(made, target_gap=0.001)).split())
    best = made.rows[2].bounds.guarantee.value
    assert f"of at most {math.ceil(best * 1000) / 1000:.3f} for freeze_a, rank 1; of 0.001 from N = " in nearly
    far = text_of(plan({"l": (4096, 4096)}, modes=["freeze_a"], ranks=[512], n_train=[100], target_gap=1e-6))
    assert "over 1e15" in far
    assert far.startswith("Guaranteed: nothing at N = 100 training examples, as each limit on the gap")


def test_a_guarantee_is_never_shown_smaller_than_it_is():
    random = np.random.default_rng(2)
    for _ in range(20):
        made = plan({"l": (16, 16)}, modes="freeze_a", ranks=[1], n_train=[int(random.integers(300, 10**6))])
        shown = re.search(r"freeze_a +1 +16 +(\S+)", text_of(made))[1]
        bound = made.rows[0].bounds.guarantee
        assert bound.value <= float(shown) < bound.value + 0.001
        floor = re.search(r"at least (\S+) at rank 1\.", " ".join(text_of(made).split()))[1]
        assert float(floor) <= made.rows[0].bounds.rank_floor.value < float(floor) * 1.01


def test_a_pilot_of_several_samples_counts_their_chance_once_each(tmp_path):
    """A second sample that shows the same leaves the law and halves the variance that its training examples share."""
    one = pilot(tmp_path / "one", modes=("freeze_a",))
    two = pilot(tmp_path / "two", modes=("freeze_a",))
    two.add([replace(row, key=f"{row.key}-again", sample=1) for row in two.rows()])
    two.set_config(two.config.model_copy(update={"samples": 2}))
    alone, both = (read_pilot(store).forecasts["freeze_a"].law for store in (one, two))
    assert both.beta.value == pytest.approx(alone.beta.value)
    assert both.c.value == pytest.approx(alone.c.value)
    assert both.shared_test == pytest.approx(alone.shared_test)
    assert both.shared_sample == pytest.approx(alone.shared_sample / math.sqrt(2))


@pytest.mark.parametrize("modes", ["freeze_a,train_both", "freeze_a,freeze_b,train_both"])
@pytest.mark.parametrize("target", [None, 0.02])
@pytest.mark.parametrize("with_pilot", [False, True])
def test_an_answer_a_table_and_ten_lines(tmp_path, modes, target, with_pilot):
    """At most three sentences, one table in 80 columns, at most ten lines: also of large models and many N."""
    shapes = {"l": (16, 16)} if with_pilot else {f"layer.{i}": (14336, 4096) for i in range(40)}
    trained = pilot(tmp_path, modes=tuple(modes.split(","))) if with_pilot else None
    sizes = [10**k for k in range(2, 9)]
    made = plan(shapes, modes=modes, ranks=[1, 16], n_train=sizes, target_gap=target, pilot=trained)
    answer, table, below = parts_of(made)
    assert len(re.findall(r"[.](?: |$)", " ".join(answer))) <= 3
    assert len(below) <= 10
    assert all(len(line) <= 80 for line in (*answer, *table, *below))
    assert "…" not in "".join(table)
    rows = [line for line in table if line.strip() and line.split()[0] in modes.split(",")]
    per_size = len(made.needs)
    assert len(rows) == (per_size * (len(sizes) + (target is not None)) if with_pilot else per_size)
    if not with_pilot:  # seven columns of N do not fit
        assert "No room for N = 100, " in " ".join(below)
        assert "No room" not in text_of(made, width=200)


def test_the_answer_is_the_pilots(tmp_path):
    """The lowest test error of the pilot is named; all test errors of this one are equal, so none is better than none."""
    words = " ".join(text_of(plan({"l": (16, 16)}, pilot=pilot(tmp_path))).split())
    assert words.startswith(
        "Take no adapter: in the pilot (N = 256) the model without one has the lowest test error, 0.500."
    )


def test_the_answer_says_which_adapter_and_how_sure_that_is(tmp_path):
    made = plan({"l": (16, 16)}, ranks=[4], n_train=[512], pilot=pilot(tmp_path), target_gap=0.05)
    summary = made.pilot.summary
    small, large = (
        next(c for c in summary.cells if (c.mode, c.rank, c.n_train) == ("freeze_a", r, 256)) for r in (1, 4)
    )

    def said(unfinished=(), **changes):
        verdict = replace(summary.verdicts[0], **{"best": large, "cheapest": large, "members": (large,), **changes})
        seen = replace(summary, verdicts=[verdict], unfinished=list(unfinished))
        return answer(replace(made, pilot=replace(made.pilot, summary=seen)))

    first, forecast, guaranteed = said()
    assert first == "Take freeze_a, rank 4: in the pilot (N = 256) it has the lowest test error, 0.500."
    found = made.pilot.forecast("freeze_a", 4, 512)
    assert "at N = 512, no guarantee: a gap (error on new data minus training error) of" in forecast
    assert f"of {found.value:.3f} (80% interval {found.low:.3f} to {found.high:.3f})" in forecast
    assert guaranteed.startswith("Guaranteed: nothing at N = 512")
    assert "freeze_a, rank 1 (0.500) trains fewer parameters" in said(cheapest=small, members=(small, large))[0]
    assert "its training may not have finished" in said(unfinished=[large])[0]
    bare = summary.verdicts[0].zero_shot
    assert said(members=(large, bare))[0].startswith("No adapter is shown to be better than none")
    assert len(said(best=bare, cheapest=bare)) == 2  # nothing to forecast
    none = answer(replace(made, pilot=replace(made.pilot, summary=replace(summary, verdicts=[]))))
    assert none[0].startswith("The pilot does not say which adapter to take")


def test_a_pilot_is_extrapolated(tmp_path):
    stored = pilot(tmp_path)
    made = plan({"l": (16, 16)}, modes=["freeze_a", "train_both", "freeze_b"], ranks=[1, 8],
                n_train=[128, 4096], bits=2, target_gap=0.02, pilot=stored)  # fmt: skip
    for row in made.rows:
        at = row.bounds
        if at.mode == "freeze_b":
            assert row.forecast is None
            continue
        assert row.forecast.high / row.forecast.low < 20
        truth = (2 if at.mode == "train_both" else 1) * at.rank**0.5 * at.n_train**-0.5
        assert row.forecast.low < truth < row.forecast.high
    words = " ".join(text_of(made).split())
    law, held = made.pilot.forecasts["freeze_a"].law, made.pilot.forecasts["freeze_a"].held_out
    assert (
        f"freeze_a: {law.c.value:.3g} r^{law.beta.value:.2f} N^{-law.gamma.value:.2f}; {held.n_inside} of 9 held-out cells fall"
        in words
    )
    assert "freeze_b: no forecast, the pilot has no run of this mode." in words
    assert re.search(r"freeze_b 8 128 \S+ no forecast", words)
    assert "Forecast: no guarantee" in words
    assert "!" not in words
    # 2 (16/64)^0.5 = 1 is above the test error of 0.5, which no gap exceeds
    high = " ".join(
        text_of(plan({"l": (16, 16)}, modes=["train_both"], ranks=[16], n_train=[64], pilot=stored)).split()
    )
    assert re.search(r"train_both 16 512 \S+ \d\.\d+! \[", high)
    assert "!: above the pilot's largest test error, 0.500; the law ends before." in high


def test_needed_n_where_the_gap_clearly_falls(tmp_path):
    read = pilot(tmp_path, sizes=(64, 1024, 16384), modes=("freeze_a",))
    need = plan({"l": (16, 16)}, modes=["freeze_a"], ranks=[1], n_train=[500], target_gap=0.02, pilot=read).needs[0]
    assert need.forecast == pytest.approx(2500, rel=0.3)
    flat = pilot(tmp_path / "flat", modes=("freeze_a",), gap=lambda mode, r, n: 0.1 * r**0.5)
    made = plan({"l": (16, 16)}, modes=["freeze_a"], ranks=[1], n_train=[500], target_gap=0.02, pilot=flat)
    assert math.isnan(made.needs[0].forecast)
    assert "unclear" in text_of(made)
    law = read_pilot(read).forecasts["freeze_a"].law
    assert law.predict(1, need.forecast).value <= 0.02 < law.predict(1, need.forecast - 1).value


@pytest.mark.slow
def test_forecasts_of_stores_cover(tmp_path):
    """80 pilots: misses of the 80% interval at twice the rank and N, against 20% by a binomial tail (1e-3)."""
    from scipy.stats import binom

    random = np.random.default_rng(5)
    misses = 0
    for i in range(80):
        read = pilot(tmp_path / str(i), modes=("freeze_a",), spread=0.2, random=random)
        row = plan({"l": (16, 16)}, modes=["freeze_a"], ranks=[8], n_train=[512], pilot=read).rows[0]
        assert row.forecast.high < 30 * row.forecast.low
        misses += not row.forecast.low <= (8 / 512) ** 0.5 * math.exp(0.2 * random.normal()) <= row.forecast.high
    assert binom.sf(misses - 1, 80, 0.2) > 1e-3, misses


def test_the_gap_of_the_model_without_an_adapter_is_chance_and_taken_away(tmp_path):
    """All gaps 0.07 too large by chance: the forecast does not notice."""
    plain, lucky = (
        read_pilot(pilot(tmp_path / str(bare), modes=("freeze_a",), bare=bare)).forecasts["freeze_a"]
        for bare in (0.0, 0.07)
    )
    assert lucky.law.predict(8, 512).value == pytest.approx(plain.law.predict(8, 512).value, rel=1e-9)
    # shared chance by hand: no test loss changed; on N training examples a share gap of the losses did
    gaps = np.exp([math.log(r**0.5 * n**-0.5) for r in (1, 2, 4) for n in (64, 128, 256)])
    assert plain.law.shared_test == pytest.approx(0, abs=1e-12)
    assert plain.law.shared_sample == pytest.approx(math.sqrt(np.mean(gaps - gaps**2)), rel=0.05)


@pytest.mark.parametrize(("axes", "known", "unknown", "axis"), [
    ({"ranks": (2,)}, (2, 999), (4, 64), "rank"), ({"sizes": (64,)}, (8, 64), (2, 128), "N"),
])  # fmt: skip
def test_one_value_on_an_axis(tmp_path, axes, known, unknown, axis):
    stored = pilot(tmp_path, modes=("freeze_a",), **axes)
    made = plan(
        {"l": (16, 16)},
        modes=["freeze_a"],
        ranks=sorted({known[0], unknown[0]}),
        n_train=sorted({known[1], unknown[1]}),
        pilot=stored,
        target_gap=0.1,
    )
    found = {(row.bounds.rank, row.bounds.n_train): row.forecast for row in made.rows}
    assert found[known] is not None
    assert found[unknown] is None
    assert all(row.bounds.guarantee.value > 0 for row in made.rows)
    words = " ".join(text_of(made).split())
    assert f"one {axis} in the pilot" in words
    assert f"so no forecast at another {axis}" in words


def test_a_pilot_without_a_gap_says_where(tmp_path):
    read = pilot(tmp_path, modes=("freeze_a",), gap=lambda mode, r, n: 0.1 if n > 64 else -0.01 * r, spread=0.0)
    words = " ".join(
        text_of(plan({"l": (16, 16)}, modes=["freeze_a"], ranks=[1], n_train=[500], pilot=read, target_gap=0.1)).split()
    )
    assert "freeze_a: no forecast: the mean gap is not positive at rank 1 N 64 (-0.01), rank 2 N 64 (-0.02)" in words
    assert re.search(r"freeze_a 1 16 \S+ no forecast", words)


def test_the_door_of_plans():
    failed, tried = doctest.testmod(importlib.import_module("lorabound.plans.verbs"))
    assert failed == 0
    assert tried > 2
    for shapes in ({}, {"l": (16,)}, {"l": (16, 0)}, {"l": (16, 4.0)}):
        with pytest.raises(InputError, match="shapes: "):
            plan(shapes)
    made = plan({"l": [16, 8]})  # defaults
    assert (made.ranks, made.modes, made.n_train) == ((1, 2, 4, 8), ("freeze_a", "train_both"), (1000, 10_000, 100_000))
    assert (made.bits, made.delta, made.target_gap, made.pilot) == (32, 0.05, None, None)
    for need in made.needs:
        n, bits = need.says_something, 32 * need.n_params
        assert not occam_gap(n, bits, made.share).vacuous
        assert occam_gap(n - 1, bits, made.share).vacuous
        assert need.guarantee is None


def test_frame_holds_the_law_and_how_it_fared(tmp_path):
    made = plan({"l": (16, 16)}, modes="freeze_a,freeze_b", n_train=[500], pilot=pilot(tmp_path, modes=("freeze_a",)))
    law = made.pilot.forecasts["freeze_a"]
    frozen, other = made.frame().filter(rank=2).rows(named=True)
    assert frozen["law_beta"] == law.law.beta.value
    assert frozen["law_gamma_low"] == law.law.gamma.low
    assert (frozen["held_out_inside"], frozen["held_out_intervals"]) == (law.held_out.n_inside, 9)
    assert frozen["largest_n_error"] == law.largest_n.median_relative_error
    assert frozen["forecast"] == law.law.predict(2, 500).value
    assert [other[name] for name in ("forecast", "law_beta", "held_out_inside", "n_forecast")] == [None] * 4
    assert frozen["n_params"] == 16 * 2


def test_csv(tmp_path):
    made = plan(
        {"l": (16, 16)}, modes=["freeze_a"], ranks=[1, 2], n_train=[500], target_gap=0.1, pilot=pilot(tmp_path / "p")
    )
    with write_table(tmp_path / "plan.csv", made.frame()).open() as file:
        records = list(csv.DictReader(file))
    assert [record["n_params"] for record in records] == ["16", "32"]
    assert float(records[1]["guarantee"]) == pytest.approx(made.rows[1].bounds.guarantee.value)
    assert records[1]["average_vacuous"] in ("true", "false")
    assert float(records[0]["forecast_low"]) < float(records[0]["forecast"]) < float(records[0]["forecast_high"])
    assert int(records[0]["n_guarantee"]) == made.needs[0].guarantee
    with pytest.raises(InputError, match=r"must end in \.csv"):
        write_table(tmp_path / "plan.html", made.frame())


SHAPES = ["--shapes", "16x16"]


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "say what is adapted: --shapes 384x384,384x384, or --model NAME, or --pilot DIR"),
    ([*SHAPES, "--model", "x"], "not both"),
    (["--shapes", "16"], "'16' is no layer"),
    ([*SHAPES, "--target-gap", "0"], "target_gap = 0.0: it must be more than 0"),
    ([*SHAPES, "--target-gap", "1"], "target_gap = 1.0: it must be less than 1"),
    ([*SHAPES, "--target-gap", "nan"], "target_gap = nan: it must be"),
    ([*SHAPES, "--classes", "10", "--n-train", "5"], "n_train 5 is below the 10 classes"),
    ([*SHAPES, "--ranks", "17"], "rank 17 does not fit layer 1 (16 x 16): choose ranks from 1 to 16"),
    ([*SHAPES, "--ranks", "0"], "ranks = 0: it must be at least 1"),
    ([*SHAPES, "--modes", "freeze_all"], "modes = 'freeze_all'"),
    ([*SHAPES, "--delta", "1"], "delta = 1.0: it must be less than 1"),
    ([*SHAPES, "--bits", "0"], "bits = 0: it must be at least 1"),
    ([*SHAPES, "--csv", "x.html"], "must end in .csv"),
    (["--model", "none"], "no model 'none'"),
    (["--model", "owner/not-there"], "no model 'owner/not-there': no folder here has this name, and it has not been downloaded before"),
    (["--pilot", "nowhere"], "nowhere holds no sweep"),
    ([*SHAPES, "--pilot", "PILOT", "--n-train", "2"], "n_train 2 is below the 3 classes"),
    (["--shapes", "16x8", "--pilot", "PILOT"], "the pilot trains 32 parameters in train_both at rank 1, the layers of this plan 24"),
])  # fmt: skip
def test_bad_input_is_one_sentence(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    if "PILOT" in arguments:
        pilot(tmp_path / "PILOT").close()
    status, output, errors = run(capsys, monkeypatch, "plan", *arguments)
    assert status == 2
    assert message in errors
    assert errors.startswith("lorabound: ")
    assert errors.count("\n") == 1
    assert not output


def test_the_command_with_a_pilot(capsys, monkeypatch, tmp_path):
    """Ranks, modes and sizes come from the pilot; the layers from --shapes, as its model is gone."""
    pilot(tmp_path / "p").close()
    status, output, errors = run(
        capsys, monkeypatch, "plan", *SHAPES, "--pilot", tmp_path / "p", "--csv", tmp_path / "plan.csv"
    )
    assert (status, errors) == (0, "")
    assert output.count("train_both") > 9
    assert (tmp_path / "plan.csv").read_text().count("\n") == 1 + 2 * 3 * 3


def test_shapes_need_no_torch():
    code = "import sys; sys.argv = ['lorabound', 'plan', '--shapes', '16x16']\ntry:\n    from lorabound.cli import main; main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    assert python(code).endswith("False")
