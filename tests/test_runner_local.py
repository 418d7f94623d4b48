"""The runner contract for the local and the fake runner, and what local promises beyond it."""

import gc
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from runners.base import Job, JobReport, JobState, Rejected, Runner, Task, Unavailable
from runners.folder import Folder
from runners.local import LocalOptions, LocalRunner
from runners.testing import FakeRunner, FakeWorld, RunnerContract, ref_to, wait_for
from runners.wrapper import stat_fields


def make_local(**options: object) -> LocalRunner:
    values = {"term_grace": 5.0} | options
    return LocalRunner(LocalOptions.model_validate(values), lambda: None)


class TestLocalContract(RunnerContract):
    @pytest.fixture
    def make_runner(self) -> Callable[[], Runner]:
        return make_local


def run_for_real(job: Job) -> int:
    codes = []
    for task in job.tasks:
        task.directory.mkdir(parents=True, exist_ok=True)
        codes.append(subprocess.run(task.argv, cwd=task.directory, check=False).returncode)
    return next(filter(None, codes), 0)


class TestFakeContract(RunnerContract):
    @pytest.fixture
    def make_runner(self) -> Callable[[], Runner]:
        def seconds(job: Job) -> float:
            return float("inf") if job.tasks[0].argv[0] == "sleep" else 0.0

        world = FakeWorld(run_for_real, seconds=seconds)
        return lambda: FakeRunner(world=world)


@pytest.fixture
def runner() -> Iterator[LocalRunner]:
    with closing(make_local()) as runner:
        yield runner


def shell(folder: Path, script: str, name: str = "job", **fields: object) -> Job:
    task = Task("0_0", ("sh", "-c", script), folder / name)
    return Job(name, (task,), **fields)  # type: ignore[arg-type]


def is_running(report: JobReport) -> bool:
    return report.state is JobState.RUNNING


def run(runner: Runner, job: Job) -> JobReport:
    answer = runner.submit([job])[job.name]
    assert isinstance(answer, str), answer
    return wait_for(runner, job)


def out(job: Job) -> str:
    return (job.tasks[0].directory / "stdout.log").read_text()


def file_appears(path: Path) -> Callable[[JobReport], bool]:
    return lambda _report: path.exists() and path.read_text().endswith("\n")


def wrapper_pid(job: Job) -> int:
    claim = Folder(job.tasks[0].directory, job.name).claim()
    assert claim is not None
    return claim.pid


def await_end(pid: int) -> None:
    """Return when the process has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ends = select.poll()
        ends.register(pidfd, select.POLLIN)
        assert ends.poll(60_000), f"process {pid} does not end"
    finally:
        os.close(pidfd)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await_end(pid)


def test_environment_files_and_workdir_reach_the_command(
    runner: LocalRunner, tmp_path: Path
) -> None:
    task = Task(
        "0_0",
        ("sh", "-c", 'echo "$WORD" "$PATH"; cat "$0/in.txt"; pwd; umask; cat', f"{tmp_path}/t"),
        tmp_path / "t",
        {"WORD": "a b\n\udcff"},
        {"in.txt": "text\n"},
    )
    report = run(runner, Job("job", (task,), workdir=tmp_path))
    assert report.state is JobState.SUCCEEDED
    shown = (tmp_path / "t/stdout.log").read_bytes()
    mask = os.umask(0)
    os.umask(mask)
    path = os.environ["PATH"]
    assert shown == f"a b\n\udcff {path}\ntext\n{tmp_path}\n{mask:04o}\n".encode(
        errors="surrogateescape"
    )


def test_the_environment_is_ours_and_nothing_is_added(runner: LocalRunner, tmp_path: Path) -> None:
    job = Job("job", (Task("0_0", ("env", "-0"), tmp_path / "t", {"ADDED": "1"}),))
    run(runner, job)
    shown = dict(entry.partition("=")[::2] for entry in out(job).split("\0") if entry)
    assert shown == {**os.environ, "ADDED": "1"}


def test_what_is_rendered_is_what_is_run(runner: LocalRunner, tmp_path: Path) -> None:
    argv = ("sh", "-c", 'echo "$A it\'s $(cat in.txt)"')
    task = Task("0_0", argv, tmp_path / "rendered", {"A": "a $b"}, {"in.txt": "x'y\n"})
    script = runner.render(Job("job", (task,)))
    subprocess.run(["sh", "-c", script + "wait"], check=True)
    assert (tmp_path / "rendered/stdout.log").read_text() == "a $b it's x'y\n"


@pytest.mark.parametrize(
    ("argv", "workdir", "code", "words"),
    [
        (("no-such-command",), None, 127, "command cannot be run: No such file"),
        (("/",), None, 126, "command cannot be run: Permission denied"),
        (("true",), Path("/no/such/folder"), 127, "workdir cannot be entered: No such file"),
    ],
)
def test_a_command_that_cannot_be_started_fails_with_a_reason(
    runner: LocalRunner,
    tmp_path: Path,
    argv: tuple[str, ...],
    workdir: Path | None,
    code: int,
    words: str,
) -> None:
    report = run(runner, Job("job", (Task("0_0", argv, tmp_path / "t"),), workdir=workdir))
    assert (report.state, report.exit_code) == (JobState.FAILED, code)
    assert words in report.message


def test_a_signal_is_told_from_an_exit_status(runner: LocalRunner, tmp_path: Path) -> None:
    report = run(runner, shell(tmp_path, "kill -9 $$"))
    assert (report.state, report.exit_code, report.reason) == (JobState.FAILED, -9, "SIGNAL")


def test_what_the_command_leaves_behind_is_ended_with_it(
    runner: LocalRunner, tmp_path: Path
) -> None:
    script = "sleep 3600 & echo $!; setsid sleep 3600 & echo $!; exit 0"
    job = shell(tmp_path, script)
    assert run(runner, job).state is JobState.SUCCEEDED
    for pid in out(job).split():
        await_end(int(pid))


def test_cancel_ends_the_whole_family(runner: LocalRunner, tmp_path: Path) -> None:
    job = shell(tmp_path, "sh -c 'sleep 3600 & setsid sleep 3600 & echo $! $$; wait' & wait")
    runner.submit([job])
    log = tmp_path / "job/stdout.log"
    wait_for(runner, job, file_appears(log))
    runner.cancel([ref_to(job)])
    assert wait_for(runner, job).state is JobState.CANCELLED
    for pid in out(job).split():
        await_end(int(pid))


def test_what_ignores_the_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    job = shell(tmp_path, "trap '' TERM; echo $$; while :; do sleep 3600; done")
    with closing(make_local(term_grace="10ms")) as runner:
        runner.submit([job])
        wait_for(runner, job, file_appears(tmp_path / "job/stdout.log"))
        runner.cancel([ref_to(job)])
        report = wait_for(runner, job)
    assert (report.state, report.exit_code) == (JobState.CANCELLED, -9)


def test_a_command_may_end_well_when_cancelled(runner: LocalRunner, tmp_path: Path) -> None:
    job = shell(tmp_path, "trap 'echo saved; exit 0' TERM; echo up; sleep 3600 & wait")
    runner.submit([job])
    wait_for(runner, job, file_appears(tmp_path / "job/stdout.log"))
    runner.cancel([ref_to(job)])
    assert wait_for(runner, job).state is JobState.CANCELLED
    assert out(job) == "up\nsaved\n"


def test_an_end_that_schedd_did_not_ask_for_is_an_interruption(
    runner: LocalRunner, tmp_path: Path
) -> None:
    job = shell(tmp_path, "exec sleep 3600")
    runner.submit([job])
    wait_for(runner, job, is_running)
    os.kill(wrapper_pid(job), signal.SIGTERM)
    assert wait_for(runner, job).state is JobState.INTERRUPTED


def test_the_end_of_a_job_wakes_the_scheduler_and_leaves_no_zombie(tmp_path: Path) -> None:
    woken = threading.Event()
    with closing(LocalRunner(LocalOptions(), woken.set)) as runner:
        job = shell(tmp_path, "exit 0")
        pid = int(str(runner.submit([job])["job"]).rpartition(":")[2])
        assert woken.wait(60)
        assert runner.poll([ref_to(job)])["job"].state is JobState.SUCCEEDED
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests left is closed now, not in between
    before = sorted(os.listdir("/proc/self/fd"))
    with closing(make_local()) as runner:
        tasks = tuple(Task(f"{i}_0", ("true",), tmp_path / str(i)) for i in range(3))
        run(runner, Job("many", tasks))
        run(runner, shell(tmp_path, "exit 1"))
        runner.submit([shell(tmp_path, "exit 0", "unseen")])
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_cancelled_job_that_never_started_never_will(
    runner: LocalRunner, tmp_path: Path
) -> None:
    job = shell(tmp_path, "echo ran")
    Path(Folder(job.tasks[0].directory, job.name).place).mkdir(parents=True)
    runner.cancel([ref_to(job)])
    assert wait_for(runner, job).state is JobState.CANCELLED
    runner.submit([job])
    report = wait_for(runner, job)
    assert (report.state, report.may_have_run) == (JobState.CANCELLED, False)
    assert not (tmp_path / "job/stdout.log").exists()


@pytest.mark.parametrize(
    ("argv", "fields"),
    [
        ((), {}),
        (("a\0b",), {}),
        (("x" * 200_000,), {}),
        (("true",), {"env": {"A=B": ""}}),
        (("true",), {"env": {"A": "\0"}}),
        (("true",), {"files": {"../x": ""}}),
        (("true",), {"files": {"stdout.log": ""}}),
        (("true",), {"files": {"x": "\ud800"}}),
    ],
)
def test_impossible_tasks_are_rejected_and_nothing_of_them_exists(
    runner: LocalRunner, tmp_path: Path, argv: tuple[str, ...], fields: dict[str, dict[str, str]]
) -> None:
    answer = runner.submit([Job("job", (Task("0_0", argv, tmp_path / "t", **fields),))])["job"]
    assert isinstance(answer, Rejected)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "fields", [{"name": "A"}, {"hold": True}, {"tasks": ()}, {"workdir": Path("relative")}]
)
def test_impossible_jobs_are_rejected(
    runner: LocalRunner, tmp_path: Path, fields: dict[str, object]
) -> None:
    values = {"name": "job", "tasks": (Task("0_0", ("true",), tmp_path / "t"),)} | fields
    job = Job(**values)  # type: ignore[arg-type]
    assert isinstance(runner.submit([job])[job.name], Rejected)


def test_a_folder_that_cannot_be_made_is_a_matter_of_time(
    runner: LocalRunner, tmp_path: Path
) -> None:
    (tmp_path / "job").write_text("in the way")
    answer = runner.submit([shell(tmp_path, "exit 0")])["job"]
    assert isinstance(answer, Unavailable)
    assert "\n" not in str(answer)


def test_a_folder_of_another_job_is_refused(runner: LocalRunner, tmp_path: Path) -> None:
    job = shell(tmp_path, "exit 0")
    run(runner, job)
    other = Job("other", job.tasks)
    assert isinstance(runner.submit([other])["other"], Rejected)
    runner.cancel([ref_to(other)])
    assert wait_for(runner, job).state is JobState.SUCCEEDED


def test_doctor_finds_that_processes_can_be_started(runner: LocalRunner) -> None:
    ((works, sentence),) = runner.check()
    assert works, sentence


def test_options_are_read_as_people_write_them() -> None:
    options = LocalOptions.model_validate(
        {"max_procs": 3, "term_grace": "1.5m", "output_limit": "1MiB"}
    )
    assert (options.max_procs, options.term_grace, options.output_limit) == (3, 90.0, 1 << 20)
    assert make_local(max_procs=3).max_jobs == 3


@pytest.mark.parametrize(
    "section",
    [
        {"max_procs": 0},
        {"term_grace": "soon"},
        {"term_grace": -1},
        {"output_limit": "1XB"},
        {"x": 1},
    ],
)
def test_bad_options_are_errors(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LocalOptions.model_validate(section)


def test_the_claim_names_the_wrapper_and_the_command_inherits_two_files(
    runner: LocalRunner, tmp_path: Path
) -> None:
    job = shell(tmp_path, "ls /proc/self/fd; exec 3>&1; echo up; exec sleep 3600")
    runner.submit([job])
    log = tmp_path / "job/stdout.log"
    wait_for(runner, job, lambda _: log.read_text().endswith("up\n"))
    claim = Folder(job.tasks[0].directory, job.name).claim()
    assert claim is not None
    assert int(stat_fields(str(claim.pid))[19]) == claim.starttime
    runner.cancel([ref_to(job)])
    assert wait_for(runner, job).state is JobState.CANCELLED
    # 0 to 2, the lock and the pipe, out of reach of exec 3>; the folder that ls reads, and "up".
    assert len(out(job).split()) == 7
