"""The terms of all pages in plain words: one place, from which a page links each term that it uses.

In a template ``{{ sentence | worded }}`` makes the first of each term in a sentence a link to its meaning; hover, tap
and keyboard show it there (``frame.js``), and the meanings of all terms used stand at the end of the page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from lorabound.modes import MODES
from lorabound.sweeps import ZERO_SHOT

# Each term, how else it is written, and what it means to a reader who knows no learning theory.
_TERMS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (
        "adapter",
        ("adapters",),
        "Small matrices A and B beside the weight of each adapted layer. All or some of an adapter is trained; the "
        "model itself is not.",
    ),
    ("rank", ("ranks",), "Number of rows of A and of columns of B. A larger rank trains more parameters."),
    (
        "lora_alpha",
        (),
        "How strongly an adapter counts: W becomes W + s B A with s = lora_alpha / rank.",
    ),
    (
        "mode",
        ("modes",),
        "Which parts of an adapter are trained, and which stay as they start: drawn at random, or taken from weights.",
    ),
    *((str(mode), (), f"A mode: {facts.sentence}.") for mode, facts in MODES.items()),
    ("N", (), "Number of training examples."),
    (
        "error",
        ("errors",),
        "Share of wrong answers, from 0 (best) to 1; of completions the share of wrong tokens, or of completions that "
        "are not exactly right.",
    ),
    ("test error", ("test errors",), "Error on the test examples, on which nothing was trained."),
    (
        "training error",
        ("training errors", "train error"),
        "Error on the training examples, after training. It flatters: the adapter saw them.",
    ),
    (
        "gap",
        ("gaps",),
        "Test error minus training error: how much better an adapter looks on the examples it has seen than on others.",
    ),
    ("0-1 error", (), "1 for a wrong answer and 0 for a right one; its mean is the share of wrong answers."),
    (
        "1 - p(correct)",
        ("1 - mean p(token)",),
        "One minus the probability that the model gives to the right answer. It lies between 0 and 1.",
    ),
    (
        "cross-entropy",
        ("-ln p per token", "nats"),
        "Minus the natural logarithm of the probability of the right answer, which training makes small. Its unit is "
        "the nat. A single sure and wrong answer can make it large.",
    ),
    ("share of wrong tokens", ("wrong tokens",), "Share of the pieces of an answer that are not the most likely ones."),
    ("exact match", ("1 - exact match",), "Whether every token of an answer is right. Its loss is 1 where one is not."),
    (
        "new data",
        (),
        "Examples that nothing was trained or chosen on, drawn as the rows of this data set were drawn.",
    ),
    (
        "95% interval",
        ("95% intervals",),
        "Limits that hold the true value in about 95 of 100 such measurements. The notes say which chances they count.",
    ),
    (
        "95%",
        (),
        "How sure a statement is: were everything drawn again and again, it would be false at most 5 times in 100.",
    ),
    (
        "certificate",
        ("certificates", "certifies", "guaranteed"),
        "A limit on the error on new data that is proved, not estimated: it holds with the probability beside it if "
        "the rows are independent draws from the data that come later.",
    ),
    (
        "choice counted",
        ("choices counted", "the choice among"),
        "The best of many looks better than it is, by luck. A limit that counts the choice stays true after picking.",
    ),
    ("seeds", ("seed",), "A setting is trained once for each seed, with another random start and order of examples."),
    (
        "training sample",
        ("training samples", "samples"),
        "The set of examples that a run was trained on. Several of them show how much depends on which it was.",
    ),
    (
        "trained parameters",
        ("parameters",),
        "Number of values that training changes. All others stay as they were in the model.",
    ),
    (
        "cannot be told apart",
        ("can tell the two apart", "cannot tell the two apart"),
        "The measured difference is no larger than chance often makes one, with these test examples and seeds.",
    ),
    (
        "without an adapter",
        ("without one", ZERO_SHOT),
        "The frozen model alone, before any training on these data.",
    ),
    (
        "worst case",
        (),
        "What a theorem allows for any data and any training. Real training may do much better than that.",
    ),
    (
        "growth exponent",
        ("growth exponents", "exponent"),
        "The power b in gap ~ rank^b (or N^b): 0.5 says that four times the rank doubles the gap, 0 that it stays.",
    ),
    (
        "pilot",
        ("pilots",),
        "Training of a candidate (a mode with a rank) on a part of the rows, tested on other rows.",
    ),
    (
        "80% interval",
        ("80% intervals",),
        "Limits between which the truth should lie 80% of the times, if the learning curves go on as they did.",
    ),
    (
        "chance best",
        ("Chance best",),
        "Chance, by the forecasts, that no other candidate has an error on new data that is lower by more than 0.005.",
    ),
    (
        "forecast",
        ("forecasts", "Forecast"),
        "Learning curves through all measured errors, carried on to more examples. It is no guarantee.",
    ),
    (
        "exact test",
        ("exact sign test", "p-value", "p"),
        "If a new example were won as often as lost, how often chance alone would give a count at least this uneven.",
    ),
    ("diverged", (), "Training in which a loss was no number any more. Such a run has no result."),
    (
        "bound",
        ("bounds",),
        "A limit that a theorem proves.",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Term:
    """A word of the glossary.

    Attributes:
        name: word as it stands in the list.
        forms: other ways to write it.
        said: meaning.
    """

    name: str
    forms: tuple[str, ...]
    said: str

    @property
    def anchor(self) -> str:
        """Id of its meaning on a page."""
        return "word-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


GLOSSARY: tuple[Term, ...] = tuple(Term(name=name, forms=forms, said=said) for name, forms, said in _TERMS)
_BY_FORM = {form: term for term in GLOSSARY for form in (term.name, *term.forms)}
_FORMS = re.compile(
    r"(?<!\w)'[^']*'(?!\w)|(?<![\w/.-])(?<!\w\()("  # what stands in quotes are words of the user's files, not ours
    + "|".join(re.escape(form) for form in sorted(_BY_FORM, key=len, reverse=True))
    + r")(?![\w%/(]|[-.]\w)"
)


@dataclass(kw_only=True)
class Words:
    """The terms that one page has used so far."""

    used: dict[str, Term] = field(default_factory=dict)

    def worded(self, text: Any) -> Markup:
        """The text, escaped, with the first of each term in it linked to its meaning."""
        parts: list[Markup] = []
        seen: set[str] = set()
        end = 0
        for found in _FORMS.finditer(str(text)):
            term = _BY_FORM.get(found[1] or "")
            if term is None or term.name in seen:
                continue
            seen.add(term.name)
            parts += [escape(str(text)[end : found.start()]), self.linked(found[0])]
            end = found.end()
        return Markup("").join([*parts, escape(str(text)[end:])])

    def linked(self, form: str) -> Markup:
        """A link from one way to write a term to its meaning."""
        term = self.term(form)
        return Markup('<a class="term" href="#{0}" aria-describedby="{0}">{1}</a>').format(term.anchor, form)

    def term(self, form: str) -> Term:
        """The term written so, which the page then explains.

        Raises:
            KeyError: it stands in no glossary.
        """
        term = _BY_FORM[form]
        self.used[term.name] = term
        return term

    def listed(self) -> list[Term]:
        """The terms used, in the order of the glossary."""
        return [term for term in GLOSSARY if term.name in self.used]
