"""One experiment in a folder of its own: drive it, kill what drives it, go on, check the end."""

import os
import signal
import sqlite3
import subprocess
import sysconfig
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

SCHEDD = f"{sysconfig.get_path('scripts')}/schedd"
DOCUMENTED = frozenset({0, 1, 2, 71, 73, 75, 78, 130})
STUCK = 90
"""Seconds after which a run of three trials, the longest of one second, will never end."""

_HEAD = """
schema: schedd/v1
name: swept
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
objective: "-loss"
metrics:
  loss: {fetcher: {type: json, path: "{trial_dir}/metrics.json"}}
trials: {total_trials: 3, max_pending_trials: 2}
failures: {backoff: {initial: 0.1}}
polling: {interval: 0.2}
runner:
  type: local
  command:
    - sh
    - -c
    - 'echo "{trial_index} {attempt}" >> ran.log; test {trial_index} != 1 || sleep 1;
       echo "{\\"loss\\": {params.x}}" > {trial_dir}/metrics.json'
"""
GIVEN = (
    _HEAD
    + """
arms:
  - {name: a, parameters: {x: 0.25}}
  - {name: b, parameters: {x: 0.5}}
  - {name: c, parameters: {x: 0.75}}
"""
)
"""Its arms are written by hand, so that no process generates any."""
SOBOL = _HEAD + "generation_strategy: {nodes: [{generator: sobol}], seed: 3}\n"

Arms = list[tuple[int, str, str]]


@dataclass(frozen=True)
class Ended:
    """How one run of schedd ended."""

    status: int
    said: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def held(self) -> bool:
        return self.status == 73 or (self.status == 0 and "nothing to do" in self.said)


class Bed:
    """A folder with an experiment, and what it must have come to in the end."""

    def __init__(self, folder: Path, text: str) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "e.yaml").write_text(text)
        self.env = {k: v for k, v in os.environ.items() if k != "SCHEDD_STORAGE"}
        self.stuck = STUCK
        self.faults: list[str] = []
        """What was seen in it that must never be."""

    def start(self, verb: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start schedd, perhaps under a tracer."""
        words = ["run", "e.yaml"] if verb == "run" else ["resume"]
        return subprocess.Popen(
            [*prefix, SCHEDD, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for the end of schedd; one that never ends is a fault and is killed."""
        try:
            said, _ = process.communicate(timeout=self.stuck)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            self.faults.append(f"stuck: {said}")
        ended = Ended(process.returncode, said)
        if "Traceback" in said:
            self.faults.append(f"traceback: {said}")
        if not ended.killed and ended.status not in DOCUMENTED:
            self.faults.append(f"exit status {ended.status}: {said}")
        return ended

    def drive(self, verb: str = "run", prefix: Sequence[str] = ()) -> Ended:
        """Run schedd to its end, or to its death."""
        return self.wait(self.start(verb, prefix))

    def go_on(self, verb: str, prefix: Sequence[str] = ()) -> Ended:
        """Run schedd once more. Where nothing was stored yet, only ``run`` can go on.

        A process that was killed amid vfork leaves its lock to the child for a moment.
        """
        until = time.monotonic() + self.stuck
        while (ended := self.drive(verb, prefix)).held and time.monotonic() < until:
            continue
        if verb == "resume" and ended.status in (2, 78):
            if self.ran():
                self.faults.append(f"not resumed although a body ran: {ended.said}")
            return self.go_on("run", prefix)
        return ended

    def finish(self, verb: str) -> None:
        """Go on to the end, undisturbed."""
        ended = self.go_on(verb)
        if ended.status != 0:
            self.faults.append(f"{verb} ended with {ended.status}: {ended.said}")

    def ran(self) -> Counter[str]:
        """Return how often the body of each attempt ran."""
        with suppress(FileNotFoundError):
            return Counter((self.folder / "ran.log").read_text().splitlines())
        return Counter()

    def is_running(self) -> bool:
        """Return whether the long body has begun and its wrapper has not left its record."""
        record = self.folder / "swept.trials/1/a1/.schedd/exit.json"
        return self.ran()["1 1"] > 0 and not record.exists()

    def rows(self, query: str) -> list[tuple]:
        with closing(sqlite3.connect(self.folder / "schedd.db")) as connection:
            return connection.execute(query).fetchall()

    def arms(self) -> Arms:
        return self.rows("SELECT trial_index, name, parameters FROM arm ORDER BY 1, position")

    def extra(self) -> int:
        """Return how many attempts there were beyond the first of each trial."""
        return sum(n - 1 for (n,) in self.rows("SELECT attempt FROM trial"))

    def check(self, arms: Arms, *, extra: bool = False) -> list[str]:
        """Return what is wrong in the end; ``extra`` attempts are wrong too unless allowed."""
        try:
            self._check(arms, extra)
        except sqlite3.Error as error:
            self.faults.append(f"database: {error}")
        return self.faults

    def _check(self, arms: Arms, extra: bool) -> None:
        expected = [("COMPLETED",)]
        self._same("experiment", expected, self.rows("SELECT status FROM experiment"))
        expected = [(i, "COMPLETED") for i in range(3)]
        self._same("trials", expected, self.rows('SELECT "index", status FROM trial ORDER BY 1'))
        self._same("arms", arms, self.arms())
        query = "SELECT trial_index, mean FROM observation ORDER BY 1"
        self._same("observations", [(i, _x(p)) for i, _, p in arms], self.rows(query))
        self._same("integrity", [("ok",)], self.rows("PRAGMA integrity_check"))
        ran = self.ran()
        twice = {attempt: n for attempt, n in ran.items() if n > 1}
        self._same("twice", {}, twice)
        if not extra:
            self._same("ran", {"0 1", "1 1", "2 1"}, set(ran))
            self._same("extra attempts", 0, self.extra())
        self._same("processes", [], self._left())

    def _left(self) -> list[int]:
        """Return the processes that do not end: a generator notices late that it is alone."""
        until = time.monotonic() + 20
        while (found := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    def _same(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.faults.append(f"{what}: {found}, not {expected}; {self._history()}")

    def _history(self) -> list[tuple]:
        return self.rows("SELECT kind, trial_index, attempt, message FROM event ORDER BY id")

    def processes(self, word: str = "") -> list[int]:
        """Return the processes that work in this folder, with ``word`` in their command line."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                here = os.readlink(f"/proc/{pid}/cwd").startswith(str(self.folder))
                if word in line and (here or str(self.folder) in line):
                    found.append(int(pid))
        return found


def _x(parameters: str) -> float:
    return float(parameters.partition(":")[2].rstrip("}"))
