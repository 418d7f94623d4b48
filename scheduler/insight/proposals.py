"""Every arm with how it was chosen and what became of it. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from scheduler.model.experiment import STATUS_QUO
from scheduler.model.observation import GeneratorRun, Observation, Outcome
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.storage.read import TrialRecord


@dataclass(frozen=True, slots=True)
class Proposed:
    """One arm of a trial."""

    trial: Trial
    arm: Arm
    run: GeneratorRun | None
    """What made it; ``None`` where a person did."""
    prediction: Mapping[str, Mapping[str, float]]
    """Metric -> {mean, sem}, before it was measured; empty where no model spoke."""
    insight: Mapping[str, float]
    """What the model knew when it proposed it; empty where it said nothing."""
    metrics: Mapping[str, Observation]
    """What was measured; empty where nothing was."""

    @property
    def means(self) -> dict[str, float]:
        """What was measured, without standard errors."""
        return {name: o.mean for name, o in self.metrics.items()}


def proposed(
    records: Iterable[TrialRecord], runs: Mapping[int, GeneratorRun]
) -> Iterator[Proposed]:
    """Yield the arms of trials, all of them from trial 0 on in order, with their predictions.

    A generator run lists predictions of its arms in order; the status quo of a batch trial is none
    of its arms.
    """
    made: Counter[int] = Counter()
    for record in records:
        run = None if record.trial.generator_run is None else runs[record.trial.generator_run]
        for arm in record.trial.arms:
            metrics = record.metrics.get(arm.name, {})
            if run is None or arm.name == STATUS_QUO:
                yield Proposed(record.trial, arm, run, {}, {}, metrics)
                continue
            k = made[run.index]
            made[run.index] += 1
            prediction = run.predictions[k] if k < len(run.predictions) else {}
            insight = run.insights[k] if k < len(run.insights) else {}
            yield Proposed(record.trial, arm, run, prediction, insight, metrics)


def known_to(run: GeneratorRun, earlier: Iterable[Proposed]) -> tuple[list[Proposed], int]:
    """Return the arms that were measured when ``run`` was asked for, and how many were pending.

    ``earlier``: the arms of trials before the first one of the run.
    """
    asked = run.created_at - run.seconds
    measured, pending = [], 0
    for each in earlier:
        ended = each.trial.completed_at
        if ended is None or ended > asked:
            pending += 1
        elif each.trial.status is TrialStatus.COMPLETED:
            measured.append(each)
    return measured, pending


def outcome_of(each: Proposed) -> Outcome:
    """Return what was measured as an outcome."""
    return Outcome(each.trial.index, each.arm.name, each.means)
