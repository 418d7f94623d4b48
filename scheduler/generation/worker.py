"""The daemon's side of generation: a child process that may hang, die or talk nonsense.

Nothing here imports numpy, scipy or torch.
"""

import collections
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO

from scheduler.generation import wire
from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.trust import Trust
from scheduler.model.nodes import SOBOL

# -P: a metrics.py or scheduler.py in the user's folder is not taken for ours.
COMMAND = (sys.executable, "-P", "-m", "scheduler.generation.child")
SECONDS_PER_OBSERVATION = 0.1
"""What an observation adds to the deadline of each arm asked of what learns."""
LONGEST_LINE = 2**26
"""Bytes of an answer; what is longer arrives in pieces, which make no sense."""

# One thread: sums of floats depend on how they are split, and so would the arms.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class WorkerGenerator:
    """Asks a child process for arms; kills it when it is late; asks Sobol when it fails twice."""

    def __init__(
        self,
        wake: Callable[[], None],
        deadline: float = 60.0,
        command: Sequence[str] = COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet. ``wake`` is called from another thread when :meth:`reply` may know.

        ``deadline``: seconds for one attempt, before what observations add to it. It is
        looked at by :meth:`reply`, which must therefore be called now and then.
        """
        self._wake = wake
        self._deadline = deadline
        self._command = tuple(command)
        self._clock = clock
        self._child: _Child | None = None
        self._request: GenerationRequest | None = None
        self._attempt: GenerationRequest | None = None
        self._failures: list[str] = []
        self._trust = Trust()
        self._due = 0.0
        self._number = 0
        self._stillborn = ""
        self._note = ""

    @property
    def busy(self) -> bool:
        """Whether a request has been asked whose reply was not taken yet."""
        return self._request is not None

    def warm(self) -> None:
        """Start the child, so that what it imports first is there when it is asked."""
        if self._child is None:
            self._child = _Child(self._command, self._wake)

    def ask(self, request: GenerationRequest) -> None:
        """Begin on ``request`` and return at once. Not while :attr:`busy`."""
        assert not self.busy
        self._request, self._failures, self._note = request, [], ""
        if why := self._trust.excuse(_who(request)):
            self._note = f"{request.generator} failed lately ({why}); Sobol instead"
            request = of_sobol(request)
        self._begin(request)

    def reply(self) -> GenerationReply | str | None:
        """Return the reply, a sentence on why there will be none, or None: not yet."""
        if self._attempt is None:
            return None
        if self._child is None:
            return self._failed(self._stillborn)
        try:
            line = self._child.answer()
            if line is None and self._clock() < self._due:
                return None
            if line is None:
                return self._failed(f"no answer within {self._allowed(self._attempt):.0f} s")
            answer = wire.parse_answer(line, self._attempt, self._number)
        except (_Died, wire.Nonsense) as error:
            return self._failed(str(error))
        if isinstance(answer, str):
            return self._refused(answer)
        self._trust.answered(_who(self._attempt))
        self._request = self._attempt = None
        return replace(answer, note=self._note) if self._note else answer

    def close(self) -> None:
        """End the child. May be called twice."""
        if self._child is not None:
            self._child.end()
        self._child = self._request = self._attempt = None

    def _begin(self, attempt: GenerationRequest) -> None:
        self._attempt = attempt
        self._due = self._clock() + self._allowed(attempt)
        self._number += 1
        try:
            self.warm()
        except (OSError, RuntimeError) as error:  # no process, or no thread, to be had
            self._stillborn = f"its process cannot be started: {error}"
            self._wake()
            return
        assert self._child is not None
        self._child.ask(attempt, self._number)

    def _allowed(self, attempt: GenerationRequest) -> float:
        work = len(attempt.observed) * attempt.count
        return self._deadline + SECONDS_PER_OBSERVATION * work

    def _failed(self, why: str) -> str | None:
        """Carry on in a fresh child: once more the same, then Sobol, then give up."""
        assert self._attempt is not None
        if self._child is not None:
            self._child.end()
            self._child = None
        self._failures.append(why)
        if len(self._failures) == 1:
            self._begin(self._attempt)
            return None
        self._trust.failed(_who(self._attempt), why)
        return self._step_down("failed twice", why)

    def _refused(self, why: str) -> str | None:
        """Carry on with Sobol at once: the same question would get the same answer."""
        assert self._attempt is not None
        self._trust.answered(_who(self._attempt))
        return self._step_down("cannot answer", why)

    def _step_down(self, what: str, why: str) -> str | None:
        assert self._attempt is not None
        said = f"{self._attempt.generator} {what} ({why})"
        if self._attempt.generator == SOBOL:
            self._request = self._attempt = None
            return f"{self._note}; {said}" if self._note else said
        self._note, self._failures = f"{said}; Sobol instead", []
        self._begin(of_sobol(self._attempt))
        return None


def of_sobol(request: GenerationRequest) -> GenerationRequest:
    """Return ``request`` as Sobol is asked in the place of a generator that failed."""
    cursor = request.sobol_cursor
    return replace(request, generator=SOBOL, cursor=cursor, options={}, observed=(), failed=())


def _who(request: GenerationRequest) -> str:
    """Return what is trusted, or not: a generator with its options."""
    return f"{request.generator} {sorted(request.options.items())}"


class _Died(Exception):
    """The child has ended; the text says how."""


class _Child:
    """A process, and the threads that keep its pipes moving so that no caller ever waits."""

    def __init__(self, command: Sequence[str], wake: Callable[[], None]) -> None:
        self._wake = wake
        self._digest = ""
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last_words: collections.deque[bytes] = collections.deque(maxlen=20)
        # A session of its own: Ctrl-C in a terminal is for the daemon, which then ends us.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD},
            start_new_session=True,
        )
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        jobs = (self._write, self._read, self._overhear)
        self._threads = [
            threading.Thread(target=job, args=(pipe,), daemon=True)
            for job, pipe in zip(jobs, pipes, strict=True)
        ]
        # The reader joins the last one: where the child is dead already, at once.
        for thread in reversed(self._threads):
            thread.start()

    def ask(self, request: GenerationRequest, number: int) -> None:
        """Send ``request``, after its definition where the child does not have it."""
        digest, line = wire.definition_line(request.definition)
        if digest != self._digest:
            self._outgoing.put(line)
            self._digest = digest
        self._outgoing.put(wire.request_line(request, digest, number))

    def answer(self) -> bytes | None:
        """Return the next line, or None: not yet. Raises :class:`_Died` where none can come."""
        try:
            line = self._answers.get_nowait()
        except queue.Empty:
            return None
        if line is None:
            raise _Died(self._epitaph())
        return line

    def end(self) -> None:
        """Kill the process and wait until it and its pipes are gone."""
        self._process.kill()
        self._outgoing.put(None)
        for thread in self._threads:
            thread.join(timeout=5.0)

    def _write(self, pipe: BinaryIO) -> None:
        # A child that is gone breaks the pipe; the reader says so, and how it ended.
        with contextlib.suppress(BrokenPipeError), pipe:
            while (line := self._outgoing.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def _read(self, pipe: BinaryIO) -> None:
        with pipe:
            for line in iter(lambda: pipe.readline(LONGEST_LINE), b""):
                self._answers.put(line)
                self._wake()
        self._process.wait()
        self._threads[2].join(timeout=5.0)
        self._outgoing.put(None)
        self._answers.put(None)
        self._wake()

    def _overhear(self, pipe: BinaryIO) -> None:
        with pipe:
            self._last_words.extend(iter(lambda: pipe.readline(LONGEST_LINE), b""))

    def _epitaph(self) -> str:
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        words = [line.decode(errors="replace").strip() for line in self._last_words]
        said = next((word for word in reversed(words) if word), "")
        return f"its process {how}" + (f": {said[:200]}" if said else "")
