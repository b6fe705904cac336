"""The methods by name: what each needs, what it says in words, where its code is. One table, the only place of names.

A new method is one entry and one file with two functions: ``certify(subject, delta, observe) -> Statement`` and
``recompute(subject, record, files, delta) -> Statement``, which makes the same statement again from what was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from lorabound.errors import InputError
from lorabound.faults import did_you_mean

Needs = Literal["fresh rows", "a run", "folds", "blocks", "a sample"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to certify an adapter.

    Attributes:
        name: name in options, tables and files.
        needs: fresh rows (``--holdout``), a run of a sweep that kept its losses, its folds or blocks of nested sizes,
            or a sample of rows.
        sentence: what it does, for ``--help``.
        certify, recompute: its two functions as "module.function", within ``lorabound.certificates``.
        gain: function of a statement and a delta that limits the gain over the model without an adapter; "" where the
            method shows none from its files.
    """

    name: str
    needs: Needs
    sentence: str
    certify: str
    recompute: str
    gain: str = ""

    def function(self, which: Literal["certify", "recompute", "gain"]) -> Any:
        """One of its functions; its module is imported now."""
        module, function = getattr(self, which).split(".")
        return getattr(import_module(f"{__package__}.{module}"), function)


_METHODS = (
    Method(
        name="holdout",
        needs="fresh rows",
        sentence="errors on rows that nobody used (--holdout)",
        certify="holdout.certify_holdout",
        recompute="holdout.recompute_holdout",
    ),
    Method(
        name="progressive",
        needs="a run",
        sentence="errors on each training row before it was used, for a run of a sweep; spends no rows",
        certify="progressive.certify_progressive",
        recompute="progressive.recompute_progressive",
        gain="progressive.gain_of_run",
    ),
    Method(
        name="cross-fit",
        needs="folds",
        sentence="errors on each training row of an adapter trained without its fold, for a sweep with --cross-fit",
        certify="folds.certify_cross_fit",
        recompute="folds.recompute_cross_fit",
        gain="folds.gain_of_folds",
    ),
    Method(
        name="blocks",
        needs="blocks",
        sentence="errors of smaller training sets on the rows that follow, for a sweep with --blocks",
        certify="folds.certify_blocks",
        recompute="folds.recompute_blocks",
    ),
    Method(
        name="compressed",
        needs="a sample",
        sentence="a compressed adapter, and the length of its message",
        certify="occam.certify_compressed",
        recompute="occam.recompute_compressed",
    ),
    Method(
        name="as-stored",
        needs="a sample",
        sentence="the adapter as it is, and the length of its message; says nothing but for tiny adapters",
        certify="occam.certify_as_stored",
        recompute="occam.recompute_as_stored",
    ),
    Method(
        name="pac-bayes",
        needs="a sample",
        sentence="a random adapter around a trained one, and how far training moved it",
        certify="pac_bayes.certify_data_free",
        recompute="pac_bayes.recompute_data_free",
    ),
    Method(
        name="pac-bayes-half",
        needs="a sample",
        sentence="the same, measured from an adapter that is trained on the first half of the rows",
        certify="pac_bayes.certify_data_dependent",
        recompute="pac_bayes.recompute_data_dependent",
    ),
    Method(
        name="pac-bayes-recursive",
        needs="a sample",
        sentence="the same in stages, each measured from the one before",
        certify="recursive.certify_recursive",
        recompute="recursive.recompute_recursive",
    ),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _METHODS}


def chosen(methods: Sequence[str] | None, there: Mapping[Needs, bool]) -> list[Method]:
    """The methods that were asked for; or, where none was, those that cost next to nothing and say the most.

    Args:
        methods: names; "all" stands for every one that can be had.
        there: which of the needs of methods are met; what is not named is not, but a sample always is.
    Raises:
        InputError: an unknown name, one that stands twice, or a method whose needs are not there.
    """
    there = {"a sample": True, **there}
    if methods is None:
        cheap = [method for method in _METHODS if method.needs != "a sample" and there.get(method.needs)]
        return cheap[:1] or [METHODS["compressed"], METHODS["pac-bayes"]]
    if list(methods) == ["all"]:
        return [method for method in _METHODS if there.get(method.needs)]
    if twice := sorted({name for name in methods if list(methods).count(name) > 1}):
        raise InputError(f"methods names {', '.join(twice)} twice: name each once, as every one of them is paid for")
    faults = []
    for name in methods:
        if name not in METHODS:
            meant = did_you_mean(name, list(METHODS))
            said = f": did you mean {meant}?" if meant else f"; known are {', '.join(METHODS)}"
            faults.append(f"there is no method {name!r}{said}")
        elif not there.get(METHODS[name].needs):
            faults.append(f"{name} {_MISSING[METHODS[name].needs]}")
    if faults:
        raise InputError("; ".join(faults))
    return [METHODS[name] for name in methods]


_MISSING: Mapping[Needs, str] = {
    "fresh rows": "needs rows that nobody used: give them with --holdout FILE",
    "a run": "needs an adapter in the folder of the sweep that trained it in one pass over its rows (--epochs 1)",
    "folds": "needs an adapter in the folder of a sweep with --cross-fit K",
    "blocks": "needs an adapter in the folder of a sweep with --blocks, of a larger size than the smallest",
    "a sample": "needs rows",
}
