"""What a user's program measures and deploys with, and the data that comes of it."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scheduler.python.errors import MetricFetchError, UserInputError
from scheduler.python.numbers import Pair, data_of, number_of

if TYPE_CHECKING:
    from scheduler.model.trial import TrialStatus
    from scheduler.python.trial import BaseTrial

Row = dict[str, Any]
"""trial_index, arm_name, metric_name, mean, sem and perhaps step."""


class Data:
    """Rows of results: mean and standard error of an arm's metric in a trial, or at a step."""

    def __init__(self, df: Any = None, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """Give a data frame, or ``rows``. Raises UserInputError where a column is missing."""
        given = df.to_dict("records") if df is not None else rows
        self.rows: list[Row] = [_row(each) for each in given]

    @classmethod
    def from_evaluations(
        cls, evaluations: Mapping[str, Mapping[str, Any]], trial_index: int
    ) -> "Data":
        """Return the data of arm -> metric -> number or (mean, sem)."""
        return cls(
            rows=[
                {"trial_index": trial_index, "arm_name": arm, "metric_name": m, **_pair(value, m)}
                for arm, metrics in evaluations.items()
                for m, value in metrics.items()
            ]
        )

    @property
    def df(self) -> Any:
        """The rows as a pandas DataFrame; pandas must be installed."""
        try:
            import pandas
        except ImportError:
            raise UserInputError("a data frame needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Ok:
    """A result that is there."""

    value: Any


@dataclass(frozen=True)
class Err:
    """A result that is not, and why."""

    err: Any


MetricFetchE = MetricFetchError


class Metric:
    """A named measurement. Subclasses that fetch it themselves define :meth:`fetch_trial_data`."""

    def __init__(self, name: str, lower_is_better: bool | None = None) -> None:
        self.name = name
        self.lower_is_better = lower_is_better

    def fetch_trial_data(self, trial: "BaseTrial", **_: Any) -> Any:
        """Return Data, Ok(Data), or what ``Client.complete_trial`` takes; or Err.

        Called when a trial has ended, and while it runs where :meth:`is_available_while_running`.
        """
        raise NotImplementedError(f"the metric {self.name} does not say how it is fetched")

    @classmethod
    def is_available_while_running(cls) -> bool:
        """Whether it can be fetched while a trial runs."""
        return False

    @property
    def fetches(self) -> bool:
        """Whether the class says how it is fetched."""
        return type(self).fetch_trial_data is not Metric.fetch_trial_data


def rows_of(metric: Metric, trial: "BaseTrial") -> list[Row]:
    """Return what a metric says of a trial. Raises MetricFetchError, and whatever it raises."""
    found = metric.fetch_trial_data(trial)
    if hasattr(found, "err"):
        raise MetricFetchError(str(found.err))
    found = getattr(found, "value", found)
    if isinstance(found, Data):
        return found.rows
    if not isinstance(found, Mapping):
        found = {metric.name: found}
    if found.keys() <= set(trial.arms_by_name) and found:
        found = {arm: {metric.name: value} for arm, value in found.items()}
    stored = trial.stored
    data = data_of(found, trial.experiment.definition, stored)
    return Data.from_evaluations(data, stored.index).rows


class Runner:
    """Deploys trials in the calling program; subclasses say how."""

    staging_required: bool = False
    """Whether a trial is STAGED, not RUNNING, after :meth:`run`, until it is polled as RUNNING."""

    @abstractmethod
    def run(self, trial: "BaseTrial") -> Mapping[str, Any] | None:
        """Deploy a trial; return what is needed to find it again, as plain JSON values."""

    def poll_trial_status(self, trials: "Iterable[BaseTrial]") -> "Mapping[TrialStatus, set[int]]":
        """Return status -> indexes, of trials that were deployed."""
        raise NotImplementedError(f"{type(self).__name__} has no poll_trial_status")

    def stop(self, trial: "BaseTrial", reason: str | None = None) -> Mapping[str, Any] | None:
        """End a trial that runs."""
        raise NotImplementedError(f"{type(self).__name__} has no stop")


class SyntheticRunner(Runner):
    """Deploys nothing: metrics know the results of arms at once."""

    def run(self, trial: "BaseTrial") -> Mapping[str, Any]:
        """Return the trial's name."""
        return {"name": str(trial.index)}

    def poll_trial_status(self, trials: "Iterable[BaseTrial]") -> "Mapping[TrialStatus, set[int]]":
        """Return that all have ended well."""
        from scheduler.model.trial import TrialStatus

        return {TrialStatus.COMPLETED: {trial.index for trial in trials}}


def _pair(value: Any, metric: str) -> Row:
    mean, sem = value if isinstance(value, Sequence) else (value, None)
    return {"mean": mean, "sem": sem, "metric_name": metric}


def _row(given: Mapping[str, Any]) -> Row:
    for column in ("arm_name", "metric_name", "mean"):
        if column not in given:
            raise UserInputError(f"a row of data lacks {column!r}: {dict(given)}")
    return dict(given)


def pair_of_row(row: Row) -> Pair:
    """Return (mean, sem) of a row. Raises UserInputError where they are no numbers."""
    from scheduler.python.numbers import pair_of

    return pair_of((row["mean"], row.get("sem")), row["metric_name"])


def step_of_row(row: Row) -> float | None:
    """Return the step of a row; ``None`` where it is final."""
    step = row.get("step")
    return None if step is None or step != step else number_of(step, "the step")  # noqa: PLR0124
