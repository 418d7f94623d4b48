"""Kill the wrapper, and the submitter, at each of their system calls: a task never runs twice."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runners.base import Job, JobReport, JobState, Task
from runners.local import LocalOptions, LocalRunner
from runners.testing import wait_for

STRACE = shutil.which("strace")
pytestmark = [
    pytest.mark.sweep,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(STRACE is None, reason="strace is not installed"),
]
Point = tuple[str, int]


def job_in(folder: Path) -> Job:
    note = 'echo ran >> "$0"'
    tasks = (
        Task(f"{i}_0", ("sh", "-c", note, f"{folder}/ran{i}"), folder / str(i), {}, {"in": "x"})
        for i in range(2)
    )
    return Job("job", tuple(tasks))


def runs(folder: Path) -> list[int]:
    notes = [folder / f"ran{i}" for i in range(2)]
    return [len(note.read_text().split()) if note.exists() else 0 for note in notes]


def points(log: str, start: str) -> Iterator[Point]:
    """Name every system call from the line with ``start`` on: the nth of its name."""
    seen: Counter[str] = Counter()
    live = False
    for line in log.splitlines():
        if match := re.match(r"(\w+)\(", line):
            seen[match[1]] += 1
            live = live or start in line
            if live and match[1] not in ("exit_group", "rt_sigreturn"):
                yield match[1], seen[match[1]]


def strace(*options: str) -> list[str]:
    assert STRACE is not None
    return [STRACE, "-qq", *options]


def kill_at(point: Point) -> tuple[str, ...]:
    name, number = point
    return ("-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={number}")


def check_then_repeat(folder: Path, state: str) -> JobReport:
    """Check what holds of the job after the kill; submit it again where that is allowed."""
    job = job_in(folder)
    with closing(LocalRunner(LocalOptions(), lambda: None)) as runner:
        report = wait_for(runner, job)
        assert max(runs(folder)) <= 1, state
        assert report.state in (JobState.SUCCEEDED, JobState.LOST), (state, report)
        if report.state is JobState.LOST and not report.may_have_run:
            assert runs(folder) == [0, 0], state
            runner.submit([job])
            report = wait_for(runner, job)
            assert report.state is JobState.SUCCEEDED, (state, report)
        if report.state is JobState.SUCCEEDED:
            assert runs(folder) == [1, 1], state
    return report


def test_the_wrapper_may_die_at_each_of_its_system_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, script = sys.executable, tmp_path / "python"

    def submit(folder: Path, *options: str) -> None:
        command = " ".join((*strace(*options), python))
        # Only the wrapper of the first task is traced.
        script.write_text(f'#!/bin/sh\ncase "$*" in */0) exec {command} "$@";; esac\n')
        with script.open("a") as file:
            file.write(f'exec {python} "$@"\n')
        script.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(script))
        with closing(LocalRunner(LocalOptions(), lambda: None)) as runner:
            runner.submit([job_in(folder)])
        monkeypatch.setattr(sys, "executable", python)
        check_then_repeat(folder, " ".join(options))

    log = tmp_path / "log"
    submit(tmp_path / "traced", "-o", str(log))
    where = list(points(log.read_text(), "pread64(0,"))
    assert len(where) > 30
    for point in where:
        submit(tmp_path / f"{point[0]}-{point[1]}", *kill_at(point))


SUBMIT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_wrapper_sweep import LocalOptions, LocalRunner, job_in
job = job_in(Path(sys.argv[1]))
runner = LocalRunner(LocalOptions(), lambda: None)
print("now", flush=True)
runner.submit([job])
"""


def test_the_submitter_may_die_at_each_of_its_system_calls(tmp_path: Path) -> None:
    def submit(folder: Path, *options: str) -> None:
        here = str(Path(__file__).parent)
        command = [*strace(*options), sys.executable, "-c", SUBMIT, str(folder), here]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        check_then_repeat(folder, " ".join(options))

    log = tmp_path / "log"
    submit(tmp_path / "traced", "-o", str(log))
    where = list(points(log.read_text(), 'write(1, "now'))
    assert len(where) > 60
    for point in where:
        submit(tmp_path / f"{point[0]}-{point[1]}", *kill_at(point))
