"""The model of all that was measured, fitted in this process for the verbs that show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from scheduler import candidates
from scheduler.generation.protocol import GenerationRequest
from scheduler.generation.space import GenerationError, Space
from scheduler.model.base import Value
from scheduler.model.experiment import ExperimentState
from scheduler.model.nodes import MODEL
from scheduler.model.observation import MeasuredArms


class Learner(Protocol):
    """What a generator with a model can be asked. All of it may raise GenerationError."""

    def predict(
        self, request: GenerationRequest, arms: Sequence[Mapping[str, Value]]
    ) -> Sequence[Mapping[str, Mapping[str, float]]]:
        """Return metric -> {mean, sem} of each arm's true means."""

    def leave_one_out(
        self, request: GenerationRequest
    ) -> Mapping[str, Sequence[tuple[float, float, float]]]:
        """Return metric -> (observed, mean, deviation with noise) of each observed arm."""

    def noise(self, request: GenerationRequest) -> Mapping[str, float]:
        """Return metric -> the standard deviation of one observation."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A model and the request that it answers from."""

    model: Learner
    request: GenerationRequest

    def predict(
        self, arms: Sequence[Mapping[str, Value]]
    ) -> Sequence[Mapping[str, Mapping[str, float]]]:
        """Return metric -> {mean, sem} of each arm's true means."""
        return self.model.predict(self.request, arms)

    def leave_one_out(self) -> Mapping[str, Sequence[tuple[float, float, float]]]:
        """Return metric -> (observed, mean, deviation with noise) of each observed arm."""
        return self.model.leave_one_out(self.request)

    def noise(self) -> Mapping[str, float]:
        """Return metric -> the standard deviation of one observation."""
        return self.model.noise(self.request)


def learned(state: ExperimentState, measured: MeasuredArms) -> Learned:
    """Return the model of ``measured``; importing torch for it takes seconds.

    Raises GenerationError where there is too little to learn from.
    """
    if len(measured) < MODEL.min_observations:
        few = f"{len(measured)} arms are measured" if measured else "no arm is measured"
        raise GenerationError(f"{few}; a model needs {MODEL.min_observations}")
    from scheduler.generation.botorch.generator import BotorchGenerator

    model = BotorchGenerator(Space(state.definition))
    return Learned(model, candidates.evidence(state, measured))
