"""Free ports of this machine, a block for each set of services; several test processes at once."""

import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from random import SystemRandom

_SIZE = 16
_BLOCKS = range(12000, 32000, _SIZE)
"""Below the ports that the kernel hands out, so that a restarted daemon finds its own free."""


class Ports:
    """A block of ports that no other test process uses until :meth:`close`."""

    def __init__(self) -> None:
        """Take one. Raises OSError where none is free."""
        for first in SystemRandom().sample(_BLOCKS, len(_BLOCKS)):
            self.numbers: Sequence[int] = range(first, first + _SIZE)
            self._claim = socket.socket(socket.AF_UNIX)
            with suppress(OSError):  # taken, by a test or by something else: the next one
                # An abstract name: it is freed by the kernel when this process dies.
                self._claim.bind(f"\0schedd-tests-ports-{first}")
                _bind_all(self.numbers)
                return
            self._claim.close()
        raise OSError("no block of ports is free on 127.0.0.1")

    def close(self) -> None:
        """Let others have it."""
        self._claim.close()


def _bind_all(numbers: Sequence[int]) -> None:
    """Return if all are free now. Raises OSError."""
    with ExitStack() as stack:
        for number in numbers:
            tried = stack.enter_context(socket.socket())
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", number))
