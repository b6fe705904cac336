"""One model, several names for its layers: with the prefix of a class around it ("bert."), or without."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from lorabound.errors import ModelError

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def refuse_deeper(pairs: Mapping[str, str], known: Collection[str], of_wanted: str, of_known: str) -> None:
    """See that the known names hold no layers of the same kinds at other depths.

    Args:
        pairs: what :func:`paired_names` found for the layers of a whole model, or of a part of its depth.
        known: as there.
        of_wanted: as there.
        of_known: as there.
    Raises:
        ModelError: there are such layers.
    """
    kinds, found = {_NUMBER.sub("*", name) for name in pairs.values()}, set(pairs.values())
    more = [name for name in sorted(known) if name not in found and _NUMBER.sub("*", name) in kinds]
    if more:
        raise ModelError(
            f"{of_known} has {more[0]}"
            + (f" and {len(more) - 1} more" if len(more) > 1 else "")
            + f", which {of_wanted} has not ({len(pairs)} layers of these kinds): the two are not of one model"
        )


def paired_names(wanted: Sequence[str], known: Collection[str], of_wanted: str, of_known: str) -> dict[str, str]:
    """Each wanted name -> the name of the same layer among those that are known.

    The two agree, or differ by one prefix of whole words that all names of one side have: ``encoder.layer.0.query`` is
    ``bert.encoder.layer.0.query``.

    Args:
        wanted: names to find, one at least.
        known: names to find them among.
        of_wanted: where the wanted names stand, for messages.
        of_known: where the known names stand, for messages.
    Raises:
        ModelError: names that are not there under any one prefix, or under more than one.

    >>> paired_names(["layer.0.q", "layer.1.q"], ["bert.layer.0.q", "bert.layer.1.q", "bert.pooler"], "a", "b")
    {'layer.0.q': 'bert.layer.0.q', 'layer.1.q': 'bert.layer.1.q'}
    """
    names = set(known)
    if names.issuperset(wanted):
        return {name: name for name in wanted}
    first = wanted[0]
    added = {name[: -len(first)] for name in names if name.endswith(f".{first}")}
    dropped = {first[: -len(name)] for name in names if first.endswith(f".{name}")}
    tried = [{name: prefix + name for name in wanted} for prefix in sorted(added)] + [
        {name: name.removeprefix(prefix) for name in wanted if name.startswith(prefix)} for prefix in sorted(dropped)
    ]
    whole = [pairs for pairs in tried if len(pairs) == len(wanted) and names.issuperset(pairs.values())]
    if len(whole) == 1:
        return whole[0]
    if whole:
        found = " and ".join(pairs[first] for pairs in whole[:2])
        raise ModelError(
            f"{of_known} has two layers for {first} of {of_wanted}, {found}: it is not clear which is meant"
        )
    nearest = max([{name: name for name in wanted}, *tried], key=lambda pairs: len(names.intersection(pairs.values())))
    missing = [name for name in wanted if nearest.get(name) not in names]
    raise ModelError(
        f"{of_known} has no weight of {missing[0]}"
        + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
        + f", which {of_wanted} has ({len(wanted)} layers): the two are not of one model"
    )
