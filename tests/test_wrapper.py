"""What survives the death of the submitter, of the wrapper, of half a submission."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from test_runner_local import (  # the fixture runner among them
    await_end,
    file_appears,
    is_running,
    kill,
    make_local,
    out,
    run,
    runner,
    shell,
    wrapper_pid,
)

from runners.base import Job, JobState, Task, Unavailable
from runners.folder import Folder, boot_id
from runners.local import LocalOptions, LocalRunner
from runners.testing import ref_to, wait_for

__all__ = ["runner"]


def test_a_dead_wrapper_s_command_runs_on_and_is_then_lost(
    runner: LocalRunner, tmp_path: Path
) -> None:
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    job = shell(tmp_path, f"echo up; read line < {fifo}")
    runner.submit([job])
    wait_for(runner, job, file_appears(tmp_path / "job/stdout.log"))
    kill(wrapper_pid(job))
    assert wait_for(runner, job, lambda _: True).state is JobState.RUNNING
    fifo.write_text("go on\n")
    report = wait_for(runner, job)
    assert (report.state, report.reason, report.may_have_run) == (JobState.LOST, "LOST", True)
    answer = runner.submit([job])["job"]
    assert isinstance(answer, str)
    assert wait_for(runner, job).state is JobState.LOST
    assert out(job) == "up\n"


def test_cancel_kills_what_a_dead_wrapper_left(runner: LocalRunner, tmp_path: Path) -> None:
    closes = f'exec {sys.executable} -c \'import subprocess; subprocess.run(["sleep", "3600"])\''
    job = shell(tmp_path, f"sleep 3600 & echo $$ $!; {closes}")
    runner.submit([job])
    wait_for(runner, job, file_appears(tmp_path / "job/stdout.log"))
    kill(wrapper_pid(job))
    runner.cancel([ref_to(job)])
    assert wait_for(runner, job).state is JobState.CANCELLED
    for pid in out(job).split():
        await_end(int(pid))


SUBMIT_AND_DIE = """
import os, signal, sys
from pathlib import Path
from runners.base import Job, Task
from runners.local import LocalOptions, LocalRunner
task = Task("0_0", ("sh", "-c", "echo up; exec sleep 3600"), Path(sys.argv[1]))
print(LocalRunner(LocalOptions(), lambda: None).submit([Job("job", (task,))])["job"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_job_outlives_the_process_that_submitted_it(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    command = [sys.executable, "-c", SUBMIT_AND_DIE, str(folder)]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    job = Job("job", (Task("0_0", ("unused",), folder),))
    woken = threading.Event()
    with closing(LocalRunner(LocalOptions(), woken.set)) as runner:
        report = wait_for(runner, job, is_running)
        assert report.job_id == died.stdout.strip()
        runner.cancel([ref_to(job)])
        assert woken.wait(60)
        assert wait_for(runner, job).state is JobState.CANCELLED


SUBMIT_ONCE = """
import sys
from pathlib import Path
from runners.base import Job, Task
from runners.local import LocalOptions, LocalRunner
script = 'echo ran >> "$0"'
tasks = tuple(
    Task(f"{i}_0", ("sh", "-c", script, f"{sys.argv[1]}/ran{i}"), Path(sys.argv[1], str(i)))
    for i in range(2)
)
sys.stdin.readline()
LocalRunner(LocalOptions(), lambda: None).submit([Job("job", tasks)])
"""


def test_eight_processes_that_submit_one_job_run_it_once(
    runner: LocalRunner, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SUBMIT_ONCE, str(tmp_path)]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(8)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"\n")
        racer.stdin.flush()
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    tasks = tuple(Task(f"{i}_0", ("unused",), tmp_path / str(i)) for i in range(2))
    assert wait_for(runner, Job("job", tasks)).state is JobState.SUCCEEDED
    assert [(tmp_path / f"ran{i}").read_text() for i in range(2)] == ["ran\n", "ran\n"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_long_output_keeps_its_head_and_its_tail(tmp_path: Path, stream: str) -> None:
    script = "echo first; seq 100000; echo last"
    with closing(make_local(output_limit="16KiB")) as runner:
        job = shell(tmp_path, f"({script})" + (" >&2" if stream == "stderr" else ""))
        assert run(runner, job).state is JobState.SUCCEEDED
    log = (tmp_path / f"job/{stream}.log").read_text()
    assert len(log) <= 16 * 1024
    assert log.startswith("first\n1\n2\n")
    assert log.endswith("\n99999\n100000\nlast\n")
    assert "[schedd: the output was too long" in log


def half_made(job: Job, boot: str) -> None:
    """Leave what a submission leaves that died before it started the wrapper."""
    place = Path(Folder(job.tasks[0].directory, job.name).place)
    place.mkdir(parents=True)
    (place / "lock").write_text(boot)


def test_a_submission_that_died_half_way_is_repeated(runner: LocalRunner, tmp_path: Path) -> None:
    job = shell(tmp_path, "exit 0")
    half_made(job, boot_id())
    report = wait_for(runner, job)
    assert (report.state, report.may_have_run) == (JobState.LOST, False)
    assert run(runner, job).state is JobState.SUCCEEDED


def test_a_job_lost_under_a_known_id_is_fenced(runner: LocalRunner, tmp_path: Path) -> None:
    job = shell(tmp_path, "echo ran")
    half_made(job, boot_id())
    assert runner.poll([ref_to(job, "host:1")])["job"].state is JobState.LOST
    runner.submit([job])
    assert wait_for(runner, job).state is JobState.LOST
    assert not (tmp_path / "job/stdout.log").exists()


def test_an_unclaimed_job_of_another_boot_may_have_run(
    runner: LocalRunner, tmp_path: Path
) -> None:
    job = shell(tmp_path, "exit 0")
    half_made(job, "another-boot")
    for _ in range(2):
        report = wait_for(runner, job)
        assert (report.state, report.may_have_run) == (JobState.LOST, True)


def test_a_claimed_job_of_another_boot_was_interrupted(
    runner: LocalRunner, tmp_path: Path
) -> None:
    job = shell(tmp_path, "exit 0")
    half_made(job, "another-boot")
    claim = {"job": "job", "boot_id": "another-boot", "host": "h", "pid": os.getpid()}
    (tmp_path / "job/.schedd/claim").write_text(json.dumps(claim))
    report = wait_for(runner, job)
    assert (report.state, report.reason) == (JobState.INTERRUPTED, "NODE_FAIL")


def test_a_wrapper_without_its_starting_signal_runs_nothing(
    runner: LocalRunner, tmp_path: Path
) -> None:
    blocked = tmp_path / "2"
    blocked.write_text("not a folder")
    tasks = tuple(Task(f"{i}_0", ("true",), tmp_path / str(i)) for i in range(3))
    job = Job("job", tasks)
    assert isinstance(runner.submit([job])["job"], Unavailable)
    report = wait_for(runner, Job("job", tasks[:2]))
    assert (report.state, report.may_have_run) == (JobState.LOST, False)
    blocked.unlink()
    assert run(runner, job).state is JobState.SUCCEEDED


@pytest.mark.parametrize("kind", ["link", "fifo", "huge", "text", "types", "folder"])
@pytest.mark.parametrize("name", ["exit.json", "claim"])
def test_spoilt_files_are_never_believed(
    runner: LocalRunner, tmp_path: Path, name: str, kind: str
) -> None:
    job = shell(tmp_path, "exit 0")
    assert run(runner, job).state is JobState.SUCCEEDED
    spoil(tmp_path / "job/.schedd" / name, kind)
    report = wait_for(runner, job)
    kept = name == "claim"
    assert report.state is (JobState.SUCCEEDED if kept else JobState.LOST)
    runner.cancel([ref_to(job)])
    runner.submit([job])
    assert wait_for(runner, job).state is report.state


def spoil(path: Path, kind: str) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    if kind == "link":
        path.symlink_to(kept)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        texts = {"huge": "{" + " " * 10**6 + "}", "text": "{]", "types": '{"rc": "0", "pid": -1}'}
        path.write_text(texts[kind])
