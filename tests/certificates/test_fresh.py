"""`lorabound certify --holdout`: limits that hold as often as they say, rows that are not fresh, files and adapters of every kind."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import beta, binom
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from lorabound.certificates import check_errors, check_predictions
from lorabound.certificates.rows import AdapterUse
from lorabound.errors import AdapterError, DataError, InputError, StoreError
from lorabound.reports.fresh import sentences
from lorabound.sweeps import Sweep, SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.records import read_rows, write_rows
from lorabound.sweeps.task import load_task
from tests.commands import run
from tests.fresh_rows import check_adapters


def limits(n, delta):
    """The limit for every number of wrong rows, by scipy's beta quantile."""
    return np.append(beta.isf(delta, np.arange(n) + 1.0, n - np.arange(n)), 1.0)


def test_the_limit_is_broken_as_seldom_as_it_says():
    """True error 0.12 on 150 rows: the limit lies below it exactly when at most 11 rows are wrong."""
    of = limits(150, 0.05)
    for k in (0, 11, 12, 150):
        assert check_errors(["m"], np.arange(150)[None] < k).best.limit.value == pytest.approx(of[k], rel=1e-9)
    assert of[11] < 0.12 < of[12]
    assert binom.cdf(11, 150, 0.12) < 0.05


def test_taking_the_best_of_many_is_paid_for():
    """Ten equally bad models: the limit of the one that looks best is right with 95%, which one at delta alone is not."""
    of, unpaid = limits(200, 0.05 / 10), limits(200, 0.05)
    fewest = np.random.default_rng(0).binomial(200, 0.3, (20_000, 10)).min(axis=1)
    assert (of[fewest] < 0.3).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)  # seen: 0.0452
    assert (unpaid[fewest] < 0.3).mean() > 0.25  # seen: 0.307
    wrong = np.random.default_rng(1).random((10, 200)) < 0.3
    found = check_errors([str(k) for k in range(10)], wrong)
    assert found.best.n_wrong == wrong.sum(axis=1).min()
    assert found.best.limit.value == pytest.approx(of[found.best.n_wrong], rel=1e-9)


def test_copies_of_rows_prove_nothing_new():
    """Each of 60 rows stands there five times: as 300 rows the limit would fail far more often than 5%."""
    k = np.random.default_rng(1).binomial(60, 0.25, 20_000)
    assert (limits(300, 0.05)[5 * k] < 0.25).mean() > 0.15
    once = limits(60, 0.05)
    assert (once[k] < 0.25).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)
    for wrong in (0, 7, 15, 60):
        rows = np.repeat(np.arange(60) < wrong, 5)[None]
        found = check_errors(["m"], rows, repeated=np.tile(np.arange(5) > 0, 60))
        assert found.best.limit.value == pytest.approx(once[wrong], rel=1e-9)
        assert (found.n_rows, found.n_repeated, found.best.n_wrong) == (300, 240, 5 * wrong)
    # repeats that are all wrong raise the limit of all rows above that of each row once: the larger one is given
    rows = np.append(np.arange(60) < 7, np.ones(40, bool))[None]
    found = check_errors(["m"], rows, repeated=np.arange(100) >= 60)
    assert found.best.limit.value == pytest.approx(limits(100, 0.05)[47], rel=1e-9)


def test_copies_of_rows_show_no_one_to_be_worse():
    """3 against 0 wrong of 40 rows say nothing (p = 1/8), and no more so where each row stands there five times."""
    rows = np.tile([np.arange(40) < 0, np.arange(40) < 3], 5)
    assert [one.may_be_best for one in check_errors(["a", "b"], rows).predictors] == [True, False]
    repeated = np.arange(200) >= 40
    assert [one.may_be_best for one in check_errors(["a", "b"], rows, repeated=repeated).predictors] == [True, True]


def test_the_answer_comes_first_and_is_one_sentence():
    one = check_errors(["support-bot"], np.arange(200)[None] < 40)
    answer, assumption = sentences(one)
    # scipy.stats.beta.isf(0.05, 41, 160) = 0.2522495: shown rounded up
    assert limits(200, 0.05)[40] == pytest.approx(0.2522495, abs=1e-6)
    assert answer == (
        "On new data, support-bot is wrong on at most 25.3% of the rows (95% sure): it got 40 of 200 fresh rows wrong "
        "(20.0%)."
    )
    assert "independently of one another" in assumption
    wrong = np.stack([np.arange(200) < 40, np.arange(200) < 41, np.arange(200) < 120])
    answer, told, _ = sentences(check_errors(["a", "b", "c"], wrong))
    assert answer.startswith("Take a: ")
    assert "the choice among 3 counted" in answer
    assert told == "These rows cannot tell it apart from b."


def write(frame, path):
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".tsv":
        frame.write_csv(path, separator="\t")
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    return path


@pytest.fixture
def answers():
    return pl.DataFrame({
        "label": ["yes", "no", "yes", "no"] * 25, "predicted": ["yes", "no", "yes", "yes"] * 25,
        "other": ["yes", "no", "yes", "no"] * 24 + ["no", "yes", "Yes", "no"],
    })  # fmt: skip


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_answers_of_any_model_in_every_format(answers, tmp_path, ending, capsys, monkeypatch):
    path = write(answers, tmp_path / f"answers{ending}")
    one = check_predictions(path)
    assert (one.best.n_wrong, one.n_rows) == (25, 100)
    assert one.best.limit.value == pytest.approx(beta.isf(0.05, 26, 75))
    two = check_predictions(path, ["predicted", "other"])
    assert (two.best.name, two.best.n_wrong) == ("other", 3)
    assert two.best.limit.value == pytest.approx(beta.isf(0.025, 4, 97))
    assert not two.predictors[0].may_be_best
    assert "1 answers in other differ from a label in case or spaces only ('Yes' for 'yes')" in two.notes[0]
    status, output, _ = run(capsys, monkeypatch, "certify", path)  # a file where an adapter might stand
    assert status == 0
    assert output.startswith("On new data, predicted is wrong on at most 33.2% of the rows (95% sure)")


def test_answers_and_labels_may_be_numbers(tmp_path):
    path = tmp_path / "numbers.csv"
    pl.DataFrame({"label": [0, 1] * 30, "predicted": ["0.0", "1.0", "0.0", "0.0"] * 15}).write_csv(path)
    assert [one.n_wrong for one in check_predictions(path).predictors] == [15]


def test_answers_that_cannot_be_meant(answers, tmp_path, capsys, monkeypatch):
    path = write(answers.with_columns(predicted=pl.lit("1")), tmp_path / "a.csv")
    with pytest.raises(DataError, match="predicted and label share no value"):
        check_predictions(path)
    status, _, errors = run(capsys, monkeypatch, "certify", path, "--predicted", "guess")
    assert status == 2
    assert "has no column 'guess'" in errors
    assert "--text-column" not in errors
    for arguments in (["certify"], ["certify", "--holdout", "x.csv"]):
        status, _, errors = run(capsys, monkeypatch, *arguments)
        assert status == 2
        assert "say what is certified" in errors
    with pytest.raises(InputError, match="delta must lie in"):
        check_predictions(write(answers, tmp_path / "b.csv"), delta=0.0)


COLOURS = {"a": "red", "b": "green", "c": "blue"}


def letters(count, seed, least=4):
    random = np.random.default_rng(seed)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(least, least + 6))) for _ in range(count)})
    return pl.DataFrame({"text": texts, "label": [COLOURS[text[0]] for text in texts]})


@pytest.fixture(scope="module")
def swept(letters_bert, tmp_path_factory):
    """A sweep of two ranks with a trained head, and the rows it saw."""
    where = tmp_path_factory.mktemp("swept")
    path = write(letters(150, 0), where / "letters.csv")
    config = SweepConfig(
        data=str(path), model=str(letters_bert), head="trained", n_test=40, n_train=[20, 40], ranks=[1, 2], modes=["freeze_a"],
        seeds=1, targets=["query"], epochs=10, batch_size=10, lr=0.02, precision="float32",
    )  # fmt: skip
    store = run_sweep(config, where / "out")
    return where / "out", store.rows(), path


def test_an_adapter_of_a_sweep_says_itself_how_it_is_used(swept, tmp_path, capsys, monkeypatch):
    out, _, _ = swept
    fresh = write(letters(200, 7, least=10), tmp_path / "fresh.csv")  # no row of the sweep is that long
    monkeypatch.chdir(tmp_path)
    status, output, errors = run(
        capsys, monkeypatch, "certify", out / "adapters/freeze_a-r1-n40-seed0", "--holdout", fresh
    )
    assert status == 0, errors
    assert output.startswith("On new data, freeze_a-r1-n40-seed0 is wrong on at most ")
    assert "nobody used them to choose before" in " ".join(output.split())


def test_an_extended_sweep_counts_cut_texts_and_seen_rows_of_its_largest_training_set(swept, tmp_path):
    out = shutil.copytree(swept[0], tmp_path / "out")
    config = Sweep.open(out).config
    for sizes, largest in (([60], 60), ([20], 60)):
        store = run_sweep(config.model_copy(update={"n_train": sizes, "ranks": [1]}), out)
        assert store.about["cut"]["train"][1] == largest == len(read_rows(out).train)


def test_it_measures_what_the_sweep_measured(swept, tmp_path, monkeypatch):
    """On the sweep's own test set, with the record of seen rows taken away, the errors are those in the store."""
    out, rows, _ = swept
    moved = shutil.copytree(out / "adapters/freeze_a-r2-n40-seed0", tmp_path / "moved")
    test = load_task(Sweep.open(out).config).data
    frame = pl.DataFrame({"text": test.test_examples, "label": [test.classes[i] for i in test.test_labels]})
    found = check_adapters([moved], str(write(frame, tmp_path / "test.csv")))
    row = next(row for row in rows if (row.rank, row.n_train) == (2, 40))
    assert found.best.n_wrong == int(row.test_errors.sum())
    assert "nobody used them to train or to choose" in found.assumption  # nobody knows here what it was trained on


def test_rows_the_adapter_has_seen_are_left_out_and_told(swept, tmp_path):
    out, _, path = swept
    new = letters(60, 7, least=10)
    mixed = pl.concat([pl.read_csv(path).with_columns(text=pl.col("text").str.to_uppercase()), new, new.head(5)])
    small, large = (out / f"adapters/freeze_a-r1-n{n}-seed0" for n in (20, 40))
    data = str(write(mixed, tmp_path / "mixed.csv"))
    pool = len(pl.read_csv(path))
    for folders, trained in (([small], 20), ([large], 40), ([small, large], 40)):
        found = check_adapters(folders, data)
        assert found.n_rows == len(mixed) - trained - 40  # case does not make a row fresh
        assert f"{trained} it was trained on and 40 of the test set of its sweep" in found.notes[0]
        assert found.n_repeated == 5
    assert pool > 80
    task = load_task(Sweep.open(out).config)
    seen = pl.DataFrame(
        {"text": task.data.train_examples[:20], "label": [task.data.classes[i] for i in task.data.train_labels[:20]]}
    )
    with pytest.raises(DataError, match="holds no fresh row: of 20 rows 20 it was trained on"):
        check_adapters([small], str(write(seen, tmp_path / "seen.csv")))


def test_without_its_task_an_adapter_may_have_seen_every_row_of_its_sweep(swept, tmp_path):
    out, _, path = swept
    copied = shutil.copytree(out, tmp_path / "out")
    adapter = copied / "adapters/freeze_a-r1-n20-seed0"
    task = json.loads((adapter / "task.json").read_text())
    (adapter / "task.json").unlink()
    found = check_adapters([adapter], str(path), use=AdapterUse(model=task["model"], classes=task["classes"]))
    assert "40 it was trained on and 40 of the test set of its sweep" in found.notes[0]


@pytest.mark.parametrize("damage", [{"first_row": 41}, {"first_row": -1}, {"n_train": 41}, {"n_train": -20}])
def test_a_task_with_rows_that_its_sweep_does_not_have_is_refused(swept, tmp_path, damage):
    """Taken as it is, it would call the rows that the adapter was trained on fresh: the sweep recorded 40."""
    out, _, path = swept
    adapter = shutil.copytree(out, tmp_path / "out") / "adapters/freeze_a-r1-n40-seed0"
    task = json.loads((adapter / "task.json").read_text())
    (adapter / "task.json").write_text(json.dumps(task | damage))
    with pytest.raises(AdapterError, match="rows.json of its sweep records 40 rows: one of the files is damaged"):
        check_adapters([adapter], str(path))


def test_a_record_of_other_rows_is_not_taken_for_this_sweeps(tmp_path):
    """A store that was moved away and begun anew on other rows: the old record would call trained rows fresh."""
    write_rows(tmp_path, ["a", "b"], ["c"])
    write_rows(tmp_path, ["a", "b", "d"], ["c"])  # an extended sweep
    write_rows(tmp_path, ["a"], ["c"])
    assert len(read_rows(tmp_path).train) == 3
    for train, test in ((["x", "b"], ["c"]), (["a", "b"], ["y"]), (["b", "a", "d", "e"], ["c"])):
        with pytest.raises(StoreError, match="records other rows than this sweep's"):
            write_rows(tmp_path, train, test)


def test_empty_fields_are_refused_with_what_the_command_has(swept, answers, tmp_path, capsys, monkeypatch):
    out, _, _ = swept
    fresh = letters(60, 7, least=10)
    path = write(pl.concat([fresh, pl.DataFrame({"text": ["abcabcabcab"], "label": [""]})]), tmp_path / "fresh.csv")
    command = ["certify", out / "adapters/freeze_a-r1-n40-seed0", "--holdout", path]
    status, _, errors = run(capsys, monkeypatch, *command)
    assert status == 2
    assert "1 row has no label" in errors
    assert "--drop-empty" in errors
    status, output, errors = run(capsys, monkeypatch, *command, "--drop-empty")
    assert status == 0, errors
    assert "left out 1 row (--drop-empty)" in " ".join(output.split())
    assert f"of {len(fresh)} fresh rows" in " ".join(output.split())
    one = pl.when(pl.int_range(pl.len()) > 0).then(pl.col("predicted"))
    holes = write(answers.with_columns(predicted=one), tmp_path / "holes.csv")
    status, _, errors = run(capsys, monkeypatch, "certify", holes)
    assert status == 2
    assert "1 row has no answer (line 2): leave them out of the file, or fill them in" in errors
    status, _, errors = run(capsys, monkeypatch, "certify", holes, "--drop-empty")
    assert status == 2
    assert "--drop-empty is for rows of texts or images" in errors


def test_labels_without_a_class_count_as_wrong(swept, tmp_path):
    out, _, _ = swept
    frame = letters(60, 7, least=10)
    odd = frame.with_columns(label=pl.when(pl.col("label") == "red").then(pl.lit("Red")).otherwise(pl.col("label")))
    one = out / "adapters/freeze_a-r1-n40-seed0"
    found = check_adapters([one], str(write(odd, tmp_path / "odd.csv")))
    n_red = int((frame["label"] == "red").sum())
    assert found.best.n_wrong >= n_red
    assert f"{n_red} rows have a label" in found.notes[0]
    assert "'Red' may be 'red'" in found.notes[0]
    with pytest.raises(DataError, match="no label of the data is a class"):
        check_adapters([one], str(write(frame.with_columns(label=pl.lit("x")), tmp_path / "none.csv")))


def test_a_sequence_classifier_from_elsewhere(letters_bert, tmp_path):
    """PEFT's own adapter with a trained head: the same answers as PEFT gives."""
    torch.manual_seed(1)
    base = AutoModelForSequenceClassification.from_pretrained(letters_bert)
    model = get_peft_model(
        base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    ).eval()
    model.save_pretrained(tmp_path / "theirs")
    frame = letters(40, 3).with_columns(label=pl.col("label").replace("red", "Red"))
    data = str(write(frame, tmp_path / "rows.jsonl"))
    found = check_adapters([tmp_path / "theirs"], data)
    encoded = AutoTokenizer.from_pretrained(letters_bert)(frame["text"].to_list(), padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits
    names = [base.config.id2label[i] for i in scores.argmax(-1).tolist()]
    assert found.best.n_wrong == sum(a != b for a, b in zip(names, frame["label"], strict=True))
    with pytest.raises(InputError, match="has a head of 3 classes and 2 names"):
        check_adapters([tmp_path / "theirs"], data, use=AdapterUse(classes=["Red", "green"]))


def test_the_rows_of_anothers_head_are_named_in_their_order(letters_bert, tmp_path):
    """Trained with labels in another order than the checkpoint's: the user's order wins over the checkpoint's names."""
    torch.manual_seed(1)
    order = ["blue", "Red", "green"]
    base = AutoModelForSequenceClassification.from_pretrained(letters_bert)
    model = get_peft_model(
        base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    ).eval()
    model.save_pretrained(tmp_path / "theirs")
    frame = letters(40, 3).with_columns(label=pl.col("label").replace("red", "Red"))
    data = str(write(frame, tmp_path / "rows.csv"))
    encoded = AutoTokenizer.from_pretrained(letters_bert)(frame["text"].to_list(), padding=True, return_tensors="pt")
    with torch.no_grad():
        best = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits.argmax(-1)
    expected = sum(order[i] != label for i, label in zip(best.tolist(), frame["label"], strict=True))
    assert expected != sum(base.config.id2label[i] != a for i, a in zip(best.tolist(), frame["label"], strict=True))
    found = check_adapters([tmp_path / "theirs"], data, use=AdapterUse(classes=order))
    assert found.best.n_wrong == expected


def test_an_adapter_without_head_or_task_must_be_told(letters_bert, tmp_path):
    torch.manual_seed(2)
    encoder = tmp_path / "encoder"
    shutil.copytree(letters_bert, encoder)
    BertModel(BertConfig.from_pretrained(letters_bert), add_pooling_layer=False).save_pretrained(encoder)
    model = get_peft_model(BertModel.from_pretrained(encoder), LoraConfig(r=2, target_modules=["query"]))
    model.save_pretrained(tmp_path / "plain")
    data = str(write(letters(40, 3), tmp_path / "rows.parquet"))
    with pytest.raises(InputError, match="has no head and was not made by a sweep"):
        check_adapters([tmp_path / "plain"], data)
    use = AdapterUse(prompt="{}", classes=["a", "b", "c"])
    with pytest.raises(DataError, match="no label of the data is a class"):
        check_adapters([tmp_path / "plain"], data, use=use)
    use = AdapterUse(prompt="ab{}c", classes=list(COLOURS))
    frame = letters(40, 3).with_columns(label=pl.col("label").replace({"red": "a", "green": "b", "blue": "c"}))
    found = check_adapters([tmp_path / "plain"], str(write(frame, tmp_path / "rows.csv")), use=use)
    assert found.n_rows == len(frame)
    record = json.loads((tmp_path / "plain/adapter_config.json").read_text())
    (tmp_path / "plain/adapter_config.json").write_text(json.dumps(record | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match="does not say which model it belongs to: name it with --model"):
        check_adapters([tmp_path / "plain"], data, use=use)


def test_another_model_than_it_was_trained_on_is_refused(swept, letters_bert, tmp_path):
    other = shutil.copytree(letters_bert, tmp_path / "other")
    (other / "extra.txt").write_text("changed")
    with pytest.raises(AdapterError, match="whose weights are not those of"):
        check_adapters(
            [swept[0] / "adapters/freeze_a-r1-n40-seed0"], str(write(letters(30, 7, 10), tmp_path / "x.csv")),
            use=AdapterUse(model=str(other)),
        )  # fmt: skip
