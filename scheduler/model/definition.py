"""The experiment as a user defines it: what the YAML parses to and the store keeps."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from runners.base import NO_RESOURCES, Resources
from scheduler.model import failures, nodes
from scheduler.model.base import Duration, Model, Path, Problem, StorageUrl, Value, did_you_mean
from scheduler.model.constraints import ParameterConstraint
from scheduler.model.failures import Failures
from scheduler.model.nodes import GenerationStrategy
from scheduler.model.notifications import Notification
from scheduler.model.objectives import Objective, OutcomeConstraint, split_objectives
from scheduler.model.parameters import Parameter
from scheduler.model.search_space import SearchSpace
from scheduler.model.sound import repeated, space_problems
from scheduler.model.warm_start import WarmStart

SCHEMA: Literal["schedd/v1"] = "schedd/v1"


class StatusQuo(Model):
    """The arm that is in use today; ``baseline`` in relative outcome constraints."""

    parameters: dict[str, Any]


class NamedArm(Model):
    """An arm written by hand, run before the generated ones."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
    parameters: dict[str, Any]


class FetcherSpec(Model):
    """Which fetcher reads a metric; the other keys are that fetcher's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str

    @property
    def options(self) -> dict[str, Any]:
        """Return the fetcher's own keys."""
        return dict(self.__pydantic_extra__ or {})


class MetricSpec(Model):
    """How one metric is read and brought to one number."""

    fetcher: FetcherSpec = FetcherSpec(type="jsonl")
    reduce: Literal["last", "min", "max", "mean"] = "last"
    available_while_running: bool = False
    sem: float | None = Field(default=None, ge=0)
    """The known standard error of a value that comes without one."""


class MissingMetrics(Model):
    """What happens when a job succeeded and a metric is not there."""

    retry_for: Duration = 60.0
    then: Literal["fail", "abandon"] = "fail"


class TrialOptions(Model):
    """How many trials, and how long each may take."""

    total_trials: int = Field(default=100, ge=1, le=1_000_000)
    """A total, across resumes and failures."""
    max_pending_trials: int = Field(default=4, ge=1, le=10_000)
    batch_size: int = Field(default=1, ge=1, le=1000)
    """Arms per trial, deployed and measured together."""
    replicates: int = Field(default=1, ge=1, le=1000)
    """Runs of each arm in its trial; several give a mean and its standard error."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Where a daemon shares out slots: greater ones are served first."""
    ttl: Duration | None = None
    """A RUNNING trial that is older is ended."""
    pending_ttl: Duration | None = None
    """A STAGED trial that is older is ended."""


class Goal(Model):
    """A value of the objective that is good enough."""

    metric: str | None = None
    """Which objective: its metric, or its sum as text. May be left out where there is one."""
    value: float


class Improvement(Model):
    """Stop when the best value improves by too little; see ``scheduler.stopping``."""

    min_trials: int = Field(default=10, ge=1)
    window_size: int = Field(default=5, ge=1)
    improvement_bar: float = Field(default=0.1, ge=0)


class StoppingCriteria(Model):
    """When to stop before ``total_trials``; the first to hold is recorded."""

    timeout: Duration | None = None
    goal: Goal | None = None
    improvement: Improvement | None = None


class RunnerSpec(Model):
    """Where and how a trial runs; the key named like ``type`` holds that runner's own options."""

    model_config = ConfigDict(extra="allow", frozen=True)
    type: str = "local"
    command: tuple[str, ...] = ()
    """An argument list, never a shell line; ``{params.x}``, ``{trial_dir}`` ... are filled in."""
    workdir: str | None = None
    """Where the command starts; default: the folder of the YAML file."""
    env: dict[str, str] = Field(default_factory=dict)
    resources: Resources = NO_RESOURCES
    """What each run needs, where the runner can ask for it."""
    staging_required: bool = False
    """Whether each trial waits, STAGED, until a person says ``schedd release``."""
    trials_dir: str | None = None
    """Default: ``<name>.trials`` beside the database."""

    @property
    def options(self) -> Any:
        """Return the section of the chosen runner; empty where it has none."""
        section = (self.__pydantic_extra__ or {}).get(self.type)
        return {} if section is None else section


class Polling(Model):
    """How often a backend is asked; fixed, because a back-off notices ends late."""

    interval: Duration = Field(default=10.0, gt=0)


class OnResume(Model):
    """What a file may have changed when its experiment goes on."""

    config_change: Literal["reject", "budget_only", "allow"] = "budget_only"
    """Nothing; its budget; or its runner too, while no job is pending."""


class Logs(Model):
    """What becomes of what trials have written."""

    retain: Duration | None = None
    """``schedd gc`` removes the logs of trials that ended longer ago."""


class ExperimentDefinition(Model):
    """Everything about an experiment that does not change while it runs."""

    schema_: Literal["schedd/v1"] = Field(default=SCHEMA, alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    storage: StorageUrl | None = None
    parameters: tuple[Parameter, ...] = Field(min_length=1)
    parameter_constraints: tuple[ParameterConstraint, ...] = ()
    objective: Objective | None = None
    objectives: tuple[Objective, ...] = ()
    outcome_constraints: tuple[OutcomeConstraint, ...] = ()
    status_quo: StatusQuo | None = None
    arms: tuple[NamedArm, ...] = ()
    warm_start: tuple[WarmStart, ...] = ()
    metrics: dict[str, MetricSpec] = Field(default_factory=dict)
    missing_metrics: MissingMetrics = MissingMetrics()
    generation_strategy: GenerationStrategy = GenerationStrategy()
    trials: TrialOptions = TrialOptions()
    stopping_criteria: StoppingCriteria = StoppingCriteria()
    failures: Failures = Failures()
    runner: RunnerSpec
    polling: Polling = Polling()
    on_resume: OnResume = OnResume()
    logs: Logs = Logs()
    notifications: tuple[Notification, ...] = Field(default=(), max_length=20)

    @model_validator(mode="before")
    @classmethod
    def _several(cls, data: Any) -> Any:
        return split_objectives(data)

    @model_validator(mode="after")
    def _check(self) -> "ExperimentDefinition":
        others = (_check_outcomes, _check_arms, _check_warm_start, _check_strategy)
        # The others rely on a sound space.
        problems = list(space_problems(self.parameters, self.parameter_constraints))
        problems = problems or [problem for check in others for problem in check(self)]
        if problems:
            text = "; ".join(text for _, text in problems)
            raise PydanticCustomError("definition", "{text}", {"text": text, "problems": problems})
        return self

    @cached_property
    def search_space(self) -> SearchSpace:
        """The parameters and their constraints: which arms there are."""
        return SearchSpace(self.parameters, self.parameter_constraints)

    @property
    def by_name(self) -> Mapping[str, Parameter]:
        """Parameters by name, in the order of the definition."""
        return self.search_space.by_name

    @cached_property
    def all_objectives(self) -> tuple[Objective, ...]:
        """The objective or objectives, whichever key was used."""
        return self.objectives or ((self.objective,) if self.objective else ())

    @cached_property
    def metric_specs(self) -> Mapping[str, MetricSpec]:
        """Metrics by name; read from ``metrics.jsonl`` where the definition lists none."""
        if self.metrics:
            return self.metrics
        used = [metric for o in self.all_objectives for metric in o.weights]
        used += [c.metric for c in self.outcome_constraints]
        return dict.fromkeys(used, MetricSpec())

    @cached_property
    def required_metrics(self) -> frozenset[str]:
        """Metrics without which a trial is not complete."""
        used = {metric for o in self.all_objectives for metric in o.weights}
        return frozenset(used | {c.metric for c in self.outcome_constraints})

    @cached_property
    def goal_objective(self) -> Objective | None:
        """The objective that the goal of ``stopping_criteria`` is on; None where there is none."""
        goal = self.stopping_criteria.goal
        if goal is None or (goal.metric is None and len(self.all_objectives) > 1):
            return None
        named = (o for o in self.all_objectives if goal.metric is None or o.is_called(goal.metric))
        return next(named, None)

    @property
    def cardinality(self) -> float:
        """How many arms there are, parameter constraints left aside; may be infinite."""
        return self.search_space.cardinality

    def admit(self, parameters: Mapping[str, Any]) -> dict[str, Value]:
        """Return an arm's parameters, complete, typed and in order; ValueError where not admitted.

        Fixed and derived parameters may be left out. Inactive ones must be.
        """
        return self.search_space.admit(parameters)

    def canonical(self) -> str:
        """Return the definition as canonical JSON, schema version included."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=False)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def signature(parameters: Mapping[str, Value]) -> str:
    """Return a short key that is equal for equal arms, whatever the order of their parameters."""
    text = json.dumps(dict(parameters), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _check_outcomes(d: ExperimentDefinition) -> Iterable[Problem]:
    if bool(d.objective) == bool(d.objectives):
        what = (
            "both objective and objectives" if d.objective else "neither objective nor objectives"
        )
        yield ("objectives",) if d.objective else (), f"there is {what}; give one of them"
    for i, name in repeated(o.name for o in d.objectives):
        yield ("objectives", i), f"there are two objectives on {name!r}"
    for path, metric in _metric_uses(d):
        if metric not in d.metric_specs:
            near = did_you_mean(metric, d.metric_specs)
            yield path, f"{metric!r} is not among the metrics{near}"
    for i, constraint in enumerate(d.outcome_constraints):
        if constraint.relative and d.status_quo is None:
            text = f"'{constraint}' refers to a baseline, but there is no status_quo"
            yield ("outcome_constraints", i), text
        if d.objective and set(d.objective.weights) == {constraint.metric}:
            text = f"{constraint.metric!r} is the objective; it cannot be constrained as well"
            yield ("outcome_constraints", i), text


def _metric_uses(d: ExperimentDefinition) -> Iterable[Problem]:
    if d.objective:
        yield from ((("objective",), metric) for metric in d.objective.weights)
    yield from ((("objectives", i), m) for i, o in enumerate(d.objectives) for m in o.weights)
    yield from (
        (("outcome_constraints", i), c.metric) for i, c in enumerate(d.outcome_constraints)
    )


def _check_arms(d: ExperimentDefinition) -> Iterable[Problem]:
    for i, name in repeated(["status_quo", *(a.name for a in d.arms)]):
        yield ("arms", i - 1, "name"), f"there are two arms called {name!r}"
    written: list[tuple[Path, Mapping[str, Any]]] = [
        (("arms", i, "parameters"), arm.parameters) for i, arm in enumerate(d.arms)
    ]
    if d.status_quo:
        written.append((("status_quo", "parameters"), d.status_quo.parameters))
    for path, parameters in written:
        try:
            d.admit(parameters)
        except ValueError as error:
            yield path, str(error)


def _check_warm_start(d: ExperimentDefinition) -> Iterable[Problem]:
    for i, source in enumerate(d.warm_start):
        if source.experiment == d.name and source.storage is None:
            yield ("warm_start", i, "experiment"), f"{d.name} cannot begin with its own arms"
        for name, value in source.defaults.items():
            path = ("warm_start", i, "defaults", name)
            if name not in d.by_name:
                yield path, f"{name!r} is not a parameter{did_you_mean(name, d.by_name)}"
                continue
            try:
                d.by_name[name].cast(value)
            except ValueError as error:
                yield path, str(error)


def _check_strategy(d: ExperimentDefinition) -> Iterable[Problem]:
    for path, text in nodes.problems_of(d.generation_strategy):
        yield ("generation_strategy", *path), text
    for path, text in failures.problems_of(d.failures):
        yield ("failures", *path), text
    yield from _check_goal(d)
    if d.stopping_criteria.improvement and len(d.all_objectives) > 1:
        text = "improvement needs a single objective"
        yield ("stopping_criteria", "improvement"), text
    extra = sorted(set(d.runner.__pydantic_extra__ or {}) - {d.runner.type})
    if extra:
        yield ("runner", extra[0]), f"unknown key {extra[0]!r} under runner"


def _check_goal(d: ExperimentDefinition) -> Iterable[Problem]:
    goal = d.stopping_criteria.goal
    if goal is None or d.goal_objective is not None:
        return
    known = [repr(o.name) for o in d.all_objectives]
    if goal.metric is None:
        text = f"the goal is on one of several objectives; add metric: {known[0]}"
        yield ("stopping_criteria", "goal"), text
        return
    text = f"the goal is on {goal.metric!r}, not on the objective, {' or '.join(known)}"
    yield ("stopping_criteria", "goal", "metric"), text
