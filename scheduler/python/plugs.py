"""What deploys and measures, made of a stored definition: a program's own classes too."""

from collections.abc import Callable, Mapping
from typing import Any

from scheduler.daemon import Plugs, by_definition
from scheduler.plugins import RegistryError
from scheduler.python.program import PYTHON, ProgramOptions, class_at
from scheduler.storage.store import Experiment, Store


def plug(store: Store, experiment: Experiment, wake: Callable[[], None]) -> Plugs:
    """Return what a definition names, a program's own classes too. Raises RegistryError."""
    runner, fetchers = by_definition(store, experiment, wake)
    if experiment.definition.runner.type != PYTHON:
        return runner, fetchers
    from scheduler.python.experiment import Experiment as Developers
    from scheduler.python.inprocess import plugged
    from scheduler.python.metric import Metric, Runner
    from scheduler.python.session import Place, Session

    options, name = runner.options, experiment.definition.name
    assert isinstance(options, ProgramOptions)
    if options.kind is None:
        raise RegistryError(
            f"the Runner of {name} is its program's own: that program drives it, or hands it over "
            "by Scheduler.hand_over()"
        )
    own = _made(options.kind, options.arguments, Runner)
    metrics = [_made(made.kind, made.arguments, Metric) for made in options.metrics.values()]
    for wanted, metric in zip(options.metrics, metrics, strict=True):
        if metric.name != wanted:
            raise RegistryError(
                f"runner.python.metrics has {wanted!r} call itself {metric.name!r}: its name and "
                "the key must be the same"
            )
    session = Session(Place(store.url, store), wait=0.0)
    session.find(name)
    seen = Developers(None, name, tracking_metrics=metrics, runner=own, storage=session)
    runner, own_fetchers = plugged(own, seen, wake)
    return runner, {**fetchers, **own_fetchers}


def _made(address: str, arguments: Mapping[str, Any], base: type) -> Any:
    kind = class_at(address, base)
    try:
        return kind(**arguments)
    except Exception as error:  # the program's own code
        why = f"{type(error).__name__}: {error}"
        raise RegistryError(f"{address} cannot be made with {dict(arguments)}: {why}") from error
