"""Untrusted input: every file that is read may be damaged or hostile. ``make fuzz`` runs far more of the same."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.changes import changed
from tests.fuzz.targets import targets

CASES = 12


@pytest.fixture(scope="module")
def made():
    return targets()


def test_files_that_nobody_changed_are_taken(made, tmp_path):
    for name, target in made.items():
        if name not in ("model tokenizer_config.json",):
            assert target.refusal(target.content, tmp_path / "place") is None, name


@pytest.mark.parametrize("name", sorted(targets()))
def test_changed_files_are_refused_in_a_sentence_or_taken(name, made, tmp_path_factory):
    place = tmp_path_factory.mktemp("fuzz") / "place"

    @settings(
        max_examples=3 if name.startswith("model") else CASES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.integers(0, 2**32))
    def fuzz(seed):
        made[name].refusal(changed(made[name].content, random.Random(seed)), place)

    fuzz()
