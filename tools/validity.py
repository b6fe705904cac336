"""Do certificates hold as often as they say? The whole pipeline, again and again, on a task whose true error is known.

    python tools/validity.py --repeats 200 --methods holdout,progressive,compressed --out validity.csv

A population of texts over three letters, with a known probability of each label given the text, on a small BERT with
random weights. Each repeat draws rows from it, trains a sweep, certifies one run fixed beforehand by every method, and
compares each limit with the exact error of the predictor it speaks of: sum over texts of P(text) P(label differs).
Also the least limit over the methods, each at delta over their number, and the best of the ranks. With a delta of 0.2 a
limit that is wrong too often is seen soon. Needs the tests beside it, for the small model.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.stats import binom

from lorabound.adapters import Adapter, entries_of, load_adapter
from lorabound.certificates import pac_bayes, recursive
from lorabound.certificates.certify import certify_adapters
from lorabound.certificates.found import Asked, find_adapter
from lorabound.certificates.methods import METHODS
from lorabound.certificates.monte_carlo import draw_errors
from lorabound.certificates.occam import decoded_adapter
from lorabound.certificates.pac_bayes import content_of, file_name
from lorabound.certificates.posterior import Posterior, frame_of, unpack
from lorabound.certificates.recursive import RECURSIVE
from lorabound.certificates.sample import open_subject
from lorabound.certificates.subject import Subject
from lorabound.engine import Examples, train
from lorabound.models import Classifier, load_classifier
from lorabound.stack import Stack
from lorabound.sweeps import SweepConfig, execute, measuring

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.text_models import save_letters_bert

COLOURS = ["blue", "green", "red"]  # sorted, as a sweep has its classes
CONFIG = {
    "head": "trained", "n_test": 60, "modes": ["freeze_a"], "seeds": 1, "targets": ["query", "value"], "epochs": 1,
    "batch_size": 10, "lr": 0.02, "schedule": "cosine", "precision": "float32",
}  # fmt: skip


@dataclass
class Row:
    """One limit of one repeat, beside the truth."""

    repeat: int
    method: str
    limit: float
    truth: float
    delta: float


@dataclass
class Population:
    """Texts with probabilities, and the probability of each label given the text."""

    texts: list[str]
    share: np.ndarray
    label: np.ndarray

    def draw(self, n: int, random: np.random.Generator) -> pl.DataFrame:
        """n independent rows."""
        rows = random.choice(len(self.texts), n, p=self.share)
        labels = [COLOURS[random.choice(3, p=self.label[row])] for row in rows]
        return pl.DataFrame({"text": [self.texts[row] for row in rows], "label": labels})

    def error(self, predicted: np.ndarray, outside: np.ndarray | None = None) -> float:
        """Exact error of predicted classes (n,), over all texts or those ``outside`` (n,) bool."""
        share = self.share if outside is None else self.share * outside / (self.share * outside).sum()
        return float((share * (1 - self.label[np.arange(len(self.texts)), predicted])).sum())


def population() -> Population:
    """3,159 texts of 5 to 7 letters; the first letter is the label in 3 of 4 rows."""
    texts = ["".join(letters) for length in (5, 6, 7) for letters in itertools.product("abc", repeat=length)]
    label = np.full((len(texts), 3), 0.125)
    label[np.arange(len(texts)), ["abc".index(text[0]) for text in texts]] = 0.75
    return Population(texts, np.full(len(texts), 1 / len(texts)), label)


def predictions(classifier: Classifier, inputs: Any, n: int, n_adapters: int = 1) -> np.ndarray:
    """(K, n) predicted classes of the adapters now attached."""
    with torch.no_grad():
        logits = classifier.logits(inputs, np.tile(np.arange(n), n_adapters), classifier.class_embeddings())
    return logits.view(n_adapters, n, -1).argmax(-1).numpy()


class Truth:
    """The exact error on new data of everything that a certificate may speak of."""

    def __init__(self, task: Population, model: Path) -> None:
        self.task = task
        self.classifier = load_classifier(str(model), COLOURS, head="trained", max_length=20)
        self.inputs = self.classifier.prepare(task.texts)
        self.before: list[np.ndarray] = []  # per step of the run: exact errors of its adapters before the step

    def of(self, adapters: Sequence[Adapter], outside: np.ndarray | None = None) -> np.ndarray:
        """(K,) errors of adapters of one mode."""
        with Stack(self.classifier.module, adapters, self.classifier.towers):
            found = predictions(self.classifier, self.inputs, len(self.task.texts), len(adapters))
        return np.array([self.task.error(one, outside) for one in found])

    def of_random(self, statement: Any, subject: Subject) -> float:
        """The error of a randomized adapter, by draws: three of their deviations below their mean, to be fair to it."""
        frame = frame_of(subject.adapter, subject.start)
        if statement.method == RECURSIVE:  # its last posterior is the predictor
            content = content_of(RECURSIVE, statement.record, statement.files)
            wanted, name = entries_of(frame, subject.paid), file_name(RECURSIVE)
            found = unpack(content, recursive._GROUPS, wanted, str(statement.record["sha256"]), name)
            mean, variance = (found[group] for group in recursive._GROUPS[-2:])
        else:
            groups = ("mean", "variance", "prior")[: 2 + (statement.method != "pac-bayes")]
            _, found = pac_bayes._stored(statement.method, groups, subject, statement.record, statement.files)
            mean, variance = found["mean"], found["variance"]
        posterior = Posterior(frame=frame, mean=mean, variance=variance)
        n, draws = len(self.task.texts), 40_000
        every = Examples(subject.classifier.prepare(self.task.texts * 3), np.repeat(np.arange(3), n))
        chances = (self.task.share[:, None] * self.task.label).T.ravel()
        rows = np.random.default_rng(1).choice(3 * n, draws, p=chances / chances.sum())
        mean = float(draw_errors(subject.pool, every, posterior, rows, 99).mean())
        return mean - 3 * float(np.sqrt(mean * (1 - mean) / draws))

    def watching(self, classifier: Classifier, train_set: Any, test_set: Any, adapters: Any, seeds: Any, recipe: Any,
                 on_step: Any, *rest: Any) -> Any:  # fmt: skip
        """:func:`lorabound.engine.train`, with the exact error of every checkpoint noted before its step."""

        def note(done: int, total: int) -> None:
            found = predictions(classifier, self.inputs, len(self.task.texts), len(adapters))
            self.before.append(np.array([self.task.error(one) for one in found]))
            on_step(done, total)

        bare = predictions(classifier, self.inputs, len(self.task.texts))
        self.before = [np.full(len(adapters), self.task.error(bare[0]))]
        return train(classifier, train_set, test_set, adapters, seeds, recipe, note, *rest)


def one(repeat: int, truth: Truth, model: Path, methods: list[str], n: int, delta: float) -> list[Row]:
    """One repeat: rows, sweep, certificates; each limit beside the error it limits."""
    random, task = np.random.default_rng(repeat), truth.task
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        drawn = task.draw(n + 300, random)
        drawn.head(n + CONFIG["n_test"]).write_csv(folder / "rows.csv")
        drawn.tail(200).write_csv(folder / "fresh.csv")
        config = SweepConfig(data=str(folder / "rows.csv"), model=str(model), n_train=[n], ranks=[1, 2], **CONFIG)
        measuring.train = truth.watching
        sweep = execute.run_sweep(config, folder / "out")
        measuring.train = train
        run = f"freeze_a-r2-n{n}-seed0"
        asked = Asked(holdout=str(folder / "fresh.csv"), methods=methods, delta=delta)
        made = certify_adapters([str(folder / "out/adapters" / run)], asked)
        seen = set(pl.read_csv(folder / "rows.csv")["text"])
        outside = np.array([text not in seen for text in task.texts])
        rows = [
            Row(repeat, statement.method, statement.limit, truth_of(statement, truth, sweep, run, outside), share)
            for statement, share in ((s, float(s.bound.delta)) for s in made.statements)
        ]
        if len(rows) > 1:  # the least of the limits is right where the limit it is, is
            least = min(rows, key=lambda row: row.limit)
            wrong = [row for row in rows if row.limit < row.truth] or [least]
            rows.append(Row(repeat, "least of the methods", least.limit, least.truth, delta))
            rows.append(Row(repeat, "any of the methods", wrong[0].limit, wrong[0].truth, delta))
        if "progressive" in methods:
            best = certify_adapters([str(folder / "out")], Asked(delta=delta))
            exact = truth_of(best.best, truth, sweep, best.name, outside)
            rows.append(Row(repeat, "best of 2 runs", best.best.limit, exact, delta))
        return rows


def truth_of(statement: Any, truth: Truth, sweep: Any, run: str, outside: np.ndarray) -> float:
    """The exact error on new data of the predictor that a statement speaks of."""
    adapter = load_adapter(sweep.folder / "adapters" / run)
    if statement.method == "holdout":  # its rows are those outside the ones that the sweep saw
        return float(truth.of([adapter], outside)[0])
    if statement.method == "as-stored":
        return float(truth.of([adapter])[0])
    if statement.method == "progressive":
        start, size = statement.record["start"], statement.record["settings"]["batch_size"]
        k = sorted(path.name for path in (sweep.folder / "adapters").iterdir() if path.is_dir()).index(run)
        place = np.arange(start, statement.record["run"]["n_train"])
        return float(np.mean([truth.before[at // size][k] for at in place]))
    found = find_adapter(sweep.folder / "adapters" / run, Asked().use)
    with open_subject(found, None, None, None, str) as (subject, _, _):
        if statement.method == "compressed":
            adapter = decoded_adapter(subject, statement.files["compressed.bin"])
        else:
            return truth.of_random(statement, subject)
    return float(truth.of([adapter])[0])


def main() -> None:
    """Repeat, count, print one line per method, write every limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--methods", default="holdout,progressive")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--delta", type=float, default=0.2)
    parser.add_argument("--out", type=Path, default=Path("validity.csv"))
    asked = parser.parse_args()
    methods = asked.methods.split(",")
    assert set(methods) <= set(METHODS)
    task = population()
    with tempfile.TemporaryDirectory() as place:
        model = save_letters_bert(Path(place) / "model")
        truth = Truth(task, model)
        rows = []
        for repeat in range(asked.first, asked.first + asked.repeats):
            rows += one(repeat, truth, model, methods, asked.n, asked.delta)
            if (repeat + 1) % 20 == 0:
                print(f"{repeat + 1 - asked.first} repeats", flush=True)
    frame = pl.DataFrame([vars(row) for row in rows])
    frame.write_csv(asked.out)
    for (method, delta), group in frame.group_by("method", "delta", maintain_order=True):
        broken = int((group["limit"] < group["truth"]).sum())
        chance = binom.sf(broken - 1, len(group), delta)
        margin = float((group["limit"] - group["truth"]).mean())
        print(
            f"{method}: {broken} of {len(group)} limits below the truth, {delta:.3g} asked for (so many or more "
            f"have probability {chance:.3g} at that rate); limit minus truth {margin:.3f} on average"
        )


if __name__ == "__main__":
    main()
