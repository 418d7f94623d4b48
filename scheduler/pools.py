"""Threads for the turns of many experiments: each type of runner has its own.

So a runner that hangs, however many experiments use it, holds up these and no others.
"""

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

THREADS = 16
"""So many experiments of one type of runner may be slow at once before the others notice."""
OWN = "default"
"""Of what is no experiment's turn."""


class Pools:
    """The threads of one timer, made when they are asked for."""

    def __init__(self, timer: BackgroundScheduler) -> None:
        """Give the timer threads for what is no experiment's turn."""
        self._timer = timer
        self._names = {OWN}
        timer.add_executor(ThreadPoolExecutor(2), OWN)

    def of(self, runner: str) -> str:
        """Return the name under which the timer knows the threads for a type of runner."""
        name = f"runner {runner}"
        if name not in self._names:
            self._timer.add_executor(ThreadPoolExecutor(THREADS), name)
            self._names.add(name)
        return name
