"""The criteria that stop an experiment, in the order in which they are asked."""

from collections.abc import Sequence
from statistics import quantiles

from scheduler.model.best import best_outcome, is_feasible
from scheduler.model.experiment import (
    STATUS_QUO,
    Changes,
    Criterion,
    ExperimentState,
    Verdict,
    outcomes_of,
)
from scheduler.model.observation import Outcome
from scheduler.model.strategy import is_exhausted
from scheduler.model.trial import TrialStatus


def verdict(state: ExperimentState, changes: Changes) -> Verdict | None:
    """Return the first criterion that holds, or None.

    ``state`` is as it will be after ``changes``. Failures, a goal and improvement are judged when
    a trial ends: an experiment that people let go on is not stopped again by what stopped it.
    """
    if any(trial.status is TrialStatus.FAILED for trial in changes.trials):
        failure_rate = _failure_rate(state)
        if failure_rate:
            return failure_rate
    new = outcomes_of(changes)
    criteria = (_goal, _improvement, _timeout, _total_trials, _exhausted)
    return next(filter(None, (criterion(state, new) for criterion in criteria)), None)


def _failure_rate(state: ExperimentState) -> Verdict | None:
    """FAILED trials among those that ended by themselves, once there are enough of them."""
    policy = state.definition.failures
    failed = state.tally.count(TrialStatus.FAILED)
    ended = failed + state.tally.count(TrialStatus.COMPLETED, TrialStatus.EARLY_STOPPED)
    if failed < policy.min_failed_trials_for_failure_rate_check:
        return None
    if failed <= policy.tolerated_trial_failure_rate * ended:
        return None
    tolerated = f"{policy.tolerated_trial_failure_rate:.0%} are tolerated"
    message = f"{failed} of {ended} trials failed; {tolerated}"
    return Verdict(Criterion.FAILURE_RATE, message, failed=True, drain=False)


def _goal(state: ExperimentState, new: Sequence[Outcome]) -> Verdict | None:
    goal = state.definition.stopping_criteria.goal
    if goal is None:
        return None
    objective = state.definition.goal_objective
    assert objective is not None
    baseline = state.baseline
    # With the status quo's values, arms that completed before it may turn out to be feasible.
    for outcome in state.outcomes if any(o.arm_name == STATUS_QUO for o in new) else new:
        value = objective.value(outcome.means)
        if value is None or objective.better(goal.value, value):
            continue
        if is_feasible(state.definition, outcome, baseline):
            message = f"arm {outcome.arm_name} reached {objective.name} = {value:g}"
            return Verdict(Criterion.GOAL, message, drain=False)
    return None


def _improvement(state: ExperimentState, new: Sequence[Outcome]) -> Verdict | None:
    """Stop when the best value improved by less than a share of the interquartile range.

    Over the last ``window_size`` completed outcomes, as Ax's ImprovementGlobalStoppingStrategy.
    A range of zero counts as no improvement.
    """
    rule = state.definition.stopping_criteria.improvement
    if rule is None or not new or len(state.outcomes) <= rule.window_size:
        return None
    if state.tally.count(TrialStatus.COMPLETED) < rule.min_trials:
        return None
    definition, baseline = state.definition, state.baseline
    objective = definition.all_objectives[0]
    now = best_outcome(definition, state.outcomes, baseline)
    before = best_outcome(definition, state.outcomes[: -rule.window_size], baseline)
    if now is None or before is None:
        return None
    latest, earlier = objective.value(now.means), objective.value(before.means)
    assert latest is not None
    assert earlier is not None
    gain = abs(latest - earlier)
    feasible = [o.means for o in state.outcomes if is_feasible(definition, o, baseline)]
    spread = _interquartile_range([v for v in map(objective.value, feasible) if v is not None])
    if gain > 0 and gain >= rule.improvement_bar * spread:
        return None
    message = (
        f"the best {objective.name} improved by {gain:g} over the last {rule.window_size} arms, "
        f"less than {rule.improvement_bar:g} of the interquartile range {spread:g}"
    )
    return Verdict(Criterion.IMPROVEMENT, message)


def _timeout(state: ExperimentState, _: Sequence[Outcome]) -> Verdict | None:
    limit = state.definition.stopping_criteria.timeout
    if limit is None or state.seconds < limit:
        return None
    message = f"it was driven for {state.seconds:.0f} s; the timeout is {limit:.0f} s"
    return Verdict(Criterion.TIMEOUT, message, drain=False)


def _total_trials(state: ExperimentState, _: Sequence[Outcome]) -> Verdict | None:
    """All trials are made and have ended; none completed is a failure of the experiment."""
    if state.active or state.tally.created < state.definition.trials.total_trials:
        return None
    return _ended(state, Criterion.TOTAL_TRIALS, f"all {state.tally.created} trials have ended")


def _exhausted(state: ExperimentState, _: Sequence[Outcome]) -> Verdict | None:
    if state.active or not is_exhausted(state):
        return None
    message = f"no new arm is left after {state.tally.created} trials"
    return _ended(state, Criterion.SEARCH_SPACE_EXHAUSTED, message)


def _ended(state: ExperimentState, criterion: Criterion, message: str) -> Verdict:
    if state.tally.count(TrialStatus.COMPLETED, TrialStatus.EARLY_STOPPED):
        return Verdict(criterion, message)
    return Verdict(criterion, f"{message}, and none of them completed", failed=True)


def _interquartile_range(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    lower, _, upper = quantiles(values, n=4, method="inclusive")
    return upper - lower
