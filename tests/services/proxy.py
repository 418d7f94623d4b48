"""Between a client and a server on 127.0.0.1: passes bytes on, and cuts connections when told."""

import socket
import threading
from contextlib import suppress

_COMMIT = b"COMMIT\0"


class Proxy:
    """Forwards every connection to a port."""

    def __init__(self, port: int) -> None:
        self.server = port
        self.cut = ""
        """Cut at the next commit: ``before`` the server sees it, ``after`` it was confirmed."""
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Link(self, client)


class _Link:
    """One connection."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self.proxy, self.client = proxy, client
        self.server = socket.create_connection(("127.0.0.1", proxy.server))
        self.muted = False
        for work in (self.ask, self.answer):
            threading.Thread(target=work, daemon=True).start()

    def ask(self) -> None:
        """Pass on what the client sends."""
        with self.client, suppress(OSError):
            while data := self.client.recv(65536):
                if self.proxy.cut and _COMMIT in data:
                    before, self.proxy.cut = self.proxy.cut == "before", ""
                    self.proxy.cuts += 1
                    if before:
                        break
                    self.muted = True
                self.server.sendall(data)
        with suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)

    def answer(self) -> None:
        """Pass on what the server says."""
        with self.server, suppress(OSError):
            while (data := self.server.recv(65536)) and not self.muted:
                self.client.sendall(data)
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)
