"""What a run adds to the numbers that the Trainer logs, and how it comes among them."""

from __future__ import annotations

import inspect

from transformers import TrainerCallback

from lorabound.certificates.training import limit
from lorabound.hf.run import Run


def numbers(run: Run, delta: float) -> dict[str, float]:
    """What is logged of a run: means so far, and the limit once its window has begun.

    Args:
        delta: probability that the limit is wrong after any step.
    """
    if not run.rows or run.fault:
        return {}
    first = run.first()
    so_far, window, bound = first.mean(), first.mean(first.start), limit(first, delta)
    values = {"train_error_so_far": so_far, "error_before_use": window}
    if bound is not None and window is not None:
        values |= {"true_error_upper": float(bound.value), "margin": float(bound.value) - window}
    values |= {"rows": max(0, run.rows - first.start), "n_params": run.n_params}
    return {f"lorabound/{name}": value for name, value in values.items() if value is not None}


def come_first(callback: TrainerCallback) -> None:
    """Put a callback before those that report logs: all are handed one dictionary, in order, and this one adds to it.

    The Trainer puts those first and hands nobody the list of callbacks; it is found on the stack of this call. Where it
    is not, the numbers stand in the terminal and in ``log_history`` alone.
    """
    frame = inspect.currentframe()
    while frame is not None:
        callbacks = getattr(frame.f_locals.get("self"), "callbacks", None)
        if isinstance(callbacks, list) and any(one is callback for one in callbacks):
            callbacks.remove(callback)
            callbacks.insert(0, callback)
            return
        frame = frame.f_back
