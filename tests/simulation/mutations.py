"""Bugs put in on purpose: each breaks one rule of the core, and the simulation must notice."""

from dataclasses import replace

import pytest

from runners.base import JobReport, JobState, RunnerError, Unavailable
from scheduler import advance, jobs, obey, reconcile
from scheduler.backend import Backend
from scheduler.loop import Loop
from scheduler.model.experiment import Changes, ExperimentState, evolve
from scheduler.model.trial import Reason, TrialStatus
from scheduler.storage.errors import StorageBusy
from simulation.history import Parts
from simulation.memory import MemoryJournal


class SubmitsBeforeItStores(Loop):
    """The job exists before anything says that it is wanted."""

    def _store(self, before, changes, acts, now):
        staged = [t for t in changes.trials if t.status is TrialStatus.STAGED and not t.job_id]
        self.backend.submit(staged, now)
        super()._store(before, changes, acts, now)


class ActsOnWhatIsNotStored(Loop):
    """A commit that failed is forgotten, and the acts follow all the same."""

    def _store(self, before, changes, acts, now):
        try:
            super()._store(before, changes, acts, now)
        except StorageBusy:
            self.state = evolve(before, changes)


class StoresNoObservations(Loop):
    """A trial is complete and nobody knows its values."""

    def _store(self, before, changes, acts, now):
        super()._store(before, replace(changes, observations=()), acts, now)


class TrustsItsMemory(Loop):
    """A commit whose answer was lost is taken not to have happened."""

    def _load(self):
        self._in_doubt = False


class ResubmitsWithoutTheLease(Loop):
    """What changes nothing in the store is done without asking whose experiment it is."""

    def _store(self, before, changes, acts, now):
        super()._store(before, changes, False, now)


class ForgetsWhenItEnded(Loop):
    """The last reply of a generator counts even if its arms were not stored."""

    def _arrived(self, now):
        changes, spent = super()._arrived(now)
        self.state = replace(self.state, spent_nodes=spent)
        return changes, spent


class Unfenced(MemoryJournal):
    """Anyone may write, whatever the epoch."""

    def commit(self, state: ExperimentState, changes: Changes) -> None:
        """Write under the newest epoch."""
        self.epoch = self.store.epoch
        super().commit(state, changes)


def _takes_silence_for_loss(patch: pytest.MonkeyPatch) -> None:
    """A job that is missing from an answer is taken for lost."""
    poll = Backend.poll

    def impatient(self, active, now):
        waiting = (t for t in active.values() if t.status.is_pending and not t.ended_at)
        return {t.index: JobReport(JobState.LOST) for t in waiting} | poll(self, active, now)

    patch.setattr(Backend, "poll", impatient)


def _takes_failure_for_loss(patch: pytest.MonkeyPatch) -> None:
    """A backend that does not answer at all is taken to have lost all its jobs."""
    poll = Backend.poll

    def hasty(self, active, now):
        silent = self.silence
        found = poll(self, active, now)
        if not self.silence or silent:
            return found
        running = [i for i, t in active.items() if t.status is TrialStatus.RUNNING]
        return dict.fromkeys(running, JobReport(JobState.LOST))

    patch.setattr(Backend, "poll", hasty)


def _adopts_nothing(patch: pytest.MonkeyPatch) -> None:
    """After a start, what has no job id yet is given up as if nothing had been submitted."""
    poll = Backend.poll

    def forgetful(self, active, now):
        mine = self.answers(active)
        found = poll(self, active, now)
        return {i: r for i, r in found.items() if active[i].job_id or i in mine}

    patch.setattr(Backend, "poll", forgetful)


def _tells_before_it_stores(patch: pytest.MonkeyPatch) -> None:
    """The backend hears that an id is stored as soon as it is answered."""
    submit = Backend.submit

    def hasty(self, trials, now):
        submit(self, trials, now)
        answers = self.answers({t.index: t for t in trials})
        known = {t.index: t.having(job_id=answers[t.index]) for t in trials if t.index in answers}
        self.tell_stored({i: t for i, t in known.items() if isinstance(t.job_id, str)}, now)

    patch.setattr(Backend, "submit", hasty)


def _tells_once_what_did_not_get_through(patch: pytest.MonkeyPatch) -> None:
    """What the backend could not do when it was told that an id is stored is not asked again."""
    tell = Backend.tell_stored

    def careless(self, active, now):
        tell(self, active, now)
        self._told_stored |= {self._name(t) for t in active.values() if t.job_id is not None}

    patch.setattr(Backend, "tell_stored", careless)


def _tells_what_this_process_stored(patch: pytest.MonkeyPatch) -> None:
    """A new process does not tell the backend of ids that an earlier one has stored."""
    init = Backend.__init__

    def forgetful(self, *given):
        init(self, *given)
        self._first = True

    tell = Backend.tell_stored

    def partial(self, active, now):
        if self._first:
            self._told_stored = frozenset(self._name(t) for t in active.values() if t.job_id)
            self._first = False
        tell(self, active, now)

    patch.setattr(Backend, "__init__", forgetful)
    patch.setattr(Backend, "tell_stored", partial)


def _names_without_attempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(jobs, "job_name", lambda trial, token: f"schedd-{token[:8]}-t{trial.index}")


def _unanswered_is_a_new_attempt(patch: pytest.MonkeyPatch) -> None:
    acknowledged = advance._acknowledged

    def again(trial, submission: str | RunnerError, now):
        if isinstance(submission, Unavailable):
            return advance._new_attempt(trial, {}, Reason.LOST, "no answer", now)
        return acknowledged(trial, submission, now)

    patch.setattr(advance, "_acknowledged", again)


def _gives_up_at_once(patch: pytest.MonkeyPatch) -> None:
    def ended(trial, reason, message, now):
        return advance.conclude(trial, TrialStatus.ABANDONED, reason, message, now)

    patch.setattr(reconcile, "ended", ended)
    patch.setattr(obey, "ended", ended)


def _believes_clocks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        advance, "_within", lambda _, reported, now: now if reported is None else reported
    )


def _counts_no_slots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile._Slots, "take", lambda *_: True)


def _retries_for_ever(patch: pytest.MonkeyPatch) -> None:
    new_attempt = advance._new_attempt
    patch.setattr(advance, "_new_attempt", lambda trial, _, *rest: new_attempt(trial, {}, *rest))


def _takes_loss_for_success(patch: pytest.MonkeyPatch) -> None:
    reported = advance._reported

    def lenient(trial, definition, report, *rest):
        if report.state is JobState.LOST and report.may_have_run:
            report = replace(report, state=JobState.SUCCEEDED)
        return reported(trial, definition, report, *rest)

    patch.setattr(advance, "_reported", lenient)


PARTS = {
    cls.__name__: Parts(loop=cls)
    for cls in (
        SubmitsBeforeItStores,
        ActsOnWhatIsNotStored,
        StoresNoObservations,
        TrustsItsMemory,
        ResubmitsWithoutTheLease,
        ForgetsWhenItEnded,
    )
} | {"Unfenced": Parts(journal=Unfenced)}
"""Mutations that replace a part."""

PATCHES = {
    patch.__name__.strip("_"): patch
    for patch in (
        _takes_silence_for_loss,
        _takes_failure_for_loss,
        _adopts_nothing,
        _tells_before_it_stores,
        _tells_once_what_did_not_get_through,
        _tells_what_this_process_stored,
        _names_without_attempt,
        _unanswered_is_a_new_attempt,
        _gives_up_at_once,
        _believes_clocks,
        _counts_no_slots,
        _retries_for_ever,
        _takes_loss_for_success,
    )
}
"""Mutations that replace a function."""
