"""The store as one experiment's driver sees it, under a lease."""

from collections.abc import Collection

from scheduler.clock import Clock
from scheduler.model.experiment import Changes, Command, ExperimentState
from scheduler.model.observation import Arms, MeasuredArms
from scheduler.model.trial import Trial
from scheduler.storage.lease import Lease
from scheduler.storage.store import Experiment, Store


class ExperimentRecords:
    """What generators learn from, of one experiment. Reads need no lease."""

    def __init__(self, store: Store, experiment: Experiment) -> None:
        self._store = store
        self._experiment = experiment
        self._arms: Arms = ()

    def measured(self) -> MeasuredArms:
        """Return (parameters, metrics) of measured arms. Raises StorageError."""
        return self._store.measured(self._experiment.id)

    def failed(self, reasons: Collection[str]) -> Arms:
        """Return the arms of trials that FAILED for one of ``reasons``. Raises StorageError."""
        return self._store.failed(self._experiment.id, reasons)

    def arms(self) -> Arms:
        """Return the parameters of all arms. Raises StorageError.

        Arms are only ever added, behind those there are, so each is read once.
        """
        self._arms += self._store.arms(self._experiment.id, skip=len(self._arms))
        return self._arms


class ExperimentJournal(ExperimentRecords):
    """Reads and writes one experiment; writes are fenced by the lease and note the time."""

    def __init__(self, store: Store, experiment: Experiment, lease: Lease, clock: Clock) -> None:
        super().__init__(store, experiment)
        self._lease = lease
        self._clock = clock

    def load(self) -> ExperimentState:
        """Return what is stored. Raises StorageError or LeaseLost."""
        return self._store.load(self._lease)

    def commit(self, state: ExperimentState, changes: Changes) -> None:
        """Write ``changes`` on top of ``state``. Raises StorageError or LeaseLost."""
        self._store.commit(self._lease, state, changes, self._clock.anchor().to_json())

    def commands(self) -> tuple[Command, ...]:
        """Return the commands that were not applied yet. Raises StorageError."""
        return self._store.commands(self._experiment.id)

    def trials(self, indexes: Collection[int]) -> dict[int, Trial]:
        """Return trials, whatever their status. Raises StorageError."""
        return self._store.trials(self._experiment.id, indexes)
