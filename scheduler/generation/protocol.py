"""What the loop asks of a generator, and what comes back: plain data that crosses a process."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from scheduler.model.base import Value
from scheduler.model.definition import ExperimentDefinition


@dataclass(frozen=True, slots=True)
class Measured:
    """An arm and its final observations: metric -> (mean, standard error or None)."""

    parameters: Mapping[str, Value]
    metrics: Mapping[str, tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything a generator may depend on: equal requests give equal arms."""

    definition: ExperimentDefinition
    generator: str
    seed: int
    """Of this request: derived from the experiment's seed and the index of the first trial."""
    trials: int
    """How many trials to make arms for."""
    arms_per_trial: int
    cursor: int = 0
    """Where a sequence generator goes on: what its last reply said."""
    sobol_cursor: int = 0
    """Where Sobol goes on, should it step in."""
    node: int = 0
    """Which node of the generation strategy asks."""
    node_trials: int = 0
    """How many trials that node is to make, all requests together."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The node's options, as they are written."""
    observed: tuple[Measured, ...] = ()
    """Completed arms in order of trial. Empty for generators that do not learn."""
    pending: tuple[Mapping[str, Value], ...] = ()
    """Arms of unfinished trials, in order."""
    seen: tuple[Mapping[str, Value], ...] = ()
    """All arms there are; empty where a repetition is out of the question."""
    failed: tuple[Mapping[str, Value], ...] = ()
    """Arms that failed by their own doing and were never measured, in order of trial.

    Empty for generators that do not learn, and where ``learn_feasibility`` is off.
    """
    baseline: Mapping[str, float] | None = None
    """The status quo's means, once it is measured."""

    @property
    def count(self) -> int:
        """Return how many arms are asked for."""
        return self.trials * self.arms_per_trial

    def reply(
        self,
        arms: "Iterable[Mapping[str, Value] | Proposal]",
        cursor: int = 0,
        exhausted: bool = False,
    ) -> "GenerationReply":
        """Return the reply that proposes ``arms``, in order.

        ``exhausted``: there will never be more; only then may there be fewer than :attr:`count`.
        """
        proposals = [a if isinstance(a, Proposal) else Proposal(_plain(a)) for a in arms]
        size = self.arms_per_trial
        starts = range(0, len(proposals), size)
        trials = tuple(tuple(proposals[i : i + size]) for i in starts)
        return GenerationReply(self.generator, trials, cursor, exhausted=exhausted)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposed arm and, from a model, what it predicts: metric -> {mean, sem}."""

    parameters: Mapping[str, Value]
    prediction: Mapping[str, Mapping[str, float]] | None = None
    insight: Mapping[str, float] | None = None
    """What the model knew, for people to read.

    Finite numbers: by convention ``p_feasible`` and ``p_improve`` (0 to 1), ``incumbent`` (the
    posterior mean of the best arm, in the objective's own units), ``acquisition``, and others.
    """
    weight: float = 1.0
    """Its share of a batch trial, beside the weights of the others; positive."""


@dataclass(frozen=True, slots=True)
class GenerationReply:
    """Admitted arms, none of them in ``seen`` or ``pending``; grouped by trial, in order."""

    generator: str
    """The one that made them; another than was asked for where it stepped down."""
    trials: tuple[tuple[Proposal, ...], ...]
    """Fewer than asked for, perhaps none, only where ``exhausted``."""
    cursor: int = 0
    seconds: float = 0.0
    exhausted: bool = False
    """No new arm is left in the search space."""
    note: str = ""
    """Why another generator stepped in; empty where none did."""
    node: int = 0
    """That of the request."""


def _plain(arm: Mapping[str, Any]) -> dict[str, Value]:
    """Return an arm whose values are Python's own; numpy's and torch's have ``item``."""
    return {name: v.item() if hasattr(v, "item") else v for name, v in arm.items()}


class GeneratorClient(Protocol):
    """What the loop drives. One request at a time."""

    def ask(self, request: GenerationRequest) -> None:
        """Begin on ``request`` and return at once. Not while :attr:`busy`."""

    @property
    def busy(self) -> bool:
        """Whether a request has been asked whose reply was not taken yet."""

    def reply(self) -> GenerationReply | str | None:
        """Return the reply, a sentence on why there will be none, or None: not yet."""

    def close(self) -> None:
        """End what runs. May be called twice."""
