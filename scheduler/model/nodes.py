"""The generation strategy as a user writes it, and what the loop knows of a generator."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from scheduler.model.base import Model

SOBOL = "sobol"
"""The generator that steps in for any other: it needs nothing and finds every new arm."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the loop must know of a generator, so that it need not import what it is made of."""

    learns: bool = True
    """It is given what was measured; arms are made as late as slots allow, to know more."""
    min_observations: int = 0
    """Measured arms below which Sobol stands in for it."""
    joint: bool = False
    """It learns and yet proposes several trials at once; others that learn make one at a time."""
    distinct: bool = False
    """In an infinite space it never repeats an arm, so it need not be told which there are."""


SPACE_FILLING = Traits(learns=False, distinct=True)
MODEL = Traits(min_observations=3)
"""What is taken for granted of a generator that was not looked up."""


class TransitionCriteria(Model):
    """What must hold, all of it, before the next node takes over."""

    num_trials: int | None = Field(default=None, ge=1)
    """Trials that this node has made."""
    completed_trials: int | None = Field(default=None, ge=1)
    """Of these, how many are COMPLETED."""
    observations: int | None = Field(default=None, ge=1)
    """Measured arms of the experiment, whoever made them."""


class GenerationNode(Model):
    """One stage of the generation strategy."""

    generator: Annotated[str, Field(min_length=1, max_length=64)]
    num_trials: int | None = Field(default=None, ge=1)
    """Short for the transition criterion of this name."""
    transition_criteria: TransitionCriteria = TransitionCriteria()
    """None at all: the node goes on until the experiment stops (last node only)."""
    max_parallelism: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
    """The generator's own keys."""

    @property
    def trials(self) -> int | None:
        """Return how many trials it makes before the next node may take over, if that is said."""
        return self.num_trials or self.transition_criteria.num_trials

    @property
    def ends(self) -> bool:
        """Whether anything is said about when it is over."""
        criteria = self.transition_criteria
        return bool(self.trials or criteria.completed_trials or criteria.observations)


class GenerationStrategy(Model):
    """Which generator makes the next arms; nodes are used one after the other."""

    method: Literal["fast", "quality", "random_search"] | None = None
    """In place of nodes; default: fast."""
    nodes: tuple[GenerationNode, ...] = ()
    seed: int = Field(default=0, ge=0, lt=2**32)
    learn_feasibility: bool = True
    """Whether models are told which arms failed by their own doing, and keep away from them."""


def problems_of(strategy: GenerationStrategy) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (path, sentence) for what does not go together."""
    if strategy.method and strategy.nodes:
        yield ("method",), "there are both method and nodes; give one of them"
    for i, node in enumerate(strategy.nodes):
        if node.num_trials and node.transition_criteria.num_trials:
            text = "num_trials is given twice; leave it out of the transition_criteria"
            yield ("nodes", i, "transition_criteria", "num_trials"), text
        last = i == len(strategy.nodes) - 1
        if not last and not node.ends:
            text = "only the last node may leave out num_trials and transition_criteria"
            yield ("nodes", i), f"{text}: no later one would be reached"
