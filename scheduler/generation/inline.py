"""Generators in this process: for a program that asks for an arm and waits until it has it.

Nothing here imports numpy, scipy or torch before arms are asked for.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock

from scheduler.generation import wire
from scheduler.generation.base import Generator
from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.worker import of_sobol
from scheduler.model.nodes import SOBOL


class InlineGenerator:
    """Makes arms when a reply is taken, in the thread that takes it; keeps its models between.

    A request whose reply nobody takes costs nothing. What a generator raises makes Sobol step in;
    one that hangs, hangs its caller.
    """

    def __init__(self) -> None:
        self.wanted = True
        """Whether a reply is of use now; while it is not, there is none yet."""
        self._request: GenerationRequest | None = None
        self._made: dict[tuple[str, ...], Generator] = {}
        self._digest = ""

    @property
    def busy(self) -> bool:
        """Whether a request has been asked whose reply was not taken yet."""
        return self._request is not None

    def ask(self, request: GenerationRequest) -> None:
        """Note ``request``, but for one trial: who waits needs no more. Not while :attr:`busy`."""
        assert not self.busy
        self._request = replace(request, trials=1)

    def reply(self) -> GenerationReply | str | None:
        """Return the reply, a sentence on why there will be none, or None: not wanted yet."""
        if self._request is None or not self.wanted:
            return None
        request, self._request = self._request, None
        answer = self._answer(request)
        if not isinstance(answer, str) or request.generator == SOBOL:
            return answer
        note = f"{request.generator} cannot answer ({answer}); Sobol instead"
        instead = self._answer(of_sobol(request))
        return f"{note}; {instead}" if isinstance(instead, str) else replace(instead, note=note)

    def close(self) -> None:
        """Forget what was asked; what was learned is kept for the next who asks."""
        self._request = None

    def _answer(self, request: GenerationRequest) -> GenerationReply | str:
        """Answer as a worker process would, by the same words."""
        from scheduler.generation import child  # numpy comes with it

        digest = wire.definition_line(request.definition)[0]
        if digest != self._digest:
            self._made, self._digest = {}, digest
        with one_thread():
            line = child.answer(request, 0, child.key_of(digest, request), self._made)
        try:
            return wire.parse_answer(line, request, 0)
        except wire.Nonsense as error:
            return str(error)


class _Threads:
    """How many threads torch had before the first of those who are at work now."""

    def __init__(self) -> None:
        self.lock, self.at_work, self.before = Lock(), 0, 0

    def enter(self) -> None:
        torch = sys.modules.get("torch")
        with self.lock:
            if not self.at_work:
                self.before = torch.get_num_threads() if torch else len(os.sched_getaffinity(0))
            self.at_work += 1
            if torch:
                torch.set_num_threads(1)

    def leave(self) -> None:
        with self.lock:
            self.at_work -= 1
            if not self.at_work and (torch := sys.modules.get("torch")):
                torch.set_num_threads(self.before)


_THREADS = _Threads()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let a model use one thread of torch's, and the caller's own code as many as before.

    Sums of floats depend on how they are split, and so would the arms. Several callers may be at
    work at a time.
    """
    _THREADS.enter()
    try:
        yield
    finally:
        _THREADS.leave()
