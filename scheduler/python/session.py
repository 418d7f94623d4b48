"""One experiment in a store, as one object of a program holds it."""

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any

from scheduler.python.errors import (
    Busy,
    MaxParallelismReached,
    NoTrialAvailable,
    ObjectNotFoundError,
    OptimizationComplete,
    UserInputError,
    translated,
)

if TYPE_CHECKING:
    from scheduler.model.definition import ExperimentDefinition
    from scheduler.model.experiment import Ask, ExperimentState
    from scheduler.outside import Outside
    from scheduler.stopping.percentile import Curve
    from scheduler.storage.read import TrialRecord
    from scheduler.storage.store import Experiment, Store


class Place:
    """Where experiments are kept: a database by its URL, or a temporary folder of ours."""

    def __init__(self, url: str | None, store: "Store | None" = None) -> None:
        """``store``: what is at the URL, where it is open already."""
        self.temporary = None if url else tempfile.mkdtemp(prefix="schedd-")
        self._owner = os.getpid()
        self.url = url or f"sqlite:///{self.temporary}/schedd.db"
        self._store = store

    @property
    def store(self) -> "Store":
        """The store, open; made where there is none yet."""
        from scheduler.storage.store import Store

        if self._store is None:
            with translated():
                self._store = Store.open(self.url, create=True)
        return self._store

    def close(self) -> None:
        """Close the database; remove it where it is temporary. May be called twice.

        A fork of the process that made it leaves it alone.
        """
        if os.getpid() != self._owner:
            return
        if self._store is not None:
            self._store.close()
            self._store = None
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)


class Session:
    """What every door stands on: an experiment of a store. Its methods may be called by threads.

    Each call drives the experiment for its own time, or waits for another process that does.
    """

    def __init__(self, storage: "str | Place | None", wait: float) -> None:
        """``storage``: a Place is its owner's, who closes it."""
        self.place = storage if isinstance(storage, Place) else Place(storage)
        self.wait = wait
        self.lock = RLock()
        self._outside: Outside | None = None
        self._close = weakref.finalize(
            self, _leave if isinstance(storage, Place) else self.place.close
        )

    def close(self) -> None:
        """Close the database; a temporary one is removed. May be called twice."""
        self._close()

    # -- the experiment

    def make(self, written: Mapping[str, Any]) -> None:
        """Store an experiment, given in the form of a file, or go on with the same one.

        Raises UserInputError where it makes no sense or another one has its name.
        """
        self.submit(self.checked(written))

    def checked(self, written: Mapping[str, Any]) -> "ExperimentDefinition":
        """Return what is given in the form of a file as a definition. Raises UserInputError."""
        from scheduler import registry
        from scheduler.config.load import load_data

        with translated():
            return load_data(dict(written), registry)

    def submit(self, definition: "ExperimentDefinition") -> None:
        """Store an experiment, or go on with the same one. Raises UserInputError."""
        from scheduler.submit import submit

        with translated():
            self._hold(submit(self.place.store, definition, time.time()))

    def find(self, name: str | None) -> None:
        """Go on with a stored experiment: the only one where no name is given."""
        with translated():
            names = self.place.store.names()
            if name is None and len(names) != 1:
                listed = ", ".join(names) or "none"
                raise UserInputError(f"name an experiment; {self.place.store.url} holds {listed}")
            found = self.place.store.find(name or names[0])
        if found is None:
            listed = ", ".join(names) or "none"
            raise ObjectNotFoundError(f"there is no experiment {name!r}; there are {listed}")
        self._hold(found)

    def refresh(self) -> None:
        """Read the definition again: its budget may have changed."""
        self.find(self.definition.name)

    def _hold(self, experiment: "Experiment") -> None:
        from scheduler.outside import Outside

        self._outside = Outside(self.place.store, experiment)

    @property
    def outside(self) -> "Outside":
        """The experiment. Raises UserInputError where there is none yet."""
        if self._outside is None:
            raise UserInputError("there is no experiment yet: create or load one first")
        return self._outside

    @property
    def is_made(self) -> bool:
        """Whether there is an experiment."""
        return self._outside is not None

    @property
    def experiment(self) -> "Experiment":
        """What is stored of the experiment as a whole."""
        return self.outside.experiment

    @property
    def definition(self) -> "ExperimentDefinition":
        """The experiment's definition, as it was when it was found."""
        return self.experiment.definition

    def state(self) -> "ExperimentState":
        """Return where the experiment stands."""
        with translated():
            return self.place.store.peek(self.experiment)

    def record(self, index: int) -> "TrialRecord":
        """Return a trial with what was measured of it. Raises ObjectNotFoundError."""
        from scheduler.storage import read

        with translated():
            record = read.trial(self.place.store, self.experiment.id, index)
        if record is None:
            raise ObjectNotFoundError(f"{self.definition.name} has no trial {index}")
        return record

    def records(self) -> "list[TrialRecord]":
        """Return all trials, by index, with what was measured of them."""
        from scheduler.storage import read

        with translated():
            return list(read.trials(self.place.store, self.experiment.id))

    def curves(self, metric: str) -> "Iterator[tuple[TrialRecord, Curve]]":
        """Yield the curve of a metric, of each trial of one arm that did not fail and has one."""
        from scheduler.model.trial import TrialStatus
        from scheduler.storage import read

        lost = (TrialStatus.FAILED, TrialStatus.ABANDONED)
        for record in self.records():
            if record.trial.status in lost or len(record.trial.arms) > 1:
                continue
            points = read.curves(self.place.store, record, self.experiment.id)
            curve = [(o.step, o.mean) for o in points if o.metric == metric and o.step is not None]
            if curve:
                yield record, curve

    # -- its trials

    def take(self, index: int | None = None) -> int:
        """Return a trial that is ours now; with ``index``, that one. Raises NoTrialAvailable."""
        from scheduler.lack import Lack
        from scheduler.outside import check_external

        with self.lock, translated():
            check_external(self.definition)
            found = self.outside.take(self.wait, index)
        if isinstance(found, int):
            return found
        kinds = {Lack.ENDED: OptimizationComplete, Lack.FULL: MaxParallelismReached}
        raise kinds.get(found.lack, NoTrialAvailable)(found.why)

    def tell(self, wanted: "Ask") -> None:
        """Note what somebody says, and see to it that it is taken up. Raises Busy."""
        from scheduler.storage import read

        with self.lock, translated():
            if self.outside.tell(wanted, self.wait):
                return
            driver = read.surroundings(self.place.store, self.experiment.id).driver
        raise Busy(
            f"{driver} has not taken it up within {self.wait:g} s; it is noted, and will be"
        )


def _leave() -> None:
    """Do nothing to a place that others use, too."""
