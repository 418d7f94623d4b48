"""One experiment on a real Slurm: drive it with the real ``schedd``, disturb it, check the end."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from services.slurm import Slurm
from slurm_faults.commands import Commands
from sweep import bed as local

PATIENCE = 240.0
"""Seconds that something may take which takes two: the machine may be busy with other things."""
BODY = (
    'echo "{trial_index} {attempt}" >> ran.log; '
    "job=$${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}$${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}; "
    'echo "{trial_index} {attempt} $job $${SLURM_RESTART_COUNT:-0}" >> jobs.log; '
    "%s; "
    'echo "{\\"loss\\": {params.x}}" > "$SCHEDD_TRIAL_DIR/metrics.json"'
)


def experiment(
    script: str = ":",
    *,
    trials: int = 3,
    at_once: int = 2,
    batch_size: int = 1,
    **changes: Any,
) -> str:
    """Return the YAML of an experiment whose trials note that they ran, then run ``script``.

    ``changes`` are laid over what is here.
    """
    base: dict[str, Any] = {
        "schema": "schedd/v1",
        "name": "faults",
        "parameters": [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}],
        "objective": "-loss",
        "metrics": {"loss": {"fetcher": {"type": "json", "path": "{trial_dir}/metrics.json"}}},
        "generation_strategy": {"nodes": [{"generator": "sobol"}], "seed": 3},
        "trials": {
            "total_trials": trials,
            "max_pending_trials": at_once,
            "batch_size": batch_size,
        },
        "failures": {"backoff": {"initial": 0.1}, "retries": {"infra": 5}},
        "missing_metrics": {"retry_for": 10},
        "polling": {"interval": 0.2},
        "runner": {
            "type": "slurm",
            "command": ["sh", "-c", BODY.replace("%s", script)],
            "resources": {"cpus": 1, "memory": "50M"},
            "slurm": {"poll_floor": 0.2, "lost_after": 2, "term_grace": 1},
        },
    }
    return yaml.safe_dump(_over(base, changes), sort_keys=False)


def _over(base: Any, changes: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(changes, Mapping)):
        return changes
    return base | {key: _over(base.get(key), value) for key, value in changes.items()}


_STARTED: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Job:
    """What the cluster's controller knows of one job now."""

    job_id: str
    name: str
    state: str
    reason: str
    restarts: int


class Bed(local.Bed):
    """A folder with an experiment, on a cluster."""

    def __init__(self, folder: Path, text: str, cluster: Slurm, **env: str) -> None:
        super().__init__(folder, text)
        self.stuck = PATIENCE
        self.cluster = cluster
        self.commands = Commands(folder / "slurm")
        path = f"{self.commands.bin}:{cluster.env['PATH']}"
        self.env = cluster.env | {"PATH": path} | env

    def start(self, verb: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start schedd."""
        self.process = super().start(verb, prefix)
        _STARTED.append(self.process)
        return self.process

    def until(self, holds: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until ``holds`` returns something true, at most for as long as schedd lives."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end or self.process.poll() is not None:
                pytest.fail(f"{self.wait(self.process)}: {self._history()}")
            time.sleep(0.1)

    def until_running(self, number: int = 1) -> None:
        """Wait until schedd has stored that so many trials run."""
        self.until(lambda: self.statuses().count("RUNNING") >= number)

    # -- what is so now

    def trials(self) -> dict[int, tuple[str, int, str | None, str]]:
        """Return status, attempt, reason and message of each trial."""
        query = 'SELECT "index", status, attempt, reason, message FROM trial ORDER BY 1'
        return {index: tuple(rest) for index, *rest in self.rows(query)}

    def statuses(self) -> list[str]:
        return [status for status, *_ in self.trials().values()]

    def token(self) -> str:
        rows = self.rows("SELECT token FROM experiment")
        return rows[0][0] if rows else "nothing is stored yet"

    def rows(self, query: str) -> list[tuple]:
        """Return what is stored; nothing where there is no database yet."""
        try:
            return super().rows(query)
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return []

    def jobs(self) -> list[Job]:
        """Return the jobs of this experiment that the controller still knows, by id."""
        columns = "JobID:|,Name:|,State:|,Reason:|,RestartCnt:|"
        lines = self.cluster.run("squeue", "-h", "-r", "-t", "all", "-O", columns).splitlines()
        jobs = [Job(*words[:4], int(words[4] or 0)) for words in map(_words, lines)]
        return sorted((j for j in jobs if self.token()[:8] in j.name), key=lambda j: j.job_id)

    def bodies(self) -> list[tuple[str, str, str, str]]:
        """Return trial, attempt, job and restart of every body that began, in order."""
        path = self.folder / "jobs.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(t, a, j, r) for t, a, j, r in map(str.split, lines)]

    def said(self, trial: int) -> str:
        """Return the messages of all events of a trial."""
        query = f"SELECT message FROM event WHERE trial_index = {trial} ORDER BY id"
        return "; ".join(message for (message,) in self.rows(query))

    # -- what must be so in the end

    def check_end(
        self,
        trials: int,
        *,
        other: Mapping[int, str] | None = None,
        extra: int = 0,
        restarts: bool = False,
        status: str = "COMPLETED",
    ) -> None:
        """Assert that nothing was lost and nothing ran twice.

        Args:
            trials: How many trials there must be.
            other: The statuses of those that are not COMPLETED.
            extra: At most so many attempts beyond the first of each trial.
            restarts: Whether the cluster may have started the body of one attempt again, by a
                requeue that the user allowed.
            status: The experiment's.
        """
        expected = dict.fromkeys(range(trials), "COMPLETED") | dict(other or {})
        found = self.trials()
        self._same("trials", expected, {i: found[i][0] for i in found})
        self._same("experiment", [(status,)], self.rows("SELECT status FROM experiment"))
        self._same("integrity", [("ok",)], self.rows("PRAGMA integrity_check"))
        self._check_bodies(restarts)
        self._check_observations()
        beyond = sum(attempt - 1 for _, attempt, *_ in found.values())
        if beyond > extra:
            self.faults.append(f"{beyond} extra attempts: {self._history()}")
        self._same("left in the queue", [], self.unfinished())
        self._same("processes", [], self._left())
        assert not self.faults, "\n".join(self.faults)

    def _check_bodies(self, restarts: bool) -> None:
        """Every body ran at most once, as an attempt that there was; a completed trial's did."""
        ran, trials = self.ran(), self.trials()
        if not restarts:
            self._same("twice", {}, {attempt: n for attempt, n in ran.items() if n > 1})
        known = {f"{i} {a}" for i, t in trials.items() for a in range(1, t[1] + 1)}
        self._same("unknown attempts", set(), set(ran) - known)
        completed = {f"{i} {t[1]}" for i, t in trials.items() if t[0] == "COMPLETED"}
        self._same("completed without a run", set(), completed - set(ran))

    def _check_observations(self) -> None:
        query = "SELECT trial_index, mean FROM observation ORDER BY 1"
        seen = Counter(index for index, _ in self.rows(query))
        completed = {i: 1 for i, t in self.trials().items() if t[0] == "COMPLETED"}
        self._same("observations", completed, dict(seen))
        arms = self.rows("SELECT trial_index, parameters FROM arm")
        x = {index: json.loads(parameters)["x"] for index, parameters in arms}
        self._same("values", {i: x[i] for i in completed}, dict(self.rows(query)))

    def unfinished(self) -> list[Job]:
        """Return the jobs that the cluster has yet to do."""
        going = {"PENDING", "RUNNING", "SUSPENDED", "CONFIGURING"}
        return [job for job in self.jobs() if job.state in going]

    def _history(self) -> list[tuple]:
        jobs = "; ".join(map(" ".join, self.bodies()))
        return [*super()._history(), ("bodies", jobs), ("queue", self.jobs())]


def end_all() -> None:
    """Kill every schedd that a test has left running, as one that fails does."""
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _words(line: str) -> list[str]:
    return re.split(r"\s*\|", line.strip())
