"""Settings on the page of a recommendation: those that were read, in words; commands as code."""

import math
from dataclasses import replace

from lorabound.reports.recommendation_page import recommendation_page
from lorabound.reports.recommendation_settings import settings_read
from tests.commands import shown
from tests.recommendation_cases import made_in

LABELS = {
    "epochs": 6, "clip_norm": math.inf, "head": "prompts", "head_lr": None, "prompt": "About {}.", "task": None,
    "metric": "wrong-tokens", "weight_decay": 0.0, "targets": ["query", "key"], "template": None,
}  # fmt: skip


def test_a_classifier_is_not_told_of_wrong_tokens_and_no_number_is_infinite():
    told = dict(settings_read(LABELS))
    assert "wrong" not in " ".join((*told, *told.values()))
    assert "inf" not in told.values()
    assert told["largest norm of a gradient"] == "no limit"
    assert told["layers with an adapter, by name"] == "query, key"
    assert told["prompt of a class"] == "About {}."


def test_completions_are_told_what_counts_as_error_and_of_no_classes():
    told = dict(settings_read(LABELS | {"task": "completions", "metric": "exact-match"}))
    assert told["what counts as error"] == "a completion that is not exactly right"
    assert "prompt of a class" not in told
    assert "what scores the classes" not in told


def test_a_setting_without_words_of_its_own_is_told_under_its_name():
    assert settings_read({"new_thing": 3}) == [("new thing", "3")]


def test_the_command_that_checks_is_code_on_the_page(tmp_path):
    made = made_in(tmp_path / "my tickets", own_limit=0.5)
    command = f"lorabound verify '{made.folder}'"  # as a shell takes it
    assert f"<code>{command}</code>".replace("'", "&#39;") in recommendation_page(made)
    assert "certificate.json; lorabound" not in recommendation_page(made)
    assert command in " ".join(shown(made, 400).split())


def test_an_adapter_of_completions_is_not_sent_to_a_command_that_refuses_it(tmp_path):
    made = made_in(tmp_path)
    assert "--holdout FILE" in shown(made, 400)
    assert "--holdout FILE" in recommendation_page(made)
    chats = replace(made, settings={**made.settings, "task": "completions"})
    assert "--holdout FILE" not in shown(chats, 400)
    assert "--holdout FILE" not in recommendation_page(chats)
