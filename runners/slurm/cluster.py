"""One cluster, as all runners of this process share it: its answers, and when it was asked.

The bound: in ``floor`` seconds at most one squeue and one sacct for polls, whatever the number of
jobs; and a failed one counts.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from weakref import WeakValueDictionary

from runners.base import Unavailable
from runners.slurm import queue
from runners.slurm.call import Answer, call
from runners.slurm.queue import Key, Line, Snapshot

AT_ONCE = 300
"""Ids or names on one command line."""
FORGETFUL = 3600.0
"""Seconds for which a controller that has lost its memory is not taken at its word."""


class Cluster:
    """The queue and the accounts of a cluster, behind one prefix."""

    def __init__(self, prefix: Sequence[str], clock: Callable[[], float]) -> None:
        self.prefix = tuple(prefix)
        self.max_array = 1000
        """Elements of the largest array that the cluster is known to take."""
        self._clock = clock
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._snapshot: Snapshot | None = None
        self._fault = ""
        self._silent = float("-inf")
        self._forgot = float("-inf")
        self._accounts_asked = float("-inf")
        self._accounts: dict[str, dict[Key, list[Line]]] = {}
        self._no_accounts = False

    def call(self, argv: Sequence[str], *, text: str = "", login: bool = False) -> Answer:
        """Run one command of Slurm. Raises Unavailable where it is not there."""
        return call(self.prefix, argv, text=text, login=login)

    def snapshot(self, floor: float) -> Snapshot:
        """Return the queue as it was at most ``floor`` seconds ago. Raises Unavailable."""
        with self._lock:
            if not 0 <= self._clock() - self._asked < floor:
                self._ask()
            return self._last()

    def fresh(self) -> Snapshot:
        """Return the queue as it is now, for something that is to be done. Raises Unavailable."""
        with self._lock:
            self._ask()
            return self._last()

    def _last(self) -> Snapshot:
        if self._fault:
            raise Unavailable(self._fault)
        assert self._snapshot is not None
        return self._snapshot

    def is_silent(self, floor: float) -> bool:
        """Whether it did not answer within the last ``floor`` seconds, and not since."""
        return 0 <= self._clock() - self._silent < floor

    def note_silence(self) -> None:
        """Note that it did not answer just now."""
        self._silent = self._clock()

    @property
    def is_forgetful(self) -> bool:
        """Whether it has lately fallen back to an old memory: then it ends jobs by mistake.

        It gives ids again that jobs still have that run on its nodes, and when such a one ends,
        it takes the new job of that id for cancelled.
        """
        return 0 <= self._clock() - self._forgot < FORGETFUL

    def note_forgetting(self) -> None:
        """Note that it shows a job as not yet started that has started."""
        self._forgot = self._clock()

    def _ask(self) -> None:
        """Ask squeue; keep its answer, or why there is none."""
        self._asked = self._clock()
        try:
            answer = self.call(queue.SQUEUE)
            if answer.status != 0:
                raise Unavailable(f"squeue does not answer: {answer.sentence}")
            lines = queue.by_key(queue.read_squeue(answer.out))
        except queue.Garbled:
            self._fault = f"squeue does not answer as it should: {answer.out[:200]!r}"
        except Unavailable as error:
            self._fault = str(error)
        else:
            self._fault, self._silent = "", float("-inf")
            self._snapshot = Snapshot(self._asked, lines)
        if self._fault:
            self.note_silence()

    def accounts(
        self, names: Iterable[str], seconds: float, floor: float
    ) -> Mapping[str, Mapping[Key, Sequence[Line]]]:
        """Return what sacct says of Slurm jobs that are over, by name; only of those it answered.

        ``seconds``: how long ago the oldest was submitted.
        """
        wanted = sorted(set(names))
        with self._lock:
            if self._no_accounts:
                return {name: {} for name in wanted}
            if wanted and not 0 <= self._clock() - self._accounts_asked < floor:
                self._ask_accounts(list(islice(wanted, AT_ONCE)), seconds)
            if self._no_accounts:
                return {name: {} for name in wanted}
            return {name: self._accounts[name] for name in wanted if name in self._accounts}

    def _ask_accounts(self, names: Sequence[str], seconds: float) -> None:
        self._accounts_asked = self._clock()
        self._accounts = {}
        try:
            answer = self.call(queue.sacct(names, seconds))
        except Unavailable:
            self._no_accounts = True
            return
        if "accounting storage is disabled" in answer.err:
            self._no_accounts = True
        elif answer.status == 0:
            with suppress(queue.Garbled):
                lines = queue.by_key(queue.read_sacct(answer.out))
                self._accounts = {
                    name: {key: of for key, of in lines.items() if key[0] == name}
                    for name in names
                }


_CLUSTERS: WeakValueDictionary[tuple[object, ...], Cluster] = WeakValueDictionary()
_CLUSTERS_LOCK = threading.Lock()


def cluster(prefix: Sequence[str], clock: Callable[[], float]) -> Cluster:
    """Return the cluster behind ``prefix``, one and the same for all runners of this process."""
    key = tuple(prefix), os.environ.get("SLURM_CONF"), os.environ.get("PATH"), clock
    with _CLUSTERS_LOCK:
        found = _CLUSTERS.get(key)
        if found is None:
            found = _CLUSTERS[key] = Cluster(prefix, clock)
        return found
