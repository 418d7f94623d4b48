"""The generators that come with schedd: their names stand in pyproject.toml, like others' do."""

from typing import Literal

from pydantic import Field

from scheduler.generation.base import Deferred, GeneratorOptions, Maker
from scheduler.model.nodes import MODEL, SPACE_FILLING, Traits


class Sobol(Deferred):
    """A scrambled Sobol sequence: arms that fill the space evenly."""

    traits = SPACE_FILLING

    def make(self) -> Maker:
        """Return the sequence."""
        from scheduler.generation.sobol import SobolGenerator
        from scheduler.generation.space import Space

        return SobolGenerator(Space(self.definition))


class Random(Deferred):
    """Arms drawn uniformly."""

    traits = SPACE_FILLING

    def make(self) -> Maker:
        """Return the sequence of draws."""
        from scheduler.generation.random import RandomGenerator
        from scheduler.generation.space import Space

        return RandomGenerator(Space(self.definition))


class GridOptions(GeneratorOptions):
    """What a grid may be told."""

    levels: int | None = Field(default=None, ge=1, le=1000)
    """Values of each parameter that has too many to try all; default: as many as trials allow."""


class Grid(Deferred):
    """The full factorial, scattered so that it covers the space long before its end."""

    Options = GridOptions
    traits = Traits(learns=False)

    def make(self) -> Maker:
        """Return the grid."""
        from scheduler.generation.grid import GridGenerator
        from scheduler.generation.space import Space

        return GridGenerator(Space(self.definition), self.options.levels)


class BotorchOptions(GeneratorOptions):
    """What the model may be told."""

    kernels: tuple[Literal["smooth", "rough"], ...] = Field(default=("smooth",), min_length=1)
    """Squared exponential, Matern 5/2, or the average of what both hope for, at twice the cost."""


class Botorch(Deferred):
    """Gaussian processes and log noisy expected improvement."""

    Options = BotorchOptions
    traits = MODEL

    def make(self) -> Maker:
        """Return the model."""
        from scheduler.generation.botorch.fit import Belief
        from scheduler.generation.botorch.generator import BotorchGenerator
        from scheduler.generation.botorch.kernel import Shape
        from scheduler.generation.space import Space

        beliefs = tuple(Belief(shape=Shape[name.upper()]) for name in self.options.kernels)
        return BotorchGenerator(Space(self.definition), beliefs)


class Saasbo(Deferred):
    """The same, believing that few parameters matter."""

    traits = MODEL

    def make(self) -> Maker:
        """Return the model."""
        from scheduler.generation.botorch.generator import BotorchGenerator
        from scheduler.generation.botorch.saas import FEW_MATTER
        from scheduler.generation.space import Space

        return BotorchGenerator(Space(self.definition), (FEW_MATTER,))


class Turbo(Deferred):
    """The same, near the best arm: a trust region."""

    traits = MODEL

    def make(self) -> Maker:
        """Return the region."""
        from scheduler.generation.botorch.turbo import TurboGenerator
        from scheduler.generation.space import Space

        return TurboGenerator(Space(self.definition))


class Thompson(Deferred):
    """Arms that are the best in draws of the model."""

    traits = MODEL

    def make(self) -> Maker:
        """Return the draws."""
        from scheduler.generation.botorch.thompson import ThompsonGenerator
        from scheduler.generation.space import Space

        return ThompsonGenerator(Space(self.definition))
