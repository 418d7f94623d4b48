"""Wake the scheduler when a process ends, whoever its parent is."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Watch:
    """Keeps pidfds, and one thread that calls ``wake`` when a process of them ends.

    All methods belong to one thread; only ``wake`` is called from the other. The thread starts
    with the first process.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._keys: dict[int, str] = {}
        self._watched: set[str] = set()
        self._ended: deque[int] = deque()
        self._epoll: select.epoll | None = None
        self._thread: threading.Thread | None = None
        self._stop = -1

    def __contains__(self, key: str) -> bool:
        return key in self._watched

    def add(self, key: str, pidfd: int) -> None:
        """Watch ``pidfd``, which is ours from now on; where it has ended, that is news too.

        Raises OSError where it cannot be watched; then it is not among the watched.
        """
        try:
            if self._epoll is None:
                self._epoll = self._start()
            self._keys[pidfd] = key  # before its end can be news
            self._epoll.register(pidfd, select.EPOLLIN | select.EPOLLONESHOT)
        except (OSError, RuntimeError):  # the latter: no thread can be started
            self._keys.pop(pidfd, None)
            os.close(pidfd)
            raise
        self._watched.add(key)

    def news(self) -> list[str]:
        """Return the keys of the processes that ended since the last call, and forget them."""
        keys = []
        while self._ended:
            fd = self._ended.popleft()
            _reap(fd)
            keys.append(self._keys.pop(fd))
            os.close(fd)
        self._watched.difference_update(keys)
        return keys

    def close(self) -> None:
        """Stop the thread; free all descriptors. The processes go on."""
        if self._epoll is None or self._thread is None:
            return
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for fd in self._keys:
            _reap(fd)
            os.close(fd)
        self._epoll.close()
        os.close(self._stop)
        self._epoll = self._thread = None
        self._keys.clear()
        self._watched.clear()
        self._ended.clear()

    def _start(self) -> select.epoll:
        epoll = select.epoll()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        epoll.register(self._stop, select.EPOLLIN)
        self._thread = threading.Thread(
            target=self._run, args=(epoll, self._stop), name="schedd-watch", daemon=True
        )
        self._thread.start()
        return epoll

    def _run(self, epoll: select.epoll, stop: int) -> None:
        while True:
            ended = [fd for fd, _ in epoll.poll()]
            if stop in ended:
                return
            self._ended.extend(ended)
            self._wake()


def _reap(pidfd: int) -> None:
    """Take the exit status of a child of ours, so that no zombie stays."""
    with suppress(ChildProcessError):  # it is not our child, or was taken already
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
