"""What drives a loop: it outlasts trouble with the store, and says that it is alive."""

import pytest
from places import url
from simulation.bench import Bench

from scheduler.daemon import Driven, News, _rest, drive
from scheduler.storage.errors import LeaseLost, StorageBusy
from scheduler.storage.journal import ExperimentJournal

__all__ = ["url"]


class Lease:
    """Answers its renewals as it is told to; the third raises the flag."""

    renew_every = 0.001

    def __init__(self, news, error=None):
        self.news, self.error, self.renewed = news, error, 0

    def renew(self):
        self.renewed += 1
        if self.error:
            raise self.error
        if self.renewed == 3:
            self.news.set()


def rested(error=None, seconds=None):
    news = News()
    lease = Lease(news, error)
    _rest(Driven(None, lease, news), seconds)
    return lease.renewed


def test_a_driver_that_rests_renews_its_lease_until_there_is_news():
    assert rested() == 3


def test_a_short_rest_needs_no_renewal():
    assert rested(seconds=0.0) == 0


def test_a_lease_that_cannot_be_renewed_is_left_to_the_next_tick():
    assert rested(StorageBusy("down")) == 1


def test_a_lease_that_was_lost_ends_the_rest():
    with pytest.raises(LeaseLost):
        rested(LeaseLost("process 7 took it"))


class Down(ExperimentJournal):
    """A journal whose database is down from its third commit to its ninth try."""

    commits = tries = 0

    def commit(self, state, changes):
        self.commits += 1
        if self.commits >= 3 and self.tries < 9:
            self.tries += 1
            raise StorageBusy(f"down, {self.tries}")
        super().commit(state, changes)


def test_trouble_is_told_and_so_is_its_end(url, tmp_path):
    bench = Bench(url, tmp_path, polling={"interval": 0.02})
    journal = Down(bench.store, bench.experiment, bench.lease, bench.now)
    object.__setattr__(bench.loop.world, "journal", journal)
    told = []

    def watch(_state, events):
        bench.now.time += 10
        told.extend(e for e in events if e.kind.startswith("storage_"))

    drive(Driven(bench.loop, bench.lease, News()), watch)
    assert journal.tries == 9
    assert [e.kind for e in told] == [*["storage_unavailable"] * 9, "storage_available"]
    assert told[0].message == "waiting, nothing is lost: down, 1"
    assert [status.value for status, _ in bench.statuses()] == ["COMPLETED"] * 6
    assert set(bench.backend.executions.values()) == {1}
    bench.close()
