"""Which rank, which factor to freeze, how much data, and how bad a LoRA fine-tune can be on data it has not seen.

    plan              before training: what is guaranteed, and how many examples a target needs
    recommend         which rank and which factor to freeze for these rows and this model; with a trained adapter;
                      open_recommendation opens its folder again
    sweep             trains a grid of adapters and measures them; open_sweep opens its folder again
    certify           after training: how bad the result can be on new data; verify computes a certificate again
    inspect_adapter   tells how large the update of an adapter is; load_adapter and save_adapter read and write one
    freezing_costs    tells how much of what full fine-tuning changed a rank, or a frozen factor, can keep
    show, report      print any result in the terminal; write a sweep or recommendation as an offline page
    bounds, stats     the theorems and the statistics, as functions of your own numbers

Every result prints in one line, and its ``frame()`` is a polars data frame:

    >>> import lorabound as lb
    >>> guarantees = lb.plan("384x384", ranks=[1, 4], modes=["freeze_a"], n_train=[1000])
    >>> guarantees
    Plan: freeze_a; ranks (1, 4), N = (1000,), 1 adapted layers; guarantees with probability 0.95
    >>> guarantees.frame()["n_params"].to_list()
    [384, 1536]

A name is imported when it is first used, and torch not before something is trained.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from lorabound import bounds, stats
    from lorabound.adapters import inspect_adapter, load_adapter, save_adapter
    from lorabound.certificates.verbs import certify
    from lorabound.certificates.verify import verify
    from lorabound.notation import Bound
    from lorabound.plans.verbs import plan
    from lorabound.recommendations.stored import open_recommendation
    from lorabound.recommendations.verbs import recommend
    from lorabound.reports.page import report
    from lorabound.reports.show import show
    from lorabound.sweeps import Sweep, SweepConfig
    from lorabound.sweeps.verbs import open_sweep, sweep
    from lorabound.updates.verbs import freezing_costs

# Name at the door -> module it lives in; a name of None is the module itself.
_ROOMS = {
    "Bound": "lorabound.notation",
    "Sweep": "lorabound.sweeps",
    "SweepConfig": "lorabound.sweeps",
    "bounds": None,
    "certify": "lorabound.certificates.verbs",
    "freezing_costs": "lorabound.updates.verbs",
    "inspect_adapter": "lorabound.adapters",
    "load_adapter": "lorabound.adapters",
    "open_recommendation": "lorabound.recommendations.stored",
    "open_sweep": "lorabound.sweeps.verbs",
    "plan": "lorabound.plans.verbs",
    "recommend": "lorabound.recommendations.verbs",
    "report": "lorabound.reports.page",
    "save_adapter": "lorabound.adapters",
    "show": "lorabound.reports.show",
    "stats": None,
    "sweep": "lorabound.sweeps.verbs",
    "verify": "lorabound.certificates.verify",
}

__all__ = [
    "Bound",
    "Sweep",
    "SweepConfig",
    "__version__",
    "bounds",
    "certify",
    "freezing_costs",
    "inspect_adapter",
    "load_adapter",
    "open_recommendation",
    "open_sweep",
    "plan",
    "recommend",
    "report",
    "save_adapter",
    "show",
    "stats",
    "sweep",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = _ROOMS[name]
    return import_module(f"{__name__}.{name}") if room is None else getattr(import_module(room), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
