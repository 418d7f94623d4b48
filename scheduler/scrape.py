"""How figures leave the daemon: a page for Prometheus, and a file for node_exporter."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET6

WRITE_EVERY = 15.0
"""Seconds between two writes of the file."""
CONTENT = "text/plain; version=0.0.4; charset=utf-8"

Text = Callable[[], str]


def serve(host: str, port: int, text: Text) -> ThreadingHTTPServer:
    """Serve ``GET /metrics`` from threads of its own; ``close`` with ``shutdown``.

    Raises OSError where the address cannot be had.
    """

    class Page(BaseHTTPRequestHandler):
        timeout = 10
        server_version, sys_version = "schedd", ""

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            body = text().encode() if found else b"see /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: who asks is no news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing: whoever asked has hung up."""

    Server.address_family = AF_INET6 if ":" in host else Server.address_family
    server = Server((host, port), Page)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def write(path: Path, text: Text) -> None:
    """Write a file that appears whole or not at all. Raises OSError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text(), encoding="utf-8")
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        with suppress(FileNotFoundError):
            aside.unlink()


def keep_writing(path: Path, text: Text, failed: Callable[[str], None]) -> threading.Event:
    """Write the file now and then until the returned event is set; tell of the first failure.

    Raises OSError where it cannot be written now.
    """
    write(path, text)
    stop = threading.Event()

    def work() -> None:
        told = False
        while not stop.wait(WRITE_EVERY):
            try:
                write(path, text)
                told = False
            except OSError as error:
                if not told:
                    failed(f"{path} cannot be written: {error.strerror}")
                told = True

    threading.Thread(target=work, name="metrics-file", daemon=True).start()
    return stop
