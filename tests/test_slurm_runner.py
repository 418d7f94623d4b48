"""The runner over fake commands: what a real cluster cannot be made to do when a test wants it."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError
from slurm_fakes import (
    Clock,
    FakeSlurm,
    claim,
    make_job,
    make_runner,
    note_of,
    path_with,
    record,
    ref,
    row,
    seat_of,
    task,
)

from runners.base import Job, JobState, Rejected, Resources, Unavailable
from runners.slurm import SlurmOptions, call
from runners.slurm.answers import AtLimit, Full
from scheduler.cli import cli

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
AT_LIMIT = """
for word in "$@"; do case $word in --array=0-*) last=${word#--array=0-};; esac; done
if test "${last:-0}" -ge ROOM; then
  echo "sbatch: error: ERROR" >&2
  echo "sbatch: error: Batch job submission failed: WORDS" >&2
  exit 1
fi
echo 17
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "fake")
    fake.says("sbatch", "17\n")
    monkeypatch.setenv("PATH", path_with([fake]))
    return fake


def names(fake: FakeSlurm) -> list[str]:
    words = [word for call in fake.calls("sbatch") for word in call]
    return [word.partition("=")[2] for word in words if word.startswith("--job-name=")]


# -- what is rendered


def test_the_command_line_and_the_script(clock: Clock) -> None:
    job = Job(
        "schedd-1f2e3d4c-t0-a1",
        (task(Path("/data/100%/t/0/a1"), "python", "train.py"),),
        Path("/data/my project"),
        resources=Resources(nodes=2, cpus=8, gpus=1, memory=(32 << 30) + 1, time=3601.0),
        avoid=("n1", "n2"),
        hold=True,
    )
    runner = make_runner(
        clock,
        partition="gpu",
        account="ml",
        qos="normal",
        requeue=True,
        signal="SIGUSR1@120",
        setup=["module load cuda/12.4", "echo 'it''s'"],
        sbatch_args=["--constraint=a100", "--exclusive"],
    )
    assert runner.render(job) == (
        """sbatch \\
  --parsable \\
  --job-name=schedd-1f2e3d4c-t0-a1-s1 \\
  --comment=schedd \\
  '--chdir=/data/my project' \\
  --output=/data/100%%/t/0/a1/stdout.log \\
  --error=/data/100%%/t/0/a1/stderr.log \\
  --open-mode=append \\
  --export=ALL \\
  --hold \\
  --requeue \\
  --signal=B:USR1@120 \\
  --nodes=2 \\
  --cpus-per-task=8 \\
  --gres=gpu:1 \\
  --mem=32769M \\
  --time=61 \\
  --partition=gpu \\
  --account=ml \\
  --qos=normal \\
  --exclude=n1,n2 \\
  --constraint=a100 \\
  --exclusive <<'SCRIPT'
#!/bin/bash
[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
trap : USR1
trap 'exec /usr/bin/python3 -ISB /data/100%/t/0/a1/.schedd/schedd-1f2e3d4c-t0-a1-s1 "$?" """
        """"$step"' EXIT
step='module load cuda/12.4'; eval "$step" || exit
step='echo '"'"'it'"'"''"'"'s'"'"''; eval "$step" || exit
trap - EXIT
exec /usr/bin/python3 -ISB /data/100%/t/0/a1/.schedd/schedd-1f2e3d4c-t0-a1-s1
SCRIPT
"""
    )


def test_every_directive_can_be_left_out(clock: Clock, tmp_path: Path) -> None:
    job = Job("job", tuple(task(tmp_path / str(i), name=str(i)) for i in range(3)))
    text = make_runner(clock, environment="login", python=None).render(job)
    options = [line.strip(" \\") for line in text.replace(" <<", "\n<<").splitlines()]
    assert [word for word in options if word.startswith("--")] == [
        "--parsable",
        "--job-name=job-s1",
        "--comment=schedd",
        "--array=0-2",
        f"--chdir={tmp_path}/0",
        f"--output={tmp_path}/0/.schedd/job-s1/%a.out",
        f"--error={tmp_path}/0/.schedd/job-s1/%a.err",
        "--open-mode=append",
        "--export=ALL",
        "--no-requeue",
    ]
    assert "#!/bin/bash -l" in options
    assert options[-2] == f"exec {sys.executable} -ISB {tmp_path}/0/.schedd/job-s1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "section",
    [
        {"partition": "a b"},
        {"account": "--x"},
        {"sbatch_args": ["--job-name=evil"]},
        {"sbatch_args": ["--out=x"]},
        {"sbatch_args": ["--wrap=true"]},
        {"sbatch_args": ["-C"]},
        {"sbatch_args": ["a100"]},
        {"sbatch_args": ["--comment=a\n#SBATCH --hold"]},
        {"signal": "KILL@10"},
        {"signal": "B:USR1@10"},
        {"on_requeue": "ignore"},
        {"environment": "all"},
        {"prefix": [""]},
        {"setup": [" "]},
        {"poll_floor": "soon"},
        {"queue": "gpu"},
    ],
)
def test_bad_options_are_errors(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SlurmOptions.model_validate(section)


# -- submission


def test_jobs_of_equal_needs_are_one_array_and_each_is_noted_before(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    small = [make_job(tmp_path, f"small{i}") for i in range(3)]
    large = make_job(tmp_path, "large", resources=Resources(cpus=8))
    fake.does("sbatch", f"cat {tmp_path}/small2/.schedd/slurm.json > {fake.folder}/seen; echo 17")
    answers = make_runner(clock).submit([small[0], large, *small[1:]])
    assert answers == {"small0": "17_0", "small1": "17_1", "small2": "17_2", "large": "17"}
    assert names(fake) == ["small0-s1", "large-s1"]
    assert json.loads((fake.folder / "seen").read_text())["given"][0]["index"] == 2
    links = [os.readlink(tmp_path / f"small0/.schedd/small0-s1/{i}.err") for i in range(3)]
    assert links == [f"{tmp_path}/small{i}/stderr.log" for i in range(3)]


def test_an_unclear_submission_is_resolved_by_name_and_never_repeated_before(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner, job = make_runner(clock), make_job(tmp_path)
    fake.says("sbatch", err=TIMED_OUT, status=1)
    answer = runner.submit([job])["job"]
    assert type(answer) is Unavailable
    for _ in range(3):
        clock.now += 60
        reports = runner.poll([ref(job)])
        if reports:
            break
        assert isinstance(runner.submit([job])["job"], Unavailable)
    assert (reports["job"].state, reports["job"].may_have_run) == (JobState.LOST, False)
    assert clock.now >= 1_000_000 + 120
    assert names(fake) == ["job-s1"]
    fake.says("sbatch", "18\n")
    assert runner.submit([job])["job"] == "18"
    assert names(fake) == ["job-s1", "job-s2"]
    assert [given.name for given in note_of(job).given] == ["job-s1", "job-s2"]


def test_a_late_first_submission_is_recognised_and_one_of_the_two_is_cancelled(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    test_an_unclear_submission_is_resolved_by_name_and_never_repeated_before(fake, clock, tmp_path)
    runner, job = make_runner(clock), make_job(tmp_path)
    clock.now += 60
    fake.queue(row("17", "PENDING", "job-s1", "Priority"), row("18", "PENDING", "job-s2"))
    report = runner.poll([ref(job, "18")])["job"]
    assert (report.state, report.job_id) == (JobState.QUEUED, "17")
    assert fake.calls("scancel") == [["18"]]
    claim(job, "17", at=clock.now)
    clock.now += 60
    fake.queue(row("17", "RUNNING", "job-s1"), row("18", "COMPLETING", "job-s2"))
    assert runner.poll([ref(job, "18")])["job"].state is JobState.RUNNING


def test_a_submission_that_got_through_unheard_is_adopted(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    job = make_job(tmp_path)
    fake.does("sbatch", "echo 17; kill -9 $$")
    assert type(make_runner(clock).submit([job])["job"]) is Unavailable
    clock.now += 1
    fake.queue(row("17", "PENDING", "job-s1", "Resources"))
    after_a_crash = make_runner(clock)
    assert after_a_crash.poll([ref(job)])["job"].job_id == "17"
    assert after_a_crash.submit([job]) == {"job": "17"}
    assert len(fake.calls("sbatch")) == 1


def test_a_command_that_hangs_is_killed(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.does("squeue", "sleep 3600 & sleep 3600")
    answer = call.call((), ["squeue"], timeout=0.05)
    assert answer.status is None
    fake.does("sbatch", f"echo $PPID > {fake.folder}/pid; exec sleep 3600")
    real = call.call
    monkeypatch.setattr(
        "runners.slurm.cluster.call", lambda *args, **more: real(*args, **more, timeout=0.3)
    )
    runner, job = make_runner(clock), make_job(tmp_path)
    assert type(runner.submit([job])["job"]) is Unavailable
    other = make_job(tmp_path, "other")
    assert type(runner.submit([other])["other"]) is Full
    assert len(fake.calls("sbatch")) == 1


def test_a_silent_controller_is_asked_for_one_job_and_not_for_each(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner = make_runner(clock)
    jobs = [make_job(tmp_path, f"j{i}", resources=Resources(cpus=i + 1)) for i in range(5)]
    fake.says("sbatch", err=TIMED_OUT, status=1)
    answers = runner.submit(jobs)
    assert [type(answers[job.name]) for job in jobs] == [Unavailable, Full, Full, Full, Full]
    assert len(fake.calls("sbatch")) == 1
    report = runner.poll([ref(jobs[1])])["j1"]
    assert (report.state, report.may_have_run) == (JobState.LOST, False)
    clock.now += 5
    assert type(runner.submit(jobs[1:])["j1"]) is Full
    fake.says("sbatch", "18\n")
    clock.now += 60
    assert runner.submit(jobs[1:])["j1"] == "18"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("Job violates accounting/QOS policy", "AssocMaxSubmitJobLimit"),
        ("Invalid job array specification", "x"),
    ],
)
def test_what_is_too_much_at_once_is_given_in_parts(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, words: str, error: str
) -> None:
    script = AT_LIMIT.replace("ROOM", "5").replace("WORDS", words).replace("ERROR", error)
    fake.does("sbatch", script)
    jobs = [make_job(tmp_path, f"j{i}") for i in range(12)]
    answers = make_runner(clock).submit(jobs)
    assert all(isinstance(answer, str) for answer in answers.values())
    assert len(fake.calls("sbatch")) <= 8
    assert len(set(names(fake))) == len(names(fake))
    assert {len(note_of(job).given) for job in jobs} == {1}


def test_a_full_queue_is_asked_once_in_a_floor(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    refusal = "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission "
    fake.says("sbatch", err=f"{refusal}failed: Job violates accounting/QOS policy\n", status=1)
    runner = make_runner(clock)
    jobs = [make_job(tmp_path, f"j{i}") for i in range(4)]
    for _ in range(12):
        answers = runner.submit(jobs)
        assert {type(answer) for answer in answers.values()} == {AtLimit}
        assert "QOSMaxSubmitJobPerUserLimit" in str(answers["j0"])
        assert runner.poll([ref(job) for job in jobs])["j3"].may_have_run is False
        clock.now += 5
    assert len(fake.calls("sbatch")) == 3
    assert fake.calls("squeue") == []


def test_a_refusal_for_good_is_told_in_slurm_s_words_and_leaves_nothing(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
    fake.says("sbatch", err=said, status=1)
    job = make_job(tmp_path)
    answer = make_runner(clock, partition="nope").submit([job])["job"]
    assert isinstance(answer, Rejected)
    assert "Invalid partition name specified" in str(answer)
    assert note_of(job).given == ()


def test_nodes_to_avoid_are_a_wish(fake: FakeSlurm, clock: Clock, tmp_path: Path) -> None:
    reason = "sbatch: error: Batch job submission failed: Requested node configuration is not av"
    refuse = f"""case "$*" in *--exclude*) echo '{reason}' >&2; exit 1;; esac; echo 17"""
    fake.does("sbatch", refuse)
    job = make_job(tmp_path, avoid=("n1", "n2"))
    assert make_runner(clock).submit([job]) == {"job": "17"}
    assert names(fake) == ["job-s1", "job-s2"]


@pytest.mark.parametrize(
    "fields",
    [{"name": "A"}, {"avoid": ("n1;x",)}, {"workdir": Path("a")}, {"workdir": Path("/a\nb")}],
)
def test_impossible_jobs_are_rejected(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, fields: dict[str, object]
) -> None:
    job = Job(**{"name": "job", "tasks": (task(tmp_path / "t"),), **fields})  # type: ignore[arg-type]
    assert isinstance(make_runner(clock).submit([job])[job.name], Rejected)
    assert fake.calls("sbatch") == []


def test_a_trial_is_examined_without_a_trace(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner, job = make_runner(clock), make_job(tmp_path)
    fake.says("sbatch", err="sbatch: Job 62 to start at 2026-11-22T02:53:37 using 1 processors\n")
    runner.examine(job)
    assert "--test-only" in fake.calls("sbatch")[0]
    assert not (tmp_path / "job").exists()
    for said, kind in (
        ("allocation failure: Requested node configuration is not available\n", Rejected),
        ("sbatch: unrecognized option '--foo'\n", Rejected),
        ("allocation failure: Unable to contact slurm controller\n", Unavailable),
    ):
        fake.says("sbatch", err=said, status=1)
        with pytest.raises(kind):
            runner.examine(job)


def test_without_sbatch_nothing_was_asked(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    runner, job = make_runner(clock), make_job(tmp_path)
    answer = runner.submit([job])["job"]
    assert type(answer) is Full
    assert "sbatch cannot be run here" in str(answer)
    assert runner.poll([ref(job)])["job"].may_have_run is False


def test_a_folder_of_another_job_is_refused(fake: FakeSlurm, clock: Clock, tmp_path: Path) -> None:
    runner, job = make_runner(clock), make_job(tmp_path)
    runner.submit([job])
    claim(job, "17")
    other = Job("other", job.tasks)
    assert isinstance(runner.submit([other])["other"], Rejected)


# -- the way to the commands


def test_ssh_splits_once_more_and_nothing_is_lost(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    FakeSlurm.executable(fake.bin / "ssh", '#!/bin/sh\nshift\nexec sh -c "$*"\n')
    folder = tmp_path / 'it\'s a "$(difficult)" `name` *'
    for prefix in ([], ["ssh", "login"], ["ssh", "gate", "/usr/bin/env", "ssh", "login"]):
        job = make_job(folder, f"job{len(prefix)}", workdir=folder)
        runner = make_runner(clock, prefix=prefix, sbatch_args=["--constraint=a&b|c"])
        assert runner.submit([job]) == {job.name: "17"}
        argv = fake.calls("sbatch")[-1]
        assert f"--chdir={folder}" in argv
        assert argv[-1] == "--constraint=a&b|c"
        assert runner.render(job).startswith(prefix[0] if prefix else "sbatch")


def test_what_speaks_to_slurm_s_commands_is_kept_from_them(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = ("SBATCH_ACCOUNT", "SLURM_JOB_ID", "SLURMD_NODENAME", "SQUEUE_FORMAT", "PMI_RANK")
    secret += ("PMIX_RANK", "SCHEDD_STORAGE", "NOTIFY_SOCKET", "SLURM_TIME_FORMAT")
    for name in secret:
        monkeypatch.setenv(name, "evil")
    monkeypatch.setenv("SLURM_CONF", "/etc/x.conf")
    monkeypatch.setenv("MINE", "kept")
    fake.does("sbatch", f"env > {fake.folder}/env; echo 17")
    for environment, kept in (("submit", True), ("login", False)):
        make_runner(clock, environment=environment).submit([make_job(tmp_path, environment)])
        shown = dict(line.split("=", 1) for line in (fake.folder / "env").read_text().splitlines())
        assert not set(secret) & set(shown)
        assert shown["SLURM_CONF"] == "/etc/x.conf"
        assert (shown.get("MINE") == "kept") is kept


# -- poll


def submitted(runner, folder: Path, count: int) -> list[Job]:
    jobs = [make_job(folder, f"j{i}") for i in range(count)]
    runner.submit(jobs)
    return jobs


def test_the_bound_on_calls_whatever_the_number_of_trials(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    """Ten minutes, a poll every five seconds, of two runners with 60 jobs: one squeue a minute."""
    fake.accounts()
    runners = [make_runner(clock), make_runner(clock)]
    jobs = [submitted(runner, tmp_path / str(i), 60) for i, runner in enumerate(runners)]
    rows = [row(f"17_{i}", "PENDING", "j0-s1", "Priority") for i in range(50)]
    fake.queue(*rows)
    for _ in range(60):
        for runner, mine in zip(runners, jobs, strict=True):
            clock.now += 5
            runner.poll([ref(job, "17") for job in mine])
    assert 9 <= len(fake.calls("squeue")) <= 10
    assert len(fake.calls("sacct")) <= 10
    assert len(fake.calls("sbatch")) == 2
    assert len(fake.calls("scancel")) <= 10


def test_jobs_whose_folders_tell_cost_no_call(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner = make_runner(clock)
    jobs = submitted(runner, tmp_path, 3)
    for job in jobs:
        claim(job, "17_0")
        record(job)
    reports = runner.poll([ref(job, "17_0") for job in jobs])
    assert {report.state for report in reports.values()} == {JobState.SUCCEEDED}
    assert fake.calls("squeue") == []


@pytest.mark.parametrize(
    ("out", "status"),
    [
        ("", 1),
        ("", 0),
        ("slurm_load_jobs error: Unable to contact slurm controller\n", 0),
        ("|||||\n", 0),
    ],
)
def test_a_queue_that_does_not_answer_changes_nothing(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, out: str, status: int
) -> None:
    runner = make_runner(clock)
    waiting, done = submitted(runner, tmp_path, 2)
    claim(done, "17_1")
    fake.says("squeue", out, status=status)
    for _ in range(20):
        clock.now += 60
        with pytest.raises(Unavailable):
            runner.poll([ref(waiting, "17_0")])
    record(done)
    assert set(runner.poll([ref(waiting, "17_0"), ref(done, "17_1")])) == {done.name}
    assert len(fake.calls("squeue")) == 20


def test_an_id_that_slurm_has_given_away_again_is_not_ours(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    """The state of slurmctld was lost, and numbers begin at 1 again."""
    runner = make_runner(clock)
    (job,) = submitted(runner, tmp_path, 1)
    claim(job, "17")
    fake.queue(row("17", "COMPLETED", "theirs-s1"), row("18", "RUNNING", "job-s9"))
    reports = []
    for _ in range(4):
        clock.now += 60
        reports += [runner.poll([ref(job, "17")]).get(job.name)]
    runner.cancel([ref(job, "17")])
    assert reports[:2] == [None, None]
    assert reports[-1] is not None
    assert reports[-1].state is JobState.LOST
    assert fake.calls("scancel") == []


def test_a_job_is_the_older_runner_s_too_after_a_restart(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    """What Slurm has to say twice may be heard by two processes, as with cron."""
    (job,) = submitted(make_runner(clock), tmp_path, 1)
    fake.queue(row("17", "NODE_FAIL", "j0-s1"))
    clock.now += 60
    assert make_runner(clock).poll([ref(job, "17")]) == {}
    clock.now += 60
    report = make_runner(clock).poll([ref(job, "17")])[job.name]
    assert (report.state, report.reason, report.node) == (JobState.INTERRUPTED, "NODE_FAIL", "n1")


def test_what_is_left_of_an_ended_task_is_cancelled(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    """slurmctld died just after the start, and would start a finished task once more."""
    runner = make_runner(clock)
    done, other = submitted(runner, tmp_path, 2)
    claim(done, "17_0")
    record(done)
    assert runner.poll([ref(done, "17_0")])[done.name].state is JobState.SUCCEEDED
    clock.now += 60
    held = "launch failed requeued held"
    fake.queue(row("17_0", "PENDING", "j0-s1", held), row("17_1", "PENDING", "j0-s1"))
    assert runner.poll([ref(other, "17_1")])[other.name].state is JobState.QUEUED
    assert fake.calls("scancel") == [["17_0"]]
    clock.now += 60
    fake.queue(row("17_1", "PENDING", "j0-s1"))
    runner.poll([ref(other, "17_1")])
    clock.now += 60
    runner.poll([ref(other, "17_1")])
    assert len(fake.calls("scancel")) == 1


@pytest.mark.parametrize("spoil", ["{", "[]", '{"job": "j0", "given": 3}', "\0" * 70_000])
def test_a_spoilt_note_ends_nothing(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, spoil: str
) -> None:
    runner = make_runner(clock)
    (job,) = submitted(runner, tmp_path, 1)
    claim(job, "17")
    Path(seat_of(job).place, "slurm.json").write_text(spoil)
    fake.queue(row("17", "RUNNING", "j0-s1"))
    for _ in range(5):
        clock.now += 60
        report = runner.poll([ref(job, "17")])[job.name]
        assert report.state is JobState.RUNNING


def test_a_folder_that_was_deleted_is_lost_but_not_one_of_a_disk_that_is_away(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner = make_runner(clock)
    gone = Job("gone", (task(tmp_path / "gone"),))
    away = Job("away", (task(tmp_path / "not-mounted/trials/away"),))
    seen = []
    for _ in range(5):
        clock.now += 60
        seen.append(runner.poll([ref(gone, "17"), ref(away, "18")]))
    assert set(seen[-1]) == {"gone"}
    assert seen[0] == {}
    assert seen[-1]["gone"].may_have_run


# -- cancel and release


def test_exactly_our_jobs_are_cancelled_and_no_late_start_runs(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner = make_runner(clock)
    waiting, running, done, other = submitted(runner, tmp_path, 4)
    claim(running, "17_1")
    claim(done, "17_2")
    record(done)
    fake.queue(
        row("17_0", "PENDING", "j0-s1"),
        row("17_1", "RUNNING", "j0-s1"),
        row("17_2", "COMPLETING", "j0-s1"),
        row("17_3", "PENDING", "j0-s1"),
        row("40", "RUNNING", "theirs"),
    )
    refs = [ref(waiting, "40"), ref(running, "17_1"), ref(done, "17_2")]
    runner.cancel(refs)
    runner.cancel(refs)
    assert fake.calls("scancel") == [["17_0", "17_1"]]
    clock.now += 1
    assert runner.poll(refs[:2]).get(waiting.name) is None
    clock.now += 60
    assert runner.poll(refs[:2])[waiting.name].state is JobState.QUEUED
    clock.now += 60
    fake.queue(row("17_3", "PENDING", "j0-s1"))
    assert runner.poll(refs[:2])[waiting.name].state is JobState.CANCELLED
    claimed = seat_of(waiting).claim()
    assert claimed is not None
    assert claimed.void is JobState.CANCELLED
    assert runner.poll([ref(other, "17_3")])[other.name].state is JobState.QUEUED


def test_a_cancellation_that_did_not_get_through_is_repeated(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner = make_runner(clock)
    (job,) = submitted(runner, tmp_path, 1)
    fake.queue(row("17", "RUNNING", "j0-s1"))
    claim(job, "17")
    fake.says("scancel", err="scancel: error: Socket timed out\n", status=1)
    with pytest.raises(Unavailable, match="Socket timed out"):
        runner.cancel([ref(job, "17")])
    fake.says("scancel")
    runner.cancel([ref(job, "17")])
    assert fake.calls("scancel") == [["17"], ["17"]]
    clock.now += 60
    fake.queue(row("17", "CANCELLED", "j0-s1"))
    runner.poll([ref(job, "17")])
    clock.now += 60
    assert runner.poll([ref(job, "17")])[job.name].state is JobState.CANCELLED


def test_held_jobs_are_released_once_and_looked_at_again(
    fake: FakeSlurm, clock: Clock, tmp_path: Path
) -> None:
    runner, job = make_runner(clock), make_job(tmp_path, hold=True)
    runner.submit([job])
    assert "--hold" in fake.calls("sbatch")[0]
    clock.now += 1
    fake.queue(row("17", "PENDING", "job-s1", "JobHeldUser"))
    assert runner.poll([ref(job, "17")])["job"].state is JobState.HELD
    for _ in range(3):
        clock.now += 1
        runner.release([ref(job, "17")])
        assert runner.poll([ref(job, "17")]) == {}
    assert fake.calls("scontrol") == [["release", "17"]]
    fake.says("scontrol", err="Access/permission denied for job 17\n", status=1)
    clock.now += 60
    with pytest.raises(Unavailable, match="Access/permission denied"):
        runner.release([ref(job, "17")])


# -- doctor

CONFIG = """Configuration data as of 2026-11-22T01:00:00
ClusterName             = test
KillWait                = 30 sec
MinJobAge               = 300 sec
Slurmctld(primary) at vm is UP
"""


def test_doctor_says_what_works(fake: FakeSlurm, clock: Clock) -> None:
    fake.says("scontrol", CONFIG)
    fake.does("sinfo", "uname -n")
    found = make_runner(clock, python=sys.executable).check()
    assert all(works for works, _ in found), found
    text = "\n".join(sentence for _, sentence in found)
    for part in ("cluster test answers", "300 s (MinJobAge)", "accounting is off", "20 s to end"):
        assert part in text


def test_doctor_says_what_to_set(fake: FakeSlurm, clock: Clock) -> None:
    short = CONFIG.replace("300 sec", "10 sec").replace("30 sec", "5 sec")
    fake.says("scontrol", short)
    fake.says("sacct", err="sacct: error: Connection refused\n", status=1)
    found = make_runner(clock, python="/no/such/python").check()
    text = "\n".join(sentence for works, sentence in found if not works)
    for part in (
        "poll_floor to at most 5s",
        "term_grace below 5s",
        "Connection refused",
        "python:",
    ):
        assert part in text


def test_doctor_says_who_does_not_answer(
    fake: FakeSlurm, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.says("scontrol", err="slurm_load_ctl_conf error: Unable to contact\n", status=1)
    fake.does("scontrol", 'test "$1" = --version || { echo "Unable to contact" >&2; exit 1; }')
    assert make_runner(clock).check()[-1] == (
        False,
        "slurmctld does not answer: Unable to contact",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not any(works for works, _ in make_runner(clock).check())


# -- the document

DOCUMENT = (Path(__file__).parent.parent / "docs/slurm.md").read_text()


def test_the_document_explains_every_option_with_its_default(clock: Clock) -> None:
    table = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]*) \|", DOCUMENT, re.MULTILINE))
    explained = {name: default for names, default in table.items() for name in names.split(", ")}
    assert {f"`{name}`" for name in SlurmOptions.model_fields} == set(explained)
    for name, field in SlurmOptions.model_fields.items():
        shown = explained[f"`{name}`"].strip("`")
        if field.default not in (None, ()):
            value = {"false": False}.get(shown, shown)
            assert getattr(SlurmOptions.model_validate({name: value}), name) == field.default


def test_what_the_document_shows_loads_and_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    Path("experiment.yaml").write_text(block)
    commands = re.search(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    assert commands is not None
    verbs = [line.split()[1] for line in commands[1].splitlines()]
    assert verbs == ["doctor", "validate", "plan", "run"]
    done = CliRunner().invoke(cli, ["plan", "experiment.yaml"])
    assert done.exit_code == 0, done.output
    assert "--partition=gpu" in done.output
    assert "step='module load cuda/12.4'" in done.output
