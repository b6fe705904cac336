"""`lorabound verify` on records of any content: never a traceback, and never "the same" for what was changed."""

import copy
import json
import shutil
from contextlib import ExitStack, nullcontext

import polars as pl
import pytest

import lorabound as lb
from lorabound.certificates import recompute, recompute_fresh, subject
from lorabound.certificates.found import find_adapter
from lorabound.certificates.holdout import measure_adapters
from lorabound.certificates.rows import AdapterUse
from lorabound.certificates.sample import open_subject
from lorabound.certificates.stored import NAME, _sha256
from lorabound.engine import evaluate
from lorabound.errors import InputError
from lorabound.sweeps import SweepConfig
from lorabound.sweeps.execute import run_sweep
from lorabound.sweeps.progressive import block_certificate, cross_fit_certificate
from tests.certificates.test_certify import letters, write
from tests.commands import run

GONE = object()
VALUES = [GONE, None, "x", "", -1, 0, 1e300, 10**400, True, [], {}, ["\0"], {"a": {"b": 1}}]
# What nothing can compute again; the last part of every check says so.
FREE = {"seconds", "lorabound", "notes", "name", "read", "tried"}


@pytest.fixture(scope="module")
def several(letters_bert, tmp_path_factory):
    """Certificates of all kinds of one small sweep, each in a folder of its method."""
    where = tmp_path_factory.mktemp("verify")
    data = write(letters(260, 0, 4), where / "letters.csv")
    write(letters(200, 7, 10), where / "fresh.csv")
    config = SweepConfig(
        data=str(data), model=str(letters_bert), head="trained", n_test=40, n_train=[60, 120], ranks=[1, 2],
        modes=["freeze_a"], seeds=1, targets=["query"], epochs=1, batch_size=10, lr=0.02, precision="float32",
        cross_fit=3, blocks=True,
    )  # fmt: skip
    run_sweep(config, where / "out")
    first, second = (where / f"out/adapters/freeze_a-r{rank}-n120-seed0" for rank in (1, 2))
    fresh = where / "fresh.csv"
    lb.certify(second, holdout=fresh, methods=["holdout", "progressive"], out=where / "both")
    lb.certify([first, second], holdout=fresh, out=where / "choice")
    lb.certify(where / "out", out=where / "sweep")
    lb.certify(second, methods=["cross-fit", "blocks"], out=where / "folds")
    table = pl.DataFrame({"label": ["a", "b"] * 50, "predicted": ["a"] * 99 + ["b"], "other": ["b"] * 100})
    lb.certify(write(table, where / "answers.csv"), predicted=["predicted", "other"], out=where / "table")
    return where


KINDS = ["both", "choice", "sweep", "folds", "table"]


def places(value, path=()):
    """Every place in a record: fields, entries, and what is in them."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, entry in items:
        yield (*path, name)
        yield from places(entry, (*path, name))


def changed(record, path, value):
    """A copy with one place changed, and with the hash that belongs to it; None where nothing changes."""
    made = copy.deepcopy(record)
    inside = made
    for name in path[:-1]:
        inside = inside[name]
    if value is GONE:
        del inside[path[-1]]
    elif type(inside[path[-1]]) is type(value) and inside[path[-1]] == value:
        return None
    else:
        inside[path[-1]] = value
    made.pop("sha256", None)
    return made | {"sha256": _sha256(made)}


@pytest.fixture
def quick(monkeypatch):
    """Models are loaded and run once for each adapter: what they compute does not depend on the record."""
    with ExitStack() as opened:

        def once(function, key_of):
            seen = {}

            def answer(*arguments):
                key = key_of(*arguments)
                seen[key] = seen.get(key) or function(*arguments)
                return seen[key]

            return answer

        entered = once(
            lambda *arguments: opened.enter_context(open_subject(*arguments)),
            lambda found, data, *_: (found.path, data),
        )
        monkeypatch.setattr(recompute, "open_subject", lambda *arguments: nullcontext(entered(*arguments)))
        monkeypatch.setattr(
            recompute_fresh,
            "measure_adapters",
            once(measure_adapters, lambda rows, _: (*(str(path) for path, _, _ in rows.adapters), len(rows.labels))),
        )
        monkeypatch.setattr(subject, "evaluate", once(evaluate, lambda classifier, *_: id(classifier)))
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_every_certificate_holds_as_it_was_written(several, kind):
    found = lb.verify(several / kind)
    assert found.holds, found.parts
    assert found.parts[-1].outcome == "not shown"


def unnoticed(folder, values_of):
    """Changes of the record in ``folder`` after which it holds, with the same parts not shown as before."""
    path = folder / NAME
    text, found = path.read_text(), lb.verify(folder)
    missing = [part.what for part in found.parts if part.outcome == "not shown"]
    record, silent = json.loads(text), []
    try:
        for number, place in enumerate(places(record)):
            for value in values_of(number):
                made = changed(record, place, value)
                if made is None or place == ("sha256",) or FREE & set(place):
                    continue
                path.write_text(json.dumps(made))
                try:
                    found = lb.verify(folder)
                except InputError as error:
                    silent += [(place, "a page in place of a sentence")] if len(str(error)) > 1_000 else []
                    continue
                if found.holds and missing == [part.what for part in found.parts if part.outcome == "not shown"]:
                    silent.append((place, value))
    finally:
        path.write_text(text)
    return silent


@pytest.mark.parametrize("kind", KINDS)
def test_no_change_of_a_record_passes(several, kind, quick):
    """Each place of the record is changed in one of the ways of ``VALUES``, in turn."""
    assert not unnoticed(several / kind, lambda number: [VALUES[number % len(VALUES)]])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_change_of_any_kind_passes(several, kind, quick):
    assert not unnoticed(several / kind, lambda _: VALUES)


def test_an_unknown_method_is_one_sentence(several, capsys, monkeypatch, tmp_path):
    record = json.loads((several / "table" / NAME).read_text())
    made = changed(record, ("statements", 0, "method"), "magic")
    (tmp_path / NAME).write_text(json.dumps(made))
    status, _, errors = run(capsys, monkeypatch, "verify", tmp_path)
    assert status == 2
    assert "there is no method 'magic'" in " ".join(errors.split())


def test_the_number_of_runs_to_choose_from_is_counted_again(several, tmp_path):
    """Someone halves the number and doubles the share of delta: the limit is lower, and nothing pays for it."""
    record = json.loads((several / "sweep" / NAME).read_text())
    assert record["of"]["candidates"] == 2
    shutil.copytree(several / "sweep", several / "halved")
    share = lb.certify(several / "out/adapters" / record["name"], methods=["progressive"], out=several / "halved")
    assert share.best.bound.delta == 0.05
    made = json.loads((several / "halved" / NAME).read_text())
    made.pop("sha256")
    made["of"]["candidates"] = 1
    (several / "halved" / NAME).write_text(json.dumps(made | {"sha256": _sha256(made)}))
    found = lb.verify(several / "halved")
    assert {part.what: part.outcome for part in found.parts}["number of runs to choose from"] == "differs"


def test_the_choice_among_adapters_is_made_again(several, tmp_path):
    """Also where one of them knows rows that the others do not."""
    found = lb.verify(several / "choice")
    assert {part.what: part.outcome for part in found.parts}["choice among adapters"] == "same"
    made = lb.certify(
        [several / f"out/adapters/freeze_a-r{rank}-n120-seed0" for rank in (1, 2)], holdout=several / "fresh.csv"
    )
    worse = next(one.name for one in made.fresh.predictors if one is not made.fresh.best)
    record = json.loads((several / "choice" / NAME).read_text())
    other = next(one for one in record["of"]["choices"] if one["name"] == worse)
    record |= {"name": worse}
    record["of"]["adapter"] = {name: other[name] for name in ("folder", "sha256")}
    record["of"]["task"] = json.loads((several / "out/adapters" / worse / "task.json").read_text())
    record.pop("sha256")
    shutil.copytree(several / "choice", several / "worse")
    (several / "worse" / NAME).write_text(json.dumps(record | {"sha256": _sha256(record)}))
    found = lb.verify(several / "worse")
    assert {part.what: part.outcome for part in found.parts}["choice among adapters"] == "differs"


def test_a_choice_whose_others_are_gone_is_not_shown_and_its_limit_holds(several, tmp_path):
    """Rows that do not fit then are not called changed: those that another adapter knew cannot be left out."""
    made = lb.certify(
        [several / f"out/adapters/freeze_a-r{rank}-n120-seed0" for rank in (1, 2)], holdout=several / "fresh.csv"
    )
    other = next(one.name for one in made.fresh.predictors if one is not made.fresh.best)
    record = json.loads((several / "choice" / NAME).read_text())
    (entry,) = (one for one in record["of"]["choices"] if one["name"] == other)
    entry["folder"] += "-gone"
    record.pop("sha256")
    shutil.copytree(several / "choice", several / "gone")
    (several / "gone" / NAME).write_text(json.dumps(record | {"sha256": _sha256(record)}))
    found = lb.verify(several / "gone")
    assert found.holds
    assert {part.what: part.outcome for part in found.parts}["choice among adapters"] == "not shown"
    write(pl.read_csv(several / "fresh.csv").head(150), tmp_path / "fewer.csv")
    for folder, outcome in (("gone", "not shown"), ("choice", "differs")):
        found = lb.verify(several / folder, holdout=tmp_path / "fewer.csv")
        assert not found.holds
        (part,) = (part for part in found.parts if part.what == "hold-out rows")
        assert part.outcome == outcome
        assert ("cannot be told" in part.detail) == (folder == "gone")


def test_away_from_its_sweep_less_is_shown(several, tmp_path):
    """Window, seed and counts are then only what the record says."""
    alone = shutil.copytree(several / "out/adapters/freeze_a-r2-n120-seed0", tmp_path / "alone")
    rows = lb.open_sweep(several / "out")
    frame = pl.read_csv(several / "letters.csv")
    with open_subject(
        find_adapter(several / "out/adapters/freeze_a-r2-n120-seed0", AdapterUse()), None, None, None, print
    ) as (_, sample, _):
        write(pl.DataFrame({"text": sample.examples, "label": sample.labels}), tmp_path / "rows.csv")
    assert len(frame) > rows.config.n_train[-1]
    found = lb.verify(several / "both", tmp_path / "rows.csv", adapter=alone)
    shown = {part.what: part.outcome for part in found.parts}
    assert shown["limit by progressive"] == "same"
    assert shown["settings of the run"] == "not shown"


def test_a_sweep_of_several_epochs_is_certified_with_the_choice_counted(several, tmp_path):
    sweep = lb.open_sweep(several / "out")
    for kind, of in (("cross-fit", cross_fit_certificate), ("blocks", block_certificate)):
        shutil.copytree(several / "out", tmp_path / kind / "out")
        copied = lb.open_sweep(tmp_path / kind / "out")
        copied.set_config(
            copied.config.model_copy(update={"epochs": 3} | ({"cross_fit": None} if kind == "blocks" else {}))
        )
        made = lb.certify(tmp_path / kind / "out", out=tmp_path / kind / "c")
        rows = [row for row in sweep.rows() if row.rank and row.n_train == 120]
        arguments = [(row, *([sweep.rows()] if kind == "blocks" else []), copied.config, 0.025) for row in rows]
        assert made.best.limit == min(float(of(*one).value) for one in arguments)
        assert made.best.method == kind
        assert "best of 2 runs" in made.notes[0]
        assert lb.verify(tmp_path / kind / "c").holds
        assert copied.summary().verdicts[0].proved.bound.value == made.best.limit
        assert made.gain_by == (kind if kind == "cross-fit" else None)
        with pytest.raises(InputError, match=f"which is certified by {kind}"):
            lb.certify(tmp_path / kind / "out", methods=["progressive"])


def test_the_gain_of_folds_is_that_of_the_sweep(several):
    made = lb.certify(several / "out/adapters/freeze_a-r2-n120-seed0", methods=["cross-fit"])
    frame = lb.open_sweep(several / "out").frame().filter(rank=2, n_train=120)
    assert made.gain_by == "cross-fit"
    assert float(made.gain.value) == pytest.approx(frame["gain_at_least"].item(), abs=1e-12)
