"""What a comparison with a fully fine-tuned checkpoint is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorabound.config import ADAPTERS, MODEL, Settings, list_of, setting
from lorabound.sweeps.fields import Layers, PositiveInts


class AgainstConfig(Settings):
    """The settings of a comparison.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.
    """

    against: str | None = setting(
        None, "Model after full fine-tuning, as a folder or hub name: how much of its change is kept?", MODEL
    )
    base: str | None = setting(
        None, "The same model before fine-tuning.", MODEL, shown="with an adapter, the model it names"
    )
    ranks: PositiveInts | None = setting(
        None, "Ranks to look at, as 4,16; without an adapter only.", ADAPTERS, shown="1,4,16,64"
    )
    targets: Annotated[Annotated[list[str], Field(min_length=1)] | None, list_of(str)] = setting(
        None, "Linear layers to compare, by name.", ADAPTERS, shown="those of the adapter, or all"
    )
    layers: Layers = setting(
        None, "Depth of the layers to compare: numbers from 0 (4,5), or top2.", ADAPTERS, shown="all"
    )
