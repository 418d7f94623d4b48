"""Whose turn it is to make the next trial: which node, and which generator. Pure."""

import math
from dataclasses import dataclass

from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import ExperimentState
from scheduler.model.nodes import MODEL, SOBOL, SPACE_FILLING, GenerationNode, Traits

FAST = GenerationNode(generator="botorch")
"""What learns, where ``method`` is ``fast``."""
QUALITY = GenerationNode(generator="botorch", options={"kernels": ["smooth", "rough"]})
"""What learns, where trials are dear and a proposal may take twice as long."""
SEED_ARMS = 5
"""Arms that fill the space before a model learns from them, at least."""
FEW = 10_000
"""A space with more arms than this is not put on a grid by default."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The node that makes the next trial, and the generator that makes it."""

    index: int
    node: GenerationNode
    generator: str
    """The node's own, or Sobol while too little is measured for it."""
    traits: Traits
    """Of the node's own generator."""
    missing: int | None
    """How many of its trials are still to make; ``None`` where that is no limit."""

    @property
    def replaced(self) -> bool:
        """Whether Sobol stands in for the node's generator."""
        return self.generator != self.node.generator


def nodes_of(definition: ExperimentDefinition, transferred: int = 0) -> tuple[GenerationNode, ...]:
    """Return the strategy's nodes: those that are written, or those its method stands for.

    ``transferred``: how many arms were measured elsewhere, before the experiment began.
    """
    strategy = definition.generation_strategy
    if strategy.nodes:
        return strategy.nodes
    if strategy.method == "random_search":
        return (GenerationNode(generator=SOBOL),)
    if strategy.method is None and _all_will_be_tried(definition):
        return (GenerationNode(generator="grid"),)
    model = QUALITY if strategy.method == "quality" else FAST
    start = GenerationNode(generator=SOBOL, num_trials=_start(definition, transferred))
    return (start, model)


def _all_will_be_tried(definition: ExperimentDefinition) -> bool:
    """Whether the budget covers every arm and nothing but the last one is to end it."""
    options, criteria = definition.trials, definition.stopping_criteria
    early = criteria.goal or criteria.improvement or criteria.timeout
    return not early and definition.cardinality <= min(
        FEW, options.total_trials * options.batch_size
    )


def _start(definition: ExperimentDefinition, transferred: int) -> int:
    """Return how many trials fill the space before a model takes over.

    Five arms, and one more for each further value of an unordered choice, of which nothing is
    known before it is tried; at most a third of the budget. Arms that a user has written and arms
    that were measured elsewhere count, but half of these trials are made whatever there is.
    """
    size = definition.trials.batch_size
    third = definition.trials.total_trials * size // 3
    arms = max(SEED_ARMS, min(SEED_ARMS + _unordered_values(definition), third))
    there = len(definition.arms) + (definition.status_quo is not None) + transferred
    return math.ceil(max(arms - there, arms // 2) / size)


def _unordered_values(definition: ExperimentDefinition) -> int:
    """Return how many values unordered choices have beyond their first, all together."""
    choices = (p for p in definition.parameters if p.type == "choice" and not p.is_ordered)
    return sum(len(p.values) - 1 for p in choices)


def turn(state: ExperimentState) -> Turn:
    """Return whose turn it is in ``state``."""
    nodes = nodes_of(state.definition, state.transferred)
    last = len(nodes) - 1
    index = min(max((state.spent_nodes, *state.tally.generated)), last)  # nobody comes back
    while index < last and _is_over(nodes[index], index, state):
        index += 1
    node = nodes[index]
    traits = traits_of(node.generator, state)
    enough = state.observed >= traits.min_observations
    missing = _missing(node, index, state) if index < last else None
    return Turn(index, node, node.generator if enough else SOBOL, traits, missing)


def traits_of(generator: str, state: ExperimentState) -> Traits:
    """Return what is known of a generator; one that was not looked up is taken for a model."""
    return state.generators.get(generator, SPACE_FILLING if generator == SOBOL else MODEL)


def is_exhausted(state: ExperimentState) -> bool:
    """Whether no node has a new arm left."""
    return state.spent_nodes >= len(nodes_of(state.definition))


def describe(definition: ExperimentDefinition) -> str:
    """Return the strategy in words: ``sobol until 6 trials are made, then botorch``."""
    nodes = nodes_of(definition)
    return ", then ".join([*map(_described, nodes[:-1]), nodes[-1].generator])


def _is_over(node: GenerationNode, index: int, state: ExperimentState) -> bool:
    criteria, tally = node.transition_criteria, state.tally
    return (
        (node.trials or 0) <= tally.generated.get(index, 0)
        and (criteria.completed_trials or 0) <= tally.completed.get(index, 0)
        and (criteria.observations or 0) <= state.observed
    )


def _missing(node: GenerationNode, index: int, state: ExperimentState) -> int | None:
    """Return how many of the node's trials are to be made; beyond them it only fills slots."""
    return (
        None if node.trials is None else max(0, node.trials - state.tally.generated.get(index, 0))
    )


def _described(node: GenerationNode) -> str:
    criteria = node.transition_criteria
    parts = [
        (node.trials, "trials are made"),
        (criteria.completed_trials, "have completed"),
        (criteria.observations, "arms are measured"),
    ]
    said = " and ".join(f"{count} {what}" for count, what in parts if count)
    return f"{node.generator} until {said}"
