"""A cluster in trouble: its controller, its nodes, its accounting, its memory. Minutes.

In each nothing is lost and nothing runs twice. ``make test-slurm`` runs them.
"""

import json
import os
import time
from contextlib import closing
from getpass import getuser
from pathlib import Path
from signal import SIGKILL

import pytest
from services.slurm import Slurm, slurm
from slurm_faults.bed import Bed, experiment
from slurm_faults.commands import AFTER
from slurm_faults.fixtures import (
    accounted,
    await_that,
    cluster,
    need_slurm,
    place,
)

__all__ = ["accounted", "cluster", "place"]
pytestmark = [pytest.mark.slurm_faults, pytest.mark.timeout(900)]

SLOW = "sleep 2"


def long_first(seconds: int = 900) -> str:
    """Return a script by which the first attempt of trial 0 takes long."""
    return f"[ {{trial_index}}.{{attempt}} != 0.1 ] || exec sleep {seconds}"


class TestController:
    def test_frozen_for_a_minute(self, cluster, place):
        bed = Bed(place / "e", experiment(SLOW, trials=10, at_once=3), cluster)
        process = bed.start("run")
        bed.until(lambda: len(bed.bodies()) >= 2)
        cluster.freeze("slurmctld")
        before = bed.trials()
        time.sleep(60)
        during = bed.trials()
        cluster.thaw("slurmctld")
        assert bed.wait(process).status == 0
        bed.check_end(10)
        assert {t[0] for t in during.values()} <= {"STAGED", "RUNNING", "COMPLETED", "CANDIDATE"}
        assert len(during) - len(before) <= 3

    @pytest.mark.parametrize("delay", [0, 0.3, 1, 2, 4])
    def test_killed_right_after_a_job_was_acknowledged(self, cluster, place, delay):
        bed = Bed(place / "e", experiment(SLOW, trials=6), cluster)
        pid = cluster.pid("slurmctld")
        later = f"(sleep {delay}; kill -9 {pid}) > /dev/null 2>&1 &" if delay else f"kill -9 {pid}"
        bed.commands.hook("sbatch", AFTER, later)
        process = bed.start("run")
        await_that(lambda: not cluster.runs("slurmctld"))
        time.sleep(3)
        cluster.begin("slurmctld")
        assert bed.wait(process).status == 0
        bed.check_end(6, extra=2)
        print(f"\nkilled after {delay} s: attempts {[t[1] for t in bed.trials().values()]}")

    def test_restarted_every_few_seconds(self, cluster, place):
        bed = Bed(place / "e", experiment(SLOW, trials=12, at_once=4), cluster)
        process = bed.start("run")
        for _ in range(4):
            time.sleep(2)
            cluster.restart("slurmctld")
        assert bed.wait(process).status == 0
        bed.check_end(12)

    def test_down_for_longer_than_any_job(self, cluster, place):
        bed = Bed(place / "e", experiment("sleep 4", trials=5), cluster)
        process = bed.start("run")
        bed.until_running(2)
        cluster.end("slurmctld")
        time.sleep(40)
        cluster.begin("slurmctld")
        assert bed.wait(process).status == 0
        bed.check_end(5)

    def test_nobody_can_prove_who_they_are(self, cluster, place):
        """No munge, no word from Slurm: neither of jobs that run nor of those to come."""
        bed = Bed(place / "e", experiment("sleep 4", trials=6), cluster)
        process = bed.start("run")
        bed.until_running(2)
        cluster.end("munged")
        time.sleep(15)
        cluster.begin("munged")
        assert bed.wait(process).status == 0
        bed.check_end(6)

    def test_job_ids_begin_at_1_again(self, cluster, place):
        """The controller's memory is lost: our jobs are gone, and their ids go to others."""
        bed = Bed(place / "e", experiment(long_first(), trials=3), cluster)
        process = bed.start("run")
        bed.until(lambda: bed.ran()["0 1"])
        bed.until_running()
        process.kill()
        bed.wait(process)
        cluster.forget()
        theirs = place / "theirs.sh"
        theirs.write_text(f"#!/bin/sh\necho ran >> {place}/theirs\nsleep 900\n")
        ids = [
            cluster.run("sbatch", "--parsable", f"--chdir={place}", str(theirs)) for _ in range(3)
        ]
        assert ids == ["1", "2", "3"]
        bed.finish("resume")
        bed.check_end(3, extra=2)
        assert cluster.run("squeue", "-h", "-o", "%i %T").split("\n").count("1 RUNNING") == 1


class TestNode:
    def test_slurmd_killed_and_back(self, cluster, place):
        """The jobs go on, and so do their trials: nobody else must see more than a delay."""
        bed = Bed(place / "e", experiment("sleep 5", trials=4), cluster)
        process = bed.start("run")
        bed.until_running(2)
        for node in cluster.nodes:
            cluster.kill(node)
        time.sleep(2)
        for node in cluster.nodes:
            cluster.begin(node)
        assert bed.wait(process).status == 0
        bed.check_end(4)

    @pytest.mark.parametrize("requeue", [False, True])
    def test_a_crash(self, cluster, place, requeue):
        """The node is gone with its jobs: another attempt, on another node."""
        cluster.set(SlurmdTimeout=5, MessageTimeout=2)
        cluster.restart("slurmctld")
        changes = {"slurm": {"requeue": requeue}}
        text = experiment(long_first(), trials=3, runner=changes)
        bed = Bed(place / "e", text, cluster)
        process = bed.start("run")
        bed.until(lambda: bed.ran()["0 1"])
        bed.until_running()
        node = next(
            n for n in cluster.nodes if cluster.run("squeue", "-h", "-w", n, "-t", "R", "-o", "%i")
        )
        cluster.crash(node)
        assert bed.wait(process).status == 0
        bed.check_end(3, extra=3)
        cluster.start()

    def test_declared_down_while_the_job_runs_on(self, cluster, place):
        """An administrator says so; the body of the attempt may outlive that for a while."""
        bed = Bed(place / "e", experiment(long_first(), trials=3), cluster)
        process = bed.start("run")
        bed.until(lambda: bed.ran()["0 1"])
        bed.until_running()
        node = next(
            n for n in cluster.nodes if cluster.run("squeue", "-h", "-w", n, "-t", "R", "-o", "%i")
        )
        cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        assert bed.wait(process).status == 0
        bed.check_end(3, extra=3)
        assert any(f"--exclude={node}" in call.words for call in bed.commands.calls())

    def test_the_process_around_a_command_is_killed(self, cluster, place):
        """How the command ended is unknown for ever: a lost attempt, and another one.

        Not before it has ended: without cgroups Slurm does not find it, but it holds the lock.
        """
        bed = Bed(place / "e", experiment(long_first(8)), cluster)
        process = bed.start("run")
        bed.until(lambda: bed.ran()["0 1"])
        bed.until_running()
        claim = bed.folder / "faults.trials/0/a1/.schedd/claim"
        os.kill(json.loads(claim.read_text())["pid"], SIGKILL)
        assert bed.wait(process).status == 0
        bed.check_end(3, extra=1)
        assert "LOST" in bed.said(0)

    def test_slurm_s_own_process_around_a_job_is_killed(self, cluster, place):
        """Slurm says RUNNING for ever; the record in the folder says how it ended."""
        bed = Bed(place / "e", experiment("sleep 3", trials=1), cluster)
        process = bed.start("run")
        bed.until(lambda: bed.ran()["0 1"])
        ((_, _, job, _),) = bed.bodies()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            if path.read_bytes().startswith(f"slurmstepd: [{job}.batch]".encode()):
                os.kill(int(path.parent.name), SIGKILL)
        assert bed.wait(process).status == 0
        assert [job.state for job in bed.jobs()] == ["RUNNING"]
        cluster.run("scancel", job)
        await_that(lambda: not cluster.run("squeue", "-h"))
        bed.check_end(1)

    def test_power_cut(self, cluster, place):
        bed = Bed(place / "e", experiment("sleep 3", trials=5), cluster)
        process = bed.start("run")
        bed.until_running(2)
        cluster.power_cut()
        time.sleep(2)
        cluster.start()
        assert bed.wait(process).status == 0
        bed.check_end(5, extra=6)


class TestLimits:
    def test_time(self, cluster, place):
        changes = {"retries": {"timeout": 1}}
        bed = Bed(place / "e", experiment(long_first(), failures=changes), cluster)
        process = bed.start("run")
        bed.until(lambda: bed.ran()["0 1"])
        bed.until_running()
        (first,) = {job for trial, _, job, _ in bed.bodies() if trial == "0"}
        cluster.run("scontrol", "update", f"jobid={first}", "timelimit=0")
        assert bed.wait(process).status == 0
        bed.check_end(3, extra=1)
        assert "TIMEOUT" in bed.said(0)

    def test_memory(self, cluster, place):
        hog = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 60"
        text = experiment("[ {trial_index} != 0 ] || { " + hog + "; }")
        bed = Bed(place / "e", text, cluster)
        bed.finish("run")
        bed.check_end(3, other={0: "FAILED"})
        assert bed.trials()[0][2] == "OOM"


class TestForgottenJobs:
    """Finished jobs leave the queue after two seconds, while schedd is not there to see them."""

    def drive(self, bed: Bed) -> None:
        process = bed.start("run")
        bed.until(lambda: len(bed.bodies()) >= 2)
        process.kill()
        bed.wait(process)
        await_that(lambda: not bed.cluster.run("squeue", "-h", "-t", "all"))
        bed.finish("resume")
        bed.check_end(4)

    @pytest.mark.parametrize("accounting", [False, True], ids=["squeue-only", "accounting"])
    def test_gone_from_the_queue(self, place, accounting):
        need_slurm(accounting=accounting)
        with slurm(accounting=accounting, MinJobAge=2) as cluster:
            self.drive(Bed(place / "e", experiment(SLOW, trials=4), cluster))

    def test_gone_while_the_accounting_is_down(self, place):
        need_slurm(accounting=True)
        with slurm(accounting=True, MinJobAge=2) as cluster:
            cluster.end("slurmdbd")
            self.drive(Bed(place / "e", experiment(SLOW, trials=4), cluster))

    def test_killed_by_the_system_and_gone(self, place):
        """Nothing but accounting knows how it ended: there is no record in its folder."""
        need_slurm(accounting=True)
        with slurm(accounting=True, MinJobAge=2) as cluster:
            bed = Bed(place / "e", experiment(long_first()), cluster)
            process = bed.start("run")
            bed.until(lambda: bed.ran()["0 1"])
            bed.until_running()
            process.kill()
            bed.wait(process)
            (first,) = {job for trial, _, job, _ in bed.bodies() if trial == "0"}
            cluster.run("scancel", "--signal=KILL", "--full", first)
            await_that(lambda: not cluster.run("squeue", "-h", "-t", "all"))
            bed.finish("resume")
            bed.check_end(3, extra=1, other=ended(bed))


def ended(bed: Bed) -> dict[int, str]:
    """Return how trial 0 ended where not COMPLETED: a lost job may be tried again or not."""
    return {0: bed.trials()[0][0]}


class TestAccounting:
    def test_a_whole_experiment(self, accounted, place):
        bed = Bed(place / "e", experiment(SLOW, trials=8, at_once=4), accounted)
        bed.finish("run")
        bed.check_end(8)
        print(f"\nwith accounting: {dict(bed.commands.counted())}")

    def test_down_and_up_again(self, accounted, place):
        bed = Bed(place / "e", experiment(SLOW, trials=8, at_once=3), accounted)
        process = bed.start("run")
        bed.until_running()
        accounted.end("slurmdbd", SIGKILL)
        time.sleep(5)
        accounted.begin("slurmdbd")
        assert bed.wait(process).status == 0
        bed.check_end(8)


class TestFull:
    """A cluster with no room for more: it is waited for, and no trial fails."""

    def test_the_controller_takes_no_more_jobs(self, place):
        need_slurm()
        with slurm(MaxJobCount=4, MinJobAge=2) as cluster:
            bed = Bed(place / "e", experiment("sleep 1", trials=12, at_once=8), cluster)
            bed.finish("run")
            bed.check_end(12)

    def test_the_association_takes_no_more_jobs(self, place):
        need_slurm(accounting=True)
        with slurm(accounting=True, AccountingStorageEnforce="limits") as cluster:
            me = getuser()
            for words in (["account", "lab"], ["user", me, "account=lab"]):
                cluster.run("sacctmgr", "-i", "add", *words)
            cluster.run("sacctmgr", "-i", "modify", "user", me, "set", "MaxSubmitJobs=2")
            bed = Bed(place / "e", experiment("sleep 1", trials=8, at_once=6), cluster)
            bed.finish("run")
            bed.check_end(8)
            said = {row[0] for row in bed.rows("SELECT kind FROM event")}
            assert "submission_delayed" in said


class TestPreemption:
    @pytest.mark.parametrize("policy", ["resume", "fail"])
    def test_a_job_of_higher_priority(self, place, policy):
        need_slurm()
        made = Slurm(nodes=1, PreemptType="preempt/partition_prio", PreemptMode="REQUEUE")
        made.partitions |= {"urgent": "PriorityTier=10 DefMemPerCPU=100"}
        with closing(made) as cluster:
            cluster.start()
            script = "[ {trial_index} != 0 ] || [ -e {trial_dir}/../go ] || exec sleep 900"
            changes = {"slurm": {"requeue": True, "on_requeue": policy}}
            bed = Bed(place / "e", experiment(script, trials=2, runner=changes), cluster)
            process = bed.start("run")
            bed.until(lambda: bed.ran()["0 1"])
            bed.until_running()
            (place / "e/faults.trials/0/go").touch()
            urgent = place / "urgent.sh"
            urgent.write_text("#!/bin/sh\nsleep 5\n")
            words = ("--partition=urgent", "--exclusive", f"--chdir={place}", str(urgent))
            cluster.run("sbatch", *words)
            assert bed.wait(process).status == 0
            again = policy == "resume"
            bed.check_end(2, restarts=again, extra=0 if again else 2)
            print(f"\n{policy}: bodies {bed.bodies()}, {bed.trials()[0]}")


class TestSignal:
    def test_a_trial_saves_its_state_before_its_time_is_up(self, cluster, place):
        wait = "until [ -e {trial_dir}/saved ]; do sleep 1; done"
        script = "trap 'touch {trial_dir}/saved' USR1; " + wait
        changes = {"resources": {"time": "1m"}, "slurm": {"signal": "USR1@50"}}
        text = experiment("[ {trial_index} != 0 ] || { " + script + "; }", runner=changes)
        bed = Bed(place / "e", text, cluster)
        bed.finish("run")
        bed.check_end(3)
        assert (place / "e/faults.trials/0/a1/saved").exists()
