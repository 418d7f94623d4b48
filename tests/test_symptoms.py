"""What log policies find in output that a trial wrote, whatever it wrote."""

import os

import pytest
from places import url
from simulation.bench import Bench, definition

from runners.testing import FakeRunner
from scheduler.candidates import own_doing
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.symptoms import TAIL, symptom

__all__ = ["url"]

T = TrialStatus
ECC = {"name": "ecc", "pattern": "ECC error|Xid", "action": "exclude_node"}
NAN = {"name": "nan", "pattern": "^loss is NaN$", "action": "abandon"}


def policies(*given, **retries):
    return {"log_policies": list(given), "retries": retries, "backoff": {"initial": 5}}


def found(root, *given, arms=1):
    made = definition(failures=policies(*given))
    trial = Trial(3, tuple(Arm(f"3_{k}", {"x": 0.5}) for k in range(arms)))
    seen = symptom(made, trial, root)
    return seen and (seen.policy.name, seen.file, seen.line)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "3" / "a1"
    path.mkdir(parents=True)
    return path


def test_the_first_policy_that_a_line_meets_decides(tmp_path, folder):
    (folder / "stdout.log").write_text("begin\nloss is NaN\n")
    (folder / "stderr.log").write_text("warning\rCUDA: an ECC error occurred\n")
    assert found(tmp_path, ECC, NAN) == ("ecc", "stderr.log", "CUDA: an ECC error occurred")
    assert found(tmp_path, NAN, ECC) == ("nan", "stdout.log", "loss is NaN")
    assert found(tmp_path) is None
    assert found(tmp_path, {**NAN, "pattern": "never"}) is None


def test_every_task_is_looked_at_and_told_apart(tmp_path, folder):
    (folder / "3_1").mkdir()
    (folder / "3_1" / "stderr.log").write_text("Xid 79\n")
    assert found(tmp_path, ECC, arms=2) == ("ecc", "3_1/stderr.log", "Xid 79")


def test_the_end_of_a_long_file_is_searched_and_no_more(tmp_path, folder):
    log = folder / "stdout.log"
    log.write_text("Xid 1\n" + "x" * TAIL + "\nXid 2\n")
    assert found(tmp_path, ECC) == ("ecc", "stdout.log", "Xid 2")
    log.write_text("Xid 1\n" + "x" * TAIL)
    assert found(tmp_path, ECC) is None
    with log.open("wb") as sparse:
        sparse.truncate(1 << 40)
        sparse.seek(0, os.SEEK_END)
        sparse.write(b"\nXid 3")
    assert found(tmp_path, ECC) == ("ecc", "stdout.log", "Xid 3")


def test_a_line_is_cut_around_the_match_and_shown_without_control_characters(tmp_path, folder):
    (folder / "stdout.log").write_bytes(b"a" * 500 + b"\x1b[31mXid\xff\x00 79" + b"b" * 500)
    name, _, line = found(tmp_path, ECC)
    assert (name, len(line)) == ("ecc", 206)
    assert (line[:3], line[-3:]) == ("...", "...")
    assert "Xid\N{REPLACEMENT CHARACTER}  79" in line
    assert line.isprintable()


@pytest.mark.parametrize("kind", ["missing", "fifo", "link", "folder", "unreadable"])
def test_what_is_no_log_is_passed_over(tmp_path, folder, kind):
    (folder / "stdout.log").write_text("Xid 79\n")
    other = folder / "stderr.log"
    if kind == "fifo":
        os.mkfifo(other)
    elif kind == "link":
        (tmp_path / "secret").write_text("ECC error")
        other.symlink_to(tmp_path / "secret")
    elif kind == "folder":
        other.mkdir()
    elif kind == "unreadable":
        other.symlink_to(other)
    assert found(tmp_path, ECC) == ("ecc", "stdout.log", "Xid 79")


def test_only_a_policy_that_fails_a_trial_says_that_its_arm_is_bad():
    reasons = own_doing(definition(failures=policies({**NAN, "action": "fail"}, ECC)))
    assert "LOG_POLICY:nan" in reasons
    assert "LOG_POLICY:ecc" not in reasons


class OnNodes(FakeRunner):
    """Says on which node a job ran: none that it was to avoid."""

    def __init__(self, **given):
        super().__init__(**given)
        self.avoided = []

    def submit(self, jobs):
        self.avoided += [job.avoid for job in jobs]
        return super().submit(jobs)

    def poll(self, refs):
        from dataclasses import replace

        reports = super().poll(refs)
        return {n: replace(r, node="n1") if r.state.is_final else r for n, r in reports.items()}


@pytest.fixture
def bench(url, tmp_path):
    made = Bench(
        url,
        tmp_path,
        trials={"total_trials": 1},
        failures=policies(ECC, NAN, infra=2),
    )
    made.runner = OnNodes(world=made.backend)
    made.loop = made.start()
    yield made
    made.close()


def test_a_bad_node_is_avoided_by_the_next_attempt_and_the_event_says_why(bench):
    said = {"a1": "NVRM: Xid 79\n", "a2": "loss is NaN\n"}

    def fails(job):
        (task,) = job.tasks
        task.directory.mkdir(parents=True, exist_ok=True)
        (task.directory / "stdout.log").write_text(said[job.name[-2:]])
        return 1

    bench.fails = fails
    assert bench.run().statuses() == [(T.ABANDONED, "LOG_POLICY:nan")]
    assert bench.runner.avoided == [(), ("n1",)]
    told = [e.message for e in bench.events if e.kind in ("trial_candidate", "trial_abandoned")]
    assert told[-2:] == [
        "LOG_POLICY:ecc: it ended with exit status 1; stdout.log: NVRM: Xid 79; attempt 2 follows",
        "LOG_POLICY:nan: it ended with exit status 1; stdout.log: loss is NaN",
    ]
