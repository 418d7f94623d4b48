"""What runs on a node, run here: the job script that sbatch was given, started as Slurm does."""

import ast
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from slurm_fakes import Clock, FakeSlurm, make_job, make_runner, path_with, ref, row, seat_of, task

from runners import wrapper
from runners.base import Job, JobState
from runners.folder import Claim
from runners.slurm import SlurmRunner, node
from runners.wrapper import NOT_OURS, survivors


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "fake")
    fake.does("sbatch", f"cat > {fake.folder}/script; echo 17")
    monkeypatch.setenv("PATH", path_with([fake]))
    return fake


def node_runner(**options: object) -> SlurmRunner:
    return make_runner(Clock(), python=sys.executable, term_grace="5s", **options)


def start(
    fake: FakeSlurm, *, job_id: str = "17", restart: int = 0, index: int | None = None
) -> "subprocess.Popen[str]":
    """Start the job script; its output is ours to read."""
    ids = {"SLURM_JOB_ID": job_id, "SLURMD_NODENAME": "n1", "SLURM_CPUS_PER_TASK": "3"}
    if restart:
        ids["SLURM_RESTART_COUNT"] = str(restart)
    if index is not None:
        ids |= {"SLURM_ARRAY_JOB_ID": job_id, "SLURM_ARRAY_TASK_ID": str(index)}
    return subprocess.Popen(
        ["bash", str(fake.folder / "script")],
        env={**os.environ, **ids},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def run(fake: FakeSlurm, **fields: object) -> tuple[int, str]:
    process = start(fake, **fields)  # type: ignore[arg-type]
    out, _ = process.communicate()
    return process.returncode, out


def ready(process: "subprocess.Popen[str]") -> None:
    """Return when its command says that it stands."""
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"


def end(process: "subprocess.Popen[str]") -> int:
    process.communicate()
    return process.returncode


def claim_of(job: Job, index: int = 0) -> Claim:
    claim = seat_of(job, index).claim()
    assert claim is not None
    return claim


def record_of(job: Job) -> dict[str, object]:
    return json.loads(Path(seat_of(job).place, "exit.json").read_text())


def shell(folder: Path, script: str, name: str = "job", **fields: object) -> Job:
    return make_job(folder, name, "sh", "-c", script, str(folder), **fields)


def test_the_command_runs_once_with_all_that_it_needs(fake: FakeSlurm, tmp_path: Path) -> None:
    script = 'echo "$A" "$SLURM_JOB_ID" "$SRUN_CPUS_PER_TASK"; pwd; cat "$0/job/in.txt"; exit 3'
    job = Job(
        "job",
        (task(tmp_path / "job", "sh", "-c", script, str(tmp_path), env={"A": "a 'b'\n,"},
              files={"in.txt": "text\n"}),),
        tmp_path,
    )  # fmt: skip
    runner = node_runner()
    assert runner.submit([job]) == {"job": "17"}
    assert run(fake) == (3, f"a 'b'\n, 17 3\n{tmp_path}\ntext\n")
    claim = claim_of(job)
    assert (claim.job_id, claim.node, claim.restart) == ("17", "n1", 0)
    assert run(fake) == (NOT_OURS, "")
    assert run(fake, job_id="18", restart=1) == (NOT_OURS, "")
    report = runner.poll([ref(job, "17")])["job"]
    assert (report.state, report.exit_code, report.job_id) == (JobState.FAILED, 3, "17")
    assert fake.calls("squeue") == []


def test_each_element_of_an_array_is_its_task(fake: FakeSlurm, tmp_path: Path) -> None:
    jobs = [shell(tmp_path, f"echo {i}", f"j{i}") for i in range(3)]
    node_runner().submit(jobs)
    for i in (2, 0):
        assert run(fake, index=i) == (0, f"{i}\n")
        assert claim_of(jobs[i]).job_id == f"17_{i}"
    assert seat_of(jobs[1]).claim() is None


def test_a_cancelled_task_never_starts(fake: FakeSlurm, tmp_path: Path) -> None:
    runner, job = node_runner(), shell(tmp_path, "echo ran")
    runner.submit([job])
    runner.cancel([ref(job, "17")])
    assert run(fake) == (NOT_OURS, "")


UP = "echo up; exec sleep 3600"


@pytest.mark.parametrize("policy", ["fail", "resume"])
def test_a_requeued_command_runs_again_only_where_it_may(
    fake: FakeSlurm, tmp_path: Path, policy: str
) -> None:
    again = f'test -e "$0/again" && exit 0; : > "$0/again"; {UP}'
    job = shell(tmp_path, again)
    node_runner(requeue=True, on_requeue=policy).submit([job])
    process = start(fake)
    ready(process)
    os.killpg(process.pid, signal.SIGTERM)
    assert end(process) == 128 + signal.SIGTERM
    assert record_of(job)["ended_by"] == "interrupt"
    assert run(fake)[0] == NOT_OURS, "the same start"
    assert run(fake, job_id="18", restart=1)[0] == NOT_OURS, "another Slurm job"
    assert run(fake, restart=1)[0] == (0 if policy == "resume" else NOT_OURS)
    if policy == "resume":
        assert claim_of(job).restart == 1
        assert run(fake, restart=2)[0] == NOT_OURS, "it has ended by itself"
    assert record_of(job)["ended_by"] == ("itself" if policy == "resume" else "interrupt")


def test_a_killed_wrapper_s_command_is_resumed_when_nobody_has_its_lock(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    job = shell(tmp_path, f'test -e "$0/again" && exit 0; : > "$0/again"; {UP}')
    node_runner(requeue=True, on_requeue="resume").submit([job])
    process = start(fake)
    ready(process)
    process.kill()
    process.wait()
    assert run(fake, restart=1)[0] == NOT_OURS, "the first body is alive"
    at = os.stat(f"{seat_of(job).place}/lock")
    for pid, _ in survivors(-1, (at.st_dev, at.st_ino)):
        os.kill(pid, signal.SIGKILL)
    end(process)
    assert run(fake, restart=1)[0] == 0


def test_what_was_to_be_cancelled_is_not_resumed(fake: FakeSlurm, tmp_path: Path) -> None:
    runner, job = node_runner(requeue=True, on_requeue="resume"), shell(tmp_path, UP)
    runner.submit([job])
    process = start(fake)
    ready(process)
    os.killpg(process.pid, signal.SIGTERM)
    end(process)
    fake.queue(row("17", "PENDING", "job-s1", "BeginTime"))
    runner.cancel([ref(job, "17")])
    assert fake.calls("scancel") == [["17"]]
    assert run(fake, restart=1) == (NOT_OURS, "")


def test_somebody_who_looks_at_the_lock_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    order = SimpleNamespace(place=os.fsencode(tmp_path), lock_fd=-1)
    with open(path, "w+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        monkeypatch.setattr(node.time, "sleep", lambda _: fcntl.flock(lock, fcntl.LOCK_UN))
        assert node.lock(order) is True
    os.close(order.lock_fd)


@pytest.mark.parametrize("module", [node, wrapper])
def test_an_older_python_of_a_node_can_read_it(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 9))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    notes = [one.annotation for f in functions for one in f.args.args] + [
        f.returns for f in functions
    ]
    unions = [part for note in notes if note for part in ast.walk(note)]
    assert not [part for part in unions if isinstance(part, ast.BitOr)]


def test_where_somebody_has_the_lock_nothing_starts(fake: FakeSlurm, tmp_path: Path) -> None:
    job = shell(tmp_path, "echo ran")
    node_runner().submit([job])
    with open(f"{seat_of(job).place}/lock", "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(fake) == (NOT_OURS, "")
    assert run(fake) == (0, "ran\n")


def test_a_signal_for_a_checkpoint_reaches_the_command_alone(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    traps = "trap 'echo saved' USR1; trap 'echo other' USR2"
    script = f"{traps}; echo up; while :; do sleep 0.01; done"
    job = shell(tmp_path, script)
    node_runner(signal="USR1@60", setup=["true"]).submit([job])
    process = start(fake)
    ready(process)
    assert process.stdout is not None
    os.kill(process.pid, signal.SIGUSR1)
    assert process.stdout.readline() == "saved\n"
    os.kill(process.pid, signal.SIGUSR2)
    assert process.stdout.readline() == "other\n"
    os.kill(process.pid, signal.SIGTERM)
    assert end(process) == 128 + signal.SIGTERM
    assert record_of(job)["ended_by"] == "interrupt"


def test_a_command_that_dies_first_of_what_was_meant_for_all_was_interrupted(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    """Slurm signals every process of a job, one after the other."""
    job = shell(tmp_path, "echo up; echo $$; exec sleep 3600")
    node_runner().submit([job])
    process = start(fake)
    ready(process)
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGTERM)
    os.kill(process.pid, signal.SIGTERM)
    end(process)
    assert record_of(job)["ended_by"] == "interrupt"


@pytest.mark.parametrize(
    ("setup", "status", "said"),
    [
        (["export A=1", "false"], 1, "false"),
        (["exit 5"], 5, "exit 5"),
        (["exit 0"], 1, "exit 0"),
        (['echo "a" | grep b'], 1, "echo 'a' | grep b"),
        (["if"], 2, "if"),
        (["no-such-command"], 127, "no-such-command"),
    ],
)
def test_a_setup_that_fails_is_the_end_and_says_where(
    fake: FakeSlurm, tmp_path: Path, setup: list[str], status: int, said: str
) -> None:
    runner, job = node_runner(setup=setup), shell(tmp_path, "echo ran")
    runner.submit([job])
    _, out = run(fake)
    assert "ran" not in out
    report = runner.poll([ref(job, "17")])["job"]
    assert (report.state, report.exit_code) == (JobState.FAILED, status)
    assert report.message == f"its setup failed with exit status {status}: {said}"
    assert run(fake)[0] != 0
    assert "ran" not in run(fake)[1]


def test_a_setup_changes_the_shell_that_the_command_starts_from(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    (tmp_path / "activate").write_text("export A='x y'\nB=hidden\n")
    setup = ["source ./activate", "export C=$B", 'f() { echo "in f"; }; f']
    job = shell(tmp_path, 'echo "$A" "$C"', workdir=tmp_path)
    node_runner(setup=setup).submit([job])
    process = subprocess.run(
        ["bash", str(fake.folder / "script")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "SLURM_JOB_ID": "17"},
    )
    assert process.stdout == "in f\nx y hidden\n"


CGROUPS = [
    (b"0::/slurm/job_17/step_batch\n", {b"/sys/fs/cgroup/slurm/job_17/step_batch/memory.events":
        b"low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n"}, 3),
    (b"5:cpu,cpuacct:/x\n4:memory:/slurm/job_17\n0::/\n",
        {b"/sys/fs/cgroup/memory/slurm/job_17/memory.oom_control":
         b"oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"}, 1),
    (b"4:memory:/x\n", {b"/sys/fs/cgroup/memory/x/memory.oom_control": b"under_oom 0\n"}, 0),
    (b"0::/x\n", {b"/sys/fs/cgroup/x/memory.events": b""}, 0),
    (b"0::/nothing\n", {}, 0),
    (b"\n", {}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("own", "files", "kills"), CGROUPS)
def test_kills_for_want_of_memory_are_counted(
    monkeypatch: pytest.MonkeyPatch, own: bytes, files: dict[bytes, bytes], kills: int
) -> None:
    def read(path: bytes) -> bytes:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    files = {**files, b"/proc/self/cgroup": own}
    monkeypatch.setattr(wrapper, "read", read)
    assert node.oom_kills() == kills


def test_the_code_on_the_node_is_a_copy_that_needs_nothing(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    job = shell(tmp_path, "echo ran")
    node_runner().submit([job])
    folder = Path(seat_of(job).place, "job-s1")
    assert sorted(path.name for path in folder.iterdir()) == ["__main__.py", "tasks", "wrapper.py"]
    assert run(fake) == (0, "ran\n")
    assert not (folder / "__pycache__").exists()
