"""What a user's mistake becomes: a sentence on standard error and an exit status."""

import traceback

import click

from scheduler.config.errors import ConfigError
from scheduler.model.redefine import DefinitionChanged
from scheduler.outside import Refusal
from scheduler.plugins import RegistryError
from scheduler.storage.errors import Held, LeaseLost, StorageBusy, StorageError
from scheduler.warm_start import NoSource

ENDED_BY_FAILURES = 1
BAD_INPUT = 2
BUG = 70
SYSTEM = 71
HELD = 73
LOST = 75
STORAGE = 78

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ConfigError, BAD_INPUT),
    (DefinitionChanged, BAD_INPUT),
    (NoSource, BAD_INPUT),
    (RegistryError, BAD_INPUT),
    (Refusal, BAD_INPUT),
    (Held, HELD),
    (LeaseLost, LOST),
    (StorageBusy, SYSTEM),  # it may answer later: a service tries again
    (StorageError, STORAGE),
    (OSError, SYSTEM),
)


def report(error: Exception) -> int:
    """Print ``error`` in one sentence and return the exit status; a bug of ours in full."""
    for kind, status in STATUS:
        if isinstance(error, kind):
            prefix = "" if kind is ConfigError else "schedd: "
            click.echo(f"{prefix}{error}", err=True)
            return status
    traceback.print_exception(error)
    click.echo("schedd: this is a bug; what is stored is safe, and resume goes on", err=True)
    return BUG
