"""Three experiments that one daemon drives on a fake cluster, with people who meddle.

All that can become of a trial is in it: one that is plain, one that fails and is retried, one that
is given up as it runs, one whose job is held until it is released, and a batch.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from services.kubernetes.bed import hurry_script
from services.kubernetes.cluster import FakeCluster
from services.kubernetes.killing import Names, Step, arm
from sweep.bed import SCHEDD

PATIENCE = 240.0
"""Seconds after which a scene will never end."""
_FILE = """
schema: schedd/v1
name: NAME
parameters:
  - {name: x, type: range, bounds: [0.0, 1.0]}
objective: "-loss"
failures: {backoff: {initial: 0.1}, retries: {error: 1}}
polling: {interval: 0.2}
runner:
  type: kubernetes
  staging_required: HELD
  command:
    - sh
    - -c
    - |
      echo "NAME {trial_index} a{attempt} {replicate}" >> NOTES
      echo begun
      BODY
      echo "{\\"loss\\": $SCHEDD_PARAM_X}"
      echo ended
  kubernetes: {image: "busybox:1", kubeconfig: KUBECONFIG}
"""
_BODY = """case "{trial_index} {attempt}" in "1 1") exit 3;; 2*) sleep 3600;; esac"""
_PLAIN = """
trials: {total_trials: 3, max_pending_trials: 3}
arms:
  - {name: a, parameters: {x: 0.25}}
  - {name: b, parameters: {x: 0.5}}
  - {name: c, parameters: {x: 0.75}}
"""
_ONE = """
trials: {total_trials: 1MORE}
arms:
  - {name: a, parameters: {x: 0.25}}
"""
EXPERIMENTS = {
    "plain": _FILE.replace("BODY", _BODY).replace("HELD", "false") + _PLAIN,
    "held": _FILE.replace("BODY", "true").replace("HELD", "true") + _ONE.replace("MORE", ""),
    "batch": _FILE.replace("BODY", "true").replace("HELD", "false")
    + _ONE.replace("MORE", ", replicates: 2"),
}
ENDS = [
    ("batch", 0, "COMPLETED", 1, None),
    ("held", 0, "COMPLETED", 1, None),
    ("plain", 0, "COMPLETED", 1, None),
    ("plain", 1, "COMPLETED", 2, None),
    ("plain", 2, "ABANDONED", 1, "USER"),
]
"""Experiment, trial, status, attempt and reason."""
WHOLE = 'begun\n{"loss": %s}\nended\n'
OUTPUT = {
    "batch.trials/0/a1/a-r0": WHOLE % 0.25,
    "batch.trials/0/a1/a-r1": WHOLE % 0.25,
    "held.trials/0/a1": WHOLE % 0.25,
    "plain.trials/0/a1": WHOLE % 0.25,
    "plain.trials/1/a1": "begun\n",
    "plain.trials/1/a2": WHOLE % 0.5,
    "plain.trials/2/a1": "begun\n",
}
MEANS = [("batch", 0, 0.25), ("held", 0, 0.25), ("plain", 0, 0.25), ("plain", 1, 0.5)]
RAN = {
    "batch 0 a1 0", "batch 0 a1 1", "held 0 a1 0", "plain 0 a1 0", "plain 1 a1 0", "plain 1 a2 0",
    "plain 2 a1 0",
}  # fmt: skip
JOBS = ["batch 0 a1", "held 0 a1", "plain 0 a1", "plain 1 a1", "plain 1 a2", "plain 2 a1"]
_OF = "FROM {} t JOIN experiment e ON e.id = t.experiment_id"
_ENDS = f"""SELECT e.name, t."index", t.status, t.attempt, t.reason {_OF.format("trial")}
            ORDER BY 1, 2"""
_MEANS = f"SELECT e.name, t.trial_index, t.mean {_OF.format('observation')} ORDER BY 1, 2"
_JOB_STATES = f'SELECT e.name, t."index", t.job_state {_OF.format("trial")}'
_SUBMIT = """
import sys
from scheduler.cli import main
for path in sys.argv[1:]:
    sys.argv[1:] = ["submit", path]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


class Scene:
    """A folder with the three experiments, and what must have come of them in the end."""

    def __init__(self, folder: Path, cluster: FakeCluster) -> None:
        folder.mkdir()
        self.folder, self.cluster = folder, cluster
        self.env = {k: v for k, v in os.environ.items() if k != "SCHEDD_STORAGE"}
        self.faults: list[str] = []
        self.kills = 0
        self._names = Names()
        self._to_come: list[Step] = []
        """Where the daemon is to be killed; the first is that of the present one."""
        self._in_turn = False
        self._said: set[str] = set()
        """Who has meddled."""
        for name, text in EXPERIMENTS.items():
            filled = text.replace("NAME", name).replace("NOTES", str(folder / "ran.log"))
            filled = filled.replace("KUBECONFIG", str(cluster.kubeconfig))
            (folder / f"{name}.yaml").write_text(filled)
        self._call(sys.executable, "-P", "-c", _SUBMIT, *(f"{n}.yaml" for n in EXPERIMENTS))

    def play(self, kills: Sequence[Step] = (), *, in_turn: bool = False) -> None:
        """Drive all to the end; kill the daemon at each step, one after the other.

        ``in_turn``: nobody meddles with a trial before its kill is the next, which must come.
        """
        self._to_come, self._in_turn = list(kills), in_turn
        process = self._start()
        end = time.monotonic() + PATIENCE
        while not self._is_done():
            if process.poll() is not None:
                if process.returncode != -signal.SIGKILL:
                    self.faults.append(f"the daemon ended with {process.returncode}")
                    break
                self.kills += 1
                self._to_come = self._to_come[1:]
                process = self._start()
            if time.monotonic() > end:
                self.faults.append("it is stuck")
                break
            self._meddle()
            time.sleep(0.05)
        self._stop(process)
        self._check()

    def _start(self) -> subprocess.Popen[str]:
        """Start the daemon; it dies at the next step that is to come."""
        self.cluster.front.faults.clear()
        with (self.folder / "daemon.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", hurry_script(), SCHEDD, "daemon"],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        if self._to_come:
            arm(self.cluster, self._names, self._to_come[0], process)
        return process

    def _stop(self, process: subprocess.Popen[str]) -> None:
        self.cluster.front.faults.clear()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        if status not in (0, -signal.SIGKILL):
            self.faults.append(f"the daemon ended with {status}")

    def _meddle(self) -> None:
        """Say what people say, once it is time for it."""
        if self._may("release", "held 0 a1") and ("held", 0, "HELD") in self._rows(_JOB_STATES):
            self._say("release", "-e", "held", "0")
        if self._may("abandon", "plain 2 a1") and self._ran()["plain 2 a1 0"]:
            self._say("abandon", "-e", "plain", "2")

    def _may(self, word: str, of: str) -> bool:
        """Whether a word is to be said now: not yet where a later kill waits for what it does."""
        later = self._in_turn and any(step.of == of for step in self._to_come[1:])
        return word not in self._said and (not later or self._to_come[0].of == of)

    def _say(self, *words: str) -> None:
        self._said.add(words[0])
        self._call(SCHEDD, *words)

    def _call(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            self.faults.append(f"{command[-3:]}: {done.stdout}{done.stderr}")

    def _is_done(self) -> bool:
        found = self._rows("SELECT status FROM experiment")
        return len(found) == 3 and all(status == "COMPLETED" for (status,) in found)

    def _ran(self) -> Counter[str]:
        notes = self.folder / "ran.log"
        return Counter(notes.read_text().splitlines() if notes.exists() else ())

    def _rows(self, query: str) -> list[tuple]:
        with closing(sqlite3.connect(self.folder / "schedd.db")) as connection:
            return connection.execute(query).fetchall()

    def _check(self) -> None:
        self._same("trials", ENDS, self._rows(_ENDS))
        self._same("means", MEANS, self._rows(_MEANS))
        self._same("bodies", dict.fromkeys(RAN, 1), dict(self._ran()))
        self._same("output", OUTPUT, self._output())
        self._same("jobs left", [], self._left("jobs"))
        self._same("pods left", [], self._left("pods"))
        requests = self.cluster.front.requests
        made = [self._names.of(r) for r in requests if (r.verb, r.code) == ("create", 201)]
        self._same("jobs made", JOBS, sorted(made))
        self._same("pods made", len(RAN), self._pods_made())
        self._same("warnings", [], self.cluster.api.warnings)
        log = (self.folder / "daemon.log").read_text()
        if "Traceback" in log:
            self.faults.append(f"traceback: {log}")

    def _output(self) -> dict[str, str]:
        return {
            str(path.parent.relative_to(self.folder)): path.read_text()
            for path in sorted(self.folder.glob("*.trials/**/stdout.log"))
        }

    def _left(self, resource: str) -> list[str]:
        with self.cluster.lock:
            return [item["metadata"]["name"] for item in self.cluster.store.all(resource)]

    def _pods_made(self) -> int:
        with self.cluster.lock:
            events = list(self.cluster.store.all("events"))
        return sum(event["reason"] == "SuccessfulCreate" for event in events)

    def _same(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.faults.append(f"{what}: {found}, not {expected}")
