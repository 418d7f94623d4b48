"""Jobs that a late request has made for attempts that are over."""

from dataclasses import replace

import pytest
from places import url
from services.kubernetes import schema
from services.kubernetes.bench import cluster, runner
from services.kubernetes.cluster import NAMESPACE
from services.kubernetes.faults import drop
from services.kubernetes.runner import job, look
from simulation.bench import Bench

from runners.base import JobReport, JobState
from runners.testing import deploy, ref_to
from scheduler import strays
from scheduler.jobs import job_of
from scheduler.model.trial import Arm, Trial, TrialStatus

__all__ = ["cluster", "runner", "url"]
T = TrialStatus
needs_schema = pytest.mark.skipif(bool(schema.why_not()), reason=schema.why_not())


def trial(index, status, attempt=1):
    return Trial(index, (Arm(f"{index}_0", {"x": 0.5}),), status, attempt=attempt)


STORED = {t.index: t for t in (trial(0, T.ABANDONED, 2), trial(1, T.STAGED, 2))}


@pytest.mark.parametrize(
    ("name", "stray"),
    {
        "of an earlier attempt": ("t1-a1", True),
        "wanted": ("t1-a2", False),
        "of an attempt to come": ("t1-a3", False),
        "of a trial that has ended": ("t0-a2", True),
        "of an earlier attempt of one that has ended": ("t0-a1", True),
        "of an attempt that the database has never seen": ("t0-a3", False),
        "of a trial that it has never seen": ("t7-a1", False),
        "of somebody who uses our names for something else": ("t1", False),
    }.values(),
)
def test_only_what_is_stored_as_over_is_a_stray(name, stray):
    active = {i: t for i, t in STORED.items() if not t.status.is_final}
    found = strays.over(strays.suspected([f"schedd-5eed5eed-{name}"], active, 2), STORED)
    assert [f"t{t.index}-a{t.attempt}" for t in found] == [name] * stray
    assert all(t.job_id is None for t in found)


@pytest.fixture
def held(url, tmp_path):
    """An experiment whose jobs do not start."""
    made = Bench(url, tmp_path, runner={"command": ["train"], "staging_required": True})
    yield made
    made.close()


def test_the_loop_deletes_a_job_that_was_made_when_its_trial_was_over(held):
    done = held
    done.tick()
    done.tick()
    done.command("abandon", 0)
    done.tick()
    done.tick()
    gone = done.trials()[0]
    assert gone.status is T.ABANDONED
    world = done.backend
    late = job_of(
        done.experiment.definition, gone, done.experiment.trials_dir, done.experiment.token
    )
    world.create(replace(late, name=late.name.replace("-a1", "-a2")))
    world.create(replace(late, name="schedd-00000000-t0-a1"))
    world._jobs.pop(late.name)
    world.create(late)
    for _ in range(2):
        done.tick()
    assert world.report(late.name).state is JobState.CANCELLED
    assert world.report("schedd-00000000-t0-a1").state is JobState.HELD
    assert world.report(late.name.replace("-a1", "-a2")).state is JobState.HELD
    assert [e.trial_index for e in done.events if e.kind == "stray_job"] == [0]


def test_a_job_that_somebody_made_again_is_deleted_when_the_first_is_known_to_be_lost(held):
    held.tick()
    held.tick()
    name = next(iter(held.backend.unfinished))
    held.runner.poll = lambda refs: {ref.name: JobReport(JobState.LOST) for ref in refs}
    held.tick()
    assert held.backend.report(name).state is JobState.CANCELLED


@needs_schema
def test_kubernetes_tells_of_unfinished_jobs_that_nobody_asks_about(cluster, runner, tmp_path):
    names = [f"schedd-1f2e3d4c-t{i}-a1" for i in range(4)]
    first, ended, late, _ = made = [job(tmp_path, name=name) for name in names]
    deploy(runner, first)
    deploy(runner, ended)
    cluster.end(ended.name)
    cluster.fault(verb="create", after=drop)
    runner.submit([late])
    runner.submit([job(tmp_path, name="schedd-99999999-t1-a1")])
    assert runner.unfinished("schedd-1f2e3d4c-t") == []
    look(runner, first)
    assert runner.unfinished("schedd-1f2e3d4c-t") == [first.name, late.name]
    runner.cancel([ref_to(late, None)])
    look(runner, first)
    assert runner.unfinished("schedd-1f2e3d4c-t") == [first.name]
    assert cluster.store.find("jobs", NAMESPACE, late.name) is None
    assert made[3].name not in runner.unfinished("")


@needs_schema
def test_a_stray_of_another_database_with_our_names_is_left_alone(cluster, runner, tmp_path):
    theirs = job(tmp_path / "elsewhere")
    runner.submit([theirs])
    runner.cancel([ref_to(job(tmp_path), None)])
    assert cluster.store.find("jobs", NAMESPACE, theirs.name)
