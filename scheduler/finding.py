"""Which arms of a stored experiment are best, and by which measure."""

from dataclasses import dataclass

from scheduler.insight.choice import (
    Candidate,
    Choice,
    as_observed,
    as_predicted,
    candidates_of,
    choose,
    without_noise,
)
from scheduler.model.experiment import ExperimentState
from scheduler.model.observation import MeasuredArms
from scheduler.model.trial import TrialStatus
from scheduler.storage import read
from scheduler.storage.store import Experiment, Store


@dataclass(frozen=True, slots=True)
class Finding:
    """What is best, and by which measure."""

    state: ExperimentState
    by: str
    """``model`` or ``observed``."""
    why: str
    """Why not by the model; empty where it is, or where that was asked for."""
    choice: Choice
    observed: Choice
    """By what was observed alone."""


def finding(store: Store, experiment: Experiment, raw: bool) -> Finding:
    """Return what is best: by what was observed alone where ``raw``; else a model is fitted.

    That imports torch. Raises StorageError.
    """
    state, measured = store.peek(experiment), store.measured(experiment.id)
    done = read.trials(store, experiment.id, [TrialStatus.COMPLETED])
    candidates = candidates_of((record.trial for record in done), measured)
    observed = choose(state.definition, as_observed(candidates), state.baseline)
    if raw or not candidates:
        return Finding(state, "observed", "", observed, observed)
    return _by_model(state, measured, candidates, observed)


def _by_model(
    state: ExperimentState, measured: MeasuredArms, candidates: list[Candidate], observed: Choice
) -> Finding:
    """Return what is best by a model, or by what was observed where a model is of no use."""
    if all(sem == 0 for c in candidates for _, sem in c.observed.values()):
        why = "the measurements are said to be exact"
        return Finding(state, "observed", why, observed, observed)
    from scheduler.generation.space import GenerationError
    from scheduler.learned import learned

    definition, baseline = state.definition, state.baseline
    try:
        model = learned(state, measured)
        noise = model.noise()
        exact = without_noise(candidates, noise)
        if exact == set(noise):
            why = "the measurements have next to no noise"
            return Finding(state, "observed", why, observed, observed)
        predictions = model.predict([c.arm.parameters for c in candidates])
    except GenerationError as error:
        return Finding(state, "observed", f"there is no model: {error}", observed, observed)
    believed = as_predicted(definition, candidates, predictions, exact, baseline)
    return Finding(state, "model", "", choose(definition, believed, baseline), observed)
