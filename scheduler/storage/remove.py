"""Forget an experiment, in one transaction under its lease."""

from sqlalchemy import delete

from scheduler.storage import schema
from scheduler.storage.lease import Lease
from scheduler.storage.store import Store
from scheduler.storage.transfer import TABLES


def remove(store: Store, lease: Lease) -> None:
    """Delete all rows of an experiment, its lease's too. Raises LeaseLost and StorageError."""
    with store.writing() as connection:
        lease.check(connection)
        for table in TABLES:
            connection.execute(delete(table).where(table.c.experiment_id == lease.experiment_id))
        own = schema.experiment.c.id == lease.experiment_id
        connection.execute(delete(schema.experiment).where(own))
