"""The words at the end: the best arm, its metrics, why it stopped, where to see more."""

from scheduler.model.best import best_outcome, is_feasible, pareto_front
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import ExperimentState
from scheduler.model.observation import Outcome
from scheduler.model.trial import TrialStatus


def summary(state: ExperimentState, storage: str) -> str:
    """Return the closing lines of a run; ``storage`` is the option that names the store."""
    name = state.definition.name
    lines = [f"{name}: {counts(state)}"]
    if state.stop:
        lines.append(f"stopped by {state.stop.criterion}: {state.stop.message}")
    lines += best_lines(state)
    lines.append(f"more: schedd trials {name}{storage} | schedd best {name}{storage}")
    return "\n".join(lines)


def counts(state: ExperimentState) -> str:
    """Return how many trials there are of each kind."""
    tally = state.tally
    parts = [
        f"{n} {status.lower()}" for status in TrialStatus if (n := tally.finished.get(status, 0))
    ]
    return f"{tally.created} trials ({', '.join(parts)})" if parts else f"{tally.created} trials"


def best_outcomes(state: ExperimentState) -> list[Outcome]:
    """Return the best outcome, or the Pareto front, by what was observed: no model is fitted."""
    definition, baseline = state.definition, state.baseline
    if len(definition.all_objectives) > 1:
        return pareto_front(definition, state.outcomes, baseline)
    best = best_outcome(definition, state.outcomes, baseline)
    return [best] if best else []


def best_lines(state: ExperimentState) -> list[str]:
    """Return the best arm, or the Pareto front, as observed; say so where nothing is feasible."""
    definition, baseline = state.definition, state.baseline
    if not state.outcomes:
        return ["no trial has completed"]
    best = best_outcomes(state)
    if len(definition.all_objectives) > 1:
        front = f"{len(best)} arms on the Pareto front of what was observed"
        return [front, *map(outcome_line, best)]
    if not best:
        constraints = ", ".join(map(str, definition.outcome_constraints))
        return [f"no arm was observed to satisfy {constraints}"]
    infeasible = sum(not is_feasible(definition, o, baseline) for o in state.outcomes)
    lines = [f"best observed: {outcome_line(best[0])}", *sum_line(definition, best[0])]
    if infeasible:
        lines.append(f"{infeasible} of {len(state.outcomes)} arms break an outcome constraint")
    return lines


def sum_line(definition: ExperimentDefinition, outcome: Outcome) -> list[str]:
    """Return the value of a scalarized objective as a line; none for a metric, shown already."""
    objective = definition.all_objectives[0]
    value = objective.value(outcome.means)
    if objective.metric is not None or value is None:
        return []
    return [f"{objective.name} = {value:.6g}"]


def outcome_line(outcome: Outcome) -> str:
    """Return an arm's name and metrics."""
    metrics = ", ".join(f"{metric} = {mean:.6g}" for metric, mean in outcome.means.items())
    return f"{outcome.arm_name} (trial {outcome.trial_index}): {metrics}"
