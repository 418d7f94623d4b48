"""Keep one daemon: start it, signal it, and end it with all it started when told or orphaned.

A program of its own, ``python keeper.py FOLDER LOG COMMAND...``. It obeys one order a line on
standard input and answers each with one line: ``SIGNAL NUMBER`` for the daemon alone, ``WAIT
SECONDS`` for the daemon's end, ``SWEEP`` to kill it and all it started, ``QUIT`` to sweep and
leave. At the end of input, where the other side was killed, it sweeps, and the last keeper of
FOLDER removes it.

What a daemon leaves behind when it ends becomes our child, since we are its subreaper: so all it
ever started is found below us, and nothing outlives us. Pids are signalled through descriptors.
"""

import ctypes
import fcntl
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MAY_BE_IGNORED = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
"""By us, by Python and by whoever started us; a daemon and its jobs must not inherit that."""
_LOOK = 0.02


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _start(log: str, command: list[str]) -> int:
    """Return the pid of the daemon, which dies with this process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        for number in _MAY_BE_IGNORED:
            signal.signal(number, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


class Keeper:
    """A daemon and everything below this process."""

    def __init__(self, log: str, command: list[str]) -> None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self.daemon = _start(log, command)
        self.alive = True

    def reap(self) -> None:
        """Take the status of every child that has ended."""
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self.alive = self.alive and pid != self.daemon

    def signal(self, number: int) -> None:
        """Signal the daemon; its pid is its own until we reap it."""
        self.reap()
        if self.alive:
            os.kill(self.daemon, number)

    def wait(self, seconds: float) -> None:
        """Wait for the daemon's end, at most so long."""
        until = time.monotonic() + seconds
        while self.alive and time.monotonic() < until:
            self.reap()
            time.sleep(_LOOK)

    def sweep(self) -> None:
        """Kill all that is below us, again until nothing is."""
        while below := self._below():
            for pid in below:
                self._kill(pid)
            self.reap()
            time.sleep(_LOOK)

    def _kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                if pid in self._below():
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)

    def _below(self) -> set[int]:
        """Return the processes that descend from us and have not been reaped."""
        self.reap()
        parents = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        found, last = {os.getpid()}, 0
        while len(found) > last:
            last = len(found)
            found |= {pid for pid, parent in parents.items() if parent in found}
        return found - {os.getpid()}

    def obey(self, verb: str, *values: str) -> str:
        """Carry out one order; return the answer."""
        if verb == "SIGNAL":
            self.signal(int(values[0]))
        elif verb in ("SWEEP", "QUIT"):
            self.sweep()
        elif verb == "WAIT":
            self.wait(float(values[0]))
        self.reap()
        return f"{self.daemon} {'alive' if self.alive else 'ended'}"


def _orphaned(keeper: Keeper) -> bool:
    """Obey, and reap in between; return whether nobody gives orders any more."""
    while True:
        if not select.select([sys.stdin], [], [], 0.5)[0]:
            keeper.reap()
            continue
        words = sys.stdin.readline().split()
        if not words:
            return True
        print(keeper.obey(*words), flush=True)
        if words == ["QUIT"]:
            return False


def _is_last(folder: int) -> bool:
    """Return whether no other keeper is left there."""
    with suppress(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def main() -> None:
    """Keep the daemon until told to quit, or until nobody is left to tell."""
    folder, log, *command = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(here, fcntl.LOCK_SH)
    keeper = Keeper(log, command)
    if _orphaned(keeper):
        keeper.sweep()
        if _is_last(here):
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
