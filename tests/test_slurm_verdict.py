"""The table of decisions: what a task's folder and Slurm's word say together."""

import dataclasses

import pytest

from runners.base import JobReport, JobState
from runners.folder import Claim, Record
from runners.slurm.evidence import Files, Word
from runners.slurm.note import Given, Note, Seen
from runners.slurm.queue import ENDED, WAITING, Line
from runners.slurm.verdict import ABSENT, REQUEUED, Verdict, judge

NOTE = Note(job="job", given=(Given(name="job-s1", at=100.0),))
RESUME = NOTE.model_copy(update={"resume": True})
CLAIM = Claim(job="job", batch_id="17", node="n1", pid=5, started_at=150.0)
FENCE = Claim(job="job", void=JobState.CANCELLED)
OK = Record(rc=0, signal=0, ended_at=190.0, ended_by="itself")
FAIL = OK.model_copy(update={"rc": 3})
KILLED = OK.model_copy(update={"signal": 9})
NO_MEMORY = FAIL.model_copy(update={"oom": True})
TOLD = OK.model_copy(update={"signal": 15, "ended_by": "interrupt"})
CANCELLED = TOLD.model_copy(update={"ended_by": "cancel"})


def line(state: str, **fields: object) -> Line:
    return Line(("job-s1", None), "17", state, **fields)  # type: ignore[arg-type]


def files(**fields: object) -> Files:
    values = {"job": "job", "job_id": "17", "note": NOTE, **fields}
    return Files(**values)  # type: ignore[arg-type]


def word(of: Line | None = None, **fields: object) -> Word:
    values = {"taken": 200.0, "line": of, **fields}
    return Word(**values)  # type: ignore[arg-type]


def report(verdict: Verdict) -> JobReport:
    assert verdict.report is not None
    return verdict.report


def state(verdict: Verdict) -> str | None:
    return None if verdict.report is None else verdict.report.state.value


def settled(given: Files, said: Word) -> Verdict:
    """Return the verdict once Slurm has said it twice: the first time decides nothing."""
    first = judge(given, said)
    assert state(first) is None
    assert first.seen is not None
    assert first.seen.since == said.taken
    assert judge(dataclasses.replace(given, seen=first.seen), said).report is None
    assert said.taken is not None
    later = dataclasses.replace(said, taken=said.taken + said.lost_after)
    return judge(dataclasses.replace(given, seen=first.seen), later)


# -- what the folder alone says


def test_what_was_never_given_to_slurm_has_not_run() -> None:
    verdict = judge(files(job_id=None, note=None), Word())
    assert (state(verdict), report(verdict).may_have_run) == ("LOST", False)


@pytest.mark.parametrize(
    ("record", "expected"), [(OK, "SUCCEEDED"), (FAIL, "FAILED"), (CANCELLED, "CANCELLED")]
)
def test_a_record_without_doubt_needs_no_word_of_slurm_s(record: Record, expected: str) -> None:
    assert state(judge(files(claim=CLAIM, record=record), Word())) == expected


@pytest.mark.parametrize("record", [KILLED, TOLD, OK.model_copy(update={"rc": 143})])
def test_a_record_of_a_signal_waits_for_slurm_s_word(record: Record) -> None:
    given = files(claim=CLAIM, record=record)
    assert state(judge(given, Word())) is None
    assert state(judge(given, word(line("COMPLETING")))) == "RUNNING"


def test_a_record_that_knows_of_a_kill_for_memory_needs_no_word_of_slurm_s() -> None:
    for rc, signal in ((1, 0), (137, 0), (0, 9)):
        record = NO_MEMORY.model_copy(update={"rc": rc, "signal": signal})
        verdict = judge(files(claim=CLAIM, record=record), Word())
        assert (state(verdict), report(verdict).reason) == ("FAILED", "OOM")


def test_a_claim_of_another_job_is_no_claim_of_ours() -> None:
    other = CLAIM.model_copy(update={"job": "other"})
    verdict = judge(files(claim=other), word(line("RUNNING")))
    assert (state(verdict), report(verdict).may_have_run) == ("LOST", False)


def test_a_new_claim_is_news_without_the_queue() -> None:
    assert state(judge(files(claim=CLAIM, is_news=True), Word())) == "RUNNING"
    assert state(judge(files(claim=CLAIM), Word())) is None
    assert state(judge(files(claim=CLAIM, is_held=lambda: True), Word())) == "RUNNING"


# -- it has not begun


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (line("PENDING", reason="Priority"), "QUEUED"),
        (line("CONFIGURING"), "QUEUED"),
        (line("REQUEUED"), "QUEUED"),
        (line("PENDING", reason="JobHeldUser"), "HELD"),
        (line("PENDING", reason="JobHeldAdmin"), "HELD"),
        (line("PENDING", reason="job requeued in held state"), "HELD"),
        (line("REQUEUE_HOLD"), "HELD"),
        (line("RUNNING"), "RUNNING"),
        (line("COMPLETING"), "RUNNING"),
        (line("SUSPENDED"), "RUNNING"),
    ],
)
def test_a_job_in_the_queue_is_what_the_queue_says(said: Line, expected: str) -> None:
    verdict = judge(files(), word(said))
    assert (state(verdict), report(verdict).job_id) == (expected, "17")
    assert verdict.fence is None
    assert verdict.drop == ()


def test_absence_is_lost_only_after_a_time() -> None:
    unknown, said = files(job_id=None), word()
    verdict = settled(unknown, said)
    assert (state(verdict), report(verdict).may_have_run, verdict.fence) == ("LOST", False, None)
    early = dataclasses.replace(said, taken=319.0)
    assert judge(dataclasses.replace(unknown, seen=Seen(state=ABSENT, since=200.0)), early) == (
        Verdict(seen=Seen(state=ABSENT, since=200.0))
    )


def test_an_acknowledged_job_that_is_gone_is_fenced() -> None:
    verdict = settled(files(), word())
    assert (state(verdict), verdict.fence) == ("LOST", JobState.LOST)


def test_absence_in_a_queue_that_has_said_something_else_since_begins_anew() -> None:
    seen = Seen(state=ABSENT, since=200.0)
    there = judge(files(seen=seen), word(line("PENDING"), taken=250.0))
    assert (state(there), there.seen) == ("QUEUED", None)


def test_accounts_that_do_not_answer_are_waited_for_twice_as_long() -> None:
    given = files(seen=Seen(state=ABSENT, since=200.0))
    assert state(judge(given, word(taken=321.0, is_accounted=False))) is None
    assert state(judge(given, word(taken=441.0, is_accounted=False))) == "LOST"


def test_an_element_that_vanished_from_its_array_was_cancelled() -> None:
    verdict = settled(files(), word(has_siblings=True))
    assert (state(verdict), verdict.fence) == ("CANCELLED", JobState.CANCELLED)
    assert not report(verdict).may_have_run


@pytest.mark.parametrize(
    ("said", "expected", "reason"),
    [
        (line("FAILED", status=127), "FAILED", "EXIT_CODE"),
        (line("FAILED", signal=9), "FAILED", "SIGNAL"),
        (line("FAILED", signal=53, nodes="n7"), "INTERRUPTED", "NODE_FAIL"),
        (line("CANCELLED"), "CANCELLED", None),
        (line("BOOT_FAIL", nodes="n7"), "INTERRUPTED", "NODE_FAIL"),
        (line("DEADLINE"), "FAILED", "TIMEOUT"),
        (line("TIMEOUT"), "FAILED", "TIMEOUT"),
        (line("COMPLETED"), "LOST", "LOST"),
    ],
)
def test_an_end_before_the_command_began(said: Line, expected: str, reason: str | None) -> None:
    verdict = settled(files(), word(said))
    assert (state(verdict), report(verdict).reason) == (expected, reason)
    assert not report(verdict).may_have_run
    assert verdict.fence is JobState.LOST
    assert report(verdict).node == ("n7" if reason == "NODE_FAIL" else None)


def test_accounts_speak_for_a_job_that_has_left_the_queue() -> None:
    verdict = settled(files(), word(account=line("CANCELLED", uid="1000")))
    assert state(verdict) == "CANCELLED"
    assert "1000" in report(verdict).message


def test_a_launch_that_failed_for_good_is_not_waited_for() -> None:
    said = line("PENDING", reason="launch failed requeued held")
    verdict = settled(files(), word(said))
    assert (state(verdict), report(verdict).reason) == ("INTERRUPTED", "NODE_FAIL")
    assert (verdict.fence, verdict.drop) == (JobState.LOST, (said,))


def test_a_cancelled_one_is_in_the_queue_until_it_is_not() -> None:
    said = line("PENDING")
    given = files(claim=FENCE)
    assert judge(given, Word()) == Verdict()
    verdict = judge(given, word(said))
    assert (state(verdict), verdict.drop) == ("QUEUED", (said,))
    for over in (None, line("CANCELLED")):
        assert state(judge(given, word(over))) == "CANCELLED"
    assert state(judge(files(claim=FENCE, note=None), Word())) == "CANCELLED"


# -- it has begun


@pytest.mark.parametrize("said", ["RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"])
def test_it_runs_as_long_as_slurm_says_so(said: str) -> None:
    verdict = judge(files(claim=CLAIM), word(line(said)))
    assert (state(verdict), report(verdict).started_at) == ("RUNNING", 150.0)


def test_a_claim_younger_than_the_answer_is_believed() -> None:
    young = CLAIM.model_copy(update={"started_at": 201.0})
    for said in (None, line("PENDING")):
        assert state(judge(files(claim=young), word(said))) == "RUNNING"


@pytest.mark.parametrize("said", sorted(WAITING))
def test_a_requeued_one_ends_unless_it_may_resume(said: str) -> None:
    waiting = line(said)
    verdict = settled(files(claim=CLAIM), word(waiting))
    assert (state(verdict), report(verdict).reason) == ("INTERRUPTED", "PREEMPTED")
    assert verdict.drop == (waiting,)
    resumed = judge(files(claim=CLAIM, note=RESUME), word(waiting))
    assert (state(resumed), resumed.drop) == ("QUEUED", ())
    alive = files(claim=CLAIM, is_held=lambda: True)
    assert state(judge(alive, word(waiting))) == "RUNNING"
    told = files(claim=CLAIM, record=TOLD)
    assert settled(told, word(waiting)).drop == (waiting,)
    assert state(judge(files(claim=CLAIM, record=TOLD, note=RESUME), word(waiting))) == "QUEUED"


def test_what_has_ended_by_itself_never_waits_for_a_requeue() -> None:
    waiting = line("PENDING", reason="launch failed requeued held")
    for note in (NOTE, RESUME):
        verdict = judge(files(claim=CLAIM, record=OK, note=note), word(waiting))
        assert (state(verdict), verdict.drop) == ("SUCCEEDED", (waiting,))


ENDS = [
    (line("TIMEOUT"), "FAILED", "TIMEOUT"),
    (line("OUT_OF_MEMORY"), "FAILED", "OOM"),
    (line("NODE_FAIL", nodes="n1"), "INTERRUPTED", "NODE_FAIL"),
    (line("PREEMPTED"), "INTERRUPTED", "PREEMPTED"),
    (line("CANCELLED"), "CANCELLED", None),
]


@pytest.mark.parametrize(("said", "expected", "reason"), ENDS)
@pytest.mark.parametrize("record", [None, KILLED, TOLD])
def test_slurm_knows_why_a_signal_ended_it(
    said: Line, expected: str, reason: str | None, record: Record | None
) -> None:
    for heard in (word(said), word(account=said)):
        verdict = settled(files(claim=CLAIM, record=record), heard)
        assert (state(verdict), report(verdict).reason) == (expected, reason)
        told = reason == "NODE_FAIL" or record is not None
        assert report(verdict).node == ("n1" if told else None)


@pytest.mark.parametrize(
    ("said", "expected", "reason"),
    [
        (line("FAILED", status=77), "INTERRUPTED", "PREEMPTED"),
        (line("FAILED", signal=9), "LOST", "LOST"),
        (line("COMPLETED"), "LOST", "LOST"),
        (line("FAILED", signal=53), "INTERRUPTED", "NODE_FAIL"),
    ],
)
def test_an_end_without_a_record_is_no_success(said: Line, expected: str, reason: str) -> None:
    verdict = settled(files(claim=CLAIM), word(said))
    assert (state(verdict), report(verdict).reason) == (expected, reason)
    assert report(verdict).may_have_run


@pytest.mark.parametrize("text", [
    "slurmstepd-n1: error: StepId=34.batch exceeded memory limit (70 > 50), being killed",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch. Some of your processes",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch.",
])  # fmt: skip
@pytest.mark.parametrize("record", [None, KILLED])
def test_memory_is_told_from_slurm_s_own_words(text: str, record: Record | None) -> None:
    given = files(claim=CLAIM, record=record, complaint=lambda: f"x\n{text}\n")
    assert report(settled(given, word(line("FAILED", signal=9)))).reason == "OOM"
    if record is not None:
        assert report(settled(given, word())).reason == "OOM"


def test_what_slurm_has_forgotten_is_lost_unless_somebody_has_its_lock() -> None:
    verdict = settled(files(claim=CLAIM), word())
    assert (state(verdict), report(verdict).may_have_run) == ("LOST", True)
    alive = files(claim=CLAIM, is_held=lambda: True, seen=Seen(state=ABSENT, since=1.0))
    for said in (None, line("NODE_FAIL")):
        assert state(judge(alive, word(said))) == "RUNNING"


def test_without_any_word_a_limit_is_guessed_from_the_time() -> None:
    limited = NOTE.model_copy(update={"limit": 40.0})
    assert report(settled(files(claim=CLAIM, record=TOLD, note=limited), word())).reason == (
        "TIMEOUT"
    )
    unlimited = settled(files(claim=CLAIM, record=TOLD), word())
    assert (state(unlimited), report(unlimited).reason) == ("INTERRUPTED", None)


@pytest.mark.parametrize("said", sorted(ENDED))
def test_no_end_is_believed_at_once(said: str) -> None:
    for given in (files(), files(claim=CLAIM), files(claim=CLAIM, record=TOLD)):
        first = judge(given, word(line(said)))
        assert first.report is None
        again = dataclasses.replace(given, seen=first.seen)
        assert state(judge(again, word(line("RUNNING"), taken=260.0))) == "RUNNING"


def test_what_was_said_before_does_not_count_for_what_is_said_now() -> None:
    long_ago = Seen(state=ABSENT, since=1.0)
    for given in (files(seen=long_ago), files(claim=CLAIM, seen=long_ago)):
        verdict = judge(given, word(line("NODE_FAIL")))
        assert (state(verdict), verdict.seen) == (None, Seen(state="NODE_FAIL", since=200.0))


def test_a_second_slurm_job_of_a_task_is_not_needed() -> None:
    other = line("PENDING")
    verdict = judge(files(claim=CLAIM), word(line("RUNNING"), others=(other,)))
    assert (state(verdict), verdict.drop) == ("RUNNING", (other,))


def test_a_folder_that_is_gone_says_nothing_while_the_queue_has_the_id() -> None:
    given = files(note=None)
    assert judge(given, word(line("RUNNING"))) == Verdict()
    verdict = settled(given, word())
    assert (state(verdict), report(verdict).may_have_run) == ("LOST", True)


def test_the_names_of_what_was_seen_are_no_states() -> None:
    assert not {ABSENT, REQUEUED} & ENDED
