"""The worker process: reads requests, writes arms. torch is loaded when a model is asked for.

It ends when its standard input does, in the middle of a fit if need be, so that it never outlives
a daemon that was killed. (PR_SET_PDEATHSIG would not do: it follows the parent's *thread*.)
"""

import json
import os
import queue
import resource
import sys
import threading
import time
from dataclasses import replace
from typing import BinaryIO, Protocol

from scheduler.generation import wire
from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.space import GenerationError, Space
from scheduler.model.definition import ExperimentDefinition

MEMORY = 8 * 2**30
"""Bytes of data the process may hold; beyond it an allocation fails and Sobol answers."""


class Maker(Protocol):
    """A generator inside this process."""

    def generate(self, request: GenerationRequest) -> GenerationReply:
        """Return arms; raise GenerationError where there can be none."""


def main() -> None:
    """Answer requests until standard input ends."""
    answers = _own_stdout()
    os.nice(5)
    _limit_memory()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, lines), daemon=True).start()
    serve(lines, answers)


def serve(lines: "queue.SimpleQueue[bytes]", answers: BinaryIO) -> None:
    """Answer each request among ``lines``, for ever."""
    definitions: dict[str, ExperimentDefinition] = {}
    makers: dict[tuple[str, str], Maker] = {}
    while True:
        message = json.loads(lines.get())
        digest = message["digest"]
        if message["kind"] == "definition":
            definition = ExperimentDefinition.model_validate_json(message["definition"])
            definitions[digest] = definition
            continue
        request = wire.parse_request(message["request"], definitions[digest])
        maker = (digest, request.generator)
        answers.write(_answer(request, message["number"], maker, makers))
        answers.flush()


def _answer(
    request: GenerationRequest,
    number: int,
    key: tuple[str, str],
    makers: dict[tuple[str, str], Maker],
) -> bytes:
    start = time.monotonic()
    try:
        if key not in makers:
            makers[key] = make(request.generator, Space(request.definition))
        reply = makers[key].generate(request)
    except (GenerationError, MemoryError) as error:
        return wire.refusal_line(str(error) or "it ran out of memory", number)
    return wire.reply_line(replace(reply, seconds=time.monotonic() - start), number)


def make(generator: str, space: Space) -> Maker:
    """Return a generator by its name; what it is made of is imported here and not before."""
    if generator == "sobol":
        from scheduler.generation.sobol import SobolGenerator

        return SobolGenerator(space)
    from scheduler.generation.botorch import BotorchGenerator

    return BotorchGenerator(space)


def _limit_memory() -> None:
    """Make allocations beyond :data:`MEMORY` fail here rather than the machine run out of it."""
    # Not RLIMIT_AS: torch reserves far more addresses than it ever uses.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _own_stdout() -> BinaryIO:
    """Return the pipe of answers; what any library prints goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _listen(source: BinaryIO, lines: "queue.SimpleQueue[bytes]") -> None:
    for line in source:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
