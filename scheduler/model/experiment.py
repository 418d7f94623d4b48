"""An experiment as it stands: what the loop keeps in memory and the store keeps for good."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.nodes import Traits
from scheduler.model.observation import GeneratorRun, Observation, Outcome
from scheduler.model.pooling import average_of_each
from scheduler.model.trial import Trial, TrialStatus


class ExperimentStatus(StrEnum):
    """Where an experiment is."""

    RUNNING = "RUNNING"
    """It asks for trials, or waits for the last of them to end."""
    COMPLETED = "COMPLETED"
    """A stopping criterion held and every trial has ended."""
    FAILED = "FAILED"
    """Failures ended it."""


class Criterion(StrEnum):
    """What stopped an experiment."""

    TOTAL_TRIALS = "total_trials"
    TIMEOUT = "timeout"
    GOAL = "goal"
    IMPROVEMENT = "improvement"
    FAILURE_RATE = "failure_rate"
    SEARCH_SPACE_EXHAUSTED = "search_space_exhausted"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The criterion that fired, and what it means for trials that still run."""

    criterion: Criterion
    message: str
    failed: bool = False
    """Whether failures ended the experiment."""
    drain: bool = True
    """Let unfinished trials end by themselves; otherwise they are cancelled."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an experiment's history."""

    time: float
    kind: str
    message: str
    trial_index: int | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """When something last moved, or was found not to."""

    time: float
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """What a person asks of an experiment."""

    verb: str
    trial_index: int | None = None
    reason: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asked, as the driver reads it; applied at the next tick."""

    id: int
    verb: str
    """``stop``, ``abandon``, ``set`` ...: those of ``scheduler.obey``."""
    trial: Trial | None
    """As it was when the command was read; ``None`` for commands to the experiment."""
    reason: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """What the verb needs besides."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts that would cost a scan of all trials."""

    created: int = 0
    """Trials there are, whatever became of them."""
    finished: Mapping[TrialStatus, int] = field(default_factory=dict)
    generated: Mapping[int, int] = field(default_factory=dict)
    """Trials made so far, by node of the generation strategy."""
    completed: Mapping[int, int] = field(default_factory=dict)
    """Of these, how many are COMPLETED."""
    generator_runs: int = 0
    cursors: Mapping[str, int] = field(default_factory=dict)
    """Where each sequence generator goes on."""
    slowest: float = 0.0
    """Seconds from STAGED to the job's end, at most, of the last attempts of completed trials."""

    def count(self, *statuses: TrialStatus) -> int:
        """Return how many trials ended in one of ``statuses``."""
        return sum(self.finished.get(status, 0) for status in statuses)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one tick writes, in one transaction. Rows are whole: new ones or replacements."""

    time: float = 0.0
    trials: tuple[Trial, ...] = ()
    generator_runs: tuple[GeneratorRun, ...] = ()
    observations: tuple[Observation, ...] = ()
    """Final ones."""
    curves: tuple[Observation, ...] = ()
    """Those with a step."""
    events: tuple[Event, ...] = ()
    commands: tuple[int, ...] = ()
    """Ids of the commands that were applied."""
    status: ExperimentStatus | None = None
    stop: Verdict | None = None
    paused: bool | None = None
    """Where it changes."""
    definition: ExperimentDefinition | None = None
    """Where it changes."""

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return any(
            (
                self.trials,
                self.generator_runs,
                self.observations,
                self.curves,
                self.events,
                self.commands,
                self.status,
                self.stop,
                self.paused is not None,
                self.definition,
            )
        )


@dataclass(frozen=True, slots=True)
class ExperimentState:
    """What decisions are made from. Its size follows what is active, outcomes apart."""

    definition: ExperimentDefinition
    status: ExperimentStatus = ExperimentStatus.RUNNING
    stop: Verdict | None = None
    """Set once a criterion has fired; nothing new is staged or generated from then on."""
    paused: bool = False
    """Whether nothing new is staged, submitted or generated until a person says so."""
    spent_nodes: int = 0
    """So many nodes of the generation strategy, from the first, have no new arm left."""
    generators: Mapping[str, Traits] = field(default_factory=dict)
    """What is known of the generators that the strategy names."""
    active: Mapping[int, Trial] = field(default_factory=dict)
    """CANDIDATE, STAGED and RUNNING trials by index, in order."""
    tally: Tally = Tally()
    outcomes: Sequence[Outcome] = ()
    """Of completed trials, in order of completion."""
    transferred: int = 0
    """How many arms were measured elsewhere, with all the metrics that are needed here."""
    seconds: float = 0.0
    """How long the experiment has been driven, all resumes together."""
    progress: Progress | None = None
    troubles: Mapping[str, Event] = field(default_factory=dict)
    """What is wrong now, by the kind of the event that told of it: of :data:`TROUBLES`."""

    @property
    def pending(self) -> int:
        """How many trials are STAGED or RUNNING."""
        return sum(trial.status.is_pending for trial in self.active.values())

    @property
    def observed(self) -> int:
        """How many observations of arms a model could learn from."""
        return len(self.outcomes) + self.transferred

    @property
    def baseline(self) -> Mapping[str, float] | None:
        """Return the status quo's means over all its trials: trial 0, and every batch trial."""
        if self.definition.status_quo is None:
            return None
        found = (o.means for o in self.outcomes if o.arm_name == STATUS_QUO)
        return average_of_each(found) or None


STALLED = "stalled"
MOVES = frozenset(
    {
        *(f"trial_{status.lower()}" for status in TrialStatus),
        *("experiment_created", "experiment_paused", "experiment_unpaused", "definition_changed"),
        *("experiment_stopping", "driven_again", "moving_again"),
    }
)
"""Kinds of events after which the time in which nothing moves counts anew."""


def progress_after(before: Progress | None, events: Iterable[Event]) -> Progress | None:
    """Return the progress that the last of ``events`` speaks of; ``before`` where none does."""
    for event in events:
        if event.kind in MOVES or event.kind == STALLED:
            before = Progress(event.time, event.kind == STALLED)
    return before


TROUBLES: Mapping[str, frozenset[str]] = {
    "runner_unavailable": frozenset({"runner_available"}),
    "generation_failed": frozenset({"generation_resumed"}),
    "disk_low": frozenset({"disk_free"}),
}
"""Kinds of events that tell of trouble which lasts, and those that tell of its end."""


def troubles_after(
    before: Mapping[str, Event],
    events: Iterable[Event],
    ends_of: Mapping[str, frozenset[str]] = TROUBLES,
) -> Mapping[str, Event]:
    """Return what is wrong after ``events``: of each trouble, what was told first."""
    after = dict(before)
    for event in events:
        if event.kind in ends_of:
            after.setdefault(event.kind, event)
        for kind, ends in ends_of.items():
            if event.kind in ends:
                after.pop(kind, None)
    return after


STATUS_QUO = "status_quo"
"""The name of the arm that is in use today."""


def evolve(state: ExperimentState, changes: Changes) -> ExperimentState:
    """Return the state after ``changes`` were stored: equal to loading it afresh.

    Except after a retry of a final trial: load afresh then.
    """
    if not changes:
        return state
    active = dict(state.active)
    finished = dict(state.tally.finished)
    for trial in changes.trials:
        if trial.status.is_final:
            active.pop(trial.index, None)
            finished[trial.status] = finished.get(trial.status, 0) + 1
        else:
            active[trial.index] = trial
    new = outcomes_of(changes)
    return replace(
        state,
        active=active,
        tally=_counted(state.tally, changes, finished),
        outcomes=(*state.outcomes, *new) if new else state.outcomes,
        status=changes.status or state.status,
        stop=changes.stop or state.stop,
        paused=state.paused if changes.paused is None else changes.paused,
        definition=changes.definition or state.definition,
        progress=progress_after(state.progress, changes.events),
        troubles=troubles_after(state.troubles, changes.events),
    )


def outcomes_of(changes: Changes) -> tuple[Outcome, ...]:
    """Return the outcomes of the trials that complete with ``changes``."""
    completed = {t.index for t in changes.trials if t.status is TrialStatus.COMPLETED}
    means: dict[tuple[int, str], dict[str, float]] = {}
    for o in changes.observations:
        if o.trial_index in completed:
            means.setdefault((o.trial_index, o.arm_name), {})[o.metric] = o.mean
    return tuple(Outcome(trial, arm, values) for (trial, arm), values in means.items())


def _counted(tally: Tally, changes: Changes, finished: Mapping[TrialStatus, int]) -> Tally:
    new = [t for t in changes.trials if t.index >= tally.created]
    completed = [t for t in changes.trials if t.status is TrialStatus.COMPLETED]
    runs = changes.generator_runs
    return Tally(
        created=tally.created + len(new),
        finished=finished,
        generated=_by_node(tally.generated, new),
        completed=_by_node(tally.completed, completed),
        generator_runs=tally.generator_runs + len(runs),
        cursors={**tally.cursors, **{run.generator: run.cursor for run in runs}},
        slowest=max([tally.slowest, *map(way_of, completed)]),
    )


def way_of(trial: Trial) -> float:
    """Return the seconds from STAGED to the end of the job, of its last attempt."""
    if trial.ended_at is None or trial.staged_at is None:
        return 0.0
    return trial.ended_at - trial.staged_at


def _by_node(counts: Mapping[int, int], more: Iterable[Trial]) -> Mapping[int, int]:
    """Return ``counts`` with ``more`` trials added to those of their nodes."""
    added = Counter(trial.node for trial in more if trial.node is not None)
    return {**counts, **{node: counts.get(node, 0) + n for node, n in added.items()}}
