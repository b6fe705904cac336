"""When memory runs out: parts of a stack, in their order, and nothing twice."""

import pytest
import torch

from lorabound.engine import Narrow
from lorabound.errors import InputError


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("could not create a primitive"),
    MemoryError(),
])  # fmt: skip
def test_parts_give_what_the_whole_would_have(error):
    narrow, asked = Narrow(), []

    def scarce(part):
        asked.append((part.start, part.stop))
        if part.stop - part.start > 3:
            raise error
        return list(range(part.start, part.stop))

    assert narrow.run(11, 8, scarce) == list(range(11))
    assert asked == [(0, 8), (0, 4), (0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 11)]
    asked.clear()
    assert narrow.run(4, 8, scarce) == list(range(4))
    assert asked == [(0, 2), (2, 4)]  # what was learnt stays


def test_other_errors_and_a_single_adapter_are_not_halved():
    def broken(_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Narrow().run(4, 4, broken)

    def none(_):
        raise MemoryError

    with pytest.raises(InputError, match="does not hold one adapter"):
        Narrow().run(4, 4, none)
