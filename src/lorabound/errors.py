"""The errors users meet. Each carries one sentence: what is wrong, where, and what to do."""

import errno

# Characters of a message.
_LONGEST = 3000


class LoraboundError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line and exits with 2."""

    def __str__(self) -> str:
        text = super().__str__()  # which may quote what a file holds
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 500]} ... {text[-450:]}"


class InputError(LoraboundError, ValueError):
    """A value, option or configuration given by the caller is outside what is allowed."""


class DataError(LoraboundError, ValueError):
    """A dataset is missing, unreadable, or does not hold what was asked of it."""


class ModelError(LoraboundError, ValueError):
    """A backbone cannot be found or loaded, or does not hold the layers that were named."""


class AdapterError(LoraboundError, ValueError):
    """An adapter folder cannot be read safely, or does not fit the model."""


class OtherAdapter(AdapterError):
    """An adapter that is whole, and that changes its model otherwise than by B A and a head: nothing here runs it."""


class StoreError(LoraboundError):
    """The store of a sweep cannot be read or written, or was made by another configuration."""


class OutputError(LoraboundError):
    """A result cannot be written where it was asked for; the message is :func:`cannot_write`'s."""


def cannot_write(path: object, error: Exception, remedy: str | None = None) -> str:
    """The sentence on a file or folder that cannot be written, with the reason and what to do."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    usual = "make room or name another place" if full else "name another place"
    return f"cannot write {path}: {getattr(error, 'strerror', None) or first_line(error)}; {remedy or usual}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none: what a library says, for our own sentence."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# What PyTorch, oneDNN and safetensors say where the system gives no memory, in errors of the usual kinds.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "cannot allocate memory", "could not create a primitive")


def is_of_memory(error: Exception) -> bool:
    """Whether an error says that the system gave no memory."""
    return isinstance(error, MemoryError) or any(said in str(error).lower() for said in _NO_MEMORY)
