"""Which node of the generation strategy makes the next trial."""

from collections.abc import Mapping

from scheduler.model.definition import ExperimentDefinition, GenerationNode

OBSERVATIONS_FOR_A_MODEL = 3
"""Completed arms below which no model is fitted; space-filling arms follow instead."""


def nodes_of(definition: ExperimentDefinition) -> tuple[GenerationNode, ...]:
    """Return the strategy's nodes, or the default: Sobol for twice the dimensions, then BoTorch.

    The start is at least 5 trials and at most a third of the budget.
    """
    if definition.generation_strategy.nodes:
        return definition.generation_strategy.nodes
    free = sum(p.cardinality > 1 for p in definition.parameters)
    start = max(5, min(2 * free, definition.trials.total_trials // 3))
    return (
        GenerationNode(generator="sobol", num_trials=start),
        GenerationNode(generator="botorch"),
    )


def current_node(
    definition: ExperimentDefinition, generated: Mapping[int, int]
) -> tuple[int, GenerationNode]:
    """Return (index, node) of the first node with trials left to make.

    ``generated``: trials made so far, by node index. The last node makes all that follow.
    """
    nodes = nodes_of(definition)
    for index, node in enumerate(nodes[:-1]):
        if generated.get(index, 0) < (node.num_trials or 0):
            return index, node
    return len(nodes) - 1, nodes[-1]


def generator_of(node: GenerationNode, observed: int) -> str:
    """Return the node's generator, or Sobol while there is too little to learn from."""
    if node.generator != "sobol" and observed < OBSERVATIONS_FOR_A_MODEL:
        return "sobol"
    return node.generator
