"""What can go wrong with a database. Every message is one sentence for people."""


class StorageError(Exception):
    """The database cannot be used."""


class NoDatabase(StorageError):
    """There is none yet, where one could be made."""


class StorageBusy(StorageError):
    """A transaction did not get through: the disk is full, the database locked or not reachable.

    Nothing of it is stored; but where the connection broke at its end, all of it may be.
    """


class Held(Exception):
    """Someone else drives the experiment; the message says who."""


class LeaseLost(Exception):
    """Someone else drives the experiment now; nothing of the write is stored."""
