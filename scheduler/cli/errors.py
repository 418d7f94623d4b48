"""What a user's mistake becomes: a sentence on standard error and an exit status."""

import click

from scheduler.config.errors import ConfigError
from scheduler.registry import RegistryError
from scheduler.storage.engine import StorageError
from scheduler.storage.lease import Held, LeaseLost
from scheduler.submit import DefinitionChanged

ENDED_BY_FAILURES = 1
BAD_INPUT = 2
HELD = 73
LOST = 75
STORAGE = 78

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, BAD_INPUT),
    (DefinitionChanged, BAD_INPUT),
    (RegistryError, BAD_INPUT),
    (Held, HELD),
    (LeaseLost, LOST),
    (StorageError, STORAGE),
)


def report(error: Exception) -> int:
    """Print ``error`` in one sentence and return the exit status; raise what is a bug of ours."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            prefix = "" if kind is ConfigError else "schedd: "
            click.echo(f"{prefix}{error}", err=True)
            return status
    raise error
