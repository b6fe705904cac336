"""One look at dialogues, before any model is loaded: how many turns are learnt, which prompts occur again."""

from __future__ import annotations

from collections import Counter

from lorabound.data.dialogues import Dialogues
from lorabound.data.findings import DataCheck
from lorabound.data.phrases import counted


def check_dialogues(table: Dialogues, test: Dialogues | None = None) -> DataCheck:
    """Look at dialogues that were read, and at the test set where it comes from elsewhere."""
    remarks = [*table.notes, *(test.notes if test else ())]
    faults = []
    prompts = Counter(dialogue.identity for dialogue in table.examples)
    repeated = len(table) - len(prompts)
    if len(prompts) == 1 and len(table) > 1:
        faults.append(
            "every row has the same prompt, and a test row whose prompt stands in the training rows is taken out: "
            "nothing would be left to test on"
        )
    elif repeated:
        repeat = "repeats" if repeated == 1 else "repeat"
        remarks.append(
            f"{counted(repeated, 'row')} ({repeated / len(table):.1%}) {repeat} the prompt of an earlier row; a test "
            "row whose prompt stands in the training rows is taken out of the test set."
        )
        answers: dict[str, set[str]] = {}
        for dialogue in table.examples:
            answers.setdefault(dialogue.identity, set()).add(dialogue.sha256)
        torn = sum(len(held) > 1 for held in answers.values())
        if torn:
            has = "has" if torn == 1 else "have"
            remarks.append(f"{counted(torn, 'prompt')} {has} more than one answer: no model gives all of them.")
    if test:
        both = sum(dialogue.identity in prompts for dialogue in test.examples)
        if both:
            remarks.append(
                f"the prompts of {counted(both, 'row')} of {test.name} stand in {table.name} too: they are taken out "
                "of the test set."
            )
    return DataCheck(
        name=table.name,
        kind="dialogues",
        counts=Counter(table.labels),
        test_counts=Counter(test.labels) if test else None,
        faults=tuple(faults),
        flags=(),
        remarks=tuple(remarks),
        content=_content(table),
    )


def _content(table: Dialogues) -> str:
    """ "1,200 rows, 2,341 turns of them learnt (1 to 7 in a row)"."""
    turns = [len(dialogue.trained) for dialogue in table.examples]
    spread = f"{min(turns)} to {max(turns)}" if min(turns) < max(turns) else f"{turns[0]}"
    return f"{counted(len(table), 'row')}, {counted(sum(turns), 'turn')} learnt ({spread} in each row)"
