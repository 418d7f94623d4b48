"""The application: from a request to an answer, which is JSON whatever happens."""

import json
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from scheduler.generation.inline import InlineGenerator
from scheduler.http.describe import REQUEST_KEY, description
from scheduler.http.guard import Denied, Guard
from scheduler.http.handlers import WAIT, Visit
from scheduler.http.routes import ROUTES, Route
from scheduler.python.errors import Busy, ScheddError
from scheduler.python.problems import CONTENT, problem, problem_of
from scheduler.python.session import Place

LARGEST_BODY = 1 << 20
PATIENCE = 60.0
"""Seconds until an answer, at most; what is begun goes on, and is found by its key."""
RETRY_AFTER = 2
DESCRIPTION = "/v1/openapi.json"
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)

Environ = Mapping[str, Any]


@dataclass
class Kept:
    """What is kept of an experiment between requests: its models, and who works with them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    generator: InlineGenerator = field(default_factory=InlineGenerator)


class App:
    """A WSGI application. Its requests are handled in threads."""

    def __init__(self, place: Place, guard: Guard, *, patience: float = PATIENCE) -> None:
        self._place, self._guard, self._patience = place, guard, patience
        self._description = described(guard.token is not None)
        self._kept: dict[str, Kept] = {}
        self._lock = threading.Lock()

    def __call__(
        self, environ: Environ, start_response: Callable[[str, list[tuple[str, str]]], Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        status, more, body = self._answer(environ)
        content = "application/json" if status < 400 else CONTENT
        headers = [("Content-Type", content), ("Content-Length", str(len(body))), *HEADERS, *more]
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [body]

    def _answer(self, environ: Environ) -> tuple[int, list[tuple[str, str]], bytes]:
        more: list[tuple[str, str]] = []
        try:
            status, body = self._carried_out(environ)
            return status, more, body
        except Denied as error:
            told = problem(error.status, error.title, str(error))
            more += error.headers
        except ScheddError as error:
            told = problem_of(error)
            more += [("Retry-After", str(RETRY_AFTER))] if told["status"] == 503 else []
        except Exception:
            traceback.print_exc(file=sys.stderr)
            told = problem(500, "Bug", "this is a bug of schedd; what is stored is safe")
        return told["status"], more, json.dumps(told).encode()

    def _carried_out(self, environ: Environ) -> tuple[int, bytes]:
        headers = {
            name[5:].replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self._guard.check(method, headers)
        if path == DESCRIPTION and method == "GET":
            return 200, self._description
        route, named = matching(method, path)
        visit = {
            "name": named.get("name", ""),
            "index": int(named.get("index", 0)),
            "query": _query(route, environ.get("QUERY_STRING", "")),
            "body": _body(route, environ) if method == "POST" else None,
            "request": _request(headers) if method == "POST" else None,
        }
        answer = self._patiently(route, visit) if route.takes_time else self._now(route, visit)
        return route.status, answer.model_dump_json().encode()

    def _now(self, route: Route, visit: dict[str, Any]) -> BaseModel:
        return route.handle(Visit(self._place, **visit))

    def _patiently(self, route: Route, visit: dict[str, Any]) -> BaseModel:
        """Carry out what may take long in a thread of its own; raise Busy where it does.

        One at a time for each experiment. What goes on after that is found by its key.
        """
        kept = self._kept_of(visit["name"])
        found: list[BaseModel | BaseException] = []

        def work() -> None:
            if not kept.lock.acquire(timeout=WAIT):
                found.append(Busy("another request of this experiment is still at work"))
                return
            try:
                at_work = Visit(self._place, **visit, generator=kept.generator)
                found.append(route.handle(at_work))
            except BaseException as error:  # it is raised where it is waited for
                found.append(error)
            finally:
                kept.lock.release()

        thread = threading.Thread(target=work, name="request", daemon=True)
        thread.start()
        thread.join(self._patience)
        if not found:
            raise Busy(
                f"this takes longer than {self._patience:g} s and goes on: ask again, with the "
                "same Idempotency-Key"
            )
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def _kept_of(self, name: str) -> Kept:
        """Return what is kept of an experiment that there is; one for all new ones."""
        if name:
            Visit(self._place, name)
        with self._lock:
            return self._kept.setdefault(name, Kept())


@cache
def described(with_token: bool) -> bytes:
    """Return the description of the API, as it is sent."""
    return json.dumps(description(version("schedd"), with_token=with_token)).encode()


def matching(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Return the route, and what its path names. Raises Denied."""
    found = [(route, m) for route in ROUTES if (m := route.pattern.fullmatch(path))]
    for route, match in found:
        if route.method == method:
            return route, match.groupdict()
    if not found and path != DESCRIPTION:
        raise Denied(404, "NotFound", f"there is nothing here; {DESCRIPTION} says what there is")
    allowed = ", ".join(sorted({route.method for route, _ in found} or {"GET"}))
    raise Denied(
        405, "MethodNotAllowed", f"this takes {allowed} only", headers=[("Allow", allowed)]
    )


def _query(route: Route, text: str) -> BaseModel:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=20)
    except ValueError:
        if text:
            raise Denied(400, "BadRequest", "the query cannot be read") from None
        pairs = []
    if len(dict(pairs)) < len(pairs):
        raise Denied(400, "BadRequest", "the query says something twice")
    try:
        return route.query.model_validate(dict(pairs))
    except ValidationError as error:
        raise Denied(422, "UserInputError", sentence(error, "the query")) from None


def _body(route: Route, environ: Environ) -> Any:
    raw = environ["wsgi.input"].read(LARGEST_BODY + 1)
    if len(raw) > LARGEST_BODY:
        raise Denied(413, "TooLarge", "the body is longer than 1 MiB")
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Denied(415, "UnsupportedMediaType", "the body must be application/json")
    if route.body is not None:
        try:
            return route.body.model_validate_json(raw)
        except ValidationError as error:
            raise Denied(422, "UserInputError", sentence(error, "the body")) from None
    return _object(raw)


def _object(raw: bytes) -> dict[str, Any]:
    def refused(text: str) -> None:
        raise ValueError(f"{text} is no JSON")

    try:
        found = json.loads(raw, parse_constant=refused)
    except (ValueError, RecursionError):
        raise Denied(422, "UserInputError", "the body is no JSON") from None
    if not isinstance(found, dict):
        raise Denied(422, "UserInputError", "the body is no JSON object")
    return found


def _request(headers: Mapping[str, str]) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and not re.fullmatch(REQUEST_KEY, key):
        why = "Idempotency-Key is not 8 to 64 letters, digits, '.', '_', '~' or '-'"
        raise Denied(422, "UserInputError", why)
    return key


def sentence(error: ValidationError, what: str) -> str:
    """Return the first mistake in one sentence."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{what}{', ' + where if where else ''}: {first['msg']}"[:500]
