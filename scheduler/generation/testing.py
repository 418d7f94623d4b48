"""For tests: the conformance suite that every generator passes, ours and others'.

pytest itself is not imported.
"""
# ruff: noqa: D102  # the names of the tests are their sentences

import copy
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import ValidationError

from scheduler.generation import wire
from scheduler.generation.base import Generator
from scheduler.generation.protocol import GenerationReply, GenerationRequest, Measured
from scheduler.generation.sobol import SobolGenerator
from scheduler.generation.space import Space
from scheduler.model.base import Value
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.nodes import SOBOL

HEAVY = ("numpy", "scipy", "torch", "botorch", "sklearn", "pandas", "jax", "tensorflow")
"""What the daemon shall not import for the sake of a generator."""

_MIXED: dict[str, Any] = {
    "name": "contract",
    "parameters": [
        {"name": "lr", "type": "range", "bounds": [1e-5, 1.0], "scaling": "log"},
        {"name": "share", "type": "range", "bounds": [0.0, 1.0]},
        {"name": "layers", "type": "range", "parameter_type": "int", "bounds": [1, 6]},
        {"name": "width", "type": "choice", "values": [16, 32, 64]},
        {"name": "kind", "type": "choice", "values": ["a", "b", "c"]},
        {"name": "data", "type": "fixed", "value": "digits"},
    ],
    "parameter_constraints": ["layers + 4 * share <= 7"],
    "objective": "-loss",
    "runner": {"command": ["true"]},
}


class GeneratorContract:
    """What every generator promises. Subclass it in a test module and say which it is.

    Override :meth:`definition` where the generator cannot propose arms for any search space.
    """

    generator: ClassVar[type[Generator]]
    options: ClassVar[Mapping[str, Any]] = {}
    requests: ClassVar[int] = 5
    """How many requests follow one another in a test."""

    def definition(self) -> ExperimentDefinition:
        """Return the experiment that arms are proposed for: mixed, with a constraint."""
        return ExperimentDefinition.model_validate(_MIXED)

    def make(self, definition: ExperimentDefinition) -> Generator:
        """Return a new object of the generator."""
        kind = self.generator
        return kind(definition, kind.Options.model_validate(dict(self.options)))

    def request(self, trials: int = 1, arms_per_trial: int = 1) -> GenerationRequest:
        """Return the first request, with as much measured as the generator needs."""
        definition, traits = self.definition(), self.generator.traits
        first = GenerationRequest(
            definition, "contract", 7, trials, arms_per_trial, node_trials=20
        )
        enough = max(3, traits.min_observations)
        return replace(first, **_known(definition, enough)) if traits.learns else first

    def ask(self, generator: Generator, request: GenerationRequest) -> GenerationReply:
        """Return the reply as it arrives in the daemon; raise wire.Nonsense where it will not."""
        line = wire.reply_line(generator.generate(request), 1)
        reply = wire.parse_answer(line, request, 1)
        assert isinstance(reply, GenerationReply)
        return reply

    def walk(self, request: GenerationRequest) -> list[GenerationReply]:
        """Return the replies to requests in a row, each arm pending from then on."""
        generator, replies = self.make(request.definition), []
        for number in range(self.requests):
            reply = self.ask(generator, request)
            replies.append(reply)
            pending = (*request.pending, *_arms(reply))
            seen = (*request.seen, *_arms(reply))
            request = replace(
                request, seed=number, cursor=reply.cursor, pending=pending, seen=seen
            )
        return replies

    def test_equal_requests_give_equal_arms_whatever_came_before(self) -> None:
        request = self.request()
        used = self.make(request.definition)
        first = self.ask(used, request)
        second = replace(request, seed=8, cursor=first.cursor, pending=(*_arms(first),))
        assert _same(self.ask(used, second), self.ask(self.make(request.definition), second))
        assert _same(self.ask(used, request), first)

    def test_every_arm_is_admitted_and_new(self) -> None:
        replies = self.walk(self.request())
        assert any(reply.trials for reply in replies)

    def test_what_is_exhausted_stays_so(self) -> None:
        ended = [reply.exhausted for reply in self.walk(self.request())]
        assert ended == sorted(ended)

    def test_a_batch_trial_has_as_many_arms_as_are_asked_for(self) -> None:
        (reply, *_) = self.walk(self.request(arms_per_trial=3))
        assert reply.exhausted or [len(trial) for trial in reply.trials] == [3]

    def test_several_trials_may_be_asked_for_unless_it_learns_from_each(self) -> None:
        traits = self.generator.traits
        if not traits.learns or traits.joint:
            reply = self.ask(self.make(self.definition()), self.request(trials=4))
            assert reply.exhausted or len(reply.trials) == 4

    def test_the_request_is_left_as_it_is(self) -> None:
        request = self.request()
        before = copy.deepcopy((request.observed, request.pending, request.seen))
        self.ask(self.make(request.definition), request)
        assert (request.observed, request.pending, request.seen) == before

    def test_a_key_that_is_no_option_is_refused(self) -> None:
        try:
            self.generator.Options.model_validate({**self.options, "no_such_key": 1})
        except ValidationError:
            return
        raise AssertionError("an unknown option is accepted")

    def test_the_daemon_imports_nothing_heavy_for_it(self) -> None:
        module = self.generator.__module__
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; import scheduler.generation.base\n"
            f"before = set(sys.modules); import {module}\n"
            "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
        )
        assert not set(done.stdout.split()) & set(HEAVY)


def _known(definition: ExperimentDefinition, count: int) -> dict[str, Any]:
    """Return the fields of a request by which ``count`` arms are measured."""
    first = GenerationRequest(definition, SOBOL, 0, count, 1)
    arms = _arms(SobolGenerator(Space(definition)).generate(first))
    observed = tuple(Measured(arm, _metrics(definition, arm)) for arm in arms)
    return {"observed": observed, "seen": tuple(arms)}


def _metrics(
    definition: ExperimentDefinition, arm: Mapping[str, Value]
) -> dict[str, tuple[float, float | None]]:
    """Return smooth values of the metrics that the definition requires."""
    numbers = [float(v) for v in arm.values() if isinstance(v, (int, float))]
    smooth = math.fsum(math.cos(k + x) for k, x in enumerate(numbers))
    names = sorted(definition.required_metrics)
    return {name: (smooth + k * numbers[0], None) for k, name in enumerate(names)}


def _arms(reply: GenerationReply) -> list[Mapping[str, Value]]:
    return [proposal.parameters for trial in reply.trials for proposal in trial]


def _same(one: GenerationReply, other: GenerationReply) -> bool:
    return one.trials == other.trials and one.exhausted == other.exhausted
