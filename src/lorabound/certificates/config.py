"""What a check is asked to do, from YAML, flags, or both."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lorabound.config import BOUNDS, DATA, MODEL, list_of, setting
from lorabound.data.config import LabelledConfig


class CheckConfig(LabelledConfig):
    """Adapters and the rows they are checked on, or a table of answers.

    Raises:
        InputError: an unknown name or a value out of range; one sentence for each.
    """

    adapters: Annotated[list[str], list_of(str)] = setting([], "Folders of PEFT LoRA adapters.", MODEL)
    data: str = setting("", "Labelled rows that the adapters have not seen, in the forms that sweep takes.", DATA)
    text_column: str = setting("", "Column that holds the texts, or the images.", DATA, shown="text; for CLIP: image")
    predictions: str = setting(
        "",
        "In place of adapters and --data: a table of answers of any model, with the columns label and predicted.",
        DATA,
    )
    predicted: Annotated[list[str], Field(min_length=1), list_of(str)] = setting(
        ["predicted"], "Columns of the table that hold answers, one per model, as a,b,c.", DATA
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
    delta: float = setting(0.05, "Probability that a limit is wrong.", BOUNDS, gt=0, lt=1)
