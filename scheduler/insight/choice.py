"""Which arms are best: by what a model believes of them, or by what was observed. Pure.

The largest of many noisy values is mostly luck; a posterior mean is not misled by it. Where there
is next to no noise, what was observed is the truth, and a model could only blur it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev

from scheduler.model.belief import least_infeasible, p_feasible
from scheduler.model.best import best_outcome, is_feasible, pareto_front
from scheduler.model.definition import ExperimentDefinition, signature
from scheduler.model.hypervolume import hypervolume, inferred_reference
from scheduler.model.observation import MeasuredArms, Outcome
from scheduler.model.trial import Arm, Trial

NEGLIGIBLE = 0.01
"""Noise, as a share of the spread of the values, below which it cannot mislead."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A measured arm: the first trial that has it, and its values of all trials together."""

    trial_index: int
    arm: Arm
    observed: Mapping[str, tuple[float, float | None]]
    """Metric -> (mean, standard error)."""


@dataclass(frozen=True, slots=True)
class Believed:
    """A measured arm and what is believed of it."""

    candidate: Candidate
    moments: Mapping[str, Mapping[str, float]]
    """Metric -> {mean, sem}; a metric with next to no noise is believed as observed."""
    p_feasible: float | None
    """``None`` where nothing is constrained, or the baseline is not known."""

    @property
    def outcome(self) -> Outcome:
        """The believed means."""
        means = {metric: m["mean"] for metric, m in self.moments.items()}
        return Outcome(self.candidate.trial_index, self.candidate.arm.name, means)


@dataclass(frozen=True, slots=True)
class Choice:
    """The best arm, or the Pareto front."""

    chosen: tuple[Believed, ...]
    """Empty where no arm is feasible."""
    least_infeasible: Believed | None
    """Where none is feasible: the one that misses by least."""
    infeasible: int
    """How many arms are not feasible."""
    arms: int
    """Of how many that were measured."""


@dataclass(frozen=True, slots=True)
class Dominated:
    """The volume that a Pareto front dominates."""

    volume: float
    reference: Mapping[str, float]
    """Objective -> where it is measured from, in its own units."""
    inferred: tuple[str, ...]
    """Objectives without a threshold, whose reference follows from the front."""


def candidates_of(trials: Iterable[Trial], measured: MeasuredArms) -> list[Candidate]:
    """Return each distinct arm of completed ``trials`` that was measured, in order of trial."""
    values = {signature(parameters): metrics for parameters, metrics in measured}
    found: dict[str, Candidate] = {}
    for trial in trials:
        for arm in trial.arms:
            key = signature(arm.parameters)
            if key in values and key not in found:
                found[key] = Candidate(trial.index, arm, values[key])
    return list(found.values())


def as_observed(candidates: Sequence[Candidate]) -> list[Believed]:
    """Return the arms, believed to be what was observed of them."""
    return [
        Believed(c, {m: {"mean": mean, "sem": 0.0} for m, (mean, _) in c.observed.items()}, None)
        for c in candidates
    ]


def as_predicted(
    definition: ExperimentDefinition,
    candidates: Sequence[Candidate],
    predictions: Sequence[Mapping[str, Mapping[str, float]]],
    exact: frozenset[str],
    baseline: Mapping[str, float] | None,
) -> list[Believed]:
    """Return the arms as a model believes them, metrics in ``exact`` as they were observed."""
    believed = []
    for candidate, prediction in zip(candidates, predictions, strict=True):
        moments = {
            metric: {"mean": candidate.observed[metric][0], "sem": 0.0}
            if metric in exact and metric in candidate.observed
            else dict(said)
            for metric, said in prediction.items()
        }
        believed.append(Believed(candidate, moments, p_feasible(definition, moments, baseline)))
    return believed


def without_noise(candidates: Sequence[Candidate], noise: Mapping[str, float]) -> frozenset[str]:
    """Return the metrics whose values are as good as exact.

    ``noise``: metric -> the standard deviation of one observation.
    """
    exact = set()
    for metric, deviation in noise.items():
        seen = [c.observed[metric] for c in candidates if metric in c.observed]
        given = all(sem == 0 for _, sem in seen)
        spread = _spread([mean for mean, _ in seen])
        if given or not spread or deviation <= NEGLIGIBLE * spread:
            exact.add(metric)
    return frozenset(exact)


def choose(
    definition: ExperimentDefinition,
    believed: Sequence[Believed],
    baseline: Mapping[str, float] | None,
) -> Choice:
    """Return the feasible arm with the best objective, or the feasible Pareto front."""
    outcomes = [b.outcome for b in believed]
    by_name = {(o.trial_index, o.arm_name): b for o, b in zip(outcomes, believed, strict=True)}
    if len(definition.all_objectives) > 1:
        best = pareto_front(definition, outcomes, baseline)
    else:
        one = best_outcome(definition, outcomes, baseline)
        best = [one] if one else []
    least = None if best else least_infeasible(definition, outcomes, baseline)
    return Choice(
        chosen=tuple(by_name[o.trial_index, o.arm_name] for o in best),
        least_infeasible=by_name[least.trial_index, least.arm_name] if least else None,
        infeasible=sum(not is_feasible(definition, o, baseline) for o in outcomes),
        arms=len(outcomes),
    )


def dominated(definition: ExperimentDefinition, front: Sequence[Believed]) -> Dominated | None:
    """Return the volume that a front dominates; ``None`` of an empty one."""
    if not front:
        return None
    objectives = definition.all_objectives
    up = [-1.0 if o.minimize else 1.0 for o in objectives]
    points = []
    for each in front:
        values = [o.value(each.outcome.means) for o in objectives]
        points.append([u * v for u, v in zip(up, values, strict=True) if v is not None])
    known = [
        None if o.threshold is None else u * o.threshold
        for o, u in zip(objectives, up, strict=True)
    ]
    reference = inferred_reference(points, known)
    return Dominated(
        hypervolume(points, reference),
        {o.name: u * r for o, u, r in zip(objectives, up, reference, strict=True)},
        tuple(o.name for o in objectives if o.threshold is None),
    )


def _spread(values: Sequence[float]) -> float:
    largest = max(map(abs, values), default=0.0)
    return largest * pstdev([value / largest for value in values]) if largest else 0.0
