"""A limit that rounds up to what is true anyhow says nothing, wherever it is shown."""

from dataclasses import replace

import pytest

from lorabound.bounds import holdout
from lorabound.certificates import Certificate, Statement, check_errors
from lorabound.certificates.card import _results
from lorabound.certificates.words import answer, at_most
from lorabound.notation import says_nothing
from lorabound.recommendations.card import write_model_card
from lorabound.reports.recommendation_page import recommendation_page
from tests.commands import shown
from tests.recommendation_cases import made_in, with_adapter

NEARLY_ONE = replace(holdout(30, 100, 0.05 / 36), value=0.9996)
TELLING = replace(NEARLY_ONE, value=0.999)


def test_a_limit_is_silent_when_it_is_shown_as_one():
    assert not NEARLY_ONE.vacuous  # the number itself is below 1, and theorists may read it
    assert NEARLY_ONE.silent
    assert not TELLING.silent
    assert [says_nothing(limit) for limit in (0.998, 0.999, 0.99901, 1.0, 1.4)] == [False, False, True, True, True]
    gain = replace(NEARLY_ONE, kind="gain", direction="lower", value=0.0004)  # "at least 0.0 percentage points"
    assert gain.silent
    assert not replace(gain, value=0.001).silent


@pytest.mark.parametrize("limit", [NEARLY_ONE, TELLING])
def test_a_recommendation_gives_no_limit_that_is_shown_as_one(tmp_path, limit):
    made = with_adapter(made_in(tmp_path, limit=limit, own_limit=limit.value), "bert")
    write_model_card(made, "bert", "AutoModel", None, (), ())
    card = (tmp_path / "adapter/README.md").read_text()
    text = " ".join(shown(made).split())
    page = recommendation_page(made)
    told = not limit.silent
    assert ("Guaranteed: " in text) == ("Its training shows by itself" in text) == told
    assert ("Guaranteed with probability" in card) == told
    assert ("What is guaranteed" in page) == ("Its training shows by itself" in page) == told
    assert ("Nothing is guaranteed" in page) == (not told)


def test_a_certificate_says_that_nothing_follows():
    one = Statement(method="holdout", speaks_of="the adapter as stored", bound=NEARLY_ONE, error=0.3)
    certificate = Certificate(name="adapter", delta=0.05, statements=(one,))
    assert answer(certificate).startswith("Nothing is certified")
    assert at_most(NEARLY_ONE) == "says nothing"
    assert at_most(TELLING) == "99.9%"
    assert "100.0%" not in shown(certificate)
    assert all("at_most" not in result.metric_type for result in _results(certificate))


def test_fresh_rows_that_are_all_wrong_limit_nothing():
    for wrong in ([[True] * 20], [[True] * 20, [True] * 20]):
        text = shown(check_errors([f"adapter{i}" for i in range(len(wrong))], wrong))
        assert "on at most 100.0%" not in " ".join(text.split())
        assert "limits" in text
