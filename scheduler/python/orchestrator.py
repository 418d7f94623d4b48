"""The closed loop over a program's own Runner and Metrics, or over a runner that schedd knows."""

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scheduler.daemon import Driven, Interrupted, News, Plugs, by_definition, drive, taken
from scheduler.model import redefine
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Event, ExperimentState
from scheduler.outside import looks
from scheduler.python.answers import Answers
from scheduler.python.errors import EvaluationsFailed, UserInputError, translated
from scheduler.python.inprocess import plugged
from scheduler.python.kept import Kept
from scheduler.python.metric import Runner
from scheduler.python.program import PYTHON, section_of
from scheduler.storage.errors import Held
from scheduler.storage.store import Experiment as StoredExperiment
from scheduler.storage.store import Store

if TYPE_CHECKING:
    from scheduler.python.experiment import Experiment

GRACE = 5.0
"""Seconds."""
T = TypeVar("T")


@dataclass(frozen=True)
class SchedulerOptions:
    """How the loop goes; what is not said here stays as the experiment has it."""

    total_trials: int | None = None
    """Of the experiment, all runs together: needed by ``run_all_trials``."""
    max_pending_trials: int = 10
    batch_size: int | None = None
    """Arms per trial."""
    tolerated_trial_failure_rate: float = 0.5
    min_failed_trials_for_failure_rate_check: int = 5
    ttl_seconds_for_trials: float | None = None
    """A RUNNING trial that is older is ended."""
    init_seconds_between_polls: float = 1.0
    """Between all polls: there is no back-off, which would notice ends late."""

    def budget(self) -> dict[str, Any]:
        """Return the keys of a file that may be changed while an experiment lives."""
        rate = self.tolerated_trial_failure_rate
        least = self.min_failed_trials_for_failure_rate_check
        return {
            "trials.max_pending_trials": self.max_pending_trials,
            "trials.ttl": self.ttl_seconds_for_trials,
            "failures.tolerated_trial_failure_rate": rate,
            "failures.min_failed_trials_for_failure_rate_check": least,
            "polling.interval": self.init_seconds_between_polls,
            **({"trials.total_trials": self.total_trials} if self.total_trials else {}),
        }


class Scheduler(Answers):
    """Drives an experiment: proposes trials, deploys and polls them, and fetches their metrics.

    All of it is stored before it is acted on; in another process, or after a crash, a Scheduler
    on the same experiment goes on, and so does ``schedd daemon``: at once where schedd knows the
    runner, after :meth:`hand_over` where it is a Runner of the program's.
    """

    def __init__(
        self,
        experiment: "Experiment",
        generation_strategy: Any = None,
        options: SchedulerOptions | None = None,
        *,
        runner: Any = None,
    ) -> None:
        """Store the experiment, and candidates it may have. Raises UserInputError.

        ``runner``: what the experiment is given, where it has none yet.
        """
        self.experiment = experiment
        if runner is not None:
            experiment.give(runner)
        self.options = options or SchedulerOptions()
        if generation_strategy is not None and not experiment.session.is_made:
            experiment.generation_strategy = generation_strategy
        self._check_metrics()
        if self.options.batch_size and not experiment.session.is_made:
            trials = {
                **experiment.options.get("trials", {}),
                "batch_size": self.options.batch_size,
            }
            experiment.options["trials"] = trials
        super().__init__(experiment.made, lambda: None)
        self._generator = Kept()
        self.close = weakref.finalize(self, self._generator.end)
        """End the process that makes arms; otherwise it ends with this object."""
        experiment.save()

    def run_n_trials(
        self,
        max_trials: int,
        timeout_hours: float | None = None,
        idle_callback: Callable[["Scheduler"], None] | None = None,
    ) -> "Experiment":
        """Run so many more trials to their end, within ``total_trials`` of the options.

        Raises EvaluationsFailed where too many fail. Ctrl-C, and the timeout, leave jobs alone.
        ``idle_callback`` is called after each turn of the loop.
        """
        created = self.session.state().tally.created
        unfinished = len(self.session.state().active)
        total = created - unfinished + max_trials
        most = self.options.total_trials
        self._set({"trials.total_trials": min(total, most) if most else total})
        return self._run(timeout_hours, idle_callback)

    def run_all_trials(
        self,
        timeout_hours: float | None = None,
        idle_callback: Callable[["Scheduler"], None] | None = None,
    ) -> "Experiment":
        """Run all of ``total_trials`` to their end; otherwise as :meth:`run_n_trials`."""
        if self.options.total_trials is None:
            raise UserInputError("run_all_trials needs SchedulerOptions(total_trials=...)")
        self._set({})
        return self._run(timeout_hours, idle_callback)

    def hand_over(self) -> "Experiment":
        """Leave what is left of ``total_trials`` to whoever drives what this database holds.

        That is ``schedd daemon`` or ``schedd resume``, where a Runner and Metrics of the program's
        are made anew: their classes are imported, and called with the attributes of these objects
        that are named as the constructor's arguments. Trials that run go on.
        Raises UserInputError where another process could not do that, and Busy.
        """
        if self.session.place.temporary:
            raise UserInputError("no other process finds a temporary database: give a storage=...")
        if self.options.total_trials is None:
            raise UserInputError("hand_over needs SchedulerOptions(total_trials=...)")
        own = self.experiment.runner
        section = section_of(own, self.experiment.fetched) if isinstance(own, Runner) else None
        self._set({})
        if section is not None:
            self.session.refresh()
            self._name_runner({"type": PYTHON, PYTHON: section})
        return self.experiment

    def _name_runner(self, keys: Mapping[str, Any]) -> None:
        session = self.session
        before = session.definition
        if before.runner.type == PYTHON and before.runner.options == keys[PYTHON]:
            return
        data = before.model_dump(by_alias=True, mode="json", exclude_unset=True)
        runner = {**data["runner"], **keys}
        after = ExperimentDefinition.model_validate({**data, "runner": runner})
        store, now = session.place.store, time.time()
        with translated():
            lease = _patiently(lambda: store.acquire(session.experiment, now))
            try:
                store.redefine(lease, after, now, "handed over by its program")
            finally:
                lease.release()
        session.refresh()

    def _check_metrics(self) -> None:
        """Raise UserInputError where a metric of a program's runner could never be fetched."""
        if not isinstance(self.experiment.runner, Runner):
            return
        fetched = self.experiment.fetched
        for name in sorted(self.experiment.definition.required_metrics):
            if name not in fetched:
                raise UserInputError(
                    f"the metric {name!r} does not say how it is fetched: subclass Metric, define "
                    "fetch_trial_data, and give it to the objective"
                )

    def _set(self, more: Mapping[str, Any]) -> None:
        values = {**self.options.budget(), **more}
        if isinstance(self.experiment.runner, Runner):
            values["missing_metrics.retry_for"] = 0.0
        with translated():
            self.session.refresh()
            self.session.submit(redefine.having(self.session.definition, values))

    def _run(
        self,
        timeout_hours: float | None,
        idle_callback: Callable[["Scheduler"], None] | None,
    ) -> "Experiment":
        news = News()
        until = None if timeout_hours is None else time.monotonic() + 3600 * timeout_hours

        def watch(_state: ExperimentState, _events: tuple[Event, ...]) -> None:
            if idle_callback is not None:
                idle_callback(self)
            news.stop = until is not None and time.monotonic() >= until

        with translated():
            driven = self._driven(news)
            try:
                drive(driven, watch)
            except Interrupted:
                return self.experiment
            finally:
                driven.release()
        stop = self.session.state().stop
        if stop is not None and stop.failed:
            raise EvaluationsFailed(stop.message)
        return self.experiment

    def _driven(self, news: News) -> "Driven[News]":
        session, own = self.session, self.experiment.runner

        def plug(store: Store, stored: StoredExperiment, wake: Callable[[], None]) -> Plugs:
            if isinstance(own, Runner):
                return plugged(own, self.experiment, wake)
            return by_definition(store, stored, wake)

        self._generator.wake = news.set
        store, generator = session.place.store, self._generator
        return _patiently(lambda: taken(store, session.experiment, news, generator, plug=plug))


def _patiently(take: Callable[[], T]) -> T:
    """Return what can be taken; raise Held only where somebody else holds it for seconds.

    A daemon holds what it finds for as long as it needs to see that it cannot drive it.
    """
    for is_last in looks(GRACE):
        try:
            return take()
        except Held:
            if is_last:
                raise
    raise AssertionError("the last look returns or raises")
