"""What a refused command leaves behind: nothing; and what it says of a folder that is of another kind."""

import pytest

import lorabound as lb
from lorabound.errors import InputError, OutputError, StoreError
from lorabound.files import result_folder
from lorabound.recommendations.stored import open_recommendation, write_recommendation
from lorabound.sweeps.store import FILE
from tests.commands import run
from tests.recommendation_cases import made_in, with_adapter


@pytest.fixture
def recommended(tmp_path, letters_bert):
    """A folder of a recommendation with its adapter."""
    folder = tmp_path / "tickets"
    made = with_adapter(made_in(folder), letters_bert, n_classes=2)
    write_recommendation(made)
    return folder


def refused_in(folder, *names):
    """A command that writes these files, and is refused then."""
    with result_folder(folder):
        assert folder.is_dir()
        for name in names:
            (folder / name).write_text("trained")
        raise InputError("no")


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_folders_that_were_made_for_a_refused_command_go_away(tmp_path):
    (tmp_path / "mine").mkdir()
    for place in ("a/b/c", "mine/new", "mine"):
        with pytest.raises(InputError, match="no"):
            refused_in(tmp_path / place)
    assert everything(tmp_path) == ["mine"]  # which was there before


def test_a_folder_that_holds_something_stays(tmp_path):
    with pytest.raises(InputError, match="no"):
        refused_in(tmp_path / "a/b", "pilot")
    assert (tmp_path / "a/b/pilot").exists()
    with pytest.raises(OutputError), result_folder(tmp_path / "a/b/pilot/c"):
        pass


def test_refused_commands_leave_nothing(capsys, monkeypatch, recommended, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"word{i},{'ab'[i % 2]}\n" for i in range(30)))
    before = everything(tmp_path)
    new = tmp_path / "new" / "folder"
    adapter, rows = recommended / "adapter", tmp_path / "rows.csv"
    for command in (
        ("certify", recommended, "--out", new),
        ("certify", adapter, "--out", new),
        ("certify", rows, "--out", new),
        ("certify", adapter, "--data", tmp_path / "none.csv", "--out", new, "--page", new / "page.html"),
        ("sweep", "--data", rows, "--model", tmp_path / "none", "--out", new),
        ("sweep", "--data", rows, "--out", recommended),
        ("concentration", "--data", rows, "--out", recommended),
        ("concentration", "--data", rows, "--model", tmp_path / "none", "--out", new),
        ("recommend", "--data", rows, "--model", tmp_path / "none", "--out", new),
        ("recommend", "--data", tmp_path / "none.csv", "--out", new),
        ("complexity", "--data", rows, "--model", tmp_path / "none", "--out", new),
        ("plan", "--pilot", recommended, "--csv", new / "plan.csv", "--page", new / "page.html"),
        ("inspect", recommended, "--csv", new / "layers.csv"),
        ("export", recommended, new / "runs.csv"),
        ("report", recommended, "--figure", new / "figure.svg"),
        ("verify", recommended, "--page", new / "page.html"),
    ):
        status, _, said = run(capsys, monkeypatch, *command)
        assert (status, everything(tmp_path)) == (2, before), (command, said)


def test_a_page_that_is_refused_stops_a_report_before_its_figure(capsys, monkeypatch, tmp_path):
    (tmp_path / "notes.html").write_text("mine")
    asked = ("report", tmp_path, "--figure", tmp_path / "a.svg", "--page", tmp_path / "notes.html")
    status, _, said = run(capsys, monkeypatch, *asked)
    assert (status, everything(tmp_path)) == (2, ["notes.html"])
    assert "is no page of lorabound" in said  # told before the folder, which holds no sweep, is looked at


def test_no_certificate_takes_the_place_of_that_of_a_recommendation(recommended, tmp_path):
    (recommended / "certificate.json").write_text("of its training")
    (tmp_path / "answers.csv").write_text("label,predicted\n" + "a,a\nb,b\n" * 20)
    with pytest.raises(InputError, match="holds a recommendation"):
        lb.certify(tmp_path / "answers.csv", out=recommended)
    assert (recommended / "certificate.json").read_text() == "of its training"


def test_python_leaves_nothing_either(recommended, tmp_path):
    before = everything(tmp_path)
    with pytest.raises(InputError):
        lb.certify(recommended / "adapter", classes=["a", "b"], out=tmp_path / "new")
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / FILE).write_bytes(b"runs")
    with pytest.raises(InputError, match="holds a sweep"):
        lb.recommend(tmp_path / "rows.csv", out=tmp_path / "sweep")
    assert everything(tmp_path) == sorted([*before, "sweep", f"sweep/{FILE}"])


def test_a_folder_of_a_recommendation_is_no_pilot_and_is_not_to_be_swept_into(capsys, monkeypatch, recommended):
    for command in (("plan", "--pilot", recommended), ("export", recommended, "runs.csv")):
        _, _, said = run(capsys, monkeypatch, *command)
        assert f"{recommended} holds no sweep (sweep.sqlite) but a recommendation" in " ".join(said.split())
        assert f"--out {recommended}" not in said
    with pytest.raises(StoreError, match="wrote") as refused:  # nor the adapter's folder, nor any that holds something
        lb.open_sweep(recommended / "adapter")
    assert "sweep --out FOLDER" in str(refused.value)


def test_a_folder_of_a_sweep_holds_no_recommendation(tmp_path):
    (tmp_path / FILE).write_bytes(b"runs")
    with pytest.raises(InputError, match="holds a sweep"):
        open_recommendation(tmp_path)


def test_an_adapter_of_a_recommendation_asks_for_fresh_rows_first(capsys, monkeypatch, recommended):
    _, _, said = run(capsys, monkeypatch, "certify", recommended / "adapter", "--classes", "a,b")
    said = " ".join(said.split())
    assert 0 < said.index("--holdout FILE") < said.index("--data FILE")
    _, _, said = run(
        capsys, monkeypatch, "certify", recommended / "adapter", "--classes", "a,b", "--methods", "compressed"
    )
    assert "--holdout" not in said
    assert "--data FILE" in said
