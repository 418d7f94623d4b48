"""The runner as the loop sees it: by trial, never raising, with what it last said kept.

The answers of one tick's acts are kept until the next transaction has taken them up. All of it can
be lost without harm: the backend is asked by name again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from runners.base import Job, JobRef, JobReport, Rejected, Runner, RunnerError, Unavailable
from scheduler.jobs import job_name, job_of, jobs_begin, ref_of
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Event
from scheduler.model.trial import Trial

SUBMIT_AT_MOST = 1000
FIRST_PORTION = 16
SLOW = 5.0
"""Seconds after which one call of the runner should have returned."""

Trials = Mapping[int, Trial]
T = TypeVar("T")


class Backend:
    """One experiment's jobs on one runner."""

    def __init__(
        self,
        runner: Runner,
        definition: ExperimentDefinition,
        at: Path,
        token: str,
        clock: Callable[[], float] = lambda: 0.0,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """``at``: the folder of the trials; ``token``: the experiment's.

        ``alive``: called before each call that acts; what it raises ends the act.
        """
        self.events: list[Event] = []
        """What there is to tell, until it is stored."""
        self.submit_at_most = SUBMIT_AT_MOST
        """How many jobs to submit next; few after a refusal."""
        self._runner = runner
        self.definition = definition
        """As it is now; its budget may change."""
        self._trials_dir = at
        self._token = token
        self._clock = clock
        self._alive = alive
        self._portion = SUBMIT_AT_MOST if runner.takes_many else FIRST_PORTION
        """How many jobs one call of the runner is about, at most."""
        self._answers: dict[str, str | RunnerError] = {}
        self._just_cancelled = False
        self._cancelled: dict[str, float] = {}
        self._told_stored: frozenset[str] = frozenset()
        """Names of the jobs of which the runner knows that their ids are on disk."""
        self._last_poll = -1e18
        self.unfinished: Sequence[str] = ()
        """Names of this experiment's jobs that the poll of this tick saw, asked for or not."""
        self.silence: tuple[float, str] | None = None
        """Since when it has not answered, perhaps of an earlier driver; what it said instead."""
        self._delayed = False

    @property
    def has_news(self) -> bool:
        """Whether there are answers that no transaction has taken up yet."""
        return bool(self._answers) or self._just_cancelled

    @property
    def max_jobs(self) -> int | None:
        """How many unfinished jobs the runner takes."""
        return self._runner.max_jobs

    def poll(self, active: Trials, now: float) -> dict[int, JobReport]:
        """Ask once about all jobs that have not ended, if the runner's floor allows."""
        self.unfinished = ()
        waiting = {i: t for i, t in active.items() if t.status.is_pending and t.ended_at is None}
        if not waiting or now - self._last_poll < self._runner.poll_floor:
            return {}
        self._last_poll = now
        refs = {index: self._ref(trial) for index, trial in waiting.items()}
        try:
            answers = self._runner.poll(list(refs.values()))
            found = {i: answers[ref.name] for i, ref in refs.items() if ref.name in answers}
            self.unfinished = self._runner.unfinished(jobs_begin(self._token))
        except Exception as error:  # a plugin must never end the loop
            self._note_silence(error, now)
            return {}
        self._note_answer(now)
        return found

    def submit(self, trials: Sequence[Trial], now: float) -> None:
        """Submit, and keep the answers; start slowly after a refusal."""
        jobs = [job_of(self.definition, t, self._trials_dir, self._token) for t in trials]
        for portion in self._portions(jobs):
            given = self._submitted(portion)
            self._answers |= given
            if all(isinstance(answer, Unavailable) for answer in given.values()):
                silence = given[portion[-1].name]  # the others would hear the same, and later
                self._answers = dict.fromkeys((j.name for j in jobs), silence) | self._answers
                break
        answers = [self._answers[job.name] for job in jobs]
        self._note_delay([str(a) for a in answers if isinstance(a, Unavailable)], now)
        if any(isinstance(answer, Rejected) for answer in answers):
            self.submit_at_most = 1
        elif any(isinstance(answer, str) for answer in answers):
            self.submit_at_most = min(SUBMIT_AT_MOST, 2 * self.submit_at_most)

    def _submitted(self, jobs: Sequence[Job]) -> dict[str, str | RunnerError]:
        try:
            given = dict(self._runner.submit(jobs))
        except Exception as error:  # a plugin must never end the loop
            given = dict.fromkeys((job.name for job in jobs), _as_unavailable(error))
        missing = Unavailable("the runner gave no answer for this job")
        return {job.name: given.get(job.name, missing) for job in jobs}

    def cancel(self, trials: Sequence[Trial], now: float) -> None:
        """Ask for the end of jobs; remember whose request got through."""
        for portion in self._portions(trials):
            if not self._done(self._runner.cancel, portion, now):
                return
            self._just_cancelled = True
            self._cancelled |= {self._name(trial): now for trial in portion}

    def rid(self, strays: Sequence[Trial], now: float) -> None:
        """Ask for the end of the jobs of attempts that are over, and tell of it."""
        for portion in self._portions(strays):
            if not self._done(self._runner.cancel, portion, now):
                return
            message = "its job, made by a request that took effect late, is deleted"
            self.events += [Event(now, "stray_job", message, t.index, t.attempt) for t in portion]

    def release(self, trials: Sequence[Trial], now: float) -> None:
        """Let held jobs start; a poll that finds one held still leads here again."""
        for portion in self._portions(trials):
            if not self._done(self._runner.release, portion, now):
                return

    def tell_stored(self, active: Trials, now: float) -> None:
        """Tell the runner of job ids that are on disk by now; again where it could not act.

        ``active``: the trials as they are stored. A new process tells all of them once more.
        """
        if type(self._runner).stored is Runner.stored:
            return
        known = {
            self._name(t): t
            for t in active.values()
            if t.status.is_pending and t.job_id is not None and t.ended_at is None
        }
        self._told_stored &= known.keys()
        news = [trial for name, trial in known.items() if name not in self._told_stored]
        for portion in self._portions(news):
            if not self._done(self._runner.stored, portion, now):
                return
            self._told_stored |= {self._name(trial) for trial in portion}

    def to_cancel(self, trials: Sequence[Trial], now: float) -> tuple[Trial, ...]:
        """Return those whose end is to be asked for now, perhaps again: once per interval."""
        since = now - self.definition.polling.interval
        return tuple(t for t in trials if self._cancelled.get(self._name(t), since) <= since)

    def answers(self, active: Trials) -> dict[int, str | RunnerError]:
        """Return how the last submissions went, of attempts that are still the present ones."""
        names = {index: self._name(trial) for index, trial in active.items()}
        return {i: self._answers[name] for i, name in names.items() if name in self._answers}

    def cancelled(self, active: Trials) -> frozenset[int]:
        """Return the trials whose cancellation has got through."""
        if not self._cancelled:
            return frozenset()
        return frozenset(i for i, t in active.items() if self._name(t) in self._cancelled)

    def taken_up(self, active: Trials) -> None:
        """Forget what is stored now. ``active``: the trials as they are stored."""
        self._answers = {}
        self._just_cancelled = False
        self.events = []
        if self._cancelled:
            names = {self._name(trial) for trial in active.values()}
            self._cancelled = {n: at for n, at in self._cancelled.items() if n in names}

    def _done(
        self, act: Callable[[Sequence[JobRef]], None], trials: Sequence[Trial], now: float
    ) -> bool:
        """Do something with the jobs of ``trials``; return whether that got through."""
        try:
            act([self._ref(trial) for trial in trials])
        except Exception as error:  # a plugin must never end the loop
            self._note_silence(error, now)
            return False
        return True

    def _portions(self, all_: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield so many at a time as the runner is quick with, after a sign of life each time."""
        left = all_
        while left:
            self._alive()
            portion, left = left[: self._portion], left[self._portion :]
            began = self._clock()
            yield portion
            seconds = self._clock() - began
            if seconds > SLOW:
                self._portion = max(1, self._portion // 2)
            elif seconds < SLOW / 2:
                self._portion = min(SUBMIT_AT_MOST, 2 * self._portion)

    def _name(self, trial: Trial) -> str:
        return job_name(trial, self._token)

    def _ref(self, trial: Trial) -> JobRef:
        """Return how its job is asked for: with its id as soon as one was answered."""
        answer = self._answers.get(self._name(trial))
        if isinstance(answer, str):
            trial = trial.having(job_id=answer)
        return ref_of(self.definition, trial, self._trials_dir, self._token)

    def _note_silence(self, error: Exception, now: float) -> None:
        """Tell of the first of a run of failures; the others would say the same."""
        message = str(_as_unavailable(error))
        if self.silence is None:
            self.events.append(Event(now, "runner_unavailable", message))
        self.silence = (self.silence[0] if self.silence else now, message)

    def _note_answer(self, now: float) -> None:
        if self.silence is not None:
            self.events.append(Event(now, "runner_available", "the runner answers again"))
        self.silence = None

    def _note_delay(self, reasons: list[str], now: float) -> None:
        """Tell of the first of a run of submissions that the runner had no room for."""
        if reasons and not self._delayed:
            self.events.append(Event(now, "submission_delayed", reasons[0]))
        self._delayed = bool(reasons)


def _as_unavailable(error: Exception) -> Unavailable:
    if isinstance(error, Unavailable):
        return error
    return Unavailable(f"the runner broke: {type(error).__name__}: {error}")
