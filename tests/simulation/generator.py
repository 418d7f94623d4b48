"""A generator whose arms follow from the request alone; it may be slow, fail, or be exhausted."""

import math
from dataclasses import replace

from scheduler.generation.protocol import GenerationReply, GenerationRequest, Proposal
from scheduler.model.definition import ExperimentDefinition
from simulation.faults import Chance

SHELF = [{"x": (2 * k + 1) / 9} for k in range(4)]


def sequence(definition: ExperimentDefinition, position: int) -> dict:
    """Return the arm at one position of the sequence."""
    parameter = definition.parameters[0]
    if math.isinf(parameter.cardinality):
        return {"x": (position * 0.6180339887498949 + 0.1) % 1.0}
    return {"x": parameter.values[position]}


class SimulatedGenerator:
    """Lives and dies with its process, and with it what it was asked."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self.request: GenerationRequest | None = None

    @property
    def busy(self) -> bool:
        """Whether a reply is owed."""
        return self.request is not None

    def ask(self, request: GenerationRequest) -> None:
        """Begin."""
        self.chance.point()
        assert self.request is None, "asked while busy"
        assert request.trials > 0, "asked for nothing"
        self.request = request

    def reply(self) -> GenerationReply | str | None:
        """Return the reply, why there is none, or None: not yet."""
        self.chance.point()
        if self.request is None or self.chance.strikes("generation_slow"):
            return None
        request, self.request = self.request, None
        if self.chance.strikes("generation_fails"):
            return "the child died"
        make = {"botorch": model, "shelf": shelf}.get(request.generator, space_filling)
        return replace(make(request), node=request.node)

    def close(self) -> None:
        """Forget the request."""
        self.request = None


def space_filling(request: GenerationRequest) -> GenerationReply:
    """Return the next arms of the sequence that are not there yet."""
    size = request.definition.parameters[0].cardinality
    used = [dict(p) for p in (*request.seen, *request.pending)]
    cursor, trials = request.cursor, []
    for _ in range(request.trials):
        arms = []
        while len(arms) < request.arms_per_trial and cursor < size:
            arm = sequence(request.definition, cursor)
            cursor += 1
            if arm not in used:
                arms.append(Proposal(arm))
        if len(arms) < request.arms_per_trial:
            return GenerationReply("sobol", tuple(trials), cursor, exhausted=True)
        trials.append(tuple(arms))
    return GenerationReply("sobol", tuple(trials), cursor)


def model(request: GenerationRequest) -> GenerationReply:
    """Return arms that depend on the request's seed."""
    arms = tuple(
        Proposal({"x": (request.seed / 2**32 + k / 97) % 1.0}, {"loss": {"mean": 0.0, "sem": 1.0}})
        for k in range(request.arms_per_trial)
    )
    return GenerationReply("botorch", (arms,))


def shelf(request: GenerationRequest) -> GenerationReply:
    """Return what is left of a few arms that a third party wrote down."""
    used = [dict(p) for p in (*request.seen, *request.pending)]
    left = [arm for arm in SHELF if arm not in used]
    return request.reply(left[: request.count], exhausted=len(left) < request.count)
