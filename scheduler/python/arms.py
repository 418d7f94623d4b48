"""Ax's arms, generator runs and generation strategy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scheduler.model import nodes, trial
from scheduler.model.nodes import SOBOL, GenerationNode
from scheduler.model.strategy import FAST, SEED_ARMS
from scheduler.model.trial import TrialStatus
from scheduler.python.errors import translated

if TYPE_CHECKING:
    from scheduler.python.experiment import Experiment

__all__ = ["GenerationNode", "TrialStatus"]


class Arm(trial.Arm):
    """A point of the search space; its name is made up where none is given."""

    def __init__(self, parameters: Mapping[str, Any], name: str | None = None) -> None:
        super().__init__(name or "", dict(parameters))


@dataclass(frozen=True)
class GeneratorRun:
    """Arms, with their weights, and which generator made them."""

    arms: Sequence[trial.Arm]
    weights: Sequence[float] | None = None
    generator: str = ""
    """Empty where a person did."""
    predictions: Sequence[Mapping[str, Mapping[str, float]]] = ()
    node: int | None = None
    """Which node of the experiment's strategy made them, if one did."""
    seed: int = 0
    cursor: int = 0
    """Where a generator of a sequence goes on."""


class GenerationStrategy(nodes.GenerationStrategy):
    """Which generator makes the next arms."""

    def __init__(
        self,
        name: str | None = None,  # noqa: ARG002  # Ax's own; ours have none
        steps: Sequence[GenerationNode] | None = None,
        *,
        nodes: Sequence[GenerationNode] | None = None,
        method: str | None = None,
        seed: int = 0,
    ) -> None:
        """Give ``steps`` or ``nodes``, or a ``method``."""
        given = tuple(nodes or steps or ())
        with translated():
            super().__init__(nodes=given, method=method, seed=seed)

    def gen(self, experiment: "Experiment", n: int = 1) -> GeneratorRun:
        """Return new arms for an experiment that has this strategy, of whose turn it is."""
        from scheduler.python.generators import next_run

        return next_run(experiment, n)


def choose_generation_strategy(  # noqa: PLR0913  # Ax's own
    search_space: Any = None,  # noqa: ARG001  # Ax's own; the experiment's is looked at
    *,
    num_trials: int | None = None,  # noqa: ARG001  # as above
    num_initialization_trials: int | None = None,
    max_parallelism_cap: int | None = None,
    use_saasbo: bool = False,
    no_bayesian_optimization: bool = False,
    random_seed: int | None = None,
) -> GenerationStrategy:
    """Return the strategy that Ax's keywords ask for; without any, the experiment's own default.

    ``max_parallelism_cap``: pending trials of the model, at most. Raises UserInputError.
    """
    seed = random_seed or 0
    if no_bayesian_optimization:
        return GenerationStrategy(method="random_search", seed=seed)
    if num_initialization_trials is None and max_parallelism_cap is None and not use_saasbo:
        return GenerationStrategy(seed=seed)
    start = SEED_ARMS if num_initialization_trials is None else num_initialization_trials
    model = GenerationStep("saasbo" if use_saasbo else FAST.generator, -1, max_parallelism_cap)
    steps = [GenerationStep(SOBOL, start), model] if start else [model]
    return GenerationStrategy(steps=steps, seed=seed)


class GenerationStep(GenerationNode):
    """One stage of a strategy; ``num_trials=-1``: until the experiment stops."""

    def __init__(
        self,
        model: str,
        num_trials: int = -1,
        max_parallelism: int | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        with translated():
            super().__init__(
                generator=str(model),
                num_trials=None if num_trials < 0 else num_trials,
                max_parallelism=max_parallelism,
                options=dict(model_kwargs or {}),
            )
