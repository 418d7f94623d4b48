"""Read the metrics of one trial from the folders of its job."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from metrics.base import (
    Fetcher,
    FetchRequest,
    InvalidMetric,
    MetricError,
    Point,
    UnavailableMetric,
    finite,
    reduce_points,
)
from scheduler.advance import Measurement
from scheduler.jobs import Place, placeholders_of, tasks_of
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.observation import Observation
from scheduler.model.trial import Trial

Alive = Callable[[], None]
"""Called before each fetch, which may take long; it may raise."""


def measure(
    definition: ExperimentDefinition,
    trial: Trial,
    root: Path,
    fetchers: Mapping[str, Fetcher],
    alive: Alive = lambda: None,
) -> Measurement:
    """Return the final observations of a trial whose job has succeeded.

    A metric that neither the objective nor an outcome constraint needs may be absent or invalid.
    """
    observations: list[Observation] = []
    missing = invalid = ""
    for arm_name, places in _by_arm(definition, trial, root).items():
        for metric, fetcher in fetchers.items():
            alive()
            try:
                point = _pooled(_final(definition, trial, p, metric, fetcher) for p in places)
            except MetricError as error:
                if metric not in definition.required_metrics:
                    continue
                if isinstance(error, InvalidMetric):
                    invalid = invalid or str(error)
                missing = missing or str(error)
                continue
            observations.append(
                Observation(trial.index, trial.attempt, arm_name, metric, point.mean, point.sem)
            )
    return Measurement(tuple(observations), missing, invalid)


def curves(
    definition: ExperimentDefinition,
    trial: Trial,
    root: Path,
    fetchers: Mapping[str, Fetcher],
    alive: Alive = lambda: None,
) -> Iterator[Observation]:
    """Yield the points so far of a RUNNING trial's metrics that are available while it runs.

    A metric that cannot be read now is left for later.
    """
    for place in tasks_of(definition, trial, root):
        for metric, fetcher in fetchers.items():
            if not definition.metric_specs[metric].available_while_running:
                continue
            alive()
            try:
                points = _fetch(definition, trial, place, metric, fetcher, running=True)
            except MetricError:
                continue
            for p in points:
                if p.step is not None:
                    yield Observation(
                        trial.index, trial.attempt, place.arm.name, metric, p.mean, p.sem, p.step
                    )


def _by_arm(definition: ExperimentDefinition, trial: Trial, root: Path) -> dict[str, list[Place]]:
    arms: dict[str, list[Place]] = {}
    for place in tasks_of(definition, trial, root):
        arms.setdefault(place.arm.name, []).append(place)
    return arms


def _final(
    definition: ExperimentDefinition, trial: Trial, place: Place, metric: str, fetcher: Fetcher
) -> Point:
    points = _fetch(definition, trial, place, metric, fetcher, running=False)
    if not points:
        raise UnavailableMetric(f"the metric {metric} is not in {place.directory}")
    spec = definition.metric_specs[metric]
    point = reduce_points(points, spec.reduce)
    return Point(point.mean, spec.sem if point.sem is None else point.sem)


def _fetch(
    definition: ExperimentDefinition,
    trial: Trial,
    place: Place,
    metric: str,
    fetcher: Fetcher,
    *,
    running: bool,
) -> Sequence[Point]:
    """Fetch finite values; a fetcher's own bug counts as unavailable, with its words."""
    request = FetchRequest(
        metric=metric,
        directory=place.directory,
        parameters=place.arm.parameters,
        running=running,
        placeholders=placeholders_of(definition, trial, place),
    )
    try:
        points = fetcher.fetch(request)
        for point in points:
            finite(point.mean, metric)
            finite(point.sem or 0.0, f"the standard error of {metric}")
            finite(point.step or 0.0, f"the step of {metric}")
        return points
    except MetricError:
        raise
    except Exception as error:  # a plugin must never end the loop
        raise UnavailableMetric(
            f"the fetcher of {metric} broke: {type(error).__name__}: {error}"
        ) from error


def _pooled(points: Iterator[Point]) -> Point:
    """Return the mean of replicates, with the standard error that their spread gives."""
    found = list(points)
    if len(found) == 1:
        return found[0]
    means = [p.mean for p in found]
    try:
        return Point(fmean(means), stdev(means) / math.sqrt(len(means)))
    except OverflowError:
        raise InvalidMetric(f"the mean of {means} is too large for a number") from None
