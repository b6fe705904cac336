"""The errors users meet. Each carries one sentence: what is wrong, where, and what to do."""


class LoraboundError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line and exits with 2."""


class InputError(LoraboundError, ValueError):
    """A value, option or configuration given by the caller is outside what is allowed."""


class DataError(LoraboundError, ValueError):
    """A dataset is missing, unreadable, or does not hold what was asked of it."""


class ModelError(LoraboundError, ValueError):
    """A backbone cannot be found or loaded, or does not hold the layers that were named."""


class AdapterError(LoraboundError, ValueError):
    """An adapter folder cannot be read safely, or does not fit the model."""


class StoreError(LoraboundError):
    """A sweep directory cannot be read, written, or was made by another configuration."""


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none: what a library says, for our own sentence."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
