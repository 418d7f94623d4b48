"""A program's own Runner and Metrics, as the loop knows runners and fetchers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from metrics.base import (
    Fetcher,
    FetcherOptions,
    FetchRequest,
    InvalidMetric,
    Point,
    UnavailableMetric,
)
from runners.base import (
    Job,
    JobRef,
    JobReport,
    JobState,
    Rejected,
    RunnerError,
    RunnerOptions,
    Unavailable,
)
from runners.base import Runner as Contract
from scheduler.jobs import index_of
from scheduler.model.trial import TrialStatus
from scheduler.plugins import RegistryError
from scheduler.python.errors import MetricFetchError, UserInputError
from scheduler.python.metric import Metric, Runner, pair_of_row, rows_of, step_of_row
from scheduler.python.program import ProgramOptions, class_at
from scheduler.python.trial import job_id_of

if TYPE_CHECKING:
    from scheduler.daemon import Plugs
    from scheduler.python.experiment import Experiment

_STATES: Mapping[TrialStatus, JobState] = {
    TrialStatus.CANDIDATE: JobState.QUEUED,
    TrialStatus.STAGED: JobState.QUEUED,
    TrialStatus.RUNNING: JobState.RUNNING,
    TrialStatus.COMPLETED: JobState.SUCCEEDED,
    TrialStatus.FAILED: JobState.FAILED,
    TrialStatus.ABANDONED: JobState.CANCELLED,
    TrialStatus.EARLY_STOPPED: JobState.CANCELLED,
}


class InProcessRunner(Contract):
    """Deploys by a Runner of the program's; its metadata are the job's id."""

    Options: ClassVar[type[RunnerOptions]] = ProgramOptions
    options: ProgramOptions
    needs_command = False
    uses_resources = False
    _runner: Runner
    _experiment: "Experiment"

    def __init__(self, options: RunnerOptions, wake: Callable[[], None]) -> None:
        """Deploy nothing before :func:`plugged`."""
        super().__init__(options, wake)
        self._deployed: dict[str, str] = {}
        """Ids by name, of this process: the answer to a submission may not be stored yet."""
        self._stopped: set[str] = set()

    def render(self, job: Job) -> str:
        """Return in words who deploys."""
        return f"# job {job.name}: {self.options.kind or 'its program'} deploys it\n"

    def examine(self, job: Job) -> None:  # noqa: ARG002  # as of the contract
        """See whether there is such a class. Raises Rejected."""
        if self.options.kind is None:
            raise Rejected("runner.python.class names no class: its own program alone drives it")
        try:
            class_at(self.options.kind, Runner)
        except RegistryError as error:
            raise Rejected(str(error)) from error

    def attach(self, runner: Runner, experiment: "Experiment") -> None:
        """Deploy trials of an experiment, by a runner."""
        self._runner = runner
        self._experiment = experiment

    def submit(self, jobs: Sequence[Job]) -> Mapping[str, str | RunnerError]:
        """Deploy; what the program's runner raises is final for that trial."""
        answers = {job.name: self._submit(job.name) for job in jobs}
        self.wake()
        return answers

    def _submit(self, name: str) -> str | RunnerError:
        if name not in self._deployed:
            trial = self._experiment.trial(index_of(name))
            try:
                self._deployed[name] = job_id_of(self._runner.run(trial))
            except Exception as error:  # the program's own code
                return Rejected(f"{type(error).__name__}: {error}")
        return self._deployed[name]

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobReport]:
        """Report what the program's runner says; where it cannot be asked, that all is done.

        Of a job that this process did not deploy, and whose id was not stored, nobody knows.
        """
        known = [ref for ref in refs if ref.job_id or ref.name in self._deployed]
        lost = JobReport(JobState.LOST, message="the process that deployed it has ended")
        found = {ref.name: lost for ref in refs if ref not in known}
        states = self._states([index_of(ref.name) for ref in known])
        for ref in known:
            state = states.get(index_of(ref.name))
            state = JobState.CANCELLED if ref.name in self._stopped else state
            if state is not None:
                found[ref.name] = JobReport(state, ref.job_id or self._deployed.get(ref.name))
        return found

    def _states(self, indexes: Sequence[int]) -> dict[int, JobState]:
        trials = [self._experiment.trial(index) for index in indexes]
        try:
            said = self._runner.poll_trial_status(trials)
        except NotImplementedError:
            return dict.fromkeys(indexes, JobState.SUCCEEDED)
        except Exception as error:  # the program's own code
            raise Unavailable(f"poll_trial_status: {type(error).__name__}: {error}") from error
        return {i: _STATES[status] for status, found in said.items() for i in _of(found)}

    def cancel(self, refs: Sequence[JobRef]) -> None:
        """Stop by the program's runner; one that cannot is told nothing."""
        for ref in refs:
            trial = self._experiment.trial(index_of(ref.name))
            try:
                with suppress(NotImplementedError):
                    self._runner.stop(trial, trial.stored.message or None)
            except Exception as error:  # the program's own code
                raise Unavailable(f"stop: {type(error).__name__}: {error}") from error
            self._stopped.add(ref.name)
        self.wake()

    def close(self) -> None:
        """Do nothing: it is the program's."""


class MetricFetcher(Fetcher):
    """Reads a metric by a Metric of the program's."""

    def __init__(self, metric: Metric, experiment: "Experiment") -> None:
        super().__init__(FetcherOptions())
        self._metric = metric
        self._experiment = experiment

    def fetch(self, request: FetchRequest) -> Sequence[Point]:
        """Return what the metric says of one arm. Raises InvalidMetric and UnavailableMetric."""
        trial = self._experiment.trial(int(request.placeholders["trial_index"]))
        arm = request.placeholders["arm"]
        try:
            rows = rows_of(self._metric, trial)
            own = [r for r in rows if (r["arm_name"], r["metric_name"]) == (arm, request.metric)]
            return [Point(*pair_of_row(row), step_of_row(row)) for row in own]
        except UserInputError as error:
            raise InvalidMetric(str(error)) from error
        except MetricFetchError as error:
            raise UnavailableMetric(str(error)) from error


def plugged(runner: Runner, experiment: "Experiment", wake: Callable[[], None]) -> "Plugs":
    """Return a program's runner, and those of an experiment's metrics that are fetched by it."""
    deployer = InProcessRunner(ProgramOptions.model_validate({"class": None}), wake)
    deployer.attach(runner, experiment)
    fetched = experiment.fetched.items()
    return deployer, {name: MetricFetcher(metric, experiment) for name, metric in fetched}


def _of(found: Iterable[int]) -> list[int]:
    return [int(index) for index in found]
