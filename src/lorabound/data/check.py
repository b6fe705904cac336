"""One look at labelled data that says everything at once, before any model is loaded.

Faults keep a sweep from running: empty fields, one label spelled in two ways, one class only, a test set of other
classes. Remarks do not: classes of one or two rows, labels that look like misspelt ones, repeated rows, rows of the
training data that stand in the test set too, texts that will probably be cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from lorabound.data.findings import DataCheck
from lorabound.data.images import CorruptImage, Picture
from lorabound.data.labelled import Labelled
from lorabound.data.phrases import counted, listed, listed_places, quoted, row_places
from lorabound.data.spelling import spellings
from lorabound.data.split import identity

# A text has about so many characters per token, for an English vocabulary and English text.
CHARACTERS_PER_TOKEN = 4.5
# A class with at most so many rows is called rare.
_RARE = 2


def check_data(
    table: Labelled,
    test: Labelled | None = None,
    prompts: bool = True,
    max_length: int | None = None,
    decode: bool = False,
) -> DataCheck:
    """Look at data that were read with ``empty="keep"``, and at the test set where it comes from elsewhere.

    Args:
        prompts: whether class names stand in prompts, so that two spellings of one name cannot be two classes.
        max_length: number of tokens after which a text is cut; None where it is counted elsewhere.
        decode: whether images are decoded to find the ones that cannot be; takes milliseconds per image.
    """
    pictures = any(isinstance(example, Picture) for example in table.examples[:1])
    faults: list[str] = []
    flags: list[str] = []
    remarks = [*table.notes, *(test.notes if test else ())]
    _empty_fields(table, "", faults, flags)
    if test:
        _empty_fields(test, f" in {test.name}", faults, flags)
    counts = _counted(table.labels)
    test_counts = _counted(test.labels) if test else None
    named = Counter({label: count for label, count in counts.items() if label})
    if test_counts:
        named.update({label: count for label, count in test_counts.items() if label})
    if len(named) < 2:
        only = f", {next(iter(named))!r}" if named else ""
        faults.append(
            f"there {'is one class only' if named else 'are no labels'}{only}: a classifier needs two classes"
        )
    elif 2 * len(named) > sum(named.values()):
        faults.append(
            f"{len(named):,} different labels in {sum(named.values()):,} rows: is it the right label column? name "
            "another with --label-column"
        )
    else:
        explained = spellings(named, prompts, faults, flags, remarks)
        _classes({label: count for label, count in named.items() if label not in explained}, prompts, remarks)
    if test_counts:
        _other_classes(counts, test_counts, faults, remarks)
    _repeated(table, test, "image" if pictures else "text", remarks)
    if pictures and decode:
        _decoded(table, test, faults, flags)
    if not pictures and max_length:
        _long(table, test, max_length, remarks)
    return DataCheck(
        name=table.name,
        kind="images" if pictures else "texts",
        counts=counts,
        test_counts=test_counts,
        faults=tuple(faults),
        flags=tuple(dict.fromkeys(flags)),
        remarks=tuple(remarks),
    )


def _empty_fields(table: Labelled, where: str, faults: list[str], flags: list[str]) -> None:
    for what, values in (("text", table.examples), ("label", table.labels)):
        if "" in values:
            empty = [i for i, value in enumerate(values) if isinstance(value, str) and not value]
            places = table.places or row_places(len(table))
            held = f"; {listed(map(repr, table.marks))} is read as no label" if what == "label" and table.marks else ""
            are = "s are" if len(empty) > 1 else " is"
            faults.append(f"{len(empty):,} {what}{are} empty{where} ({listed_places(empty, places)}{held})")
            flags.append("--drop-empty")


def _classes(counts: Mapping[str, int], prompts: bool, remarks: list[str]) -> None:
    rare = [label for label, count in counts.items() if count <= _RARE]
    if rare:
        remarks.append(
            f"{listed(map(repr, rare))}: {'a class' if len(rare) == 1 else f'{len(rare)} classes'} of one or two rows, "
            f"too few to learn or to test; --min-class-rows {_RARE + 1} leaves such classes out."
        )
    if prompts and all(label.lstrip("-").replace(".", "").isdigit() for label in counts):
        remarks.append(
            f"The labels are numbers ({', '.join(sorted(counts)[:3])}, ...), and the model reads the names of "
            "classes: give them words with --rename-label, as --rename-label 0=negative."
        )


def _other_classes(
    counts: Mapping[str, int], test_counts: Mapping[str, int], faults: list[str], remarks: list[str]
) -> None:
    only_test = sorted(label for label in test_counts if label and label not in counts)
    if only_test and len(only_test) == len([label for label in test_counts if label]):
        faults.append(
            f"no class of the test set ({listed(map(repr, only_test))}) stands in the training data "
            f"({listed(map(repr, sorted(filter(None, counts))))}): is it the same label column?"
        )
    elif only_test:
        n = sum(test_counts[label] for label in only_test)
        remarks.append(
            f"{listed(map(repr, only_test))} stand{'s' if len(only_test) == 1 else ''} in the test set only "
            f"({counted(n, 'row')}): nothing can be learned about it; --min-class-rows 2 leaves it out."
        )


def _repeated(table: Labelled, test: Labelled | None, kind: str, remarks: list[str]) -> None:
    labels_of: dict[str, str] = {}  # example -> the label it has first
    torn: dict[str, None] = {}
    n_rows = 0
    for example, label in zip(table.examples, table.labels, strict=True):
        if example:
            n_rows += 1
            key = identity(example)
            known = labels_of.setdefault(key, label)
            if known != label and known and label:
                torn[key] = None
    repeated = n_rows - len(labels_of)
    if repeated:
        remarks.append(
            f"{counted(repeated, 'row')} repeat{'s' if repeated == 1 else ''} the {kind} of an earlier row; a test row "
            "that repeats a training row is taken out of the test set."
        )
    if torn:
        example = f": {quoted(next(iter(torn)), 40)}" if kind == "text" else ""
        more = " and others" if example and len(torn) > 1 else ""
        remarks.append(
            f"{len(torn):,} {kind}{'s have' if len(torn) > 1 else ' has'} more than one label{example}{more}"
        )
    if test:
        both = sum(identity(example) in labels_of for example in test.examples if example)
        if both:
            remarks.append(
                f"{counted(both, 'row')} of {test.name} stand in {table.name} too: they are taken out of the test set."
            )


def _decoded(table: Labelled, test: Labelled | None, faults: list[str], flags: list[str]) -> None:
    for part in (table, test) if test else (table,):
        bad = [fault for example in part.examples if isinstance(example, Picture) and (fault := _fault(example))]
        if bad:
            more = f" and {len(bad) - 1:,} more" if len(bad) > 1 else ""
            faults.append(f"{len(bad):,} of {len(part):,} images cannot be decoded: {bad[0]}{more}")
            flags.append("--skip-corrupt")


def _fault(picture: Picture) -> str | None:
    try:
        picture.decode()
    except CorruptImage as error:
        return f"{picture.name} ({error})"
    return None


def _long(table: Labelled, test: Labelled | None, max_length: int, remarks: list[str]) -> None:
    limit = int(CHARACTERS_PER_TOKEN * max_length)
    texts = [str(text) for part in (table, test) if part for text in part.examples]
    long = [len(text) for text in texts if len(text) > limit]
    if long:
        remarks.append(
            f"{len(long):,} of {len(texts):,} texts have more than {limit:,} characters, about {max_length} tokens "
            f"(the longest {max(long):,}): they probably lose their end; --max-length says how many tokens are kept."
        )


def _counted(labels: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(labels).items(), key=lambda pair: (-pair[1], pair[0])))
