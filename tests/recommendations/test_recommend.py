"""From rows to a recommended rank: pilots, the limit, the adapter, going on, and a budget that ends too early."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import peft
import polars as pl
import pytest
import transformers
from scipy.stats import beta

import lorabound as lb
from lorabound.certificates.rows import read_fresh_rows
from lorabound.errors import DataError, InputError, StoreError
from lorabound.recommendations.pilots import with_lr
from lorabound.recommendations.search import Search
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.records import fingerprint
from lorabound.sweeps.store import only_writer
from lorabound.sweeps.sweep import Sweep
from lorabound.sweeps.task import load_task
from tests.commands import run, shown


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Strings of a, b and c; the colour says which letter comes first."""
    random = np.random.default_rng(0)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(3, 9))) for _ in range(400)})
    colours = {"a": "Red", "b": "green", "c": "blue"}
    path = tmp_path_factory.mktemp("letters") / "letters.csv"
    pl.DataFrame({"text": texts, "label": [colours[text[0]] for text in texts]}).write_csv(path)
    return str(path)


@pytest.fixture(scope="module")
def settings(letters_bert):
    return {
        "model": str(letters_bert), "head": "trained", "ranks": [1, 4], "lrs": [0.02], "epochs": 3, "batch_size": 16,
        "max_length": 12, "targets": ["query", "value"], "n_train": 160, "seeds": [0, 1],
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(letters, settings, tmp_path_factory):
    return lb.recommend(letters, out=tmp_path_factory.mktemp("made") / "out", **settings)


def pilots(made, fold=""):
    return Sweep.open(f"{made.folder}/pilots/lr-0.02{fold}")


def test_the_answer_is_a_candidate_with_all_its_numbers(made):
    frame = made.frame()
    assert frame.height == 4
    assert frame["recommended"].sum() == 1
    assert frame["forecast"].is_sorted()
    best = frame.filter(pl.col("recommended")).row(0, named=True)
    assert (best["mode"], best["rank"]) == (made.mode, made.rank)
    assert best["forecast_low"] <= best["forecast"] <= best["forecast_high"]
    assert [value.n_train for value in made.more_data] == [160, 320, 640]
    assert made.alpha == 2 * made.rank
    assert made.stopped is None
    assert repr(made).startswith(f"Recommendation: {made.mode}, rank {made.rank}")


def test_measured_errors_are_those_of_the_pilots(made):
    rows = [row for fold in ("", "-fold-1") for row in pilots(made, fold).rows()]
    largest = made.best.measured.n_train
    own = [r for r in rows if (r.mode, r.rank, r.n_train) == (made.mode, made.rank, largest)]
    assert [row.seed for row in own] == [0, 1][: made.best.n_seeds]
    assert made.best.measured.value == pytest.approx(np.mean(np.concatenate([row.test_errors for row in own])))
    assert made.best.train == pytest.approx(np.mean([row.train_error for row in own]))


def test_the_limit_is_that_of_clopper_and_pearson_with_every_candidate_paid_for(made):
    assert made.n_choices == 4 * 1 * 2  # candidates, learning rates, sizes
    [row] = [
        row for row in pilots(made).rows()
        if (row.mode, row.rank, row.n_train) == (made.mode, made.rank, made.best.measured.n_train)
    ]  # fmt: skip
    k, n = int(row.test_errors.sum()), len(row.test_errors)
    assert float(made.limit.value) == pytest.approx(beta.ppf(1 - 0.05 / 8, k + 1, n - k))
    assert made.limit_of == "its largest pilot, trained on 120 of the 160 rows,"


def test_the_adapter_is_trained_on_all_rows_and_loads_in_peft(made, letters_bert):
    base = transformers.AutoModelForSequenceClassification.from_pretrained(letters_bert)
    loaded = peft.PeftModel.from_pretrained(base, made.adapter)
    assert loaded.peft_config["default"].r == made.rank
    assert loaded.peft_config["default"].lora_alpha == made.alpha
    assert json.loads(open(f"{made.adapter}/task.json").read())["n_train"] == 160 == made.adapter_rows


def test_the_record_holds_what_the_object_says(made):
    record = json.loads(open(f"{made.folder}/recommendation.json").read())
    assert (record["mode"], record["rank"], record["n_rows"]) == (made.mode, made.rank, 160)
    assert record["limit"]["value"] == pytest.approx(float(made.limit.value))
    assert {rule["name"] for rule in record["rules"]} == {"axolotl", "Tinker", "TRL"}


def test_the_terminal_says_the_answer_first(made):
    text = shown(made)
    assert text.index(f"Take rank {made.rank}") < text.index("forecast")
    for said in ("Guaranteed:", "PEFT folder", "Public rules", "and the final adapter took", "no guarantee"):
        assert said in " ".join(text.split())


def test_the_same_command_trains_no_pilot_again(made, letters, settings):
    before = {row.key: row.seconds for row in pilots(made).rows()}
    again = lb.recommend(letters, out=made.folder, **settings)
    assert {row.key: row.seconds for row in pilots(again).rows()} == before
    assert (again.mode, again.rank) == (made.mode, made.rank)
    assert [one.forecast for one in again.options] == [one.forecast for one in made.options]


def test_it_goes_on_where_it_was_stopped(made, letters, settings, tmp_path):
    def stop(progress):
        if progress.runs_done and "120" in progress.now:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lb.recommend(letters, out=tmp_path / "out", observe=stop, **settings)
    assert not (tmp_path / "out" / "recommendation.json").exists()
    kept = len(Sweep.open(tmp_path / "out" / "pilots" / "lr-0.02").rows())
    assert kept
    whole = lb.recommend(letters, out=tmp_path / "out", **settings)
    assert (whole.mode, whole.rank) == (made.mode, made.rank)
    one, other = whole.best.forecast, made.best.forecast
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-3)


def test_learning_rates_are_compared_first_and_paid_for(letters, settings, tmp_path):
    found = lb.recommend(letters, out=tmp_path / "out", **(settings | {"lrs": [1e-6, 0.02], "seeds": [0]}))
    assert found.lr == 0.02  # the other one trains nothing
    assert found.n_choices == 4 * 2 * 2
    assert {(trial.mode, trial.lr) for trial in found.lr_trials} == {
        (mode, lr) for mode in ("freeze_a", "train_both") for lr in (1e-6, 0.02)
    }


def test_a_learning_rate_of_the_head_that_was_asked_for_stays(letters, settings):
    given = {name: settings[name] for name in ("model", "head", "epochs", "max_length", "targets")}
    task = load_task(SweepConfig(data=letters, ranks=[1], n_train=[40], n_test=20, lr=0.02, head_lr=0.02, **given))
    assert with_lr(task, 0.06, head_lr=0.02).config.head_lr == 0.02
    assert with_lr(task, 0.06, head_lr=None).config.head_lr == 0.06  # it followed lr


def test_learning_rates_go_on_while_the_best_one_is_at_an_end(letters, settings, tmp_path):
    given = {name: value for name, value in settings.items() if name != "lrs"} | {"seeds": [0], "modes": ["freeze_a"]}
    found = lb.recommend(letters, out=tmp_path / "out", lr=1e-6, **given)  # much too small
    tried = sorted(trial.lr for trial in found.lr_trials)
    assert len(tried) == 5
    assert tried == pytest.approx([1e-6 * 3.0**step for step in range(-1, len(tried) - 1)])
    assert found.n_choices == 2 * (3 + 4) * 2  # steps to either side, taken or not


def test_rows_set_aside_certify_the_adapter_itself(letters, settings, tmp_path):
    found = lb.recommend(letters, out=tmp_path / "out", **(settings | {"test_fraction": 0.25, "seeds": [0]}))
    assert not found.refit
    assert found.limit_of == "the adapter"
    assert found.adapter_rows == found.n_rows == 120
    inside = tmp_path / "out" / "pilots" / "lr-0.02" / "adapters" / f"{found.mode}-r{found.rank}-n120-seed0"
    weights = "adapter_model.safetensors"
    assert (inside / weights).read_bytes() == open(f"{found.adapter}/{weights}", "rb").read()


def budget_for(monkeypatch, seconds_per_pass):
    monkeypatch.setattr(Search, "_rate", property(lambda _: seconds_per_pass))


def test_a_budget_too_short_for_two_pilots_is_refused_with_one_that_is_not(monkeypatch, letters, settings, tmp_path):
    budget_for(monkeypatch, 1.0)
    with pytest.raises(InputError, match=r"budget of 60 s is too short .* give at least --budget \d+m"):
        lb.recommend(letters, out=tmp_path / "out", budget="60s", **settings)


def test_out_of_budget_it_gives_the_best_answer_so_far_and_says_so(monkeypatch, letters, settings, tmp_path):
    budget_for(monkeypatch, 1.0)  # the smallest pilots take some 300 s each by this, the largest 1,000
    found = lb.recommend(letters, out=tmp_path / "out", budget="2000s", **settings)
    assert found.stopped is not None
    assert found.best.measured.n_train < 120
    assert found.adapter_rows < 160
    assert "Not finished:" in shown(found)
    assert "A larger --budget" in " ".join(shown(found).split())


def test_the_command_says_what_it_would_train(capsys, monkeypatch, letters, settings):
    options = [
        f"--{name.replace('_', '-')}={','.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in settings.items()
    ]
    status, out, err = run(capsys, monkeypatch, "recommend", "--data", letters, *options, "--dry-run")
    assert status == 0, err
    assert "final adapter" in out
    assert "within the budget of 10 min" in " ".join(out.split())


def test_learning_rates_that_share_a_folder_are_refused(letters, settings, tmp_path):
    with pytest.raises(InputError, match=r"lrs: 0.02001 and 0.02002 are both 0.02"):
        lb.recommend(letters, out=tmp_path / "out", **(settings | {"lrs": [0.02001, 0.02002]}))


def test_without_a_folder_the_command_asks_for_one(capsys, monkeypatch, letters):
    status, _, err = run(capsys, monkeypatch, "recommend", "--data", letters)
    assert status == 2
    assert "--out DIR" in err


def again(made, letters, settings, tmp_path, **changes):
    """A second command on a copy of the folder of a first one."""
    shutil.copytree(made.folder, tmp_path / "again")
    return lb.recommend(letters, out=tmp_path / "again", **(settings | changes))


def test_rows_that_trained_the_adapter_certify_nothing(made, letters, tmp_path):
    used = set(json.loads(open(f"{made.adapter}/rows.json").read())["train"])
    table = pl.read_csv(letters)
    table.filter([fingerprint(text) in used for text in table["text"]]).write_csv(tmp_path / "used.csv")
    with pytest.raises(DataError, match="of 160 rows 160 it was trained on"):
        read_fresh_rows([made.adapter], str(tmp_path / "used.csv"))


def test_other_rows_of_the_data_are_fresh(made, letters):
    fresh = read_fresh_rows([made.adapter], letters)
    assert len(fresh.examples) == pl.read_csv(letters).height - 160


def test_an_earlier_command_with_more_ranks_is_paid_for_and_not_shown(made, letters, settings, tmp_path):
    found = again(made, letters, settings, tmp_path, ranks=[4])
    assert {one.rank for one in found.options} == {4}
    assert found.n_choices == made.n_choices  # rank 4 may have been named for what the first command showed
    assert not found.limit_if
    wider = lb.recommend(letters, out=found.folder, **(settings | {"ranks": [4, 8], "modes": ["freeze_a"]}))
    assert wider.n_choices == made.n_choices + 2
    assert "Earlier commands on this folder" in " ".join(shown(wider).split())


def test_a_seed_that_stood_in_another_fold_is_not_read_there(made, letters, settings, tmp_path):
    found = again(made, letters, settings, tmp_path, seeds=[1], modes=["freeze_a"])
    own = [
        row for row in Sweep.open(f"{found.folder}/pilots/lr-0.02").rows()
        if (row.mode, row.rank, row.n_train, row.seed) == (found.mode, found.rank, found.best.measured.n_train, 1)
    ]  # fmt: skip
    assert found.best.measured.value == pytest.approx(own[0].test_errors.mean())
    assert found.n_choices == made.n_choices + 2 * 2


def test_a_smaller_budget_leaves_the_final_adapter_where_it_is(made, letters, settings, tmp_path):
    found = again(made, letters, settings, tmp_path, budget="1s")
    assert found.stopped is None
    assert found.refit
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == open(f"{made.folder}/{weights}", "rb").read()
    assert (found.mode, found.rank, found.limit.value) == (made.mode, made.rank, made.limit.value)


@pytest.mark.parametrize(("sure", "n_seeds"), [(0.0, 1), (1.1, 2)])
def test_the_last_few_get_all_seeds_only_where_half_of_them_leave_it_open(
    monkeypatch, made, letters, settings, tmp_path, sure, n_seeds
):
    monkeypatch.setattr("lorabound.recommendations.search.SURE", sure)
    found = again(made, letters, settings, tmp_path)
    assert found.best.n_seeds == n_seeds
    assert sum(step.n_runs for step in found.steps if step.n_train == 120) == 2 * n_seeds


def test_fewer_seeds_than_planned_are_told(monkeypatch, letters, settings, tmp_path):
    budget_for(monkeypatch, 1.0)
    monkeypatch.setattr("lorabound.recommendations.search.SURE", 1.1)
    monkeypatch.setattr(Search, "seconds", property(lambda search: search.pilots.spent[1]))  # by the same clock
    found = lb.recommend(letters, out=tmp_path / "out", budget="6500s", **settings)
    assert found.best.measured.n_train == 120
    assert "did not reach for" in found.stopped
    assert "pilots on 120 rows" in found.stopped


def test_a_small_delta_is_not_told_as_certainty(made, letters, settings, tmp_path):
    found = again(made, letters, settings, tmp_path, delta=0.004)
    assert "99.6% sure" in " ".join(shown(found).split())
    assert "probability 0.996" in open(f"{found.adapter}/README.md").read()


def test_two_processes_do_not_write_one_folder(letters, settings, tmp_path):
    with only_writer(tmp_path / "out" / "pilots"), pytest.raises(StoreError, match="wait for it"):
        lb.recommend(letters, out=tmp_path / "out", **settings)


def test_killed_while_pilots_and_then_the_final_adapter_are_trained_it_ends_as_if_undisturbed(
    made, letters, settings, tmp_path
):
    for moment in ("120 rows", "final adapter"):
        code = (
            "import os, signal, sys, json, lorabound as lb\n"
            "def seen(state):\n"
            f"    if {moment!r} in state.now and (state.runs_done or state.runs_total == 1):\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "lb.recommend(sys.argv[1], out=sys.argv[2], observe=seen, **json.loads(sys.argv[3]))\n"
        )
        words = [sys.executable, "-c", code, letters, str(tmp_path / "out"), json.dumps(settings)]
        assert subprocess.run(words, capture_output=True, timeout=120).returncode == -signal.SIGKILL
        assert not (tmp_path / "out" / "recommendation.json").exists()
    found = lb.recommend(letters, out=tmp_path / "out", **settings)
    assert (found.mode, found.rank, found.n_choices, found.own_limit) == (
        made.mode, made.rank, made.n_choices, made.own_limit
    )  # fmt: skip
    one, other = found.best.forecast, made.best.forecast  # other stacks of pilots round otherwise
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), abs=1e-3)
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == open(f"{made.folder}/{weights}", "rb").read()
