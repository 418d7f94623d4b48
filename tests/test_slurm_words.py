"""What Slurm's commands say, read strictly: sbatch's refusals, squeue's and sacct's lines."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slurm_fakes import ACCOUNTS, HEADER, row

from runners.base import JobState, Rejected, Unavailable
from runners.slurm import answers, queue, words
from runners.slurm.answers import AtLimit, Full, TooLarge
from runners.slurm.call import Answer
from runners.slurm.queue import Garbled, Line

FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("out", "job_id"),
    [
        ("17\n", "17"),
        ("17;cluster\n", "17"),
        ("Welcome to node 5!\n17\n", "17"),
        ("5\nsbatch: note: see the news\n17;a.b-c\n", "17"),
    ],
)
def test_an_id_is_found_among_banners(out: str, job_id: str) -> None:
    assert answers.read(Answer(0, out, "")) == job_id


REFUSALS = [
    (1, f"sbatch: error: invalid partition: x\n{FAILED}Invalid partition name", Rejected),
    (1, f"{FAILED}Job violates accounting/QOS policy (job submit limit, ...)", AtLimit),
    (1, f"{FAILED}Invalid account or account/partition combination specified", Rejected),
    (1, f"{FAILED}Invalid qos specification", Rejected),
    (1, f"{FAILED}Requested node configuration is not available", Rejected),
    (1, f"{FAILED}Invalid feature specification", Rejected),
    (1, f"{FAILED}Invalid job array specification", TooLarge),
    (1, f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{FAILED}Job violates accounting/QOS "
        "policy (job submit limit, user's size and/or time limits)", Rejected),
    (1, f"sbatch: error: AssocMaxSubmitJobLimit\n{FAILED}Job violates accounting/QOS policy "
        "(job submit limit, user's size and/or time limits)", AtLimit),
    (1, f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{FAILED}Job violates accounting/QOS "
        "policy (job submit limit, user's size and/or time limits)", AtLimit),
    (1, f"{FAILED}Required node not available (down, drained or reserved)", Full),
    (1, f"{FAILED}Requested partition configuration not available now", Full),
    (255, "sbatch: unrecognized option '--foo'\nTry \"sbatch --help\" for more", Rejected),
    (255, "sbatch: error: Invalid --time specification", Rejected),
    (1, 'sbatch: error: Invalid numeric value "0" for --cpus-per-task.', Rejected),
    (1, "sbatch: error: Invalid generic resource (gres) specification", Rejected),
]  # fmt: skip


@pytest.mark.parametrize(("status", "err", "kind"), REFUSALS)
def test_a_refusal_is_told_from_a_lost_answer(
    status: int, err: str, kind: type[Exception]
) -> None:
    answer = answers.read(Answer(status, "", err))
    assert type(answer) is kind
    assert "\n" not in str(answer)
    assert "error:" not in str(answer)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(None, "", ""),
        Answer(None, "17\n", ""),
        Answer(0, "", ""),
        Answer(0, "Submitted batch job 17\n", ""),
        Answer(1, "", f"{FAILED}Socket timed out on send/recv operation"),
        Answer(1, "", f"{FAILED}Unable to contact slurm controller (connect failure)"),
        Answer(1, "", f"{FAILED}Zero Bytes were transmitted or received"),
        Answer(1, "", f"{FAILED}Slurm backup controller in standby mode"),
        Answer(1, "17\n", "sbatch: error: Slurm temporarily unable to accept job, sleeping and "
               "retrying"),
        Answer(1, "", "sbatch: fatal: Could not establish a configuration source"),
        Answer(255, "", "ssh: connect to host login port 22: Connection refused"),
        Answer(143, "", ""),
        Answer(-9, "", ""),
    ],
)  # fmt: skip
def test_all_else_may_or_may_not_have_got_through(answer: Answer) -> None:
    assert type(answers.read(answer)) is Unavailable


ANY = st.text(max_size=200)
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be."""


@BUSY
@given(ANY, ANY, st.one_of(st.none(), st.integers(-15, 255)))
def test_no_answer_of_sbatch_breaks_the_reader(out: str, err: str, status: int | None) -> None:
    answer = answers.read(Answer(status, out, err))
    assert isinstance(answer, str | Rejected | Unavailable)
    assert isinstance(answer, Unavailable) or status is not None


ROWS = st.lists(st.sampled_from("0123456789_|[]-%PENDIGRUabc \n\t\r\0ü")).map("".join)


@BUSY
@given(ROWS)
def test_no_row_breaks_the_readers(rows: str) -> None:
    for line in queue.read_squeue(HEADER + rows):
        assert line.state in queue.LIVE | queue.ENDED
    for line in queue.read_sacct(ACCOUNTS + rows):
        assert line.state in queue.ENDED


@pytest.mark.parametrize("text", ["", "\n", row("1", "RUNNING", "a"), "slurm is down, sorry\n"])
def test_an_answer_without_its_header_is_no_answer(text: str) -> None:
    with pytest.raises(Garbled):
        list(queue.read_squeue(text))
    with pytest.raises(Garbled):
        list(queue.read_sacct(text))


def test_the_queue_is_read_line_by_line() -> None:
    text = "* maintenance on Monday *\n" + HEADER + "\n".join(
        [
            row("17", "RUNNING", "job-s1", nodes="n[1-2]"),
            row("18_3", "PENDING", "job-s2", "Priority", ""),
            row("18_[4-9]", "PENDING", "job-s2"),
            row("19", "FAILED", "job-s3", "NonZeroExitCode", code=768),
            row("20", "FAILED", "job-s4", code=9),
            row("21", "NO_SUCH_STATE", "job-s5"),
            "22|RUNNING",
            row("23", "RUNNING", "a|b"),
        ]
    )  # fmt: skip
    lines = list(queue.read_squeue(text))
    assert [(line.job_id, line.key) for line in lines] == [
        ("17", ("job-s1", None)),
        ("18_3", ("job-s2", 3)),
        ("19", ("job-s3", None)),
        ("20", ("job-s4", None)),
        ("23", ("a|b", None)),
    ]
    assert [(line.status, line.signal) for line in lines[2:4]] == [(3, 0), (0, 9)]
    assert lines[1].reason == "Priority"
    assert words.node(lines[0]) is None


def test_accounts_are_read_once_jobs_are_over() -> None:
    text = ACCOUNTS + "\n".join(
        [
            "5|CANCELLED by 1000|0:15|n1|a",
            "6_2|OUT_OF_MEMORY|0:125|n2|b",
            "7|RUNNING|0:0|n1|c",
            "8.batch|FAILED|1:0|n1|batch",
            "9|OUT_OF_ME+|0:125|n1|d",
        ]
    )
    lines = list(queue.read_sacct(text))
    assert [(line.key, line.state, line.uid, line.nodes) for line in lines] == [
        (("a", None), "CANCELLED", "1000", "n1"),
        (("b", 2), "OUT_OF_MEMORY", "", "n2"),
    ]


def line(state: str, reason: str = "", nodes: str = "", uid: str = "") -> Line:
    return Line(("job", None), "17", state, reason, nodes, uid=uid)


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("Priority", "higher priority"),
        ("Resources", "the next to run"),
        ("(Dependency)", "depends on"),
        ("QOSMaxJobsPerUserLimit", "the QOS is at a limit"),
        ("AssocGrpCpuLimit", "the association is at a limit"),
        ("AssocGrpCPUMinutesLimit", "the association is at a limit"),
        ("PartitionConfig", "more than the partition"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "not available"),
        ("ReqNodeNotAvail(Unavailable:n1)", "not available"),
        ("launch failed requeued held", "could not be started"),
        ("BeginTime", "earliest start"),
        ("", "to be looked at"),
        ("SomethingNew", "it waits in Slurm (SomethingNew)"),
    ],
)
def test_every_reason_to_wait_is_a_sentence_with_slurm_s_word(reason: str, part: str) -> None:
    text = words.why(line("PENDING", reason))
    assert part in text
    assert text.endswith(f"({reason or 'PENDING'})")


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        ("TIMEOUT", JobState.FAILED, "TIMEOUT"),
        ("DEADLINE", JobState.FAILED, "TIMEOUT"),
        ("OUT_OF_MEMORY", JobState.FAILED, "OOM"),
        ("NODE_FAIL", JobState.INTERRUPTED, "NODE_FAIL"),
        ("BOOT_FAIL", JobState.INTERRUPTED, "NODE_FAIL"),
        ("PREEMPTED", JobState.INTERRUPTED, "PREEMPTED"),
        ("REVOKED", JobState.INTERRUPTED, "PREEMPTED"),
        ("CANCELLED", JobState.CANCELLED, None),
    ],
)
def test_every_end_has_a_reason(state: str, expected: JobState, reason: str | None) -> None:
    end = words.end(line(state, nodes="n7", uid="1000"))
    assert end is not None
    assert end[:2] == (expected, reason)
    assert f"({state})" in end[2]


def test_all_states_are_known_and_none_is_both() -> None:
    assert not queue.LIVE & queue.ENDED
    assert queue.WAITING < queue.LIVE
    told = {state for state in queue.ENDED if words.end(line(state)) is not None}
    assert queue.ENDED - told == {"COMPLETED", "FAILED"}
