"""What is asked and answered, as models; the description of the API is made from them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from scheduler.config.schema import schema
from scheduler.model.trial import TrialStatus

MOST = 500
"""Items on a page, and points that are predicted at once."""
LARGEST = 2**53

Parameters = dict[str, Any]
Number = Annotated[float, Field(description="a finite number")]
Pair = tuple[Number, Number | None]
Result = Number | Pair
Data = Result | dict[str, Result] | dict[str, dict[str, Result]]
Reason = Annotated[str, Field(max_length=4000)]


class Body(BaseModel):
    """Base of what is asked: a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class NextTrial(Body):
    """Nothing needs to be said to have the next trial."""


class AttachTrial(Body):
    """An arm that the caller has chosen."""

    parameters: Parameters
    arm_name: Annotated[str, Field(max_length=64)] | None = None


class Complete(Body):
    """The results of a trial; what is left out is taken from what was attached."""

    data: Data | None = Field(
        default=None, description="a number, [mean, sem], {metric: either} or {arm: {...}}"
    )
    progression: Number | None = None


class AttachData(Body):
    """Results of a trial that runs, at a step; without one, steps count 0, 1, 2, ..."""

    data: Data
    progression: Number | None = None


class End(Body):
    """Why a trial ends."""

    reason: Reason | None = None


class Points(Body):
    """Arms to predict, each with a value for every parameter."""

    points: Annotated[list[Parameters], Field(min_length=1, max_length=MOST)]


# -- queries, whose values are text


class Query(BaseModel):
    """Base of what a query may say."""

    model_config = ConfigDict(extra="forbid")


class Page(Query):
    """Which part of a list."""

    offset: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    limit: Annotated[int, Field(ge=1, le=MOST)] = 100


class TrialsPage(Page):
    """Which trials."""

    status: TrialStatus | None = None


class ByModel(Query):
    """What is compared: means that a model believes in, or what was observed."""

    model: bool = True


# -- answers


class Answer(BaseModel):
    """Base of what is answered."""


class Moments(Answer):
    """A mean and its standard error."""

    mean: float
    sem: float | None


class ArmAnswer(Answer):
    """An arm, and what was measured of it in a trial."""

    name: str
    parameters: Parameters
    weight: float
    metrics: dict[str, Moments]


class TrialAnswer(Answer):
    """A trial."""

    index: int
    status: TrialStatus
    attempt: int
    message: str
    generator: str | None
    arms: list[ArmAnswer]


class TrialsAnswer(Answer):
    """Trials by index; ``next`` is the offset of the page that follows, if one does."""

    trials: list[TrialAnswer]
    next: int | None


class ExperimentLine(Answer):
    """An experiment in a list."""

    name: str
    status: str


class ExperimentsAnswer(Answer):
    """Experiments, oldest first."""

    experiments: list[ExperimentLine]
    next: int | None


class Stop(Answer):
    """Why an experiment stops."""

    criterion: str
    message: str


class ExperimentAnswer(Answer):
    """How an experiment stands, and its definition as it may be given again."""

    name: str
    status: str
    paused: bool
    stop: Stop | None
    created: int
    pending: int
    finished: dict[str, int]
    definition: dict[str, Any]


class BestAnswer(Answer):
    """An arm that no other one beats."""

    parameters: Parameters
    metrics: dict[str, Moments]
    trial_index: int
    arm_name: str


class FrontierAnswer(Answer):
    """The arms that no other one beats in every objective."""

    arms: list[BestAnswer]


class PredictionsAnswer(Answer):
    """For each point: metric -> what a model predicts."""

    predictions: list[dict[str, Moments]]


class Problem(Answer):
    """What went wrong (RFC 9457): ``detail`` is one sentence."""

    type: str
    title: str
    status: int
    detail: str


# -- the experiment itself

KEYS = (
    "schema",
    "name",
    "description",
    "tags",
    "parameters",
    "parameter_constraints",
    "objective",
    "objectives",
    "outcome_constraints",
    "status_quo",
    "arms",
    "metrics",
    "generation_strategy",
    "trials",
    "stopping_criteria",
    "failures",
)
"""What may be said of an experiment from afar: nothing that starts a program or names a file."""
OF_METRICS = frozenset({"reduce", "sem"})


def experiment_schema() -> dict[str, Any]:
    """Return the schema of an experiment as it is given over HTTP, with its ``$defs``."""
    whole = schema()
    whole.pop("$schema")
    properties = whole["properties"]
    whole["properties"] = {key: properties[key] for key in KEYS}
    whole["properties"]["runner"] = {"const": {"type": "external"}}
    whole["required"] = [key for key in whole["required"] if key in KEYS]
    metric = whole["$defs"]["MetricSpec"]
    metric["properties"] = {k: v for k, v in metric["properties"].items() if k in OF_METRICS}
    return whole | {"title": "NewExperiment", "description": "An experiment, as in a file."}
