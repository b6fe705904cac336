"""What a certificate is asked to be of, from YAML, flags, or both."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorabound.certificates.methods import METHODS
from lorabound.config import BOUNDS, DATA, MODEL, RESOURCES, list_of, setting
from lorabound.data.config import LabelledConfig
from lorabound.notation import Base


class CertifyConfig(LabelledConfig):
    """Adapters, the rows they are certified with, or a table of answers.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.
    """

    adapters: Annotated[list[str], list_of(str)] = setting(
        [], "Folders of PEFT LoRA adapters; the folder of a sweep; or one table of answers.", MODEL
    )
    data: str = setting(
        "",
        "Rows that the adapter was trained on, in the forms that sweep takes.",
        DATA,
        shown="for a run of a sweep, those of the sweep",
    )
    holdout: str = setting("", "Rows that nobody used to train or to choose, in the same forms.", DATA)
    text_column: str = setting("", "Column that holds the texts, or the images.", DATA, shown="text; for CLIP: image")
    predicted: Annotated[list[str], Field(min_length=1), list_of(str)] = setting(
        ["predicted"],
        "Columns that hold answers, one per model, as a,b,c; for a table of answers in place of adapters.",
        DATA,
    )

    model: str = setting("", "The pretrained model, where the adapter's folder does not name it.", MODEL)
    prompt: str = setting(
        "", "Sentence that asks for a class, with {} where its name goes, for an adapter that no sweep made.", MODEL
    )
    classes: Annotated[list[str], list_of(str)] = setting(
        [],
        "Names of the classes, for an adapter that no sweep made, as a,b,c; with a head in the order of its rows.",
        MODEL,
    )
    max_length: Annotated[int, Field(ge=3)] | None = setting(
        None,
        "Number of tokens after which a text is cut, for an adapter that no sweep made.",
        MODEL,
        shown="the model's limit, at most 512",
    )
    base: Base | None = setting(
        None,
        "Format that the weights of the model were rounded to when an adapter from elsewhere was trained: nf4 or int8.",
        MODEL,
        shown="what the adapter's folder says, else none",
    )
    methods: Annotated[list[str] | None, list_of(str)] = setting(
        None,
        f"Ways to certify, as a,b, or all: {', '.join(METHODS)}.",
        BOUNDS,
        shown="holdout with --holdout; else what the sweep kept; else compressed and pac-bayes",
    )
    delta: float = setting(0.05, "Probability that a limit is wrong, all methods together.", BOUNDS, gt=0, lt=1)
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = setting(
        None, "Memory that the whole process may use, in GiB.", RESOURCES, shown="70% of what is free"
    )
