"""One tick: observe, decide, act. The only place where decisions meet the world.

It may die between any two instructions: what is wanted is stored before it is done, and the next
tick, in this process or another, finds out by name how far it came.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from metrics.base import Fetcher
from runners.base import Runner
from scheduler import candidates, strays
from scheduler.backend import Backend
from scheduler.generation.protocol import GeneratorClient
from scheduler.model.experiment import (
    Changes,
    Command,
    Event,
    ExperimentState,
    ExperimentStatus,
    Progress,
    evolve,
)
from scheduler.model.nodes import Traits
from scheduler.model.trial import Trial
from scheduler.readings import Readings
from scheduler.reconcile import Decision, Seen, decide
from scheduler.stalled import Signs

HEARTBEAT = 15.0
"""Seconds after which the time driven is stored even though nothing changed."""
GENERATE_AGAIN_AFTER = 10.0
"""Seconds to wait after a generator that could not even step down."""
SHORT_GAP = 600.0
"""Seconds without a driver that count as driven nevertheless."""


class Journal(candidates.Records, Protocol):
    """What the loop needs of a store, for one experiment whose lease it holds."""

    def load(self) -> ExperimentState:
        """Return what is stored."""

    def commit(self, state: ExperimentState, changes: Changes) -> None:
        """Write ``changes`` on top of ``state``, all or nothing; raise otherwise."""

    def commands(self) -> tuple[Command, ...]:
        """Return the commands that were not applied yet."""

    def trials(self, indexes: Collection[int]) -> Mapping[int, Trial]:
        """Return trials as they are stored, whatever their status."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside that the loop talks to; simulated in tests."""

    journal: Journal
    runner: Runner
    fetchers: Mapping[str, Fetcher]
    generator: GeneratorClient
    now: Callable[[], float]
    trials_dir: Path
    token: str
    allowed: Callable[[ExperimentState], int | None] = lambda _: None
    """How many unfinished jobs it may have beside others; ``None``: as many as wanted."""
    shortage: Callable[[], str] = lambda: ""
    """What the disk lacks to start more trials, in words; empty where it lacks nothing."""
    alive: Callable[[], None] = lambda: None
    """Called between two calls of others' code, each of which may take long.

    Raises where this process is to let go; then a tick ends there, as if it had been killed.
    """
    traits: Mapping[str, Traits] = field(default_factory=dict)
    """What is known of the generators that the strategy names."""


class Loop:
    """Drives one experiment, tick by tick. Everything it remembers can be lost without harm."""

    def __init__(self, world: World, noted: float | None = None) -> None:
        """Load the state; the lease is held.

        ``noted``: when the time driven was last stored. A short gap since, as between two calls
        of cron, counts as driven.
        """
        self.world = world
        self.state = replace(world.journal.load(), generators=world.traits)
        definition = self.state.definition
        self.backend = Backend(
            *(world.runner, definition, world.trials_dir, world.token, world.now, world.alive)
        )
        if silence := self.state.troubles.get("runner_unavailable"):
            self.backend.silence = (silence.time, silence.message)
        self._readings = Readings(world.trials_dir, world.fetchers, world.alive)
        self._in_doubt = False
        now = world.now()
        is_short = noted is not None and now - noted <= SHORT_GAP
        self._last_tick = noted if noted is not None and is_short else now
        if noted is not None and not is_short:
            words = f"nobody drove it for {now - noted:.0f} s"
            self.backend.events.append(Event(now, "driven_again", words))
            self.state = replace(self.state, progress=Progress(now))
        self._last_commit = 0.0
        self._generate_from = 0.0
        self.generator_seconds = 0.0
        """How long generators have worked since this process drives."""

    @property
    def eager(self) -> bool:
        """Whether another tick should follow soon: it has answers that are not stored yet."""
        return self.backend.has_news

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.state.status is not ExperimentStatus.RUNNING

    def tick(self) -> tuple[Event, ...]:
        """Observe, decide, store, act; return what happened.

        Raises what the journal raises: then nothing was done that is not stored, and the next
        tick makes up for it.
        """
        now = self.world.now()
        if self._in_doubt:
            self._load()
        self._count_time(now)
        arrived, spent = self._arrived(now)
        before, disk = self.state, self.world.shortage()
        present = replace(evolve(before, arrived), spent_nodes=spent)
        decision = decide(present, self._observe(present, disk, now), now)
        decision = replace(decision, cancel=self.backend.to_cancel(decision.cancel, now))
        noted = (*self.backend.events, *self._about_the_disk(disk, now))
        changes = merged(arrived, decision.changes, noted)
        acts = decision.cancel or decision.release or decision.submit or self._suspected(before)
        self._store(before, changes, bool(acts), now)
        self.state = replace(self.state, spent_nodes=spent)
        self._act(decision, now)
        self._rid_of_strays(now)
        return changes.events

    def _load(self) -> None:
        """Take what is stored for what is so: a transaction that failed may have got through."""
        known, stored = self.state, self.world.journal.load()
        self.state = replace(
            stored,
            seconds=max(known.seconds, stored.seconds),
            spent_nodes=known.spent_nodes,
            generators=known.generators,
        )
        self._in_doubt = False

    def _count_time(self, now: float) -> None:
        elapsed = max(0.0, now - self._last_tick)
        self._last_tick = now
        if not self.state.paused:
            self.state = replace(self.state, seconds=self.state.seconds + elapsed)

    # -- observe

    def _arrived(self, now: float) -> tuple[Changes, int]:
        """Take the generator's reply, if there is one, as new candidates; count spent nodes.

        A reply that is not stored in the end is asked for again, and is the same again.
        """
        spent = self.state.spent_nodes
        reply = self.world.generator.reply() if self.world.generator.busy else None
        if reply is None or self.state.stop is not None:
            return Changes(), spent
        room = self.state.definition.trials.total_trials - self.state.tally.created
        if not isinstance(reply, str) and len(reply.trials) > room:
            return Changes(), spent  # a person has changed the budget since, or added an arm
        if isinstance(reply, str):
            self._generate_from = now + GENERATE_AGAIN_AFTER
            return Changes(time=now, events=self._new("generation_failed", reply, now)), spent
        self.generator_seconds += reply.seconds
        return candidates.arrivals(self.state, reply, now), candidates.spent(self.state, reply)

    def _observe(self, state: ExperimentState, disk: str, now: float) -> Seen:
        self.world.alive()
        reports = self.backend.poll(state.active, now)
        measurements = self._readings.measurements(state, reports)
        return Seen(
            reports=reports,
            submissions=self.backend.answers(state.active),
            cancelled=self.backend.cancelled(state.active),
            measurements=measurements,
            symptoms=self._readings.symptoms(state, reports, measurements),
            curves=self._readings.curves(state, reports, now),
            commands=self.world.journal.commands(),
            max_jobs=_least(self.backend.max_jobs, self.world.allowed(state)),
            submit_at_most=0 if disk else self.backend.submit_at_most,
            signs=self._signs(state, disk),
        )

    def _signs(self, state: ExperimentState, disk: str) -> Signs:
        since, words = self.backend.silence or (None, "")
        failed = state.troubles.get("generation_failed")
        return Signs(
            since, words, failed.message if failed else "", self.world.runner.by_people, disk
        )

    def _new(self, kind: str, message: str, now: float) -> tuple[Event, ...]:
        """Return the event of a trouble; nothing where the same was told and lasts."""
        told = self.state.troubles.get(kind)
        return () if told and told.message == message else (Event(now, kind, message),)

    def _about_the_disk(self, low: str, now: float) -> tuple[Event, ...]:
        """Return the event that the disk is low, or is not any more, where that is new."""
        if bool(low) is ("disk_low" in self.state.troubles):
            return ()
        if low:
            return (Event(now, "disk_low", f"{low}: nothing is started until there is room"),)
        return (Event(now, "disk_free", "there is room again"),)

    # -- store

    def _store(self, before: ExperimentState, changes: Changes, acts: bool, now: float) -> None:
        """Commit; on failure keep what the acts said, for the next tick.

        An empty transaction before an act makes sure that the lease is still ours.
        """
        if not changes and not acts and now - self._last_commit < HEARTBEAT:
            self.backend.taken_up(before.active)
            return
        self._in_doubt = True
        self.world.journal.commit(before, changes)
        self._last_commit = now
        self._readings.stored(changes.curves, before.active)
        if changes.commands:
            self._load()
        else:
            self.state = evolve(before, changes)
            self._in_doubt = False
        self.backend.definition = self.state.definition
        self.backend.taken_up(self.state.active)

    # -- act

    def _act(self, decision: Decision, now: float) -> None:
        """Cancel, release, submit, generate; an error of one never stops the others."""
        self.backend.tell_stored(self.state.active, now)
        if decision.cancel:
            self.backend.cancel(decision.cancel, now)
        if decision.release:
            self.backend.release(decision.release, now)
        if decision.submit:
            self.backend.submit(decision.submit, now)
        if decision.generate and not self.world.generator.busy and now >= self._generate_from:
            self._generate(decision.generate)

    def _suspected(self, state: ExperimentState) -> list[tuple[int, int]]:
        return strays.suspected(self.backend.unfinished, state.active, state.tally.created)

    def _rid_of_strays(self, now: float) -> None:
        """Cancel the jobs that this tick saw alive of attempts that are stored as over by now."""
        numbers = self._suspected(self.state)
        if numbers:
            stored = self.world.journal.trials({index for index, _ in numbers})
            self.backend.rid(strays.over(numbers, stored), now)

    def _generate(self, wanted: int) -> None:
        known = candidates.known(self.state, self.world.journal)
        self.world.generator.ask(candidates.request(self.state, wanted, known))


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def merged(arrived: Changes, decided: Changes, noted: tuple[Event, ...]) -> Changes:
    """Return both as one transaction; a trial that arrived and moved is written once."""
    trials = {trial.index: trial for trial in (*arrived.trials, *decided.trials)}
    return replace(
        decided,
        trials=tuple(trials.values()),
        generator_runs=arrived.generator_runs,
        events=(*arrived.events, *decided.events, *noted),
    )
