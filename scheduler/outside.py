"""Trials that are carried out outside: by people, or by the program that calls this.

Each is handed out once, and its result is what is said of it. Whoever calls drives the experiment
for a moment, where nobody else does; otherwise the driver is waited for. So any number of
processes may ask at once.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from metrics.base import Point, reduce_points
from scheduler import registry
from scheduler.daemon import News, taken
from scheduler.generation.inline import InlineGenerator
from scheduler.lack import NoTrial, no_trial, nothing_comes
from scheduler.loop import Loop
from scheduler.model.base import did_you_mean
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Ask, ExperimentState, ExperimentStatus
from scheduler.model.observation import Observation
from scheduler.model.trial import Trial, TrialStatus
from scheduler.storage import read
from scheduler.storage.commands import REQUEST, Asked
from scheduler.storage.errors import Held, LeaseLost, StorageBusy
from scheduler.storage.store import Experiment, Store

FIRST_LOOK, LAST_LOOK = 0.02, 0.2
"""Seconds between two looks at what somebody else drives: at first, and after a while."""

Data = Mapping[str, Mapping[str, tuple[float, float | None]]]
"""Arm -> metric -> (mean, standard error)."""
ARM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
"""What an arm may be called; a folder may be called so, too."""
Limit = Callable[[ExperimentState], int | None]
"""How many unfinished jobs there may be."""


class Refusal(Exception):
    """What was asked makes no sense as things stand; the message says why. Nothing was done."""


@dataclass
class Outside:
    """An experiment whose trials are carried out outside."""

    store: Store
    experiment: Experiment
    generator: InlineGenerator = field(default_factory=InlineGenerator)
    request: str | None = None
    """The name of what is asked, for who may have to ask again; nothing is done twice by it."""

    def take(self, wait: float, index: int | None = None) -> int | NoTrial:
        """Return the trial that is the caller's now, RUNNING; or why none is to be had.

        Where another process drives the experiment, and can still make one, that is waited for,
        ``wait`` seconds at most. ``index``: that trial and no other. Raises StorageError.
        """
        found = None
        limit = _one_more if index is None else _no_limit
        for _ in looks(wait):
            with suppress(Held, LeaseLost), self._driven(limit) as loop:
                found = self._begun(loop, index)
                if found is None:
                    return self._lacking(loop.state)
                self._note(loop, found)
                return found
            if found is None:
                found = self._begin(index)
            if found is not None:
                return found
            state = self.store.peek(self.experiment)
            if nothing_comes(state):
                break
        return self._lacking(state)

    def tell(self, wanted: Ask, wait: float) -> bool:
        """Note what somebody says; return whether that has been taken up.

        Where another process drives the experiment, it does; that is waited for, ``wait`` seconds
        at most. Raises StorageError.
        """
        if self.request:
            wanted = replace(wanted, payload={**wanted.payload, REQUEST: self.request})
        before = self.asked(wanted.verb)
        command = before.id if before else None
        if command is None:
            command = self.store.command(self.experiment.id, wanted, time.time())
        return self.taken_up(command, wait)

    def asked(self, verb: str) -> Asked | None:
        """Return what was asked before by the name of this request."""
        if self.request is None:
            return None
        return self.store.asked(self.experiment.id, verb, self.request)

    def taken_up(self, command: int, wait: float) -> bool:
        """See to it that a command is carried out, or wait for who does; return whether it is."""
        self.generator.wanted = False
        for _ in looks(wait):
            with suppress(Held, LeaseLost), self._driven(_no_more) as loop:
                loop.tick()
                while loop.eager:
                    loop.tick()
                return True
            if self.store.is_applied(command):
                return True
        return False

    # -- arms that somebody chooses

    def check_arm(self, parameters: Mapping[str, Any], name: str | None) -> None:
        """Raise :class:`Refusal` where an arm cannot be added."""
        definition, state = self.experiment.definition, self.store.peek(self.experiment)
        if self.has_ended:
            raise Refusal(f"{definition.name} has ended already: it is {state.status}")
        try:
            definition.admit(parameters)
        except ValueError as error:
            raise Refusal(f"this is not an arm of {definition.name}: {error}") from None
        most = state.definition.trials
        if state.tally.created >= most.total_trials:
            raise Refusal(f"all of its {state.tally.created} trials are made")
        if state.pending >= most.max_pending_trials:
            raise Refusal(
                f"{state.pending} trials of {definition.name} are pending, as many as "
                "max_pending_trials allows: complete or abandon one first"
            )
        if name is not None and not ARM_NAME.fullmatch(name):
            raise Refusal(f"{name!r} is no name of an arm: letters, digits, '_', '.' or '-'")
        if name is not None and read.has_arm(self.store, self.experiment.id, name):
            raise Refusal(f"there is an arm called {name!r} already")

    def added(self, parameters: Mapping[str, Any]) -> int:
        """Return the trial of an arm that was added just now. Raises Refusal where it was not."""
        wanted = self.experiment.definition.admit(parameters)
        unfinished = self.store.peek(self.experiment).active.values()
        for trial in sorted(unfinished, key=lambda t: -t.index):
            own = trial.generator_run is None and trial.status is not TrialStatus.RUNNING
            if own and trial.arms[0].parameters == wanted:
                return trial.index
        raise Refusal(f"{self.experiment.definition.name} took no trial of {dict(parameters)}")

    # -- what was recorded while a trial runs

    def reduced(self, trial: Trial) -> dict[str, dict[str, tuple[float, float | None]]]:
        """Return each curve of a trial brought to one number, as its metric says."""
        points: dict[tuple[str, str], list[Point]] = {}
        for o in self._curves(trial):
            points.setdefault((o.arm_name, o.metric), []).append(Point(o.mean, o.sem, o.step))
        found: dict[str, dict[str, tuple[float, float | None]]] = {}
        for (arm, metric), curve in points.items():
            one = reduce_points(curve, self.experiment.definition.metric_specs[metric].reduce)
            found.setdefault(arm, {})[metric] = (one.mean, one.sem)
        return found

    def next_step(self, trial: Trial) -> float:
        """Return the step after the last one of a trial's curves; 0 where there is none."""
        return max((o.step + 1.0 for o in self._curves(trial) if o.step is not None), default=0.0)

    def _curves(self, trial: Trial) -> tuple[Observation, ...]:
        return read.curves(self.store, read.TrialRecord(trial), self.experiment.id)

    @property
    def has_ended(self) -> bool:
        """Whether the experiment has stopped for good."""
        found = self.store.find(self.experiment.definition.name)
        return found is None or found.status is not ExperimentStatus.RUNNING

    @contextmanager
    def _driven(self, allowed: Limit) -> Iterator[Loop]:
        """Drive the experiment meanwhile. Raises Held where another process does."""
        driven = taken(self.store, self.experiment, News(), self.generator, allowed)
        try:
            yield driven.loop
        finally:
            driven.release()

    def _lacking(self, state: ExperimentState) -> NoTrial:
        """Return why there is none, by the state that was looked at and not by a later one."""
        trouble = read.surroundings(self.store, self.experiment.id).trouble
        return no_trial(state, trouble.message if trouble else "")

    def _begin(self, index: int | None) -> int | None:
        return self.store.begin(self.experiment.id, time.time(), index, self.request)

    def _begun(self, loop: Loop, index: int | None) -> int | None:
        """Begin a trial; make one if need be, knowing all that was measured until now.

        Another process may begin what this call makes; the next tick knows, and one more is made.
        """
        gone: set[int] = set()
        while True:
            found = self._begin(index)
            if found is not None or loop.ended:
                return found
            wanted = index is None and _has_room(loop.state)
            self.generator.wanted = wanted
            loop.tick()
            if loop.eager or (self.generator.busy and wanted):
                continue
            found = self._begin(index)
            if found is not None or wanted or index is not None:
                return found
            offered = _offered(loop.state)
            if not _has_room(loop.state) and offered <= gone:
                return None
            gone |= offered

    def _note(self, loop: Loop, index: int) -> None:
        """Let the trial that has begun be RUNNING; it has begun all the same if that must wait.

        Where Ctrl-C keeps the caller from ever hearing of it, it is given up.
        """
        self.generator.wanted = False
        try:
            with suppress(StorageBusy):
                loop.tick()
        except KeyboardInterrupt:
            given_up = Ask("abandon", index, "interrupted")
            self.store.command(self.experiment.id, given_up, time.time())
            raise


def _offered(state: ExperimentState) -> set[int]:
    """Return the trials that are deployed and that nobody had begun yet."""
    staged = (t for t in state.active.values() if t.status is TrialStatus.STAGED)
    return {t.index for t in staged if t.job_id is not None}


def _has_room(state: ExperimentState) -> bool:
    """Whether another arm could be deployed at once, and none waits for that."""
    waits = any(t.status is not TrialStatus.RUNNING for t in state.active.values())
    return not waits and state.pending < state.definition.trials.max_pending_trials


def _one_more(state: ExperimentState) -> int:
    """Return how many unfinished jobs make one that nobody has taken yet."""
    taken_ones = (t for t in state.active.values() if t.status is TrialStatus.RUNNING)
    return sum(t.ended_at is None for t in taken_ones) + 1


def _no_more(_state: ExperimentState) -> int:
    return 0


def _no_limit(_state: ExperimentState) -> None:
    return None


def looks(wait: float) -> Iterator[bool]:
    """Yield at once, and then again and again until ``wait`` seconds are over.

    What is yielded: whether it is the last time.
    """
    until, pause = time.monotonic() + wait, FIRST_LOOK
    while (left := until - time.monotonic()) > 0:
        yield False
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, LAST_LOOK)
    yield True


# -- what can be said


def check_external(definition: ExperimentDefinition) -> None:
    """Raise :class:`Refusal` where a runner of ours carries out the trials."""
    if not registry.runner_class(definition.runner.type).by_people:
        raise Refusal(
            f"the trials of {definition.name} are carried out by its runner, "
            f"{definition.runner.type!r}; this is for runner: {{type: external}}"
        )


def check_pending(trial: Trial) -> None:
    """Raise :class:`Refusal` where nothing is to be said of a trial any more."""
    if not trial.status.is_pending or trial.ended_at is not None:
        raise Refusal(f"trial {trial.index} is {trial.status}; it awaits no result")


def check_data(definition: ExperimentDefinition, trial: Trial, data: Data) -> None:
    """Raise :class:`Refusal` where data could not complete the trial, or would be lost."""
    check_names(definition, trial, data)
    for arm in trial.arms:
        if absent := sorted(definition.required_metrics - set(data.get(arm.name, {}))):
            raise Refusal(f"arm {arm.name} needs {', '.join(absent)} as well")


def check_names(definition: ExperimentDefinition, trial: Trial, data: Data) -> None:
    """Raise :class:`Refusal` where data is of no arm, of no metric, or no number."""
    arms, known = [arm.name for arm in trial.arms], definition.metric_specs
    for arm, metrics in data.items():
        if arm not in arms:
            raise Refusal(f"trial {trial.index} has no arm {arm!r}; it has {', '.join(arms)}")
        for name, (mean, sem) in metrics.items():
            if name not in known:
                near = did_you_mean(name, known) or f"; the metrics are {', '.join(known)}"
                raise Refusal(f"{definition.name} has no metric {name!r}{near}")
            if not math.isfinite(mean) or not math.isfinite(sem or 0.0):
                raise Refusal(f"{name} = {mean} with standard error {sem} is not finite")
            if sem is not None and sem < 0:
                raise Refusal("a standard error cannot be negative")
