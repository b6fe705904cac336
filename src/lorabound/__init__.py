"""Which rank, which factor to freeze, how much data, and how bad a LoRA fine-tune can be on data it has not seen.

    >>> import lorabound as lb
    >>> lb.Bound.__name__
    'Bound'

The verbs stand here, each in the room of what it makes: ``sweep`` makes a ``Sweep``, kept in a folder that
``open_sweep`` opens again. Nothing is imported before it is asked for, and torch not before something is trained.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from lorabound import bounds, stats
    from lorabound.adapters import inspect_adapter, load_adapter, save_adapter
    from lorabound.checks.verbs import check
    from lorabound.notation import Bound
    from lorabound.plans.verbs import plan
    from lorabound.reports.page import report
    from lorabound.reports.show import show
    from lorabound.sweeps import Sweep, SweepConfig
    from lorabound.sweeps.verbs import open_sweep, sweep

# Name at the door -> module it lives in; a name of None is the module itself.
_ROOMS = {
    "Bound": "lorabound.notation",
    "Sweep": "lorabound.sweeps",
    "SweepConfig": "lorabound.sweeps",
    "bounds": None,
    "check": "lorabound.checks.verbs",
    "inspect_adapter": "lorabound.adapters",
    "load_adapter": "lorabound.adapters",
    "open_sweep": "lorabound.sweeps.verbs",
    "plan": "lorabound.plans.verbs",
    "report": "lorabound.reports.page",
    "save_adapter": "lorabound.adapters",
    "show": "lorabound.reports.show",
    "stats": None,
    "sweep": "lorabound.sweeps.verbs",
}

__all__ = [
    "Bound",
    "Sweep",
    "SweepConfig",
    "__version__",
    "bounds",
    "check",
    "inspect_adapter",
    "load_adapter",
    "open_sweep",
    "plan",
    "report",
    "save_adapter",
    "show",
    "stats",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = _ROOMS[name]
    return import_module(f"{__name__}.{name}") if room is None else getattr(import_module(room), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
