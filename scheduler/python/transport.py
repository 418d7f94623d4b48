"""Requests to a server of ours, repeated where an answer was lost. The standard library alone."""

import json
import secrets
import socket
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from scheduler.python.errors import Busy, ScheddError, UserInputError
from scheduler.python.problems import error_of

ANSWER_TIME = 90.0
"""Seconds to wait for an answer; the server gives up earlier."""
LONGEST_ANSWER = 64 << 20
FIRST_PAUSE, LAST_PAUSE = 0.2, 5.0


class _ByPath(HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Transport:
    """Speaks to a server by its URL; each request has a connection of its own."""

    def __init__(self, url: str, token: str | None, wait: float) -> None:
        """Raises UserInputError for what is no such URL."""
        self.url, self._wait = url, wait
        parts = urlsplit(url)
        try:
            self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            raise UserInputError(f"{url} is not http://HOST:PORT") from None
        self._path = parts.path
        by_path = self._scheme == "unix"
        if by_path is not bool(self._path.strip("/")) or by_path is bool(self._host):
            raise UserInputError(f"{url} is neither http://HOST:PORT nor unix:///PATH")
        if parts.username or parts.query or parts.fragment:
            raise UserInputError("the URL of a server has no user; give Client(..., token=TOKEN)")
        self._reached = False
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **query: Any) -> Any:
        """Return what is at a path. Raises ScheddError."""
        said = urlencode({key: value for key, value in query.items() if value is not None})
        return self._insist("GET", f"{path}?{said}" if said else path, None, {})

    def post(self, path: str, body: Any) -> Any:
        """Ask for something, once, whatever becomes of the answers. Raises ScheddError."""
        try:
            raw = json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise UserInputError(f"this cannot be sent: {error}") from None
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": secrets.token_urlsafe(16),
        }
        return self._insist("POST", path, raw, headers)

    def _insist(self, method: str, path: str, raw: bytes | None, headers: dict[str, str]) -> Any:
        """Repeat a request, by the same key, until it is answered or the time is over."""
        until, pause = time.monotonic() + self._wait, FIRST_PAUSE
        while True:
            try:
                return self._once(method, path, raw, headers)
            except Busy:
                if not self._reached or time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _once(self, method: str, path: str, raw: bytes | None, headers: dict[str, str]) -> Any:
        connection = self._connection()
        try:
            connection.request(method, path, raw, headers | self._headers)
            answer = connection.getresponse()
            said = answer.read(LONGEST_ANSWER)
            self._reached = True
        except (OSError, HTTPException) as error:
            raise Busy(f"{self.url} does not answer: {error or type(error).__name__}") from None
        finally:
            connection.close()
        return _understood(answer, said, self.url)

    def _connection(self) -> HTTPConnection:
        if self._scheme == "unix":
            return _ByPath(self._path, ANSWER_TIME)
        assert self._host is not None
        kind = HTTPSConnection if self._scheme == "https" else HTTPConnection
        return kind(self._host, self._port, timeout=ANSWER_TIME)


def _understood(answer: HTTPResponse, said: bytes, url: str) -> Any:
    """Return what was answered; raise the error that it is."""
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if answer.status < 300 and found is not None:
        return found
    if isinstance(found, dict):
        raise error_of(answer.status, found)
    raise ScheddError(f"{url} answered with status {answer.status}, and not as schedd serve does")
