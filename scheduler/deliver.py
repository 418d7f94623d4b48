"""One message to one receiver: an HTTP request or a command, within its time limit."""

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from scheduler.model.notifications import Notification

AGAIN = (408, 425, 429)
LONGEST_WAIT = 60.0
MAX_URL = 8192


class Undelivered(Exception):
    """A message did not get through; the words hold no secret."""

    def __init__(self, words: str, *, final: bool = False, after: float = 0.0) -> None:
        """``final``: another try would be in vain; ``after``: seconds that it asks for."""
        super().__init__(words)
        self.final = final
        self.after = after


def deliver(receiver: Notification, message: Mapping[str, object], workdir: str | None) -> None:
    """Deliver, or raise :class:`Undelivered`. ``workdir``: where a command starts."""
    body = json.dumps(message, allow_nan=False).encode()
    if receiver.type == "webhook":
        _post(_url(receiver), body, receiver.timeout)
    else:
        _run(receiver.command, body, receiver.timeout, workdir)


def _url(receiver: Notification) -> str:
    """Return the URL that the receiver refers to."""
    if receiver.url_env is not None:
        url = os.environ.get(receiver.url_env, "").strip()
        place = f"the environment variable {receiver.url_env}"
    else:
        place = f"the file {receiver.url_file}"
        try:
            with Path(receiver.url_file or "").open(encoding="utf-8") as file:
                url = file.read(MAX_URL).strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise Undelivered(f"{place} cannot be read: {why}") from None
    if not url:
        raise Undelivered(f"{place} is not set or empty", final=True)
    if not url.startswith(("http://", "https://")):
        raise Undelivered(f"{place} holds no http or https URL", final=True)
    return url


class _NoRedirects(HTTPRedirectHandler):
    """A message goes where it was sent, or nowhere."""

    def redirect_request(self, *_: object) -> None:
        return None


def _post(url: str, body: bytes, timeout: float) -> None:
    # What the errors say may hold the URL, so it is put in words that do not.
    try:
        headers = {"Content-Type": "application/json", "User-Agent": "schedd"}
        request = Request(url, body, headers)  # noqa: S310  # http or https, as was checked
        with build_opener(_NoRedirects).open(request, timeout=timeout):
            return
    except HTTPError as error:
        again = error.code >= 500 or error.code in AGAIN
        after = error.headers.get("Retry-After", "")
        seconds = min(float(after), LONGEST_WAIT) if after.isdecimal() else 0.0
        error.close()
        words = f"the webhook answered {error.code}"
        raise Undelivered(words, final=not again, after=seconds) from None
    except URLError as error:
        why = error.reason if isinstance(error.reason, str) else _words(error.reason)
        raise Undelivered(f"the webhook cannot be reached: {why}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Undelivered(f"the webhook cannot be reached: {_words(error)}") from None


def _words(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return text or type(error).__name__


def _run(command: tuple[str, ...], body: bytes, timeout: float, workdir: str | None) -> None:
    """Run a command in a session of its own; all of it ends at the time limit."""
    null = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=null,
            stderr=null,
            cwd=workdir,
            start_new_session=True,
        )
    except OSError as error:
        raise Undelivered(f"{command[0]} cannot be run: {error.strerror}", final=True) from None
    with process:
        try:
            process.communicate(body, timeout)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            words = f"{command[0]} was ended after {timeout:g} s"
            raise Undelivered(words, final=True) from None
    if process.returncode:
        raise Undelivered(f"{command[0]} ended with exit status {process.returncode}", final=True)
