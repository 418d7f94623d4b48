"""The developer door: an experiment whose trials a program makes and moves by hand."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

from scheduler.hand import added, appended, change, moved
from scheduler.model.definition import ExperimentDefinition, RunnerSpec, signature
from scheduler.model.experiment import STATUS_QUO, Changes, ExperimentState
from scheduler.model.observation import GeneratorRun as RunRow
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.outside import ARM_NAME
from scheduler.python import words
from scheduler.python.arms import GeneratorRun
from scheduler.python.errors import UserInputError
from scheduler.python.goals import OptimizationConfig
from scheduler.python.metric import Metric
from scheduler.python.metric import Runner as UserRunner
from scheduler.python.program import PYTHON
from scheduler.python.results import Results
from scheduler.python.session import Session
from scheduler.python.space import SearchSpace
from scheduler.python.trial import BaseTrial, BatchTrial
from scheduler.python.trial import Trial as SingleTrial


class Experiment(Results):
    """A search space, what is to be better, and trials.

    It is stored when its first trial is made, and its definition is fixed from then on.
    Candidates are in memory until they, or later ones, leave that status.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # Ax's own
        self,
        search_space: SearchSpace | None,
        name: str | None = None,
        optimization_config: OptimizationConfig | None = None,
        tracking_metrics: Sequence[Metric] = (),
        runner: Any = None,
        status_quo: Arm | None = None,
        description: str = "",
        *,
        generation_strategy: Any = None,
        storage: str | Session | None = None,
        options: Mapping[str, Any] | None = None,
        wait: float = 600.0,
    ) -> None:
        """Store nothing yet.

        ``runner``: a Runner of yours, or the keys of one that schedd knows, as in a file.
        ``storage``: as of a Client. ``options``: further keys of an experiment's file.
        """
        self.search_space = search_space
        self.name = words.name_of(name)
        self.optimization_config = optimization_config
        self.tracking_metrics = list(tracking_metrics)
        self.runner = runner
        self.status_quo = status_quo
        self.description = description
        self.generation_strategy = generation_strategy
        self.options = dict(options or {})
        session = storage if isinstance(storage, Session) else Session(storage, wait)
        super().__init__(session, self._store)
        self._drafts: dict[int, BaseTrial] = {}

    @classmethod
    def load(cls, name: str | None, storage: str, **options: Any) -> Self:
        """Return a stored experiment; ``runner`` and ``tracking_metrics`` are given again."""
        session = Session(storage, options.pop("wait", 600.0))
        session.find(name)
        return cls(None, session.definition.name, storage=session, **options)

    def close(self) -> None:
        """Close the database; a temporary one is removed."""
        self.session.close()

    def give(self, runner: Any) -> None:
        """Let a runner deploy its trials. Raises UserInputError where another is stored."""
        self.runner = runner
        if isinstance(runner, UserRunner) or not self.session.is_made:
            return
        stored, wanted = self.session.definition.runner, RunnerSpec.model_validate(runner)
        if stored != wanted:
            raise UserInputError(f"{self.name} is stored with another runner: {stored.type!r}")

    # -- as a definition

    @property
    def definition(self) -> ExperimentDefinition:
        """The definition, as a file would have it. Raises UserInputError."""
        if self.session.is_made:
            return self.session.definition
        return self.session.checked(self._written())

    def _written(self) -> words.Written:
        config, space = self.optimization_config, self.search_space
        if config is None or space is None:
            what = "optimization_config" if space else "search_space"
            raise UserInputError(f"the experiment {self.name} has no {what} yet")
        limits = [c.model_dump(mode="json") for c in space.parameter_constraints]
        draft = {
            "schema": "schedd/v1",
            "name": self.name,
            "description": self.description,
            "parameters": words.parameters_of(space.parameters),
            "parameter_constraints": limits,
            **config.written(),
            **_quo(self.status_quo),
            "tracking": [metric.name for metric in self.tracking_metrics],
            "runner": self._runner_keys(),
            **self.options,
        }
        return words.whole(draft, self.generation_strategy, None)

    def _runner_keys(self) -> words.Written:
        if self.runner is None:
            return {"type": "external"}
        if isinstance(self.runner, UserRunner):
            return {"type": PYTHON, PYTHON: {"class": None}}
        return words.keys_of(self.runner)

    def _store(self) -> None:
        if not self.session.is_made:
            self.session.submit(self.definition)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that were given as objects, by name."""
        given = [] if self.optimization_config is None else self.optimization_config.metrics
        return {metric.name: metric for metric in (*given, *self.tracking_metrics)}

    @property
    def fetched(self) -> dict[str, Metric]:
        """Those of the metrics that say how they are fetched."""
        return {name: metric for name, metric in self.metrics.items() if metric.fetches}

    # -- trials

    @property
    def trials(self) -> "dict[int, BaseTrial]":
        """All trials by index."""
        stored = [r.trial for r in self.session.records()] if self.session.is_made else []
        return {**{trial.index: self._view(trial) for trial in stored}, **self._drafts}

    def trial(self, index: int) -> BaseTrial:
        """Return a trial. Raises ObjectNotFoundError."""
        return self._drafts.get(index) or self._view(self.session.record(index).trial)

    def trials_by_status(self) -> "dict[TrialStatus, list[BaseTrial]]":
        """Return the trials of each status."""
        found: dict[TrialStatus, list[BaseTrial]] = {status: [] for status in TrialStatus}
        for trial in self.trials.values():
            found[trial.status].append(trial)
        return found

    def _view(self, trial: Trial) -> "BaseTrial":
        kind = SingleTrial if len(trial.arms) == 1 else BatchTrial
        return kind(self, trial.index)

    def new_trial(self, generator_run: GeneratorRun | None = None) -> SingleTrial:
        """Return a new trial of one arm, which is still to be added unless a run brings it."""
        trial = SingleTrial(self, self._next_index())
        self._drafts[trial.index] = trial
        if generator_run is not None:
            trial.add_generator_run(generator_run)
        return trial

    def new_batch_trial(
        self,
        generator_run: GeneratorRun | None = None,
        *,
        generator_runs: Sequence[GeneratorRun] = (),
        should_add_status_quo_arm: bool = True,
    ) -> BatchTrial:
        """Return a new trial of several arms; the status quo is one of them, if there is any."""
        trial = BatchTrial(self, self._next_index())
        self._drafts[trial.index] = trial
        for run in (*([generator_run] if generator_run else []), *generator_runs):
            trial.add_generator_run(run)
        if should_add_status_quo_arm and self.definition.status_quo is not None:
            trial.add_arm(Arm(STATUS_QUO, self.definition.status_quo.parameters))
        return trial

    def _next_index(self) -> int:
        if self._drafts:
            return max(self._drafts) + 1
        return self.made.state().tally.created

    # -- what a trial asks of its experiment

    def draft(self, index: int) -> bool:
        """Whether a trial is in memory alone."""
        return index in self._drafts

    def named(self, arm: Arm, place: str) -> Arm:
        """Return an arm, admitted and with a name: that of an equal arm, its own, or ``place``."""
        try:
            parameters = self.definition.admit(arm.parameters)
        except ValueError as error:
            raise UserInputError(f"this is no arm of {self.name}: {error}") from None
        key = signature(parameters)
        name = arm.name or self._names.get(key) or place
        if not ARM_NAME.fullmatch(name):
            raise UserInputError(
                f"{name!r} is no name of an arm: letters, digits, '_', '.' or '-'"
            )
        if any(known == name and other != key for other, known in self._names.items()):
            raise UserInputError(f"there is another arm called {name!r} already")
        self._names.setdefault(key, name)
        return Arm(name, parameters, arm.weight)

    @cached_property
    def _names(self) -> dict[str, str]:
        """The names of arms, by what tells their parameters apart."""
        definition = self.definition
        quo = definition.status_quo
        found = {signature(definition.admit(quo.parameters)): STATUS_QUO} if quo else {}
        for trial in self.trials.values():
            for arm in trial.arms:
                found.setdefault(signature(arm.parameters), arm.name)
        return found

    def move(
        self, trial: "BaseTrial", to: TrialStatus, message: str = "", job_id: str | None = None
    ) -> None:
        """Store a trial in another status. Raises UserInputError where that is not allowed."""
        session = self.made

        def make(state: ExperimentState, now: float) -> Changes:
            new = self._new(state, trial.index, now)
            before = next((t for t in new.trials if t.index == trial.index), None)
            before = before or state.active.get(trial.index) or trial.stored
            ready = before if job_id is None else before.having(job_id=job_id)
            after = moved(ready, to, message, session.experiment.token, now)
            final = self.final(after) if to is TrialStatus.COMPLETED else []
            return appended(new, change(after, final, now, was=before.status))

        self.write(make)
        self._drafts = {i: t for i, t in self._drafts.items() if i > trial.index}

    def save(self) -> None:
        """Store all candidates that are in memory: whoever drives the experiment deploys them."""
        if self._drafts:
            self.write(lambda state, now: self._new(state, max(self._drafts), now))
            self._drafts = {}

    def _new(self, state: ExperimentState, last: int, now: float) -> Changes:
        """Return the changes that store candidates up to index ``last``."""
        drafts = [t for i, t in sorted(self._drafts.items()) if i <= last]
        if drafts and drafts[0].index != state.tally.created:
            raise UserInputError(
                f"trial {drafts[0].index} cannot be stored: another process has made "
                f"{state.tally.created} trials meanwhile"
            )
        runs: list[RunRow] = []
        trials = []
        for draft in drafts:
            run = draft.run_row(state.tally.generator_runs + len(runs), now)
            runs += [run] if run else []
            trials.append(draft.candidate(now, run.index if run else None))
        return added(trials, runs, now) if trials else Changes(time=now)


def _quo(arm: Arm | None) -> words.Written:
    return {"status_quo": {"parameters": dict(arm.parameters)}} if arm else {}
