"""Names of adapters in answers: short, and no two alike."""

from pathlib import Path

from lorabound.certificates.holdout import names_of


def test_what_every_training_calls_its_adapter_takes_the_folder_above():
    assert names_of([Path("/home/me/tickets/adapter")]) == ["tickets/adapter"]
    assert names_of([Path("/home/me/run/checkpoint-120")]) == ["run/checkpoint-120"]
    assert names_of([Path("/home/me/adapters/freeze_a-r4")]) == ["freeze_a-r4"]


def test_no_two_names_are_alike_and_none_is_longer_than_that_takes():
    paths = [Path(f"/home/me/{place}/adapter") for place in ("a/one", "b/one", "b/two")]
    assert names_of(paths) == ["a/one/adapter", "b/one/adapter", "b/two/adapter"]
    assert names_of([Path("/x/a/rank8"), Path("/x/b/rank8")]) == ["a/rank8", "b/rank8"]
    assert names_of([Path("/rank8"), Path("/a/rank8")]) == ["rank8", "a/rank8"]
