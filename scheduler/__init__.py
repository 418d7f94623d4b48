"""schedd: closed-loop experiments, from one YAML file to a tuned model.

What is here is for Python programs; each name is imported when it is used. See docs/python.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scheduler.python.client import Client
    from scheduler.python.errors import (
        Busy,
        EvaluationsFailed,
        MaxParallelismReached,
        ModelError,
        NoTrialAvailable,
        ObjectNotFoundError,
        OptimizationComplete,
        ScheddError,
        StorageFailed,
        UnsupportedError,
        UserInputError,
    )
    from scheduler.python.loop import Optimized, optimize
    from scheduler.python.words import ObjectiveProperties

__all__ = [
    "Busy",
    "Client",
    "EvaluationsFailed",
    "MaxParallelismReached",
    "ModelError",
    "NoTrialAvailable",
    "ObjectNotFoundError",
    "ObjectiveProperties",
    "OptimizationComplete",
    "Optimized",
    "ScheddError",
    "StorageFailed",
    "UnsupportedError",
    "UserInputError",
    "optimize",
]
_HOMES = {
    "Client": "client",
    "ObjectiveProperties": "words",
    "Optimized": "loop",
    "optimize": "loop",
}
"""Where names are at home, in ``scheduler.python``; all others are errors."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"scheduler.python.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
