"""What was measured of an experiment, as a program attaches, fetches and reads it."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from scheduler.hand import Hand
from scheduler.model.experiment import Changes, ExperimentState
from scheduler.model.observation import Observation
from scheduler.model.trial import Trial, TrialStatus
from scheduler.outside import check_names
from scheduler.python.answers import Answers
from scheduler.python.errors import ObjectNotFoundError, UserInputError, translated
from scheduler.python.metric import Data, Metric, Row, pair_of_row, rows_of, step_of_row

if TYPE_CHECKING:
    from scheduler.model.definition import ExperimentDefinition
    from scheduler.python.trial import BaseTrial


class Results(Answers):
    """The half of an experiment that is about data."""

    name: str

    @property
    @abstractmethod
    def definition(self) -> "ExperimentDefinition":
        """The definition, as a file would have it."""

    @property
    @abstractmethod
    def metrics(self) -> dict[str, Metric]:
        """The metrics that were given as objects, by name."""

    @property
    @abstractmethod
    def trials(self) -> "Mapping[int, BaseTrial]":
        """All trials by index."""

    @abstractmethod
    def draft(self, index: int) -> bool:
        """Whether a trial is in memory alone."""

    def write(self, make: Callable[[ExperimentState, float], Changes]) -> None:
        """Write what ``make`` says, from the state and the time, all or nothing."""
        session = self.made
        with session.lock, translated():
            Hand(session.place.store, session.experiment, session.wait).write(make)

    def final(self, trial: Trial) -> list[Observation]:
        """Return what a trial has by now, brought to one number for each metric and arm."""
        data = self.session.outside.reduced(trial)
        return [
            Observation(trial.index, trial.attempt, arm, metric, mean, sem)
            for arm, metrics in data.items()
            for metric, (mean, sem) in metrics.items()
        ]

    def attach_data(self, data: Data) -> None:
        """Store results. Those of a trial that runs count when it is completed."""
        by_trial: dict[int, list[Row]] = {}
        for row in data.rows:
            if row.get("trial_index") is None:
                raise UserInputError(f"a row of data lacks 'trial_index': {row}")
            by_trial.setdefault(int(row["trial_index"]), []).append(row)
        for index, rows in by_trial.items():
            self._attach(self._stored(index), rows)

    def _attach(self, trial: Trial, rows: list[Row]) -> None:
        after = self.session.outside.next_step(trial)
        points = []
        for row in rows:
            arm, metric, (mean, sem) = row["arm_name"], row["metric_name"], pair_of_row(row)
            with translated():
                check_names(self.definition, trial, {arm: {metric: (mean, sem)}})
            step = step_of_row(row)
            if step is None and trial.status is not TrialStatus.COMPLETED:
                step = after
            points.append(Observation(trial.index, trial.attempt, arm, metric, mean, sem, step))
        final = tuple(p for p in points if p.step is None)
        curves = tuple(p for p in points if p.step is not None)
        self.write(lambda _, now: Changes(time=now, observations=final, curves=curves))

    def _stored(self, index: int) -> Trial:
        if self.draft(index) or index not in self.trials:
            raise ObjectNotFoundError(f"{self.name} has no trial {index} that was deployed")
        return self.session.record(index).trial

    def fetch_data(self, trial_indices: Iterable[int] | None = None) -> Data:
        """Fetch the metrics that know how, of trials that are COMPLETED; store and return them."""
        wanted = None if trial_indices is None else set(trial_indices)
        found: list[Row] = []
        for index, trial in self.trials.items():
            if trial.status is TrialStatus.COMPLETED and (wanted is None or index in wanted):
                for metric in self.metrics.values():
                    found += rows_of(metric, trial) if metric.fetches else []
        data = Data(rows=found)
        self.attach_data(data)
        return data

    def lookup_data(self) -> Data:
        """Return the final results that are stored."""
        rows: list[Row] = []
        for record in self.session.records() if self.session.is_made else []:
            for arm, metrics in record.metrics.items():
                head = {"trial_index": record.trial.index, "arm_name": arm}
                rows += [
                    {**head, "metric_name": metric, "mean": o.mean, "sem": o.sem}
                    for metric, o in metrics.items()
                ]
        return Data(rows=rows)

    def relative_data(self) -> Data:
        """Return the final results in percent of change against the status quo.

        Against that of the same trial where it has one, else of all trials together; with the
        standard error of that, see :func:`~scheduler.model.relative.relativized`.
        """
        from scheduler.python.relative import relative_rows

        return Data(rows=relative_rows(self.lookup_data().rows))
