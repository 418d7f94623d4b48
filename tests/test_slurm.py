"""The runner ``slurm`` on a real Slurm: the contract, and what befalls experiments every day."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from services.slurm import Slurm
from slurm_faults.bed import Bed, experiment
from slurm_faults.fixtures import await_that, cluster, fresh, place
from sweep.bed import SCHEDD

from runners.slurm.options import SlurmOptions
from runners.slurm.runner import SlurmRunner
from runners.testing import RunnerContract

__all__ = ["cluster", "place"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Slurm]:
    yield from fresh()


class TestContract(RunnerContract):
    @pytest.fixture
    def make_runner(
        self, shared: Slurm, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Callable[[], SlurmRunner]]:
        for name, value in shared.env.items():
            monkeypatch.setenv(name, value)
        options = SlurmOptions.model_validate({"poll_floor": 0.1, "lost_after": 0.5})
        yield lambda: SlurmRunner(options, lambda: None)
        shared.run("scancel", "--me")
        await_that(lambda: not shared.run("squeue", "-h"))


def verb(bed: Bed, *words: str) -> str:
    done = subprocess.run(
        [SCHEDD, *words], cwd=bed.folder, env=bed.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_whole_experiment(cluster, place):
    bed = Bed(place / "e", experiment(trials=20, at_once=4), cluster)
    start = time.monotonic()
    bed.finish("run")
    seconds = time.monotonic() - start
    bed.check_end(20)
    counted = bed.commands.counted()
    print(f"\n20 trials, 4 at once, {seconds:.0f} s: {dict(counted)}")
    assert counted["sbatch"] <= 20


def test_nothing_of_an_allocation_around_schedd_reaches_the_jobs(cluster, place):
    evil = {
        "SLURM_JOB_ID": "999",
        "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
        "SBATCH_PARTITION": "no-such",
        "SBATCH_JOB_NAME": "evil",
        "SBATCH_HOLD": "1",
        "SLURM_ARRAY_TASK_ID": "7",
        "SQUEUE_FORMAT": "%i",
        "SQUEUE_STATES": "FAILED",
        "SQUEUE_USERS": "nobody",
        "SECRET_OF_THE_DAEMON": "1",
    }
    text = experiment("env > {trial_dir}/env", trials=1)
    bed = Bed(place / "e", text, cluster, **evil)
    bed.finish("run")
    bed.check_end(1)
    lines = (place / "e/faults.trials/0/a1/env").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert seen["SLURM_JOB_ID"] == "1"
    assert "SLURM_CPU_BIND" not in seen
    assert not seen["SLURM_JOB_NAME"].startswith("evil")


def test_held_until_released(cluster, place):
    text = experiment(trials=2, runner={"staging_required": True})
    bed = Bed(place / "e", text, cluster)
    process = bed.start("run")
    bed.until(lambda: [j.reason for j in bed.jobs()] == ["JobHeldUser"] * 2)
    bed.until(lambda: "release" in verb(bed, "status"))
    assert bed.statuses() == ["STAGED", "STAGED"]
    assert not bed.ran()
    verb(bed, "release", "1")
    bed.until(lambda: bed.ran()["1 1"])
    bed.until(lambda: bed.statuses() == ["STAGED", "COMPLETED"])
    verb(bed, "release", "0")
    assert bed.wait(process).status == 0
    bed.check_end(2)


def test_cancelled_from_outside(cluster, place):
    bed = Bed(place / "e", experiment("[ {trial_index} != 0 ] || exec sleep 900"), cluster)
    process = bed.start("run")
    bed.until(lambda: bed.ran()["0 1"])
    bed.until_running()
    (first,) = {job for trial, _, job, _ in bed.bodies() if trial == "0"}
    cluster.run("scancel", first)
    assert bed.wait(process).status == 0
    bed.check_end(3, other={0: "ABANDONED"})
    assert bed.trials()[0][2] == "CANCELLED"


@pytest.mark.slurm_faults
def test_abandoned_by_a_person_ends_exactly_our_job(cluster, place):
    bed = Bed(place / "e", experiment("[ {trial_index} != 0 ] || exec sleep 900"), cluster)
    (place / "theirs.sh").write_text("#!/bin/sh\nsleep 900\n")
    theirs = cluster.run("sbatch", "--parsable", f"--chdir={place}", str(place / "theirs.sh"))
    process = bed.start("run")
    bed.until(lambda: bed.ran()["0 1"])
    bed.until_running()
    verb(bed, "abandon", "0")
    assert bed.wait(process).status == 0
    bed.check_end(3, other={0: "ABANDONED"})
    assert cluster.run("squeue", "-h", "-j", theirs, "-o", "%T") == "RUNNING"


@pytest.mark.slurm_faults
def test_a_trial_that_fails(cluster, place):
    bed = Bed(place / "e", experiment("[ {trial_index} != 1 ] || exit 3"), cluster)
    bed.finish("run")
    bed.check_end(3, other={1: "FAILED"})
    assert bed.trials()[1][2] == "EXIT_CODE"
    trial = json.loads(verb(bed, "trial", "1", "--json"))
    assert trial["exit_code"] == 3


LONG = pytest.mark.slurm_faults


@pytest.mark.parametrize("policy", ["resume", pytest.param("fail", marks=LONG)])
def test_requeued(cluster, place, policy):
    script = "[ {trial_index} != 0 ] || [ -e {trial_dir}/go ] || exec sleep 900"
    changes = {"slurm": {"requeue": True, "on_requeue": policy}}
    bed = Bed(place / "e", experiment(script, trials=2, runner=changes), cluster)
    process = bed.start("run")
    bed.until(lambda: bed.ran()["0 1"])
    bed.until_running()
    (first,) = {job for trial, _, job, _ in bed.bodies() if trial == "0"}
    for attempt in (1, 2):
        folder = place / f"e/faults.trials/0/a{attempt}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "go").touch()
    cluster.run("scontrol", "requeue", first)
    bed.until(lambda: bed.statuses()[0] != "RUNNING")
    assert bed.wait(process).status == 0
    again = policy == "resume"
    bed.check_end(2, restarts=again, extra=0 if again else 1)
    assert bed.ran() == ({"0 1": 2, "1 1": 1} if again else {"0 1": 1, "0 2": 1, "1 1": 1})


@pytest.mark.slurm_faults
def test_two_hundred_trials_queued_at_once(cluster, place):
    text = experiment(trials=200, at_once=200)
    bed = Bed(place / "e", text, cluster)
    cluster.run("scontrol", "update", "partitionname=main", "state=down")
    process = bed.start("run")
    bed.until(lambda: len(bed.jobs()) == 200)
    queued = bed.commands.counted()
    assert queued["sbatch"] == 1
    cluster.run("scontrol", "update", "partitionname=main", "state=up")
    start = time.monotonic()
    assert bed.wait(process).status == 0
    minutes = (time.monotonic() - start) / 60
    bed.check_end(200)
    counted = bed.commands.counted() - queued
    print(f"\n200 trials: to queue them {dict(queued)}, then in {minutes:.1f} min {dict(counted)}")
    assert os.environ.get("SLURM_CONF") is None


@pytest.mark.slurm_faults
def test_squeue_is_asked_no_more_often_than_its_floor(cluster, place):
    """The floor is a second; ticks come ten times as often."""
    script = "sleep 8"
    changes = {"slurm": {"poll_floor": 1}}
    text = experiment(script, trials=4, at_once=4, polling={"interval": 0.1}, runner=changes)
    bed = Bed(place / "e", text, cluster)
    bed.finish("run")
    bed.check_end(4)
    calls = [call for call in bed.commands.calls() if call.command == "squeue"]
    gaps = [after.at - before.at for before, after in pairwise(calls)]
    assert min(gaps) > 0.9, gaps


def test_batch_trials_are_arrays(cluster, place):
    """Four arms, measured together: one call of sbatch for each trial, one body for each arm."""
    script = 'echo "{arm}" >> arms.log'
    bed = Bed(place / "e", experiment(script, at_once=3, batch_size=4), cluster)
    bed.finish("run")
    assert set(bed.statuses()) == {"COMPLETED"}
    arms = (bed.folder / "arms.log").read_text().split()
    assert sorted(arms) == sorted(f"{trial}_{arm}" for trial in range(3) for arm in range(4))
    assert len(bed.rows("SELECT * FROM observation")) == 12
    assert bed.commands.counted()["sbatch"] <= 3


@pytest.mark.slurm_faults
def test_the_commands_behind_a_prefix(cluster, place):
    """As from outside the cluster: schedd's own environment knows no Slurm at all."""
    gate = place / "gate"
    gate.write_text(f"""#!/bin/sh
export SLURM_CONF={cluster.env["SLURM_CONF"]}
echo "$1" >> {place}/through
exec "$@"
""")
    gate.chmod(0o755)
    changes = {"slurm": {"prefix": [str(gate)]}}
    bed = Bed(place / "e", experiment(runner=changes), cluster)
    bed.env.pop("SLURM_CONF")
    bed.finish("run")
    bed.check_end(3)
    assert set((place / "through").read_text().split()) >= {"sbatch", "squeue"}


@pytest.mark.slurm_faults
def test_a_folder_with_a_difficult_name(cluster, place):
    """Slurm gives a meaning to %j in a path, a shell to the rest."""
    script = "echo out; echo err >&2; echo $STRANGE > {trial_index}.said"
    changes = {"env": {"STRANGE": "a,b=c 'd' \"e\" $f %j"}}
    text = experiment(script, batch_size=2, runner=changes)
    bed = Bed(place / 'it\'s %j a $HOME ü "x" & (y)', text, cluster)
    bed.finish("run")
    assert set(bed.statuses()) == {"COMPLETED"}, bed.trials()
    assert (bed.folder / "0.said").read_text() == "a,b=c 'd' \"e\" $f %j\n"
    logs = sorted(bed.folder.glob("faults.trials/*/a1/*/*.log"))
    assert {log.read_text() for log in logs if log.name == "stdout.log"} == {"out\n"}
    assert len(logs) == 12


@pytest.mark.slurm_faults
def test_somebody_submits_our_script_again(cluster, place):
    """Another Slurm job with the name and script of ours: it must find nothing left to do."""
    bed = Bed(place / "e", experiment("sleep 4", trials=2), cluster)
    process = bed.start("run")
    bed.until_running(2)
    for job in bed.jobs():
        script = place / f"{job.job_id}.sh"
        cluster.run("scontrol", "write", "batch_script", job.job_id, str(script))
        cluster.run("sbatch", f"--job-name={job.name}", f"--chdir={place}", str(script))
    assert bed.wait(process).status == 0
    bed.check_end(2)


def test_a_job_that_slurm_refuses(cluster, place):
    changes = {"slurm": {"partition": "no-such"}}
    bed = Bed(place / "e", experiment(trials=2, runner=changes), cluster)
    assert bed.drive("run").status in (0, 1)
    bed.check_end(2, other={0: "FAILED", 1: "FAILED"}, status=bed.rows(STATUS)[0][0])
    assert {t[2] for t in bed.trials().values()} == {"REJECTED"}
    assert "invalid partition" in bed.trials()[0][3]


STATUS = "SELECT status FROM experiment"


def test_doctor_says_what_will_work(cluster, place):
    bed = Bed(place / "e", experiment(), cluster)
    said = verb(bed, "doctor", "e.yaml")
    assert "22.05" in said, said
    for word in ("sbatch", "accounting", "MinJobAge"):
        assert word in said, said


@pytest.mark.slurm_faults
def test_one_daemon_asks_once_for_all_its_experiments(cluster, place):
    """Four experiments, polled every fifth of a second; squeue once a second for all of them."""
    changes = {"slurm": {"poll_floor": 1}}
    beds = [
        Bed(place / name, experiment("sleep 3", trials=6, runner=changes, name=name), cluster)
        for name in ("a", "b", "c", "d")
    ]
    store = f"sqlite:///{place}/all.db"
    for bed in beds:
        verb(bed, "submit", "e.yaml", "--storage", store)
    words = [SCHEDD, "daemon", "--storage", store]
    first = beds[0]
    with subprocess.Popen(
        words, cwd=first.folder, env=first.env, stderr=subprocess.DEVNULL
    ) as daemon:
        await_that(lambda: all(len(bed.ran()) == 6 for bed in beds))
        await_that(lambda: ends(store) == {("COMPLETED",)})
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)
    assert [set(bed.ran().values()) for bed in beds] == [{1}] * 4
    calls = first.commands.calls()
    asked = [call.at for call in calls if call.command == "squeue"]
    gaps = [after - before for before, after in pairwise(asked)]
    print(f"\n24 trials of 4 experiments: {dict(first.commands.counted())}")
    assert min(gaps) > 0.9, gaps


def ends(store: str) -> set[tuple[str]]:
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
        return set(connection.execute("SELECT status FROM experiment"))
