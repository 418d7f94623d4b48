"""The generator contract: how arms are proposed, and what may go wrong.

A generator lives in the worker process, one object for an experiment and its options. It may
hang, die or talk nonsense: that costs its arms, which Sobol then makes, and nothing else. To write
one, read this file and ``protocol.py``, subclass :class:`Generator` and run
``scheduler.generation.testing.GeneratorContract``.

The daemon imports the module of the class, to read its options and traits, and makes no object
of it: import numpy, torch and the like where they are used, not at the top.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.nodes import Traits

__all__ = ["GenerationReply", "GenerationRequest", "Generator", "GeneratorOptions", "Traits"]


class GeneratorOptions(BaseModel):
    """Base of a generator's keys under ``options`` of its node; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Generator(ABC):
    """Proposes arms. Calls come from one thread."""

    Options: ClassVar[type[GeneratorOptions]] = GeneratorOptions
    traits: ClassVar[Traits] = Traits()
    """What the loop must know before it asks; by default: it learns, from the first arm on."""

    def __init__(self, definition: ExperimentDefinition, options: Any) -> None:
        """Keep what arms are proposed for; ``options`` are an instance of ``Options``."""
        self.definition = definition
        self.options = options

    def make_ready(self) -> None:  # noqa: B027  # most have nothing to do
        """Import or read what takes long. Called at times while nothing is asked."""

    @abstractmethod
    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return ``request.reply(arms)``, as many as ``request.count``.

        Equal requests give equal arms, whatever was asked before: randomness follows from
        ``request.seed`` (or from the definition's seed and ``request.cursor``). Each arm is a
        mapping of parameters to values, admitted by ``definition.admit``, and none is in
        ``request.seen``, ``request.pending`` or twice in the reply. Where there will never be
        another arm, the reply says ``exhausted`` and may be shorter.

        Whatever it raises is a reason for Sobol to step in for this request.
        """


class Maker(Protocol):
    """What makes arms once everything heavy is imported."""

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Do as :meth:`Generator.generate` does."""


class Deferred(Generator):
    """A generator that stands in a module of its own, with imports that are heavy."""

    @abstractmethod
    def make(self) -> Maker:
        """Import that module and return what makes the arms."""

    def make_ready(self) -> None:
        """Make it."""
        _ = self._made

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Ask the one that is made at the first request and kept."""
        return self._made.generate(request)

    @cached_property
    def _made(self) -> Maker:
        return self.make()
