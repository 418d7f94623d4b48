"""A program of faults: what goes wrong with which request, so that a test is deterministic."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from threading import Event

from services.kubernetes.errors import ApiError


@dataclass
class Request:
    """One request, and how it was answered."""

    verb: str
    group: str
    resource: str
    """With its subresource: ``pods/log``."""
    namespace: str
    name: str
    query: dict[str, str]
    body: object = None
    content_type: str = ""
    token: str = ""
    code: int = 0
    """0 where no answer was sent."""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name}".rstrip()


@dataclass(frozen=True)
class Answer:
    """An HTTP answer as it goes out; of ``cut`` only the first half."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


class Dropped(Exception):
    """The connection ends without an answer."""


Effect = Callable[[], Answer | None]


@dataclass
class Fault:
    """Strikes the ``nth`` request that fits and so many that follow.

    ``before`` happens instead of the request, ``after`` once it has taken effect; either may
    return an answer, raise ApiError or Dropped, or return ``None`` and let things go on.
    """

    before: Effect | None = None
    after: Effect | None = None
    verb: str = "*"
    resource: str = "*"
    name: str = "*"
    nth: int = 1
    times: int = 1
    seen: int = 0
    struck: int = 0

    def strikes(self, request: Request) -> bool:
        """Count the request; return whether the fault happens to it."""
        fits = (
            fnmatch(request.verb, self.verb)
            and fnmatch(request.resource, self.resource)
            and fnmatch(request.name, self.name)
        )
        self.seen += fits
        hit = fits and self.nth <= self.seen < self.nth + self.times
        self.struck += hit
        return hit


def error(code: int, message: str = "out of order", reason: str = "", **headers: str) -> Effect:
    """Answer with a Status; a header's underscores become dashes."""

    def answer() -> Answer | None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        raise ApiError(code, message, reason, headers=named)

    return answer


def drop() -> Answer | None:
    """End the connection."""
    raise Dropped


def say(text: str, code: int = 200, content_type: str = "application/json") -> Effect:
    """Answer with this text, whatever was asked."""
    return lambda: Answer(code, text.encode(), content_type)


def hang(until: Event) -> Effect:
    """Say nothing until ``until`` is set, then end the connection."""

    def wait() -> Answer | None:
        until.wait(60)
        raise Dropped

    return wait


def call(what: Callable[[], object]) -> Effect:
    """Let something happen, then go on."""

    def act() -> Answer | None:
        what()
        return None

    return act


PASSING = {
    "dropped": drop,
    "503": error(503),
    "500": error(500),
    "504": error(504, "the server was unable to return a response in the time allotted"),
    "429": error(429, "too many requests", Retry_After="1"),
    "502 of a proxy": say("<html>Bad Gateway</html>", 502, "text/html"),
    "403 of a proxy": say("<html>Forbidden</html>", 403, "text/html"),
    "404 of a proxy": say("default backend - 404", 404, "text/plain"),
    "redirect to a login page": say("", 302),
    "proxy wants a password": say("", 407),
    "login page": say("<html>Please log in</html>", 200, "text/html"),
    "nothing": say("", 200),
    "empty object": say("{}", 201),
    "a list": say("[]", 201),
    "null": say("null", 201),
    "conflict": error(409, "the object has been modified", "Conflict"),
    "new quota": error(403, 'jobs.batch "x" is forbidden: status unknown for quota: q'),
    "quota": error(403, 'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs=1'),
}
"""Answers, and silences, after which nothing is known: what was asked may be done or not."""
