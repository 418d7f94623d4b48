"""What must hold at every commit and after every tick, whatever happens."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from runners.base import JobState
from scheduler.advance import _KINDS
from scheduler.model.definition import signature
from scheduler.model.experiment import Changes, ExperimentState
from scheduler.model.trial import TRANSITIONS, Reason, Trial, TrialStatus
from simulation.backend import SimulatedJob
from simulation.faults import Violation
from simulation.memory import MemoryStore

T = TrialStatus
Truth = Callable[[Any], bool]
"""Of what the backend knows of an attempt's job, or None."""


def _ended_as(*fates: str) -> Truth:
    return lambda job: job is not None and job.state.is_final and job.fate in fates


def gone(job: SimulatedJob | None) -> bool:
    return job is None or job.state.is_final


def _lost(job: SimulatedJob | None) -> bool:
    return job is not None and job.state is JobState.LOST


def _succeeded(job: SimulatedJob | None) -> bool:
    return job is not None and job.state is JobState.SUCCEEDED


TRUTHS: dict[str | None, Truth] = {
    None: _succeeded,
    Reason.METRICS_MISSING: _succeeded,
    Reason.METRICS_INVALID: _succeeded,
    Reason.EXIT_CODE: _ended_as("exit_code"),
    Reason.OOM: _ended_as("oom"),
    Reason.NODE_FAIL: _ended_as("node_fail"),
    Reason.PREEMPTED: _ended_as("preempted"),
    Reason.LOST: _lost,
    Reason.TIMEOUT: gone,
    Reason.PENDING_TIMEOUT: gone,
    Reason.USER: gone,
    Reason.EXPERIMENT_STOPPED: gone,
}
"""What must be true of an attempt's job where the attempt has ended for a reason."""


def demand(holds: bool, *words: object) -> None:
    """Raise where it does not hold. The words are put together only then."""
    if not holds:
        raise Violation(" ".join(map(str, words)))


class Invariants:
    """Checks every commit before it takes effect, with what is stored as the truth so far."""

    def __init__(self, backend: Any, truths: Mapping[str | None, Truth] | None = None) -> None:
        self.backend = backend
        self.truths = truths or TRUTHS
        self.signatures: set[str] = set()
        self.given_back: Counter[int] = Counter()
        """How often people sent each trial back."""

    def commit(self, store: MemoryStore, changes: Changes, state: ExperimentState) -> None:
        """Check one commit."""
        retried = Counter(
            store.commands[i][1] for i in changes.commands if store.commands[i][0] == "retry"
        )
        self._bounds(store, changes)
        for trial in changes.trials:
            before = store.trials.get(trial.index)
            if before is None:
                self._new(trial, state)
            else:
                self._moved(store, before, trial, retried[trial.index])
        self._observed(store, changes)

    def _bounds(self, store: MemoryStore, changes: Changes) -> None:
        options = store.definition.trials
        after = store.trials | {t.index: t for t in changes.trials}
        pending = [sum(t.status.is_pending for t in s.values()) for s in (store.trials, after)]
        demand(
            pending[1] <= max(pending[0], options.max_pending_trials),
            *(pending[1], "trials are pending; at most", options.max_pending_trials),
        )
        more = len(after) > len(store.trials)
        total = max((options.total_trials, *_totals_asked_for(store, changes)))
        demand(not more or len(after) <= total, "more trials than total_trials")
        demand(sorted(after) == list(range(len(after))), "trial indexes have a gap")
        ended = changes.status is not None
        demand(not ended or all(t.status.is_final for t in after.values()), "ended too early")

    def _new(self, trial: Trial, state: ExperimentState) -> None:
        demand(trial.attempt == 1, "it began with another attempt:", trial)
        demand(state.stop is None, "made after the experiment stopped:", trial)
        for arm in trial.arms:
            key = signature(arm.parameters)
            fresh = key not in self.signatures or arm.name == "status_quo"
            demand(fresh, "it repeats an earlier arm:", arm)
            self.signatures.add(key)

    def _moved(self, store: MemoryStore, before: Trial, after: Trial, retried: int) -> None:
        what = before, "->", after, ":"
        if before.status.is_final:
            demand(retried > 0, *what, "a final status changed by itself")
            self.given_back[after.index] += retried
        demand(after.arms == before.arms, *what, "its arms changed")
        demand(_reachable(before, after), *what, "no such transition")
        more = after.attempt - before.attempt
        demand(0 <= more <= max(1, retried), *what, "attempts skipped")
        if after.attempt > before.attempt and not before.status.is_final:
            self._attempts(store, after)
        if after.status.is_final or after.attempt > before.attempt:
            self._truth(before, after, *what)

    def _attempts(self, store: MemoryStore, trial: Trial) -> None:
        given = self.given_back[trial.index]
        budget = store.definition.failures.retries
        total = sum(getattr(budget, kind) for kind in type(budget).model_fields)
        most = (1 + total) * (1 + given)
        demand(trial.attempt <= most, "it has more than", most, "attempts:", trial)

    def _truth(self, before: Trial, after: Trial, *what: object) -> None:
        """Check why an attempt is said to have ended against what the backend knows."""
        if before.status.is_final or before.status is T.CANDIDATE:
            return
        key = (before.index, before.attempt)
        job = self.backend.at(*key)
        if after.reason == Reason.REJECTED:
            demand(key in self.backend.rejected and gone(job), *what, "it was not rejected")
            return
        if after.reason == Reason.EXPERIMENT_STOPPED:
            demand(gone(job), *what, "alive:", job)
            return
        if after.status.is_pending:  # staged again at once: of why, the kind alone is told
            demand(gone(job), *what, "alive:", job)
            reasons = _of_the_kind_that_grew(before, after)
            holds = not reasons or any(self.truths[reason](job) for reason in reasons)
            demand(holds, *what, "none is so:", reasons, job)
            return
        reason = None if after.status is T.COMPLETED else after.reason
        demand(self.truths[reason](job), *what, "that is not so:", job)

    def _observed(self, store: MemoryStore, changes: Changes) -> None:
        values = {(o.trial_index, o.arm_name, o.metric): o for o in changes.observations}
        for key, o in values.items():
            demand(key not in store.observations, key, "was observed twice")
            demand(math.isfinite(o.mean), "not finite:", o)
        completed = [t for t in changes.trials if t.status is T.COMPLETED]
        wanted = {
            (t.index, arm.name, metric)
            for t in completed
            for arm in t.arms
            for metric in store.definition.required_metrics
        }
        demand(wanted == values.keys(), "completed", wanted, "observed", values.keys())

    def after(self, store: MemoryStore, state: ExperimentState) -> None:
        """Check what is kept in memory against what is stored."""
        known = {name: getattr(state, name) for name in ("seconds", "spent_nodes", "generators")}
        stored = replace(store.state(), **known)
        demand(state == stored, "in memory:", state, "stored:", stored)
        self.world(store)

    def world(self, store: MemoryStore) -> None:
        """Check the backend against what is stored."""
        for job in self.backend.jobs.values():
            if not job.state.is_final:
                trial = store.trials[job.trial]
                wanted = trial.status.is_pending and trial.attempt == job.attempt
                demand(wanted, job.name, "is alive, but its trial is not:", trial)

    def name_of(self, index: int, attempt: int) -> str:
        """Return the name under which an attempt's job is known."""
        return f"schedd-{TOKEN[:8]}-t{index}-a{attempt}"


TOKEN = "5eed5eed"


def _of_the_kind_that_grew(before: Trial, after: Trial) -> list[str]:
    """Return the reasons that draw on the budget on which alone this retry has drawn."""
    grown = [k for k, n in after.retries.items() if n != before.retries.get(k, 0)]
    return [reason for reason, kind in _KINDS.items() if [kind] == grown]


def _totals_asked_for(store: MemoryStore, changes: Changes) -> Iterator[int]:
    """Yield what people have set ``total_trials`` to, one after the other, in one commit."""
    for verb, _, _, payload in (store.commands[i] for i in changes.commands):
        if verb == "set":
            yield payload["trials.total_trials"]


def _reachable(before: Trial, after: Trial) -> bool:
    """Whether the table allows it, in several steps of one tick where need be."""
    if before.status is after.status and before.attempt == after.attempt:
        return True
    todo = [(before.status, before.attempt)]
    seen = set(todo)
    while todo:
        status, attempt = todo.pop()
        for following in TRANSITIONS[status]:
            nth = attempt + (following is T.CANDIDATE)
            step = (following, nth)
            if step == (after.status, after.attempt):
                return True
            if nth <= after.attempt and step not in seen:
                seen.add(step)
                todo.append(step)
    return False
