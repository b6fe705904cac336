"""What certificates say in plain words: every exact term has its sentence, tables fit 80 columns, contradictions are told."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import lorabound as lb
from lorabound.bounds import cross_fit, disagreement, holdout, occam, pac_bayes, progressive, recursive_pac_bayes
from lorabound.certificates import Certificate, Statement
from lorabound.certificates.holdout import Measured
from lorabound.certificates.measure import contradictions
from lorabound.certificates.occam import _KNOWN
from lorabound.certificates.plain import _PLAIN, exact, plain
from lorabound.certificates.rows import FreshRows
from lorabound.certificates.verification import Part, Verification
from tests.commands import shown

THEORY = ("identically", "prior", " Q ", "predictor", "0-1", "prefix", "posterior", "gamma", "empirical")
LATE = progressive(0.2, 500, 0.05, lam=0.3)
BOUNDS = {
    "holdout": holdout(20, 200, 0.05),
    "progressive": LATE,
    "final": disagreement(LATE, differing=3, n_unlabelled=400, delta=0.05),
    "cross-fit": cross_fit(0.2, 500, 5, 0.05, lam=0.3),
    "occam": occam(0.2, 5000, 200, 0.05),
    "pac-bayes": pac_bayes(0.2, 5000, 30.0, 0.05),
    "pac-bayes, draws": pac_bayes(0.2, 5000, 30.0, 0.05, draws=50_000, delta_draws=0.0125),
    "recursive": recursive_pac_bayes(0.2, [[0.6, 0.2, 0.05]], [500, 250], [3.0, 4.0], [5000, 5000], 0.04, 0.01),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_term_of_a_bound_has_a_plain_sentence(name):
    terms = BOUNDS[name].assumptions
    assert set(terms) <= set(_PLAIN) | {"Rhat(Q) is exact"}, name
    said = [sentence for sentence in plain(terms) if sentence != "Rhat(Q) is exact"]
    assert said[0].startswith("the rows are drawn like the new data")
    assert not [word for word in THEORY for sentence in said if word in sentence]
    assert all(term in exact(terms) for term in terms if term in _PLAIN)  # nothing is hidden


def test_two_methods_name_the_draw_once():
    terms = (*BOUNDS["holdout"].assumptions, *BOUNDS["progressive"].assumptions)
    assert sum("drawn like the new data" in sentence for sentence in plain(terms)) == 1
    assert _KNOWN in _PLAIN


def statement(method, speaks_of, bound, **more):
    return Statement(method=method, speaks_of=speaks_of, bound=bound, error=0.2, **more)


@pytest.fixture
def certificate():
    long = "an adapter drawn at random for every prediction, around one that was trained for this certificate,"
    statements = (
        statement("pac-bayes-recursive", long, BOUNDS["pac-bayes"], notes=("A note.",)),
        statement("holdout", "the adapter as stored", BOUNDS["holdout"]),
    )
    return Certificate(
        name="mine", delta=0.1, statements=statements, zero_shot=statement("zero-shot", "the model", LATE)
    )


def test_a_certificate_fits_80_columns_and_says_what_its_mark_is(certificate):
    lines = shown(certificate).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "> holdout" in text
    assert "> the least limit. Both limits hold at once" in text
    assert (
        "certificate," not in text.partition("rows error")[2].partition("the least limit")[0]
    )  # no comma in the table
    alone = Certificate(name="mine", delta=0.1, statements=certificate.statements[1:])
    assert ">" not in shown(alone)


def test_a_verification_fits_80_columns():
    parts = (
        Part(
            what="losses before each update",
            outcome="not shown",
            detail="only training again, with the same seeds, shows it " * 3,
        ),
        Part(what="adapter", outcome="same", detail="4 files unchanged"),
    )
    found = Verification(name="mine", limit=0.2, delta=0.05, parts=parts, assumptions=BOUNDS["holdout"].assumptions)
    assert max(map(len, shown(found).splitlines())) <= 80


def measured(bare, wrong):
    rows = FreshRows(adapters=[], examples=[], labels=[], repeated=np.zeros(len(bare), bool), of_sweeps=False, notes=[])
    return Measured(found=rows, wrong=np.array([wrong]), bare=np.array(bare), model_sha256="", notes=())


def errors(count, n=400):
    return np.arange(n) < count


def bare_on_training(count, n=400):
    return statement("zero-shot", "the model", holdout(count, n, 0.05), record={"n_wrong": count, "n_rows": n})


def test_rows_that_are_not_drawn_alike_are_told():
    late = [statement("progressive", "a checkpoint", LATE)]
    assert contradictions(measured(errors(200), errors(60)), late, bare_on_training(210)) == []
    (told,) = contradictions(measured(errors(280), errors(60)), late, bare_on_training(210))
    assert "the model without an adapter is wrong on 70.0% of the fresh rows and on" in told
    (told,) = contradictions(measured(errors(200), errors(180)), late, bare_on_training(210))
    assert "by progressive on at most 2" in told
    assert "probably not drawn alike" in told
    stand_in = [statement("compressed", "the compressed adapter", LATE)]  # may well be better than a bad adapter
    assert contradictions(measured(errors(200), errors(180)), stand_in, bare_on_training(210)) == []


def test_rows_that_are_drawn_alike_are_seldom_told():
    """Two exact 95% intervals of one error do not meet: 120 of 20,000 such repeats (seed 1), 0.6%."""
    random = np.random.default_rng(0)
    told = sum(
        bool(
            contradictions(
                measured(random.random(200) < 0.3, errors(0, 200)),
                [],
                bare_on_training(int(random.binomial(600, 0.3)), 600),
            )
        )
        for _ in range(300)
    )
    assert told <= 8  # P(Bin(300, 0.006) > 8) = 0.0001


def test_fresh_rows_of_one_class_are_told(tmp_path):
    pl.DataFrame({"label": ["a"] * 50, "predicted": ["a"] * 45 + ["b"] * 5}).write_csv(tmp_path / "one.csv")
    (note,) = lb.certify(Path(tmp_path / "one.csv")).notes
    assert "have the label 'a'" in note
    pl.DataFrame({"label": ["a"] * 49 + ["b"], "predicted": ["a"] * 50}).write_csv(tmp_path / "two.csv")
    assert lb.certify(tmp_path / "two.csv").notes == ()
