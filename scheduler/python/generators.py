"""Generators that a program asks itself, without a strategy that decides whose turn it is."""

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scheduler import candidates, registry
from scheduler.generation.inline import InlineGenerator
from scheduler.model.experiment import ExperimentState
from scheduler.model.trial import Arm
from scheduler.python.arms import GeneratorRun
from scheduler.python.errors import ModelError, UserInputError, translated
from scheduler.python.goals import Objective, OptimizationConfig
from scheduler.python.space import SearchSpace
from scheduler.storage.journal import ExperimentRecords

if TYPE_CHECKING:
    from scheduler.generation.protocol import GenerationRequest
    from scheduler.python.experiment import Experiment


class Generators(StrEnum):
    """The generators that come with schedd, by Ax's names; call one to ask it for arms."""

    SOBOL = "sobol"
    UNIFORM = "random"
    FACTORIAL = "grid"
    BOTORCH_MODULAR = "botorch"
    GPEI = "botorch"  # another name of Ax's
    SAASBO = "saasbo"
    THOMPSON = "thompson"
    TURBO = "turbo"

    def __call__(
        self,
        experiment: "Experiment | None" = None,
        *,
        search_space: SearchSpace | None = None,
        data: Any = None,  # noqa: ARG002  # Ax's own; what is stored is learned from
        seed: int | None = None,
        **options: Any,
    ) -> "Asked":
        """Return the generator, ready to be asked, for an experiment or a search space alone."""
        return Asked(str(self), _experiment_of(experiment, search_space), seed, options)


Models = Generators


class Asked:
    """A generator for one experiment. Asked again, it goes on where it was."""

    def __init__(
        self, name: str, experiment: "Experiment", seed: int | None, options: dict[str, Any]
    ) -> None:
        self._name = name
        self._experiment = experiment
        self._options = options
        self._seed = seed
        self._generator = InlineGenerator()
        self._cursor: int | None = None

    def gen(self, n: int = 1) -> GeneratorRun:
        """Return ``n`` new arms, to be deployed together. Raises ModelError."""
        state, past = _known(self._experiment, self._name, self._seed)
        asked = candidates.request(state, 1, past)
        cursor = state.tally.cursors.get(self._name, 0) if self._cursor is None else self._cursor
        asked = replace(
            asked, generator=self._name, options=self._options, arms_per_trial=n, cursor=cursor
        )
        if self._seed is not None:
            asked = replace(asked, seed=candidates.seed_of(self._seed, state.tally.created))
        made = _answered(self._generator, replace(asked, node_trials=max(1, n)))
        self._cursor = made.cursor
        return made


def next_run(experiment: "Experiment", n: int) -> GeneratorRun:
    """Return ``n`` new arms of the generator whose turn it is. Raises ModelError."""
    state, past = _known(experiment, None, None)
    asked = replace(candidates.request(state, 1, past), arms_per_trial=n)
    return replace(_answered(InlineGenerator(), asked), node=asked.node)


def _known(
    experiment: "Experiment", learner: str | None, seed: int | None
) -> tuple[ExperimentState, candidates.Known]:
    """Return what is stored of an experiment, for a generator or for whoever's turn it is."""
    if not experiment.session.is_made:
        state = ExperimentState(_seeded(experiment, seed))
        return replace(state, generators=registry.traits_of(state.definition)), candidates.Known()
    session = experiment.session
    with translated():
        state = session.state()
        state = replace(state, definition=_seeded(experiment, seed))
        state = replace(state, generators=registry.traits_of(state.definition))
        records = ExperimentRecords(session.place.store, session.experiment)
        if learner is None:
            return state, candidates.known(state, records)
        traits = registry.generator_class(learner).traits
        if not traits.learns:
            return state, candidates.Known(seen=records.arms())
        failed = records.failed(candidates.own_doing(state.definition))
        return state, candidates.Known(records.measured(), failed, records.arms())


def _seeded(experiment: "Experiment", seed: int | None) -> Any:
    definition = experiment.definition
    if seed is None:
        return definition
    strategy = definition.generation_strategy.model_copy(update={"seed": seed})
    return definition.model_copy(update={"generation_strategy": strategy})


def _answered(generator: InlineGenerator, asked: "GenerationRequest") -> GeneratorRun:
    generator.ask(asked)
    reply = generator.reply()
    if reply is None or isinstance(reply, str) or reply.note or not reply.trials:
        why = reply if isinstance(reply, str) else (reply.note if reply else "")
        raise ModelError(f"{asked.generator}: {why or 'no new arm is left'}")
    proposals = reply.trials[0]
    return GeneratorRun(
        arms=tuple(Arm("", p.parameters, p.weight) for p in proposals),
        weights=tuple(p.weight for p in proposals),
        generator=reply.generator,
        predictions=tuple(p.prediction or {} for p in proposals)
        if proposals[0].prediction
        else (),
        seed=asked.seed,
        cursor=reply.cursor,
    )


def _experiment_of(
    experiment: "Experiment | None", search_space: SearchSpace | None
) -> "Experiment":
    from scheduler.python.experiment import Experiment

    if experiment is not None:
        return experiment
    if search_space is None:
        raise UserInputError("give an experiment or a search_space")
    return Experiment(search_space, "space", OptimizationConfig(Objective("metric", True)))
