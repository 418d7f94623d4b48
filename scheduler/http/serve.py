"""The server: its socket, its limits, and its end."""

import errno
import ipaddress
import json
import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from scheduler.http.app import HEADERS, LARGEST_BODY
from scheduler.python.problems import CONTENT, problem

THREADS = 16
CONNECTIONS = 100
LARGEST_HEADER = 32 << 10
READ_TIME = 10.0
"""Seconds in which a request must have arrived, and those that an idle connection lasts."""


class NoSocket(Exception):
    """The socket cannot be had; the message says why."""


def loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def on_port(host: str, port: int) -> socket.socket:
    """Return a socket on a port; 0 for any. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(CONNECTIONS)
    except BaseException:
        made.close()
        raise
    return made


def at_path(path: Path) -> socket.socket:
    """Return a Unix socket that its owner alone can use; one that a dead server left is replaced.

    Raises NoSocket and OSError.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # from its first moment on
    try:
        _make_room(path)
        made.bind(str(path))
        made.listen(CONNECTIONS)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens on. Raises NoSocket where there is something else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise NoSocket(f"{path} is there already, and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        answer = probe.connect_ex(str(path))
    if answer != errno.ECONNREFUSED:
        raise NoSocket(f"another server listens at {path}")
    path.unlink()


class _Refusal(ErrorTask):  # type: ignore[misc]
    """What waitress itself refuses, told as everything else is."""

    def execute(self) -> None:
        error = self.request.error
        told = problem(error.code, error.reason.replace(" ", ""), str(error.body).strip())
        body = json.dumps(told).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", CONTENT), *HEADERS])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that must not take longer over a request than :data:`READ_TIME`."""

    error_task_class = _Refusal
    begun: float | None = None

    def received(self, data: bytes) -> bool:
        """Take a part of a request; hang up on who has taken too long."""
        now = time.monotonic()
        self.begun = now if self.begun is None else self.begun
        if now - self.begun > READ_TIME:
            self.will_close = True
            return False
        answer = bool(super().received(data))
        if self.request is None:
            self.begun = None
        return answer


def server(app: Any, listening: socket.socket) -> Any:
    """Return a server of waitress; its ``run`` ends by SystemExit, raised from a signal."""
    made = create_server(
        app,
        sockets=[listening],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        channel_timeout=int(READ_TIME),
        cleanup_interval=2,
        max_request_body_size=LARGEST_BODY,
        max_request_header_size=LARGEST_HEADER,
        asyncore_use_poll=True,
        log_socket_errors=False,
        ident=None,
        clear_untrusted_proxy_headers=True,
    )
    made.channel_class = _Channel
    return made


def run(
    app: Any,
    listening: socket.socket,
    signals: Iterable[signal.Signals],
    ready: Callable[[], None],
) -> None:
    """Serve until one of ``signals``; what is being handled then has some seconds to end.

    ``ready`` is called once they are heeded.
    """

    def end(*_: object) -> None:
        raise SystemExit

    logging.getLogger("waitress").setLevel(logging.ERROR)  # how busy it is, is no news
    made = server(app, listening)
    try:
        for number in signals:
            signal.signal(number, end)
        ready()
        made.run()
    finally:
        made.close()
