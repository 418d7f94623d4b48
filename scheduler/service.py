"""All experiments of a store, driven by one process: discovery, turns, and letting go.

APScheduler says when, a pool of threads does it, and the database is the only memory. A turn of
one experiment never waits for another's: a slow backend holds one thread of those for its type of
runner, a broken experiment is put aside for a while.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from queue import SimpleQueue

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from scheduler.daemon import EAGER, Interrupted, Plug, by_definition, taken
from scheduler.gauges import Gauges
from scheduler.generation.workers import Workers
from scheduler.model.experiment import Event, ExperimentState
from scheduler.plugins import RegistryError
from scheduler.pools import Pools
from scheduler.seats import Bell, Seat, pace
from scheduler.slots import Slots
from scheduler.storage import read
from scheduler.storage.errors import Held, LeaseLost, StorageBusy, StorageError
from scheduler.storage.store import Store

DISCOVER = 5.0
"""Seconds between two looks for experiments that nobody drives."""
ASIDE = 60.0
"""Seconds for which an experiment that broke is left alone."""
LONG = 60.0
"""Seconds after which a turn is said to hang."""
LEAVE_WITHIN = 5.0
"""Seconds that turns under way have to end, once the daemon is to."""

Tell = Callable[[str, ExperimentState | None, tuple[Event, ...]], None]
"""Called with an experiment's name, its state where it is known, and what happened."""


class Service:
    """Drives what nobody else drives, until it is told to stop."""

    def __init__(  # noqa: PLR0913  # each by its name
        self,
        store: Store,
        tell: Tell,
        *,
        generators: int,
        progress: Callable[[], None],
        max_jobs: Mapping[str, int],
        gauges: Gauges,
        plug: Plug = by_definition,
    ) -> None:
        """Drive nothing yet.

        ``generators``: worker processes at a time; ``progress``: called at each discovery;
        ``max_jobs``: unfinished jobs of all experiments together, by type of runner;
        ``gauges``: where ticks are counted; ``plug``: makes runners and fetchers.
        """
        self._slots = Slots(max_jobs, self.ring)
        self._gauges = gauges
        self._plug = plug
        self._store = store
        self._tell = tell
        self._progress = progress
        self._workers = Workers(generators)
        self._seats: dict[str, Seat] = {}
        self._aside: dict[str, float] = {}
        self._undrivable: dict[str, str] = {}
        """Why an experiment cannot be driven, as it was told."""
        self._troubled = False
        # Unlike threading.Event, this queue may be entered again from a signal handler.
        self._told: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._discovering = threading.Lock()
        self._timer = BackgroundScheduler(timezone=UTC)
        self._pools = Pools(self._timer)

    def run(self) -> list[str]:
        """Drive until :meth:`stop`; then let go of everything. Jobs go on.

        Return the names of experiments whose turn hangs: its thread cannot be ended but with the
        process.
        """
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        options = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._timer.configure(job_defaults=options)
        self._timer.add_job(
            self._discover, "interval", seconds=DISCOVER, next_run_time=datetime.now(UTC)
        )
        self._timer.start()
        try:
            self._told.get()
        finally:
            # To wait with the timer's locks in hand would be to wait for turns that wait for them.
            self._timer.shutdown(wait=False)
            left = self._leave_all(time.monotonic() + LEAVE_WITHIN)
        return left

    def stop(self) -> None:
        """Ask :meth:`run` to end once the turns under way are over; from any thread or signal."""
        self._stopping = True
        for seat in list(self._seats.values()):
            seat.driven.news.stop = True
        self._told.put(None)

    # -- discovery

    def _discover(self) -> None:
        """Take what nobody drives.

        The watchdog is fed here; where every experiment hangs, it starves. To wait for the store
        is not to hang.
        """
        with self._discovering:
            seats = list(self._seats.values())
            hang = [seat.runner for seat in seats if self._hangs(seat)]
            self._gauges.hanging = {seat.runner: hang.count(seat.runner) for seat in seats}
            if not seats or len(hang) < len(seats):
                self._progress()
            self._look()

    def _hangs(self, seat: Seat) -> bool:
        """Whether the turn under way takes far too long; the first time it is told."""
        began = seat.began
        if began is None or time.monotonic() - began < LONG:
            return False
        if not seat.hangs:
            seat.hangs = True
            words = f"its turn takes more than {LONG:g} s: the runner {seat.runner!r} or a metric "
            words += "hangs"
            self._say(seat.name, "turn_hangs", words)
        return True

    def _look(self) -> None:
        """Find what nobody drives, and take it."""
        try:
            found = read.unfinished(self._store)
        except StorageError as error:
            self._in_trouble(error)
            return
        if self._troubled:
            self._say("", "storage_available", "going on")
        self._troubled = False
        now = time.monotonic()
        for name in found:
            if name in self._seats or self._aside.get(name, now) > now or self._stopping:
                continue
            self._aside.pop(name, None)
            self._adopt(name)

    def _adopt(self, name: str) -> None:
        bell = Bell(partial(self.ring, name))
        try:
            experiment = self._store.find(name)
            if experiment is None:
                return
            generator = self._workers.client(bell.set)
            allowed = self._slots.allowed
            driven = taken(self._store, experiment, bell, generator, allowed, self._plug)
        except (Held, StorageBusy):
            return
        except (RegistryError, StorageError, OSError) as error:
            self._put_aside(name, f"it cannot be driven: {error}")
            return
        seat = Seat(name, driven, pace(driven))
        self._seats[name] = seat
        self._undrivable.pop(name, None)
        driven.news.stop = self._stopping
        self._say(name, "experiment_taken", "driven by this process")
        self._timer.add_job(
            self._turn,
            "interval",
            id=name,
            args=[seat],
            executor=self._pools.of(seat.runner),
            seconds=seat.interval,
            next_run_time=datetime.now(UTC),
        )

    # -- turns

    def ring(self, name: str, delay: float = 0.0) -> None:
        """Let the experiment's next turn come now; from any thread."""
        if (seat := self._seats.get(name)) is not None:
            seat.due = 0.0
        try:
            self._timer.modify_job(
                name, next_run_time=datetime.now(UTC) + timedelta(seconds=delay)
            )
        except JobLookupError:
            return  # it has been let go of

    def _turn(self, seat: Seat) -> None:
        """Tick one experiment once; whatever goes wrong concerns it alone."""
        with seat.lock:
            if seat.over:
                return
            seat.began = time.monotonic()
            try:
                self._tick_or_renew(seat)
            except Interrupted:
                return  # as after a kill, what is stored says what is left to do
            except LeaseLost as error:
                self._let_go(seat, "lease_lost", str(error))
            except StorageError as error:
                self._let_go(seat, "experiment_put_aside", str(error), ASIDE)
            except Exception as error:  # a bug of ours ends one experiment's turn, not the others'
                trace = "".join(traceback.format_exception(error))
                self._let_go(seat, "experiment_put_aside", f"this is a bug: {trace}", ASIDE)
            finally:
                self._came_back(seat)

    def _came_back(self, seat: Seat) -> None:
        began, seat.began = seat.began, None
        if seat.hangs and began is not None:
            seat.hangs = False
            self._say(seat.name, "turn_ended", f"after {time.monotonic() - began:.0f} s")

    def _tick_or_renew(self, seat: Seat) -> None:
        news, now = seat.driven.news, time.monotonic()
        if now < seat.due and not news.is_set:
            with suppress(StorageBusy):  # the next tick meets it too, and says so
                seat.driven.lease.keep()
            return
        news.clear()
        # A timer is never quite on time: the next turn must not find itself too early.
        seat.due = now + 0.5 * seat.driven.loop.state.definition.polling.interval
        self._tick(seat)

    def _tick(self, seat: Seat) -> None:
        loop = seat.driven.loop
        began = time.perf_counter()
        try:
            events = loop.tick()
        except StorageBusy as error:
            self._gauges.failed()
            self._in_trouble(error)
            return
        seconds, epoch = time.perf_counter() - began, seat.driven.lease.epoch
        self._gauges.ticked(seat.name, loop.state, epoch, seconds, loop.generator_seconds)
        self._gauges.happened(seat.name, events)
        self._tell(seat.name, loop.state, events)
        if loop.ended:
            self._let_go(seat, "experiment_left", "it has ended")
            return
        if (interval := pace(seat.driven)) != seat.interval:
            seat.interval = interval
            with suppress(JobLookupError):  # the timer has been stopped meanwhile
                self._timer.reschedule_job(seat.name, trigger="interval", seconds=interval)
        if loop.eager or seat.driven.news.is_set:
            self.ring(seat.name, EAGER)

    # -- letting go

    def _let_go(self, seat: Seat, kind: str, why: str, aside: float = 0.0) -> None:
        """Let another process drive, and say why; the seat's lock is held."""
        if aside:
            self._aside[seat.name] = time.monotonic() + aside
        seat.over = True
        with suppress(JobLookupError):  # the timer has been stopped meanwhile
            self._timer.remove_job(seat.name)
        self._seats.pop(seat.name, None)
        seat.driven.release()
        self._slots.forget(seat.name)
        self._gauges.forget(seat.name)
        self._say(seat.name, kind, why)

    def _leave_all(self, deadline: float) -> list[str]:
        """Let go of everything; return whose turn has not ended at the deadline."""
        hanging = []
        if not self._discovering.acquire(timeout=max(0.0, deadline - time.monotonic())):
            hanging.append("discovery")
        for seat in list(self._seats.values()):
            if not seat.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                hanging.append(seat.name)
                seat.driven.lease.release()  # the turn ends with this process, which is at once
                continue
            seat.over = True
            seat.driven.release()
            seat.lock.release()
        return hanging

    def _put_aside(self, name: str, why: str) -> None:
        """Look at it again in a while; say why once."""
        self._aside[name] = time.monotonic() + ASIDE
        if self._undrivable.get(name) != why:
            self._undrivable[name] = why
            self._say(name, "experiment_put_aside", why)

    def _in_trouble(self, error: StorageError) -> None:
        """Tell that the store does not let us through: that is not one experiment's concern."""
        self._troubled = True
        self._say("", "storage_unavailable", f"waiting, nothing is lost: {error}")

    def _say(self, name: str, kind: str, message: str) -> None:
        self._tell(name, None, (Event(time.time(), kind, message),))
