"""HTTP without sockets and threads: a request's bytes are answered when the answer is read.

Client and server are the real ones, down to the bytes. A handover between two threads for each
request would take most of a history's time.
"""

import io
from collections.abc import Callable
from typing import Any, TypeVar

from services.kubernetes.server import Front, _Handler
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection

from runners.kube.login import Connection, Login, Patience

T = TypeVar("T")


class _Served(_Handler):
    """Answers one request; what it needs of a socket is a buffer."""

    def __init__(self, front: Front, request: bytes) -> None:
        self.server_front = front
        self.client_address = ("127.0.0.1", 0)
        self.rfile, self.wfile = io.BytesIO(request), io.BytesIO()
        self.close_connection = False
        self.handle_one_request()


class _Wire:
    """What a client takes for its socket."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sent = b""

    def sendall(self, data: bytes) -> None:
        """Keep a part of the request."""
        self._sent += bytes(data)

    def makefile(self, *_: Any) -> io.BytesIO:
        """Return the answer; nothing where the server ended the connection."""
        request, self._sent = self._sent, b""
        return io.BytesIO(_Served(self._front, request).wfile.getvalue())

    def settimeout(self, _: float | None) -> None:
        """Do nothing: an answer is there at once, or never."""

    def close(self) -> None:
        """Do nothing."""


class _AtOnce(Patience):
    """Logs in without the thread that a program which may hang would need."""

    def call(self, what: Callable[[], T]) -> T:
        return what()


def wired(login: Login, front: Front, known: dict[str, Connection]) -> None:
    """Let all connections that ``login`` makes go to ``front``; make one, which is ``known``."""

    class OneConnection(HTTPConnection):
        def _new_conn(self) -> Any:
            return _Wire(front)

        @property
        def is_connected(self) -> bool:
            return self.sock is not None

    class Pool(HTTPConnectionPool):
        ConnectionCls = OneConnection

    def connected() -> Connection:
        if front.url not in known:
            made = known[front.url] = connect()
            made.pool.pool_classes_by_scheme = {"http": Pool}
            made.settings.refresh_api_key_hook = None  # its kubeconfig names no program
        return known[front.url]

    connect = login.connect
    login._patience = _AtOnce()
    login.connect = connected  # type: ignore[method-assign]
