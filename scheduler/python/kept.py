"""A generator that outlives the runs of a Scheduler, with what it learned."""

from collections.abc import Callable

from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.worker import WorkerGenerator


class Kept:
    """It makes arms in a process of its own; whoever drives closes it, and it stays."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._worker = WorkerGenerator(self._ring)

    @property
    def busy(self) -> bool:
        """Whether a request has been asked whose reply was not taken yet."""
        return self._worker.busy

    def ask(self, request: GenerationRequest) -> None:
        """Begin on ``request`` and return at once."""
        self._worker.ask(request)

    def reply(self) -> GenerationReply | str | None:
        """Return the reply, a sentence on why there will be none, or None: not yet."""
        return self._worker.reply()

    def _ring(self) -> None:
        self.wake()

    def close(self) -> None:
        """Forget what was asked; only a process that is at work is ended."""
        if self.busy:
            self.end()

    def end(self) -> None:
        """End the process."""
        self._worker.close()
