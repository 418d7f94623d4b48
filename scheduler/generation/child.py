"""The worker process: reads requests, writes arms. A generator is loaded when it is asked for.

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
import traceback
from dataclasses import replace
from typing import BinaryIO

from scheduler.generation import wire
from scheduler.generation.base import Generator
from scheduler.generation.protocol import GenerationRequest
from scheduler.generation.space import GenerationError
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.strategy import nodes_of
from scheduler.plugins import GENERATORS, RegistryError, load

MEMORY = 8 * 2**30
"""Bytes of data the process may hold; beyond it an allocation fails and Sobol answers."""


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
    made: dict[tuple[str, ...], Generator] = {}
    while True:
        message = json.loads(lines.get())
        digest = message["digest"]
        if message["kind"] == "definition":
            definition = ExperimentDefinition.model_validate_json(message["definition"])
            definitions[digest] = definition
            continue
        request = wire.parse_request(message["request"], definitions[digest])
        key = key_of(digest, request)
        answers.write(answer(request, message["number"], key, made))
        answers.flush()
        for node in nodes_of(request.definition, 0):
            later = replace(request, generator=node.generator, options=node.options)
            if lines.empty() and key_of(digest, later) not in made:
                _make_ready(later, key_of(digest, later), made)


def key_of(digest: str, request: GenerationRequest) -> tuple[str, ...]:
    """Return what tells generators apart: experiment, generator and options."""
    return (digest, request.generator, json.dumps(dict(request.options), sort_keys=True))


def _make_ready(
    request: GenerationRequest, key: tuple[str, ...], made: dict[tuple[str, ...], Generator]
) -> None:
    """Import, while nothing is asked, what a later node needs: torch takes seconds."""
    try:
        made[key] = make(request)
        made[key].make_ready()
    except (Exception, SystemExit) as error:  # any code of a third party runs here
        traceback.print_exception(error)  # it is told when arms are asked of it


def answer(
    request: GenerationRequest,
    number: int,
    key: tuple[str, ...],
    made: dict[tuple[str, ...], Generator],
) -> bytes:
    """Return the line that answers ``request``; its generator is kept in ``made``."""
    start = time.monotonic()
    try:
        if key not in made:
            made[key] = make(request)
        reply = made[key].generate(request)
        return wire.reply_line(replace(reply, seconds=time.monotonic() - start), number)
    except (GenerationError, RegistryError) as error:
        return wire.refusal_line(str(error), number)
    except MemoryError:
        return wire.refusal_line("it ran out of memory", number)
    except (Exception, SystemExit) as error:  # any code of a third party runs here
        traceback.print_exception(error)
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        return wire.refusal_line(said, number)


def make(request: GenerationRequest) -> Generator:
    """Return the generator that is asked for; raises RegistryError, and whatever it raises."""
    kind: type[Generator] = load(GENERATORS, request.generator, Generator)
    return kind(request.definition, kind.Options.model_validate(request.options))


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
