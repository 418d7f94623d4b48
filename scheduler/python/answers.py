"""The half of the service door that says what was found."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scheduler.python.errors import ModelError, ObjectNotFoundError, UserInputError, translated
from scheduler.python.trials import Door

if TYPE_CHECKING:
    from scheduler.finding import Finding
    from scheduler.insight.choice import Believed
    from scheduler.stopping.percentile import Percentile

Moments = dict[str, tuple[float, float | None]]
"""Metric -> (mean, standard error)."""
Best = tuple[dict[str, Any], Moments, int, str]
"""Parameters, what is believed of them, the trial's index, the arm's name."""
Values = tuple[dict[str, float], dict[str, dict[str, float]]]
"""Means by metric, and their covariances."""


class Answers(Door):
    """Methods about the experiment as a whole."""

    def get_best_parameterization(self, use_model_predictions: bool = True) -> Best:
        """Return the best arm: its parameters, its metrics, its trial's index and its name.

        By the means that a model believes in, so that one lucky measurement does not win; by what
        was observed where there is no noise, too little to learn from, or no model is wanted.
        Raises ObjectNotFoundError where no arm is feasible, or none is measured.
        """
        if len(self.made.definition.all_objectives) > 1:
            raise UserInputError("there are several objectives: use get_pareto_frontier")
        return best_of(self._feasible(use_model_predictions).choice.chosen[0])

    def get_best_parameters(
        self, use_model_predictions: bool = True
    ) -> tuple[dict[str, Any], Values]:
        """Return the same as AxClient does: (parameters, (means, covariances))."""
        parameters, moments, _, _ = self.get_best_parameterization(use_model_predictions)
        return parameters, values_of(moments)

    def get_pareto_frontier(self, use_model_predictions: bool = True) -> list[Best]:
        """Return the feasible arms that no other one beats in every objective."""
        if len(self.made.definition.all_objectives) < 2:
            raise UserInputError("there is one objective: use get_best_parameterization")
        return [best_of(b) for b in self._feasible(use_model_predictions).choice.chosen]

    def get_pareto_optimal_parameters(
        self, use_model_predictions: bool = True
    ) -> dict[int, tuple[dict[str, Any], Values]]:
        """Return the same as AxClient does: index -> (parameters, (means, covariances))."""
        found = self.get_pareto_frontier(use_model_predictions)
        return {i: (parameters, values_of(moments)) for parameters, moments, i, _ in found}

    def _feasible(self, model: bool) -> "Finding":
        found = self.finding(model)
        if not found.choice.chosen:
            least = found.choice.least_infeasible
            near = f"; the one that misses by least is {least.candidate.arm.name}" if least else ""
            why = "no arm is feasible" if found.state.outcomes else "no trial has completed"
            raise ObjectNotFoundError(f"{why}{near}")
        return found

    def finding(self, model: bool = True) -> "Finding":
        """Return which arms are best, and by which measure."""
        from scheduler.finding import finding
        from scheduler.generation.inline import one_thread

        session = self.made
        with session.lock, translated(), one_thread():
            return finding(session.place.store, session.experiment, raw=not model)

    def predict(self, points: Sequence[Mapping[str, Any]]) -> list[Moments]:
        """Return what a model predicts of arms: metric -> (mean, its standard error).

        Raises ModelError where there is too little to learn from, UserInputError for a point that
        is not in the search space.
        """
        from scheduler.generation.inline import one_thread
        from scheduler.generation.space import GenerationError
        from scheduler.learned import learned

        session = self.made
        arms = [self._admitted(point) for point in points]
        with session.lock, translated(), one_thread():
            store, experiment = session.place.store, session.experiment
            try:
                model = learned(store.peek(experiment), store.measured(experiment.id))
                found = model.predict(arms)
            except GenerationError as error:
                raise ModelError(f"there is no model: {error}") from None
        return [{m: (said["mean"], said["sem"]) for m, said in each.items()} for each in found]

    def _admitted(self, point: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.made.definition.admit(point)
        except ValueError as error:
            raise UserInputError(f"this is no arm: {error}") from None

    def get_model_predictions(
        self,
        metric_names: Sequence[str] | None = None,
        parameterizations: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> dict[int, Moments]:
        """Return label -> predictions of arms; without any, of every trial's arm by its index."""
        given = parameterizations or {
            r.trial.index: r.trial.arms[0].parameters for r in self.made.records()
        }
        found = self.predict(list(given.values()))
        return {
            label: {m: pair for m, pair in each.items() if not metric_names or m in metric_names}
            for label, each in zip(given, found, strict=True)
        }

    # -- trials that cannot become good

    early_stopping_strategy: "Percentile | None" = None
    """By which :meth:`should_stop_trial_early` goes; without one, no trial is to be stopped."""

    def set_early_stopping_strategy(self, early_stopping_strategy: "Percentile | None") -> None:
        """Say by which rule trials are stopped early. It is not stored."""
        self.early_stopping_strategy = early_stopping_strategy

    def should_stop_trial_early(self, trial_index: int) -> bool:
        """Whether a trial that runs is too far behind others, by the data that were attached."""
        return bool(self.should_stop_trials_early([trial_index]))

    def should_stop_trials_early(self, trial_indices: Sequence[int]) -> dict[int, str]:
        """Return which of these trials are too far behind others, and why."""
        objectives = self.made.definition.all_objectives
        if len(objectives) > 1 or objectives[0].metric is None:
            raise UserInputError("trials are stopped early by one objective of a single metric")
        rule, metric = self.early_stopping_strategy, objectives[0].metric
        if rule is None:
            return {}
        curves = {r.trial.index: curve for r, curve in self.session.curves(metric)}
        found = {}
        for index in trial_indices:
            self.session.record(index)
            others = [curve for i, curve in curves.items() if i != index]
            found[index] = rule.verdict(curves.get(index, ()), others, objectives[0].minimize)
        return {index: why for index, why in found.items() if why}

    # -- tables

    def get_trials(self) -> list[dict[str, Any]]:
        """Return a row for each arm of each trial, as plain values."""
        definition = self.made.definition
        rows = []
        for record in self.session.records():
            trial = record.trial
            for arm in trial.arms:
                seen = record.metrics.get(arm.name, {})
                row: dict[str, Any] = {"trial_index": trial.index, "arm_name": arm.name}
                row |= {"trial_status": trial.status.value, "generation_node": record.generator}
                for metric in definition.metric_specs:
                    row[metric] = seen[metric].mean if metric in seen else None
                    row[f"{metric}_sem"] = seen[metric].sem if metric in seen else None
                rows.append(row | dict(arm.parameters))
        return rows

    def get_trials_data_frame(self) -> Any:
        """Return :meth:`get_trials` as a pandas DataFrame; pandas must be installed."""
        try:
            import pandas
        except ImportError:
            raise UserInputError(
                "a data frame needs pandas: pip install pandas, or use get_trials()"
            ) from None
        return pandas.DataFrame(self.get_trials())

    summarize = get_trials_data_frame

    def get_max_parallelism(self) -> list[tuple[int, int]]:
        """Return (trials, how many may be pending) of each node of the strategy; -1: no limit."""
        from scheduler.model.strategy import nodes_of

        definition = self.made.definition
        most = definition.trials.max_pending_trials
        return [
            (node.trials or -1, min(node.max_parallelism or most, most))
            for node in nodes_of(definition)
        ]


def best_of(believed: "Believed") -> Best:
    """Return an arm as a tuple of plain values."""
    candidate = believed.candidate
    moments: Moments = {}
    for metric, said in believed.moments.items():
        # What is believed to be as observed has the error of the observation.
        sem = said["sem"] or candidate.observed.get(metric, (0.0, None))[1]
        moments[metric] = (said["mean"], sem)
    return dict(candidate.arm.parameters), moments, candidate.trial_index, candidate.arm.name


def values_of(moments: Moments) -> Values:
    """Return (means, covariances); of metrics that are modelled apart those are variances."""
    means = {metric: mean for metric, (mean, _) in moments.items()}
    return means, {m: {m: sem * sem} for m, (_, sem) in moments.items() if sem is not None}
