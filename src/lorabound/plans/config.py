"""What a plan is asked for, from YAML, flags, or both."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from lorabound.config import ADAPTERS, BOUNDS, DATA, setting
from lorabound.plans.verbs import SIZES
from lorabound.sweeps.config import SweepConfig
from lorabound.sweeps.fields import PositiveInts


class PlanConfig(SweepConfig):
    """The settings of a sweep, so that its file can be planned with, and what a plan asks for beside them.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.
    """

    ALTERNATIVES: ClassVar[tuple[tuple[str, str], ...]] = (
        *SweepConfig.ALTERNATIVES,
        ("shapes", "model"),
        ("shapes", "targets"),
        ("shapes", "layers"),
    )

    n_train: PositiveInts | None = setting(
        list(SIZES),
        "Training set sizes to compare, as 500,2000.",
        DATA,
    )
    shapes: str | None = setting(
        None,
        "In place of --model: output x input size of each layer that gets an adapter, as 384x384,1536x384.",
        ADAPTERS,
    )
    target_gap: Annotated[float, Field(gt=0, lt=1)] | None = setting(
        None,
        "Also say how many examples make the error on new data exceed the training error by at most this.",
        BOUNDS,
    )
    delta: float = setting(0.05, "Probability that a guarantee is wrong.", BOUNDS, gt=0, lt=1)
    bits: int = setting(32, "Bits in which one trained parameter is stored.", BOUNDS, ge=1, le=64)
    pilot: str | None = setting(None, "Folder of a small sweep: forecasts come from it, and every default too.", DATA)
    classes: Annotated[int, Field(ge=1)] | None = setting(
        None,
        "Number of classes of the task; fewer training examples than that are refused.",
        DATA,
        shown="the pilot's",
    )
