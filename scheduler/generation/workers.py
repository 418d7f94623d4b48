"""A few worker processes for many experiments: each waits for its turn, none for long.

A process that has fitted a model holds some hundred megabytes; so no more than a few live at a
time, and those of experiments that asked last are kept, since they know their data already.
"""

import threading
from collections import deque
from collections.abc import Callable

from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.worker import WorkerGenerator

Wake = Callable[[], None]


class Workers:
    """Hands out turns to generate, ``at_most`` of them at a time, first come, first served."""

    def __init__(
        self, at_most: int, make: Callable[[Wake], WorkerGenerator] = WorkerGenerator
    ) -> None:
        self._at_most = at_most
        self._make = make
        self._lock = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._working: set[Turn] = set()
        self._alive: list[Turn] = []
        """Whose process lives, those that asked last at the end."""

    def client(self, wake: Wake) -> "Turn":
        """Return one experiment's generator; ``wake`` as for a worker of its own."""
        return Turn(self, self._make(wake))

    def enter(self, turn: "Turn") -> None:
        """Queue up, and begin where nobody else is before."""
        with self._lock:
            self._waiting.append(turn)
            self._begin()

    def leave(self, turn: "Turn", *, ended: bool = False) -> None:
        """Let the next one in; ``ended``: this one's process is gone."""
        with self._lock:
            self._working.discard(turn)
            if turn in self._waiting:
                self._waiting.remove(turn)
            if ended and turn in self._alive:
                self._alive.remove(turn)
            self._begin()

    def _begin(self) -> None:
        while self._waiting and len(self._working) < self._at_most:
            turn = self._waiting.popleft()
            self._working.add(turn)
            if turn in self._alive:
                self._alive.remove(turn)
            self._alive.append(turn)
            self._end_the_oldest()
            turn.begin()

    def _end_the_oldest(self) -> None:
        idle = [turn for turn in self._alive if turn not in self._working]
        for turn in idle[: max(0, len(self._alive) - self._at_most)]:
            turn.worker.close()
            self._alive.remove(turn)


class Turn:
    """A generator client whose requests wait until it is their turn."""

    def __init__(self, workers: Workers, worker: WorkerGenerator) -> None:
        self.worker = worker
        self._workers = workers
        self._request: GenerationRequest | None = None
        self._begun = False

    @property
    def busy(self) -> bool:
        """Whether a request has been asked whose reply was not taken yet."""
        return self._request is not None

    def ask(self, request: GenerationRequest) -> None:
        """Wait for a turn, and return at once. Not while :attr:`busy`."""
        self._request, self._begun = request, False
        self._workers.enter(self)

    def begin(self) -> None:
        """Ask the worker: it is our turn."""
        assert self._request is not None
        self.worker.ask(self._request)
        self._begun = True

    def reply(self) -> GenerationReply | str | None:
        """Return the reply, a sentence on why there will be none, or None: not yet."""
        if not self._begun:
            return None
        reply = self.worker.reply()
        if reply is not None:
            self._request, self._begun = None, False
            self._workers.leave(self)
        return reply

    def close(self) -> None:
        """End the process, and wait for no turn. May be called twice."""
        self._workers.leave(self)
        self.worker.close()
        self._request, self._begun = None, False
        self._workers.leave(self, ended=True)
