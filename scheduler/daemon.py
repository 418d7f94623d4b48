"""Timers, signals and the lease: what turns a loop into a process that drives an experiment."""

import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Generic, Protocol, TypeVar

from apscheduler.schedulers.background import BackgroundScheduler

from metrics.base import Fetcher
from runners.base import Runner
from scheduler import owner, registry
from scheduler.clock import Anchor, Clock
from scheduler.generation.protocol import GeneratorClient
from scheduler.generation.worker import WorkerGenerator
from scheduler.loop import Loop, World
from scheduler.model.experiment import Event, ExperimentState
from scheduler.room import shortage
from scheduler.storage.engine import absolute
from scheduler.storage.errors import StorageBusy
from scheduler.storage.journal import ExperimentJournal
from scheduler.storage.lease import Lease
from scheduler.storage.store import Experiment, Store

TICK = "tick"
EAGER = 0.2
"""Seconds to the next tick where the last one submitted something."""

Watcher = Callable[[ExperimentState, tuple[Event, ...]], None]
"""Called after every tick with the state and what happened."""


class Bell(Protocol):
    """What is rung when a tick would see something new."""

    stop: bool
    """Whether the driver is asked to let go."""

    def set(self) -> None:
        """Ring; from any thread."""

    def clear(self) -> None:
        """Forget that it was rung."""


class News:
    """A bell that signal handlers may ring too, and one thread waits for."""

    def __init__(self) -> None:
        # Unlike threading.Event, this queue may be entered again from a signal handler.
        self._queue: SimpleQueue[None] = SimpleQueue()
        self.stop = False
        """Whether the driver is asked to let go."""

    def set(self) -> None:
        """Raise the flag."""
        self._queue.put(None)

    def clear(self) -> None:
        """Lower the flag."""
        while not self._queue.empty():
            self._queue.get()

    def wait(self, timeout: float | None) -> bool:
        """Wait until the flag is raised, at most ``timeout`` seconds; return whether it is."""
        try:
            self._queue.get(timeout=timeout)
        except Empty:
            return False
        self._queue.put(None)
        return True


B = TypeVar("B", bound=Bell)
Plugs = tuple[Runner, Mapping[str, Fetcher]]
"""What deploys, and what fetches each metric."""
Plug = Callable[[Store, Experiment, Callable[[], None]], Plugs]
"""Makes them of an experiment, and of what is rung where a poll would see news."""


@dataclass(frozen=True, slots=True)
class Driven(Generic[B]):
    """An experiment that this process drives, from :func:`take` to :meth:`release`."""

    loop: Loop
    lease: Lease
    news: B

    def release(self) -> None:
        """Stop generating, leave jobs alone, let another process drive."""
        self.loop.world.generator.close()
        self.loop.world.runner.close()
        self.lease.release()


def by_definition(_: Store, experiment: Experiment, wake: Callable[[], None]) -> Plugs:
    """Return what the definition names. Raises RegistryError."""
    definition = experiment.definition
    return registry.build_runner(definition, wake), registry.build_fetchers(definition)


def take(store: Store, experiment: Experiment, plug: Plug = by_definition) -> "Driven[News]":
    """Take an experiment for this process alone; raises as :func:`taken` does."""
    news = News()
    return taken(store, experiment, news, WorkerGenerator(news.set), plug=plug)


def taken(
    store: Store,
    experiment: Experiment,
    news: B,
    generator: GeneratorClient,
    allowed: Callable[[ExperimentState], int | None] = lambda _: None,
    plug: Plug = by_definition,
) -> "Driven[B]":
    """Acquire the lease and put the loop together. Raises Held, StorageError, RegistryError.

    The definition is read again under the lease: until then another process might change it.
    """
    lease = store.acquire(experiment, Clock().now())
    try:
        anchor = Anchor.from_json(store.clock(experiment))
        clock = Clock(anchor)
        experiment = store.find(experiment.definition.name) or experiment
        definition = experiment.definition
        owner.claim(experiment, absolute(store.url))
        runner, fetchers = plug(store, experiment, news.set)
        world = World(
            journal=ExperimentJournal(store, experiment, lease, clock),
            runner=runner,
            fetchers=fetchers,
            generator=generator,
            allowed=allowed,
            now=clock.now,
            shortage=partial(shortage, _folders(store, experiment)),
            alive=partial(_alive, lease, news),
            trials_dir=experiment.trials_dir,
            token=experiment.token,
            traits=registry.traits_of(definition),
        )
        return Driven(Loop(world, anchor.wall if anchor else None), lease, news)
    except BaseException:
        lease.release()
        raise


def _folders(store: Store, experiment: Experiment) -> tuple[Path, ...]:
    """Return what is written to as trials run."""
    of_store = store.database.folder
    return (experiment.trials_dir, *([of_store] if of_store else []))


class Interrupted(Exception):
    """This process is asked to let go of the experiment; jobs go on."""


def _alive(lease: Lease, news: Bell) -> None:
    """Renew the lease where that is due. Raises Interrupted, LeaseLost, StorageBusy."""
    if news.stop:
        raise Interrupted
    lease.keep()


def drive(driven: Driven[News], watch: Watcher) -> None:
    """Tick until the experiment has ended: at its interval, at news, soon after a submission.

    Raises :class:`Interrupted` soon after ``news.stop`` is set, between two acts, and LeaseLost
    where someone else took over, StorageError where the database is damaged. A store that is busy,
    full or not reachable is reported to ``watch`` and waited out: nothing is done that is not
    stored.
    """
    loop, news = driven.loop, driven.news
    interval = loop.state.definition.polling.interval
    timer = _timer(interval, news)
    trouble = False
    try:
        while not loop.ended:
            if news.stop:
                raise Interrupted
            news.clear()
            trouble = _turn(loop, watch, trouble)
            if interval != loop.state.definition.polling.interval:
                interval = loop.state.definition.polling.interval
                timer.reschedule_job(TICK, trigger="interval", seconds=interval)
            if not loop.ended:
                _rest(driven, EAGER if loop.eager and not trouble else None)
    finally:
        timer.shutdown(wait=False)


def drive_once(driven: Driven[News], watch: Watcher, wait: float = 300.0) -> None:
    """Tick until there is nothing to do now: for cron. Raises StorageError and LeaseLost.

    Candidates that were asked for are waited for, at most ``wait`` seconds, and submitted.
    """
    loop, news = driven.loop, driven.news
    until = loop.world.now() + wait
    while not loop.ended:
        news.clear()
        watch(loop.state, loop.tick())
        left = until - loop.world.now()
        if left <= 0 or not (loop.eager or loop.world.generator.busy):
            return
        news.wait(EAGER if loop.eager else left)


def _turn(loop: Loop, watch: Watcher, trouble: bool) -> bool:
    """Tick once; report trouble with the store, and its end; return whether there is any."""
    try:
        events = loop.tick()
    except StorageBusy as error:
        message = f"waiting, nothing is lost: {error}"
        watch(loop.state, (Event(loop.world.now(), "storage_unavailable", message),))
        return True
    if trouble:
        watch(loop.state, (Event(loop.world.now(), "storage_available", "going on"),))
    watch(loop.state, events)
    return False


def _rest(driven: Driven[News], seconds: float | None) -> None:
    """Wait for news, or so long; say meanwhile that we are alive. Raises LeaseLost.

    This is not for a thread of its own: a driver that hangs must lose its lease.
    """
    every = driven.lease.renew_every
    if seconds is not None or every is None:
        driven.news.wait(seconds)
        return
    while not driven.news.wait(every):
        try:
            driven.lease.renew()
        except StorageBusy:
            return  # the next tick meets it too, and says so


def _timer(interval: float, news: News) -> BackgroundScheduler:
    """Return a running timer that makes news at a fixed interval; missed ones fall together.

    The database is the only memory, so there is no job store beyond this process.
    """
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    timer = BackgroundScheduler(timezone=UTC)
    timer.add_job(news.set, "interval", id=TICK, seconds=interval, coalesce=True, max_instances=1)
    try:
        timer.start()
    except RuntimeError as error:
        raise OSError(f"a thread cannot be started: {error}") from error
    return timer


def interrupt_on_signals(news: News) -> None:
    """Let SIGINT and SIGTERM ask the driver to let go; the second ends the process at once."""

    def handle(_signal: int, _frame: object) -> None:
        if news.stop:
            os._exit(INTERRUPTED)
        news.stop = True
        news.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)


INTERRUPTED = 130
"""Exit status of a process that a signal ended."""
