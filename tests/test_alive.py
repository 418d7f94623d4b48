"""A driver that makes progress keeps its lease, however long a tick takes; one that hangs not."""

from itertools import pairwise

import pytest
from places import postgres_url, server
from simulation.bench import Bench

from metrics.base import Fetcher, FetcherOptions, Point
from runners.base import Unavailable
from runners.testing import FakeRunner
from scheduler.daemon import Interrupted
from scheduler.storage.errors import LeaseLost
from scheduler.storage.term import TERM, TermLease

__all__ = ["postgres_url"]

SLOW = 20.0
MANY = {"total_trials": 60, "max_pending_trials": 60}


class Slow(FakeRunner):
    """Each call takes a while by the clock of the test."""

    can_hold = True
    seconds = SLOW
    calls = ()

    def _take(self, verb, count):
        self.calls += ((verb, count),)
        self.world.clock.time += self.seconds

    def submit(self, jobs):
        self._take("submit", len(jobs))
        return super().submit(jobs)

    def poll(self, refs):
        self._take("poll", len(refs))
        return super().poll(refs)

    def cancel(self, refs):
        self._take("cancel", len(refs))
        super().cancel(refs)

    def stored(self, refs):
        self._take("stored", len(refs))


class SlowFetcher(Fetcher):
    """Each fetch takes a while."""

    def __init__(self, now):
        super().__init__(FetcherOptions())
        self.now = now

    def fetch(self, request):
        self.now.time += SLOW
        return [Point(0.5)]


@pytest.fixture
def bench(postgres_url, tmp_path):
    made = Bench(postgres_url, tmp_path, trials=MANY, polling={"interval": 1.0})
    made.runner = Slow(world=made.backend)
    made.lease = TermLease(made.store.database, made.experiment.id, made.lease.epoch, made.now)
    made.renewed = [made.now.time]
    renew = made.lease.renew

    def noted():
        renew()
        made.renewed.append(made.now.time)

    made.lease.renew = noted
    made.alive = made.lease.keep
    made.loop = made.start()
    yield made
    made.close()


def longest(bench):
    times = [*bench.renewed, bench.now.time]
    return max(later - earlier for earlier, later in pairwise(times))


def counts(bench, verb):
    return [count for what, count in bench.runner.calls if what == verb]


def test_a_tick_of_many_slow_calls_keeps_the_lease(bench):
    bench.backend.seconds = lambda _: 1e6
    bench.tick()  # the arms are asked for
    began = bench.now.time
    bench.tick()
    assert counts(bench, "submit") == [16, 8, 4, 2, *[1] * 30]
    bench.tick()
    assert sum(counts(bench, "stored")) == 60
    assert bench.now.time - began > 10 * TERM
    assert longest(bench) <= SLOW + 11


def test_a_runner_that_takes_many_gets_them_in_one_call(bench):
    bench.runner.takes_many = True
    bench.runner.seconds = 0.0
    bench.loop = bench.start()
    bench.tick()
    bench.tick()
    assert counts(bench, "submit") == [60]


def test_so_do_slow_metrics(bench):
    bench.runner.seconds = 0.0
    bench.loop.world.fetchers["loss"] = SlowFetcher(bench.now)
    for _ in range(3):
        bench.tick()
    began = bench.now.time
    bench.tick()
    assert bench.loop.state.tally.finished == {"COMPLETED": 60}
    assert bench.now.time - began >= 60 * SLOW
    assert longest(bench) <= SLOW + 11


def test_one_that_hangs_loses_it_and_does_nothing_more(bench):
    bench.tick()

    class Hangs(Slow):
        def submit(self, jobs):
            answers = super().submit(jobs)
            database = bench.store.url.rpartition("/")[2]
            server().ask("UPDATE lease SET expires_at = expires_at - 60", database)
            bench.next = bench.store.acquire(bench.experiment, bench.now())
            return answers

    bench.loop.world.runner.__class__ = Hangs
    with pytest.raises(LeaseLost, match="took the experiment over"):
        bench.tick()
    assert counts(bench, "submit") == [16]
    assert bench.next.epoch == bench.lease.epoch + 1
    bench.next.release()


def test_who_is_asked_to_let_go_begins_nothing_more_and_nothing_is_lost(bench):
    bench.tick()

    def asked():
        if bench.runner.calls:
            raise Interrupted

    bench.alive = asked
    with pytest.raises(Interrupted):
        bench.tick()
    assert counts(bench, "submit") == [16]
    bench.alive, bench.runner = bench.lease.keep, FakeRunner(world=bench.backend)
    bench.loop = bench.start()
    bench.run()
    assert [status.value for status, _ in bench.statuses()] == ["COMPLETED"] * 60
    assert set(bench.backend.executions.values()) == {1}


def test_a_quick_runner_gets_ever_more_at_once(bench):
    bench.tick()
    bench.runner.seconds = 0.0
    bench.tick()
    assert counts(bench, "submit") == [16, 32, 12]


def test_after_a_silence_no_more_are_tried(bench):
    bench.tick()

    class Silent(Slow):
        def submit(self, jobs):
            self._take("submit", len(jobs))
            raise Unavailable("no route")

    bench.loop.world.runner.__class__ = Silent
    bench.tick()
    assert counts(bench, "submit") == [16]
    bench.loop.world.runner.__class__ = FakeRunner
    bench.run()
    assert [status.value for status, _ in bench.statuses()] == ["COMPLETED"] * 60
    assert set(bench.backend.executions.values()) == {1}
