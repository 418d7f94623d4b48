"""Numerical trouble, said in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from botorch.exceptions.errors import BotorchError
from linear_operator.utils.errors import NotPSDError

from scheduler.generation.space import GenerationError

NUMERICAL_TROUBLE = (BotorchError, NotPSDError, RuntimeError)
"""What a fit or a posterior raises where a matrix is beyond repair, or memory ends."""


@contextmanager
def said_in_words() -> Iterator[None]:
    """Raise GenerationError in the place of numerical trouble."""
    try:
        yield
    except NUMERICAL_TROUBLE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise GenerationError(f"numerical trouble: {first}") from error
