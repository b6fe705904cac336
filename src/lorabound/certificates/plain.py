"""What must be true for a limit to hold, in the words of people who train models; the exact terms stay beside it."""

from __future__ import annotations

from collections.abc import Iterable

_DRAWN = (
    "the rows are drawn like the new data will be, each independently of the others (several rows of one author, one "
    "conversation or one day are not)"
)
_UNLABELLED = "the rows without labels are drawn like the new data too, and no training has seen them"
_UNTOUCHED = (
    "nobody looked at a row before training came to it: it did not serve to pretrain the model, nor to choose "
    "settings, prompt or classes"
)
_SETTINGS = "the settings of the sweep were chosen before a look at these rows, and not changed after a look at results"
_RUN = "the settings of the run were chosen before a look at these rows, and not changed after a look at results"
_FRESH = "nobody used the fresh rows to train, or to choose, what is certified"
_FIXED = (
    "model, layers, rank, scale, seed and classes were settled without these rows; they did not serve to pretrain the "
    "model, and no rank or seed was chosen by results on them (such a choice is not paid for)"
)
_PRETRAINED = "the model was not pretrained on these rows"

# What a limit on chosen predictors does not assume: a page that counts the choice says something else in its place.
CHOSEN = "nothing about the predictor was chosen by looking at them"

# Exact term -> what a user has to see to; "" where this program sees to it, or where counting errors makes it true.
_PLAIN = {
    "examples are independent and identically distributed": _DRAWN,
    "the examples are independent and identically distributed": _DRAWN,
    "the n examples are independent and identically distributed": _DRAWN,
    "the rows are independent and identically distributed": _DRAWN,
    "the examples are independent and identically distributed, in an order that does not depend on them": _DRAWN,
    "each predictor was fixed before its example was used for anything, its length included": _UNTOUCHED,
    "the window and its constant were fixed before the window began": _SETTINGS,
    "the window was fixed before training, and its constant before the window began": _RUN,
    "neither this run nor its settings were chosen by looking at the results of others on these rows": (
        "this run was not chosen among several by their results (GeneralizationCallback(candidates=K) counts a choice)"
    ),
    "each predictor was trained without the fold that tests it, and nothing was tuned on that fold": _SETTINGS,
    "the folds and the constant were fixed before the data": _SETTINGS,
    "each adapter was trained on the examples before its block, and nothing was tuned on the block": _SETTINGS,
    "the sizes and the constant were fixed before the data": _SETTINGS,
    CHOSEN: _FRESH,
    "the unlabelled inputs are independent draws of the same population, and no training has seen them": _UNLABELLED,
    "each unlabelled input was given its own random predictor of the window": "",
    "the loss has values in [0, 1]": "",
    "the loss is 0-1": "",
    "the loss is the 0-1 loss": "",
    "the code is prefix-free, its length that of a real message, fixed before the data were seen": "",
    "the empirical risk is that of the decoded predictor": "",
    "known before the data: the frozen model, the layers, ranks and scales of the adapter, the seed of what is drawn, "
    "the classes; a rank or seed chosen among K by looking at the data costs ln K nats more, which are not "
    "charged": _FIXED,
    "the prior does not depend on these examples": _PRETRAINED,
    "the number of stages, the split and gamma were fixed before the data, and so was the first prior": _PRETRAINED,
    "each posterior was fixed before the examples on which the next stage is measured were used for it": "",
    "the draws are independent and were made after Q was fixed": "",
    "the draws are independent and were made after the posteriors were fixed": "",
    "the classes were known before the examples": "the classes were known before the rows",
}


def plain(assumptions: Iterable[str]) -> list[str]:
    """What a user has to see to, each sentence once; a term that has no plain sentence stands as it is.

    >>> plain(["the n examples are independent and identically distributed", "the loss is 0-1", "x is y"])[1:]
    ['x is y']
    """
    said = dict.fromkeys(_PLAIN.get(term, term) for term in assumptions)
    said.pop("", None)
    if _FIXED in said:
        said.pop(_PRETRAINED, None)
    return list(said)


def exact(assumptions: Iterable[str]) -> str:
    """The terms that :func:`plain` says otherwise or leaves to this program, in one sentence; "" without any."""
    terms = [term for term in dict.fromkeys(assumptions) if term in _PLAIN]
    return f"In exact terms: {'; '.join(terms)}." if terms else ""
