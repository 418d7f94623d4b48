"""Requests to a Kubernetes API server, in plain JSON, and what its refusals mean.

The official client logs in and holds the connections. Its methods are not used: they lack parts of
the API that are needed here, such as the time since when a log is wanted.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from runners.base import Unavailable
from runners.kube.login import Connection, Login

_AGAIN = (0.2, 0.8)
"""Seconds before a read is asked again, where that may help."""
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CHUNK = 1 << 20


class Refusal(Exception):
    """The server said no; the message is its own sentence."""

    def __init__(
        self, status: int, reason: str, message: str, *, is_kubernetes: bool = True
    ) -> None:
        """``is_kubernetes``: it is not a proxy that has answered."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.is_kubernetes = is_kubernetes

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be granted later."""
        text = str(self).lower()
        told = ("exceeded quota", "status unknown for quota")  # a new one is not counted yet
        quota = self.status == 403 and any(words in text for words in told)
        races = self.status == 409 and self.reason != "AlreadyExists"
        passing = self.status in _TRANSIENT or self.status == 401
        return passing or quota or races or not self.is_kubernetes


class NotThere(Refusal):
    """The server states that there is no such object."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered to a granted request."""

    body: bytes
    now: float
    """The server's time, seconds since the epoch."""
    warnings: tuple[str, ...] = ()
    kind: str = ""
    """Its Content-Type, without parameters."""

    def text(self) -> bytes:
        """Return the body, which is plain text.

        Raises Unavailable where it is not: a proxy has answered, with a page to log in, say.
        """
        if self.kind != "text/plain":
            raise Unavailable("what answers in place of Kubernetes does not send a log")
        return self.body

    def json(self, *kinds: str) -> dict[str, Any]:
        """Return the object, of one of these kinds, whatever its kind where none is given.

        Raises Unavailable where it is none: somebody else has answered, and nothing is known.
        """
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Unavailable("what answers in place of Kubernetes does not speak JSON")
        identity = (found.get("metadata") or {}).get("uid") or found.get("kind") != "Job"
        if kinds and not (found.get("kind") in kinds and identity):
            raise Unavailable("what answers in place of Kubernetes does not speak its language")
        return found


class Api:
    """One cluster and namespace, as one user sees them."""

    def __init__(
        self,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        timeout: float = 15.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Do no I/O."""
        self._login = Login(kubeconfig, context, namespace)
        self._timeout = timeout
        self._sleep = sleep
        self._connection: Connection | None = None

    @property
    def current_context(self) -> str | None:
        """The kubeconfig's current context, where it is the one in use and none was named."""
        return self._connected.current_context

    @property
    def namespace(self) -> str:
        """The namespace that is meant. Raises Unavailable where no configuration is found."""
        return self._connected.namespace

    @property
    def server(self) -> str:
        """The server's address, for messages."""
        return self._connected.host

    @property
    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._login.connect()
        return self._connection

    def jobs(self, name: str = "") -> str:
        """Return the path of the Jobs, or of one."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs" + (f"/{name}" if name else "")

    def core(self, kind: str) -> str:
        """Return the path of a kind of the core group."""
        return f"/api/v1/namespaces/{self.namespace}/{kind}"

    def get(self, path: str, **query: str) -> Answer:
        """Read, again after a moment where the server is busy; raises as :meth:`request` does."""
        for pause in _AGAIN:
            try:
                return self.request("GET", path, query)
            except Refusal as refusal:
                if refusal.status not in _TRANSIENT:
                    raise
            self._sleep(pause)
        return self.request("GET", path, query)

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: str = "application/json",
    ) -> Answer:
        """Ask once, or twice where credentials had expired.

        Raises Refusal (NotThere for an object that does not exist) where the server says no, and
        Unavailable where it does not answer.
        """
        try:
            return self._request(method, path, query, body, content)
        except Refusal as refusal:
            if refusal.status != 401:
                raise
        self.close()
        return self._request(method, path, query, body, content)

    def close(self) -> None:
        """Close the connections; the next request reads the configuration anew."""
        if self._connection is not None:
            self._connection.pool.clear()
        self._connection = None

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, body: object, content: str
    ) -> Answer:
        import urllib3

        to = self._connected
        headers = {"Accept": "application/json, */*", "Content-Type": content}
        headers |= self._login.credentials(to)
        try:
            answer = to.pool.request(
                method,
                to.host + path + ("?" + urlencode(query) if query else ""),
                headers=headers,
                body=None if body is None else json.dumps(body),
                timeout=urllib3.Timeout(self._timeout),
                retries=False,
                preload_content=False,
            )
            data = self._whole(answer)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(_silence(to.host, error)) from None
        if not 200 <= answer.status <= 299:
            raise _refusal(answer.status, data)
        now = _date(answer.headers.get("Date"))
        kind = str(answer.headers.get("Content-Type") or "").partition(";")[0].strip()
        return Answer(data, now, tuple(answer.headers.getlist("Warning")), kind)

    def _whole(self, answer: Any) -> bytes:
        """Return the body. Raises TimeoutError where it trickles: each byte may be in time."""
        end = time.monotonic() + 2 * self._timeout
        chunks = []
        try:
            while chunk := answer.read1(_CHUNK):
                chunks.append(chunk)
                if time.monotonic() > end:
                    answer.close()
                    raise TimeoutError("its answer takes too long")
        finally:
            answer.release_conn()
        return b"".join(chunks)


def _silence(host: str, error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    text = " ".join(str(reason).split())
    text = text.rpartition(": ")[2] if ">: " in text else text
    return f"Kubernetes at {host} does not answer: {text}"


def _refusal(status: int, body: bytes) -> Refusal:
    """Return what the server said; a 404 counts as one only where Kubernetes itself says it."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    said = found if isinstance(found, dict) and found.get("kind") == "Status" else {}
    reason = str(said.get("reason") or "")
    text = str(said.get("message") or f"HTTP status {status}")
    named = (said.get("details") or {}).get("name")  # else it is the path that is unknown
    if status == 404 and reason == "NotFound" and named:
        return NotThere(status, reason, text)
    return Refusal(status, reason, text, is_kubernetes=bool(said))


def _date(text: str | None) -> float:
    """Return the server's time, ours where it tells none."""
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except ValueError:
        return time.time()
