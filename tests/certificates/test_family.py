"""Certificates of adapters that train something smaller than a factor: what is paid for is what was trained."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lorabound.adapters import entries_of
from lorabound.certificates import occam, pac_bayes, recursive
from lorabound.certificates.subject import prepared_subject, start_of
from lorabound.engine import Examples, Recipe, train
from lorabound.errors import AdapterError
from lorabound.modes import MODES
from lorabound.stack import directions_of_weights, select_linears
from lorabound.sweeps.records import AdapterTask
from tests.adapter_cases import SUBSPACE, new_on

RECIPE = Recipe(epochs=1, batch_size=8, lr=0.05)
SMALLER = ["core", "subspace", "common"]


def letters(tiny, n=60):
    random = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in random.integers(0, 26, random.integers(2, 6))) for _ in range(n)]
    return Examples(tiny.prepare(texts), np.array([ord(t[0]) % 3 for t in texts]))


@pytest.fixture
def made(tiny, monkeypatch):
    """Gives a trained adapter of a mode and law as the subject of a certificate."""
    tiny.head, tiny.limit, tiny.notes = None, None, ()
    tiny.module.get_input_embeddings = lambda: tiny.module.embedding
    task = AdapterTask(
        model="tiny", model_sha256="tiny", takes="texts", head="prompts", prompt="{}", classes=["a", "b", "c"],
        logit_scale=5.0, max_length=8, precision="float32", n_train=60,
    )  # fmt: skip
    for module in ("monte_carlo", "pac_bayes", "recursive", "search"):  # the fewest draws make no difference here
        monkeypatch.setattr(f"lorabound.certificates.{module}.n_draws", lambda n: 300, raising=False)
    monkeypatch.setattr("lorabound.certificates.search._LOOKS", 200)
    monkeypatch.setattr("lorabound.certificates.search._EXAMPLES", 60)
    open_subjects = ExitStack()

    def make(mode, law="svd", links=1):
        sample, shapes = letters(tiny), select_linears(tiny.module, ["query", "value"])
        adapter = new_on(tiny.module, shapes, mode, law=law, links=links)
        (result,) = train(tiny, sample, sample.head(4), [adapter], [0], RECIPE)
        opened = prepared_subject(Path("there"), result.adapter, task, tiny, sample, RECIPE)
        return open_subjects.enter_context(opened)

    with open_subjects:
        yield make


@pytest.mark.parametrize("law", ["svd", "gaussian"])
@pytest.mark.parametrize("mode", SMALLER)
def test_what_was_trained_is_paid_for_and_the_rest_is_known(made, mode, law):
    subject = made(mode, law)
    assert subject.paid == MODES[mode].trained
    assert subject.start.frozen_sha256() == subject.adapter.frozen_sha256()
    assert not any(value.any() for value in entries_of(subject.start, subject.paid).values())
    q = {"core": 4 * 9, "subspace": SUBSPACE, "common": 4 * 3 * 16}[mode]
    statement = pac_bayes.certify_data_free(subject, 0.05)
    assert statement.record["n_params"] == q == subject.adapter.n_params
    assert statement.record["kl"] >= 0
    again = pac_bayes.recompute_data_free(subject, statement.record, statement.files, 0.05)
    assert again.limit == pytest.approx(statement.limit)
    assert again.record["kl"] == pytest.approx(statement.record["kl"])


@pytest.mark.parametrize(("mode", "sides"), [("freeze_a", 16 + 20), ("common", 16 + 16), ("train_both", 16 + 20 + 32)])
def test_all_links_of_a_chain_are_paid_for(made, mode, sides):
    """q is 2 links x rank 3 x the sides of query (16 x 16) and value (20 x 16) that are trained, in two layers."""
    subject = made(mode, "gaussian", links=2)
    before = entries_of(subject.start, subject.paid)
    for name, value in entries_of(subject.adapter, subject.paid).items():
        moved = np.split(value - before[name], 2, axis=1 if "lora_B" in name else 0)
        assert all(of_link.any() for of_link in moved)
    assert subject.start.frozen_sha256() == subject.adapter.frozen_sha256()
    statement = pac_bayes.certify_data_free(subject, 0.05)
    assert statement.record["n_params"] == 2 * 2 * 3 * sides == subject.adapter.n_params
    again = pac_bayes.recompute_data_free(subject, statement.record, statement.files, 0.05)
    assert again.limit == pytest.approx(statement.limit)


@pytest.mark.parametrize(("mode", "links"), [*((mode, 1) for mode in SMALLER), ("freeze_a", 5)])
def test_messages_and_halves_and_recursion_encode_what_was_trained(made, mode, links):
    subject = made(mode, links=links)
    stored = occam.certify_as_stored(subject, 0.05)
    assert occam.recompute_as_stored(subject, stored.record, stored.files, 0.05).limit == stored.limit
    (content,) = stored.files.values()
    decoded = occam.decoded_adapter(subject, content)
    for name, value in entries_of(subject.adapter, subject.paid).items():
        np.testing.assert_array_equal(entries_of(decoded, subject.paid)[name], value)
    for name, factors in decoded.layers.items():
        np.testing.assert_allclose(factors.b, subject.adapter.layers[name].b, atol=1e-6)
    assert len(content) < 4 * subject.adapter.n_params + 20
    small = occam.certify_compressed(subject, 0.05)
    assert occam.recompute_compressed(subject, small.record, small.files, 0.05).limit == small.limit
    for certify, recompute in [
        (pac_bayes.certify_data_dependent, pac_bayes.recompute_data_dependent),
        (recursive.certify_recursive, recursive.recompute_recursive),
    ]:
        statement = certify(subject, 0.05)
        assert recompute(subject, statement.record, statement.files, 0.05).limit == pytest.approx(statement.limit)


@pytest.mark.parametrize("mode", ["core", "subspace", "common"])
def test_a_factor_that_is_not_that_of_the_weights_is_refused(made, tiny, mode):
    """A frozen factor may carry what the data said: it must be what the weights of this model make."""
    subject = made(mode)
    tiny.module.get_submodule("layer.0.query").weight.data += 0.5 * np.eye(16, dtype=np.float32)[::-1].copy()
    with (
        pytest.raises(AdapterError, match="the frozen factor of .* is not what seed 4 and law svd make on this model"),
        prepared_subject(subject.path, subject.adapter, subject.task, tiny, subject.sample, RECIPE),
    ):
        pass


def test_an_adapter_from_elsewhere_pays_for_both_factors(made, tiny):
    subject = made("core")
    weights = directions_of_weights(tiny.module, subject.adapter.shapes)
    start = start_of(replace(subject.adapter, seed=None, law=None), None, weights)
    assert not any(factors.a.any() or factors.b.any() for factors in start.layers.values())


def test_files_of_a_core_name_what_they_hold(made):
    statement = pac_bayes.certify_data_free(made("core"), 0.05)
    (content,) = statement.files.values()
    assert hashlib.sha256(content).hexdigest() == statement.record["sha256"]
    assert b"layer.0.query.lora_M" in content
