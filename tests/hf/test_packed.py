"""Rows that were joined before the Trainer met them are recognized where a batch shows it."""

import pytest
import torch

from lorabound.errors import InputError
from lorabound.hf.plan import refuse_packed_rows


@pytest.mark.parametrize(
    "packed",
    [
        {"attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 2, 2]])},
        {"position_ids": torch.tensor([[0, 1, 2, 3], [0, 1, 0, 1]])},
        {"position_ids": torch.tensor([[0, 1, 0, 1]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)},
    ],
)
def test_rows_in_one_row_are_refused(packed):
    with pytest.raises(InputError, match="switch packing off"):
        refuse_packed_rows(packed)


@pytest.mark.parametrize(
    "single",
    [
        {},
        {"attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])},
        {"position_ids": torch.tensor([[0, 0, 0, 1]]), "attention_mask": torch.tensor([[0, 0, 1, 1]])},
        {"position_ids": torch.tensor([[1, 1, 0, 1]]), "attention_mask": torch.tensor([[0, 0, 1, 1]])},
        {"attention_mask": torch.zeros(2, 1, 4, 4)},
    ],
)
def test_single_rows_padded_on_either_side_are_not(single):
    refuse_packed_rows(single)
