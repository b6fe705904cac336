"""What is done when memory runs out all the same: half as many adapters at a time.

The width of a stack is measured before a sweep, and another program may take the memory meanwhile. Adapters of a stack
do not touch one another, so that halves of a stack end as the whole would have, up to rounding.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

from lorabound.errors import InputError, is_of_memory

Result = TypeVar("Result")


class Narrow:
    """Runs stacks at the width that is asked for, and narrower ones once memory has run out; shared by all workers.

    Attributes:
        most: adapters that train together at most from now on; None before memory ran out.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self._lock = threading.Lock()

    def run(self, count: int, width: int, do: Callable[[slice], list[Result]]) -> list[Result]:
        """The results of ``do`` for ``count`` adapters, in their order: ``width`` at a time, or fewer.

        Args:
            count: number of adapters.
            width: adapters that may train together, before memory runs out.
            do: function that trains those of a slice, each independently of the others.
        Raises:
            InputError: memory runs out with a single adapter.
        """
        found: list[Result] = []
        while len(found) < count:
            size = min(count - len(found), width, self.most or width)
            part = slice(len(found), len(found) + size)
            try:
                found += do(part)
                continue
            except (RuntimeError, MemoryError) as error:
                if not (isinstance(error, torch.OutOfMemoryError) or is_of_memory(error)):
                    raise
                if size == 1:
                    raise InputError(
                        "the memory does not hold one adapter and one pass any more: end other programs, or lower "
                        "--batch-size or --max-length, and run the same command again to go on"
                    ) from None
            # After the exception is gone, and with it all that its frames held.
            self._halve(size)
        return found

    def _halve(self, width: int) -> None:
        with self._lock:
            self.most = min(self.most or width, width // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
