"""What can go wrong at the doors for Python. Every message is a sentence for people."""

from collections.abc import Iterator
from contextlib import contextmanager


class ScheddError(Exception):
    """Base of all errors that schedd raises on purpose."""


class UserInputError(ScheddError, ValueError):
    """What was asked makes no sense, or none as things stand. Nothing was done."""


class UnsupportedError(UserInputError):
    """Ax can do this, and schedd cannot."""


class FolderTaken(UserInputError):
    """The folder for the trials holds those of another experiment; nothing was done."""


class ObjectNotFoundError(ScheddError, LookupError):
    """There is no such experiment, trial or arm."""


class NoTrialAvailable(ScheddError):
    """No trial can be handed out now."""


class MaxParallelismReached(NoTrialAvailable):
    """As many trials are pending as may be: complete one first."""


class OptimizationComplete(NoTrialAvailable):
    """The experiment has stopped: there are no more trials."""


class EvaluationsFailed(ScheddError):
    """Too many evaluations failed; the last one is the cause."""


class ModelError(ScheddError):
    """No model can be fitted to what was measured."""


class MetricFetchError(ScheddError):
    """Why a metric could not be fetched."""

    def __init__(self, message: str, exception: BaseException | None = None) -> None:
        super().__init__(message)
        self.exception = exception


class StorageFailed(ScheddError):
    """The database cannot be used, or a transaction did not get through."""


class Busy(StorageFailed):
    """Another process drives the experiment, and has not let go in time."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of what lies below into those of this module, words unchanged."""
    from pydantic import ValidationError

    from scheduler import owner
    from scheduler.config.errors import ConfigError
    from scheduler.model.redefine import DefinitionChanged
    from scheduler.model.trial import InvalidTransition
    from scheduler.outside import Refusal
    from scheduler.plugins import RegistryError
    from scheduler.storage.errors import Held, LeaseLost, StorageError
    from scheduler.storage.transfer import NotAnExport
    from scheduler.warm_start import NoSource

    try:
        yield
    except ConfigError as error:
        raise UserInputError("; ".join(each.message for each in error.mistakes)) from None
    except ValidationError as error:
        first = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserInputError(first) from None
    except (
        DefinitionChanged,
        InvalidTransition,
        Refusal,
        RegistryError,
        NotAnExport,
        NoSource,
    ) as error:
        raise UserInputError(str(error)) from None
    except owner.FolderTaken as error:
        raise FolderTaken(str(error)) from None
    except Held as error:
        raise Busy(str(error)) from None
    except (StorageError, LeaseLost) as error:
        raise StorageFailed(str(error)) from error
