"""HTTP: from the wire to a request, through the faults, and back."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from services.kubernetes.errors import ApiError
from services.kubernetes.faults import Answer, Dropped, Fault, Request

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}

Handle = Callable[[Request], object]
"""Does what is asked; returns the JSON of the answer, or an :class:`Answer`."""


def parse(method: str, target: str) -> Request:
    """Return a request without its body. Raises ApiError 404 for a path that is none."""
    url = urlsplit(target)
    parts = [unquote(part) for part in url.path.strip("/").split("/")]
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    if parts[0] == "api":
        group, rest = "", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return Request(VERBS[method], "", "/" + "/".join(parts), "", "", query)
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return Request(VERBS[method], "", "/" + "/".join(parts), "", "", query)
    resource, name, sub = (*rest, "", "")[:3]
    verb = VERBS[method]
    if not name and verb == "get":
        verb = "watch" if query.get("watch") in ("1", "true") else "list"
    if not name and verb == "delete":
        verb = "deletecollection"
    return Request(verb, group, f"{resource}/{sub}" if sub else resource, namespace, name, query)


class Front:
    """Listens on a port of this machine, and keeps a record of what was asked."""

    def __init__(self, handle: Handle, now: Callable[[], float]) -> None:
        self.handle, self.now = handle, now
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.broken: list[Exception] = []
        """What went wrong here that must not: bugs of the fake."""
        front = self

        class Handler(_Handler):
            server_front = front

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: Request) -> Answer:
        """Return what goes out. Raises Dropped where nothing does."""
        self.requests.append(request)
        striking = [fault for fault in self.faults if fault.strikes(request)]
        try:
            answer = self._answer(request, striking)
        except ApiError as error:
            answer = Answer(error.code, json.dumps(error.body()).encode(), headers=error.headers)
        request.code = answer.code
        return answer

    def _answer(self, request: Request, striking: list[Fault]) -> Answer:
        for fault in striking:
            if fault.before and (answer := fault.before()):
                return answer
        done = self._done(request)
        for fault in striking:
            if fault.after and (answer := fault.after()):
                return answer
        if isinstance(done, ApiError):
            raise done
        if isinstance(done, Answer):
            return done
        return Answer(201 if request.verb == "create" else 200, json.dumps(done).encode())

    def _done(self, request: Request) -> object:
        try:
            return self.handle(request)
        except ApiError as refused:
            return refused
        except Exception as bug:
            self.broken.append(bug)
            raise


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed; bugs of the fake are kept elsewhere."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_front: Front
    timeout = 120
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base
        """Keep quiet."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Tell the cluster's time, as its Date header does."""
        return super().date_time_string(int(self.server_front.now()))

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        try:
            request = parse(self.command, self.path)
            request.content_type = self.headers.get("Content-Type", "")
            request.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            request.body = json.loads(raw) if raw else None
            answer = self.server_front.answer(request)
        except Dropped:
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.code)
        self.send_header("Content-Type", answer.content_type)
        for key, value in answer.headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.cut:
            self.close_connection = True
        try:
            self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
