"""Who may ask: the token, the host that is meant, and the page that asks."""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TOKEN_BYTES = 32
"""256 bits."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,128}")
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9._~+/=-]{1,256})")


class Denied(Exception):
    """A request that is not carried out; the message says why."""

    def __init__(
        self,
        status: int,
        title: str,
        message: str,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.title, self.headers = status, title, headers


class NoToken(Exception):
    """The file of the token cannot be used; the message says why."""


def digest_of(token: str) -> bytes:
    """Return what is kept of a token while the server runs."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True)
class Guard:
    """What every request is held against, before anything else is looked at."""

    hosts: frozenset[str]
    """Exactly what the header Host may be: another name may be a page that was rebound to us."""
    origins: frozenset[str]
    """Pages that may ask for a change, where it is a page that asks."""
    token: bytes | None
    """A digest; None where the socket's file says who may ask."""

    def check(self, method: str, headers: Mapping[str, str]) -> None:
        """Raise Denied. Headers by their names in lower case; repeated ones joined by commas."""
        host = headers.get("host", "")
        if not host or "," in host:
            raise Denied(400, "BadRequest", "there must be one header Host")
        if host.lower() not in self.hosts:
            raise Denied(421, "Misdirected", "this server does not go by the name in Host")
        origin = headers.get("origin")
        if method != "GET" and origin is not None and origin not in self.origins:
            raise Denied(403, "Forbidden", "pages of other origins may not ask for this")
        self._check_token(headers.get("authorization", ""))

    def _check_token(self, said: str) -> None:
        if self.token is None:
            return
        found = _BEARER.fullmatch(said.strip())
        if not hmac.compare_digest(digest_of(found[1] if found else ""), self.token):
            why = "this needs the header Authorization: Bearer TOKEN"
            raise Denied(401, "Unauthorized", why, [("WWW-Authenticate", "Bearer")])


def guard_of(names: Iterable[str], proxies: Iterable[str], token: str | None) -> Guard:
    """Return the guard of a server that goes by ``names``, and behind TLS by ``proxies``."""
    names, proxies = [n.lower() for n in names], [p.lower() for p in proxies]
    origins = {*(f"http://{name}" for name in names), *(f"https://{name}" for name in proxies)}
    kept = digest_of(token) if token is not None else None
    return Guard(frozenset({*names, *proxies}), frozenset(origins), kept)


def token_in(path: Path) -> str:
    """Return the token in a file that only its owner can read; made where there is none yet.

    Raises NoToken, and OSError.
    """
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(made, "w") as file:
            file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise NoToken(f"{path} is no file of yours")
        if found.st_mode & 0o077:
            raise NoToken(f"{path} can be read by others: chmod 600 {path}")
        text = os.read(opened, 1024).decode("ascii", "replace").strip()
    finally:
        os.close(opened)
    if not _TOKEN.fullmatch(text):
        raise NoToken(
            f"{path} holds no token of 43 or more letters, digits, '-' or '_': remove it, and "
            "another one is made"
        )
    return text
