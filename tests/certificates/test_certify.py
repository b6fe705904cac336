"""`lorabound certify` and `verify`: what is written is computed again, and a changed byte, row, label or weight is found."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import yaml
from safetensors.numpy import load_file, save_file

import lorabound as lb
from lorabound.bounds import Bound
from lorabound.certificates import subject
from lorabound.certificates.card import write_card
from lorabound.certificates.methods import METHODS, chosen
from lorabound.certificates.stored import NAME, _certificate, _sha256, read_certificate
from lorabound.engine import Losses, evaluate
from lorabound.errors import AdapterError, InputError, ModelError
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.progressive import block_certificate, certificate, cross_fit_certificate, final_certificate, gain
from tests.commands import run

COLOURS = {"a": "red", "b": "green", "c": "blue"}


def letters(count, seed, least):
    """Texts of at least so many letters; the first one is the class, but for one row in ten."""
    random = np.random.default_rng(seed)
    texts = sorted({"".join(random.choice(list("abc"), random.integers(least, least + 6))) for _ in range(count)})
    labels = [COLOURS[text[0] if random.random() < 0.9 else random.choice(list("abc"))] for text in texts]
    return pl.DataFrame({"text": texts, "label": labels})


def write(frame, path):
    frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def work(letters_bert, tmp_path_factory):
    """A sweep of one rank, fresh rows, and a certificate by them in ``certificate``."""
    where = tmp_path_factory.mktemp("certify")
    data = write(letters(260, 0, 4), where / "letters.csv")
    config = SweepConfig(
        data=str(data), model=str(letters_bert), head="trained", n_test=40, n_train=[120], ranks=[1, 2], modes=["freeze_a"],
        seeds=1, targets=["query"], epochs=1, batch_size=10, lr=0.02, precision="float32",
    )  # fmt: skip
    run_sweep(config, where / "out")
    write(letters(200, 7, 10), where / "fresh.csv")
    adapter = where / "out/adapters/freeze_a-r2-n120-seed0"
    lb.certify(adapter, holdout=where / "fresh.csv", methods=["holdout"], out=where / "certificate")
    return where


@pytest.fixture
def copy(work, tmp_path):
    """Everything again, to be damaged; the model stays where it is."""
    shutil.copytree(work / "out", tmp_path / "out")
    shutil.copytree(work / "certificate", tmp_path / "certificate")
    for name in ("letters.csv", "fresh.csv"):
        shutil.copy(work / name, tmp_path / name)
    return tmp_path


def verified(where, **places):
    return lb.verify(where / "certificate", holdout=where / "fresh.csv", **places)


def test_a_certificate_is_computed_again_wherever_it_lies(copy):
    found = verified(copy)
    assert found.holds, found.parts
    assert found.limit == read_certificate(copy / "certificate").certificate.best.limit
    assert "differs" not in found.frame()["outcome"].to_list()
    assert {part.what for part in found.parts} >= {"adapter", "base model", "hold-out rows", "limit by holdout"}


def change_row(where):
    frame = pl.read_csv(where / "fresh.csv")
    text = frame["text"][3] + "a"
    write(frame.with_columns(text=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(text)).otherwise("text")), where / "fresh.csv")  # fmt: skip


def change_label(where):
    frame = pl.read_csv(where / "fresh.csv")
    other = "red" if frame["label"][5] == "blue" else "blue"
    write(frame.with_columns(label=pl.when(pl.int_range(pl.len()) == 5).then(pl.lit(other)).otherwise("label")), where / "fresh.csv")  # fmt: skip


def change_order(where):
    write(pl.read_csv(where / "fresh.csv").reverse(), where / "fresh.csv")


def change_file(name, old, new):
    def change(where):
        path = where / "out/adapters/freeze_a-r2-n120-seed0" / name
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return change


def change_weight(where):
    path = where / "out/adapters/freeze_a-r2-n120-seed0/adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    at = content.rfind(b"}") + 9
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (change_row, "hold-out rows"),
        (change_label, "hold-out rows"),
        (change_order, "hold-out rows"),
        (change_weight, "adapter"),
        (change_file("task.json", b'"logit_scale": null', b'"logit_scale": 20.0'), "adapter"),
        (change_file("adapter_config.json", b'"use_rslora": false', b'"use_rslora":  false'), "adapter"),
        (change_file("lorabound.json", b'"seed": 0', b'"seed":  0'), "adapter"),
    ],
)
def test_what_was_changed_is_found(copy, change, what):
    change(copy)
    found = verified(copy)
    assert not found.holds
    assert what in [part.what for part in found.parts if part.outcome == "differs"]


@pytest.fixture
def record(copy):
    """The record of a certificate, and how to write a changed one with a hash that fits."""

    def rewrite(change):
        path = copy / "certificate" / NAME
        content = json.loads(path.read_text())
        change(content)
        content.pop("sha256")
        for one in filter(None, (*(s["bound"] for s in content["statements"]), content["gain"])):
            one["vacuous"] = Bound.from_dict(one).vacuous  # or the record would contradict itself
        content["assumptions"] = list(_certificate(path, content).assumptions)
        path.write_text(json.dumps(content | {"sha256": _sha256(content)}))
        return verified(copy)

    return rewrite


def lower(content):
    content["statements"][0]["bound"]["value"] -= 0.05


def lower_with_its_error(content):
    content["statements"][0]["error"] -= 0.05
    content["statements"][0]["bound"]["value"] -= 0.05


def raise_delta(content):
    content["delta"] = 0.01


def raise_share(content):
    content["statements"][0]["bound"]["delta"] = 0.01


def drop_assumption(content):
    content["statements"][0]["bound"]["assumptions"].pop()


def other_words(content):
    content["statements"][0]["speaks_of"] = "every adapter of this rank"


def raise_gain(content):
    content["gain"]["value"] += 0.05


def reword_gain(content):
    content["gain"] |= {"theorem": "our own", "value": 0.9}


def gain_of_training(content):
    content["gain"] |= {"theorem": "progressive validation, paired (ours; Ville 1939)", "value": 0.9}


def other_trivial(content):
    content["statements"][0]["bound"]["trivial"] = 1.5


def loosen_gain(content):
    content["gain"]["delta"] = 0.999


def other_notes(content):
    content["statements"][0]["notes"] = ["the best of 1000 runs, all counted"]


def many_choices(content):
    content["of"]["candidates"] = 1000


def other_terms(content):
    content["statements"][0]["bound"]["terms"] = {"empirical_risk": 0.0, "margin": 0.0}


def other_inputs(content):
    content["statements"][0]["bound"]["inputs"] = {}


def other_combine(content):
    content["statements"][0]["bound"]["combine"] = "luck"


def other_record(content):
    content["statements"][0]["record"]["n_rows"] *= 2


def other_task(content):
    content["of"]["task"]["max_length"] += 1


def other_model(content):
    content["of"]["model"]["sha256"] = "0" * 64


@pytest.mark.parametrize(
    "change",
    [
        lower,
        lower_with_its_error,
        raise_delta,
        raise_share,
        drop_assumption,
        other_words,
        raise_gain,
        other_model,
        reword_gain,
        gain_of_training,
        other_trivial,
        loosen_gain,
        other_notes,
        many_choices,
        other_terms,
        other_inputs,
        other_combine,
        other_record,
        other_task,
    ],
)
def test_numbers_and_words_are_not_believed(record, change):
    """Someone who knows how the record is hashed changes it: what is computed again says otherwise."""
    found = record(change)
    assert not found.holds
    assert any(part.outcome == "differs" for part in found.parts)


def test_a_record_that_was_changed_by_accident_is_refused(copy, capsys, monkeypatch):
    path = copy / "certificate" / NAME
    text = path.read_text()
    path.write_text(text.replace('"delta": 0.05', '"delta": 0.04', 1))
    with pytest.raises(InputError, match="was changed after it was written"):
        verified(copy)
    path.write_text(text[: len(text) // 2])
    status, _, errors = run(capsys, monkeypatch, "verify", copy / "certificate")
    assert status == 2
    assert "was changed or cut off" in errors
    (copy / "words.csv").write_text("text,label\nmaison,french\n")
    status, _, errors = run(capsys, monkeypatch, "verify", copy / "words.csv")
    assert status == 2
    assert "words.csv is no certificate: give the certificate.json that certify wrote, or its folder" in errors
    path.unlink()
    status, _, errors = run(capsys, monkeypatch, "verify", copy / "certificate")
    assert status == 2
    assert "no certificate at" in errors


def test_what_is_not_there_is_not_shown_and_nothing_holds(copy, capsys, monkeypatch):
    (copy / "fresh.csv").unlink()
    found = verified(copy)
    assert not found.holds
    assert found.limit is None
    assert {part.what: part.outcome for part in found.parts}["hold-out rows"] == "not shown"
    status, output, errors = run(capsys, monkeypatch, "verify", copy / "certificate", "--holdout", copy / "fresh.csv")
    assert status == 2
    assert "does not hold as it stands: no limit could be computed again" in " ".join(output.split())
    assert "see the table above" in errors


@pytest.fixture
def by_training(copy):
    """A certificate of a run by the errors that training kept."""
    adapter = copy / "out/adapters/freeze_a-r2-n120-seed0"
    made = lb.certify(adapter, out=copy / "progressive")
    return made, copy / "progressive"


def test_a_run_is_certified_without_rows_of_its_own(by_training, copy):
    made, folder = by_training
    sweep = lb.open_sweep(copy / "out")
    row = next(row for row in sweep.rows() if row.rank == 2)
    assert made.best.limit == float(certificate(row, sweep.config, 0.05).value)
    assert made.best.error == row.first_errors[60:].mean()
    bare = next(row for row in sweep.rows() if not row.rank)
    assert made.zero_shot.error == pytest.approx(bare.train_error)
    assert float(made.gain.value) == float(gain(row, bare, sweep.config, 0.05).value)
    found = lb.verify(folder)
    assert found.holds, found.parts
    assert {part.what: part.outcome for part in found.parts}["losses before each update"] == "not shown"


def test_the_best_run_of_a_sweep_is_paid_for(copy):
    made = lb.certify(copy / "out", out=copy / "best")
    sweep = lb.open_sweep(copy / "out")
    limits = [float(certificate(row, sweep.config, 0.025).value) for row in sweep.rows() if row.rank]
    assert made.best.limit == min(limits)
    assert "2 runs" in made.notes[0]
    assert lb.verify(copy / "best").holds


def test_a_smaller_size_is_not_taken_because_the_largest_failed(copy):
    """The choice of N would be one by results: no share of delta pays for it."""
    sweep = lb.open_sweep(copy / "out")
    sweep.set_config(sweep.config.model_copy(update={"n_train": [120, 150]}))
    with pytest.raises(InputError, match="no run at N = 150, the largest size"):
        lb.certify(copy / "out")
    diverged = [replace(row, key=f"{row.key}-150", n_train=150, status="diverged", first_errors=None, first_order=None,
                        first_log_losses=None) for row in sweep.rows() if row.rank]  # fmt: skip
    sweep.add(diverged)
    with pytest.raises(InputError, match="would be chosen by results"):
        lb.certify(copy / "out")


def test_classes_left_out_by_counting_labels_are_an_assumption(copy):
    sweep = lb.open_sweep(copy / "out")
    adapter = copy / "out/adapters/freeze_a-r2-n120-seed0"
    assert not any("--min-class-rows" in line for line in lb.certify(adapter).assumptions)
    sweep.set_config(sweep.config.model_copy(update={"min_class_rows": 3}))
    made = lb.certify(adapter, out=copy / "c")
    assert any("--min-class-rows 3" in line for line in made.assumptions)
    assert lb.verify(copy / "c").holds
    assert any("--min-class-rows 3" in line for line in lb.verify(copy / "c").assumptions)
    sweep.set_config(sweep.config.model_copy(update={"min_class_rows": 2}))
    found = lb.verify(copy / "c")
    assert "classes left out" in [part.what for part in found.parts if part.outcome == "differs"]


def test_what_training_kept_is_not_told_of_another_adapter(copy):
    """One weight changes by a unit in the last place: the training error does not show it, the hash does."""
    adapter = copy / "out/adapters/freeze_a-r2-n120-seed0"
    change_weight(copy)
    with pytest.raises(AdapterError, match="is not what training left"):
        lb.certify(adapter)
    assert lb.certify(adapter, holdout=copy / "fresh.csv").best.method == "holdout"


def test_a_model_without_finite_scores_is_not_the_line_to_beat(copy, monkeypatch):
    """A comparison with nan counts rows as right or wrong by chance of the code."""

    def damaged(*arguments):
        return [Losses(losses.errors, losses.log_losses * np.float32(np.nan)) for losses in evaluate(*arguments)]

    monkeypatch.setattr(subject, "evaluate", damaged)
    with pytest.raises(ModelError, match="gives scores that are not finite numbers without an adapter"):
        lb.certify(copy / "out/adapters/freeze_a-r2-n120-seed0")


@pytest.mark.parametrize("what", ["order", "bare_errors", "errors", "one error fewer", "cut", "twice"])
def test_losses_that_were_changed_are_found(by_training, what):
    """With hashes that fit again: what the seeds, the rows and the model say otherwise."""
    _, folder = by_training
    arrays = load_file(folder / "progressive.safetensors")
    if what == "order":
        arrays["order"] = arrays["order"][::-1].copy()
    elif what == "twice":
        arrays["order"][0] = arrays["order"][1]
    elif what == "one error fewer":
        arrays["errors"][np.flatnonzero(arrays["errors"])[-1]] = 0
    elif what == "cut":
        arrays = {name: values[:-10].copy() for name, values in arrays.items()}
    else:
        arrays[what] = np.zeros_like(arrays[what])
    save_file(arrays, folder / "progressive.safetensors")
    with pytest.raises(InputError, match=r"progressive.safetensors was changed"):
        lb.verify(folder)
    path = folder / NAME
    record = json.loads(path.read_text())
    content = (folder / "progressive.safetensors").read_bytes()
    record["statements"][0]["files"]["progressive.safetensors"] = hashlib.sha256(content).hexdigest()
    record.pop("sha256")
    path.write_text(json.dumps(record | {"sha256": _sha256(record)}))
    found = lb.verify(folder)
    assert not found.holds
    assert "limit by progressive" in [part.what for part in found.parts if part.outcome == "differs"]


@pytest.mark.parametrize("name", ["window", "batch_size", "epochs"])
def test_another_window_than_that_of_the_sweep_is_found(by_training, name):
    _, folder = by_training
    path = folder / NAME
    record = json.loads(path.read_text())
    settings = record["statements"][0]["record"]["settings"]
    settings[name] = {"window": 0.4, "batch_size": 20, "epochs": 2}[name]
    record.pop("sha256")
    path.write_text(json.dumps(record | {"sha256": _sha256(record)}))
    assert not lb.verify(folder).holds


@pytest.fixture(scope="module")
def several_epochs(work, letters_bert):
    """A sweep of two sizes and three epochs, with folds and blocks."""
    config = SweepConfig(
        data=str(work / "letters.csv"), model=str(letters_bert), head="trained", n_test=40, n_train=[60, 120], ranks=[1],
        modes=["freeze_a"], seeds=1, targets=["query"], epochs=3, batch_size=10, lr=0.02, precision="float32",
        cross_fit=3, blocks=True,
    )  # fmt: skip
    return run_sweep(config, work / "several")


@pytest.mark.parametrize("method", ["cross-fit", "blocks"])
def test_several_epochs_are_certified_by_folds_and_by_blocks(several_epochs, tmp_path, method):
    sweep = several_epochs
    adapter = sweep.folder / "adapters/freeze_a-r1-n120-seed0"
    row = next(row for row in sweep.rows() if row.rank and row.n_train == 120)
    if method == "cross-fit":
        bound = cross_fit_certificate(row, sweep.config, 0.05)
    else:
        bound = block_certificate(row, sweep.rows(), sweep.config, 0.05)
    made = lb.certify(adapter, methods=[method], out=tmp_path)
    assert made.best.limit == float(bound.value)
    plain = {
        "cross-fit": "one of 3 adapters trained alike without one fold each, picked at random,",
        "blocks": "an adapter trained alike on 60 rows",
    }
    assert made.best.speaks_of == plain[method]
    assert made.best.bound.predictor == bound.predictor
    assert lb.verify(tmp_path, adapter=adapter).holds
    assert lb.certify(adapter).best.method == "cross-fit"
    arrays = load_file(tmp_path / f"{method}.safetensors")
    arrays = {name: np.zeros_like(values) for name, values in arrays.items()}
    save_file(arrays, tmp_path / f"{method}.safetensors")
    record = json.loads((tmp_path / NAME).read_text())
    content = (tmp_path / f"{method}.safetensors").read_bytes()
    record["statements"][0]["files"][f"{method}.safetensors"] = hashlib.sha256(content).hexdigest()
    record.pop("sha256")
    (tmp_path / NAME).write_text(json.dumps(record | {"sha256": _sha256(record)}))
    assert not lb.verify(tmp_path, adapter=adapter).holds


def test_the_final_adapter_is_certified_and_its_gain_computed_again(work, letters_bert, tmp_path):
    config = SweepConfig(
        data=str(work / "letters.csv"), model=str(letters_bert), head="trained", n_test=40, n_train=[120], ranks=[2],
        modes=["freeze_a"], seeds=1, targets=["query"], epochs=1, batch_size=10, lr=0.02, precision="float32",
        unlabelled=0.2,
    )  # fmt: skip
    sweep = run_sweep(config, tmp_path / "out")
    row = next(row for row in sweep.rows() if row.rank)
    made = lb.certify(tmp_path / "out", out=tmp_path / "c")
    assert made.best.speaks_of == "the final adapter"
    assert made.best.limit == float(final_certificate(row, sweep.config, 0.05).value)
    assert made.gain is not None
    found = lb.verify(tmp_path / "c")
    assert found.holds, found.parts
    assert "gain over no adapter" in [part.what for part in found.parts if part.outcome == "same"]
    folder = tmp_path / "out/adapters/freeze_a-r2-n120-seed0"
    adapter = lb.load_adapter(folder)
    task = (folder / "task.json").read_text()
    head = replace(adapter.head, weight=-adapter.head.weight)
    (lb.save_adapter(replace(adapter, head=head), folder) / "task.json").write_text(task)
    with pytest.raises(AdapterError, match="something changed it"):
        lb.certify(tmp_path / "out")


def test_a_table_of_answers_is_counted_again(tmp_path):
    path = tmp_path / "answers.csv"
    pl.DataFrame({"label": ["a", "b"] * 50, "predicted": ["a"] * 99 + ["b"], "other": ["b"] * 100}).write_csv(path)
    made = lb.certify(path, predicted=["predicted", "other"], out=tmp_path / "c")
    assert made.best.limit == pytest.approx(lb.bounds.holdout(49, 100, 0.025).value)
    assert lb.verify(tmp_path / "c").holds
    path.write_text(path.read_text().replace("a,a,b", "a,b,b", 1))
    assert not lb.verify(tmp_path / "c").holds


def test_the_card_keeps_what_others_wrote_and_one_certificate(work, copy):
    adapter = copy / "out/adapters/freeze_a-r2-n120-seed0"
    theirs = "---\ntags:\n- mine\nmodel-index:\n- name: letters\n  results:\n  - task:\n      type: text-classification\n    dataset:\n      name: other\n      type: other\n    metrics:\n    - type: accuracy\n      value: 0.5\n---\n# Letters\n\nMy words.\n"
    (adapter / "README.md").write_text(theirs)
    for delta in (0.05, 0.01):
        made = lb.certify(adapter, holdout=copy / "fresh.csv", methods=["holdout"], delta=delta, write_card=True)
    text = (adapter / "README.md").read_text()
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["tags"] == ["mine"]
    values = [metric for result in metadata["model-index"][0]["results"] for metric in result["metrics"]]
    assert [metric["type"] for metric in values] == ["accuracy", "error_at_most", "error"]
    assert made.best.limit <= values[1]["value"] <= made.best.limit + 1e-4
    assert text.count("How bad it can be on new data") == 1
    assert "My words." in text
    assert "99% sure" in text
    assert "95% sure" not in text
    (adapter / "README.md").write_text("---\nmodel-index: 3\n---\n")
    with pytest.raises(InputError, match="cannot be read as a model card"):
        write_card(made)
    assert "model-index: 3" in (adapter / "README.md").read_text()


def test_which_methods_are_taken():
    names = lambda methods: [method.name for method in methods]  # noqa: E731
    fresh, run, folds, blocks = ({name: True} for name in ("fresh rows", "a run", "folds", "blocks"))
    assert names(chosen(None, fresh | run)) == ["holdout"]
    assert names(chosen(None, run | folds)) == ["progressive"]
    assert names(chosen(None, {"a run": False} | folds | blocks)) == ["cross-fit"]
    assert names(chosen(None, {})) == ["compressed", "pac-bayes"]
    assert names(chosen(["all"], fresh | run | folds | blocks)) == list(METHODS)
    assert "progressive" not in names(chosen(["all"], fresh | folds))
    with pytest.raises(InputError, match="holdout twice"):
        chosen(["holdout", "holdout"], fresh | run)
    with pytest.raises(InputError, match="did you mean pac-bayes.*; holdout needs rows that nobody used"):
        chosen(["pac-byes", "holdout"], run)
    with pytest.raises(InputError, match="cross-fit needs an adapter in the folder of a sweep with --cross-fit"):
        chosen(["cross-fit"], run)


def test_what_cannot_be_certified_is_said(work, tmp_path, capsys, monkeypatch):
    alone = shutil.copytree(work / "out/adapters/freeze_a-r2-n120-seed0", tmp_path / "alone")
    one_class = write(letters(60, 3, 12).with_columns(label=pl.lit("red")), tmp_path / "one.csv")
    strange = write(
        letters(60, 3, 12).with_columns(label=pl.lit("pink")).vstack(letters(60, 4, 12)), tmp_path / "s.csv"
    )
    both = ["--holdout", work / "fresh.csv"]
    cases = [
        ([alone], "give rows that nobody used, --holdout FILE, or the rows it was trained on, --data FILE"),
        ([alone, "--data", one_class], "has one class only ('red')"),
        ([alone, "--data", strange, "--methods", "compressed"], "have a label that"),
        ([alone, work / "out/adapters/freeze_a-r1-n120-seed0"], "give them with --holdout FILE"),
        ([alone, alone, *both], "an adapter is named twice"),
        ([alone, alone, *both, "--data", one_class], "--data holds the rows that one adapter was trained on"),
        ([alone, work / "out/adapters/freeze_a-r1-n120-seed0", *both, "--methods", "compressed"], "by holdout only"),
        ([work / "fresh.csv", *both], "needs no other rows"),
    ]
    for arguments, said in cases:
        status, _, errors = run(capsys, monkeypatch, "certify", *arguments)
        assert status == 2, arguments
        assert said in " ".join(errors.split()), arguments


def test_rows_it_was_trained_on_are_not_fresh(work, tmp_path):
    alone = shutil.copytree(work / "out/adapters/freeze_a-r2-n120-seed0", tmp_path / "alone")
    mixed = pl.read_csv(work / "fresh.csv").vstack(pl.read_csv(work / "letters.csv").head(30))
    made = lb.certify(alone, work / "letters.csv", holdout=write(mixed, tmp_path / "mixed.csv"), methods=["holdout"])
    assert made.best.bound.n_samples == len(pl.read_csv(work / "fresh.csv"))
    assert any("30 it was trained on" in note for note in made.notes)
