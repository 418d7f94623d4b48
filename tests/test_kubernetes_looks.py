"""One look at a namespace serves all who ask; bringing output has a time of its own."""

import json
import threading
from pathlib import Path

import pytest

from runners.base import JobRef, JobState
from runners.kube import courier, observe
from runners.kube.api import Answer, NotThere, Refusal
from runners.kube.options import KubernetesOptions
from runners.kube.snapshot import Looks

NOW = 1_800_000_000.0


class Server:
    """Answers like an Api: lists of nothing, and logs that take their time."""

    current_context = None

    def __init__(self) -> None:
        self.lists = 0
        self.logs: list[str] = []
        self.time = 0.0
        self.log: Exception | bytes = b""
        self.gate = threading.Event()
        self.gate.set()

    def jobs(self, name: str = "") -> str:
        return f"jobs/{name}"

    def core(self, kind: str) -> str:
        return kind

    def request(self, method: str, path: str, *_: object) -> Answer:
        assert method == "DELETE"
        return Answer(b'{"kind": "Status"}', NOW)

    def get(self, path: str, **query: str) -> Answer:
        if path.endswith("/log"):
            self.logs.append(path.split("/")[1])
            self.time += 15.0
            if isinstance(self.log, Exception):
                raise self.log
            return Answer(self.log, NOW, kind="text/plain")
        if path.startswith("jobs/j"):
            raise NotThere(404, "NotFound", "there is no such Job")
        assert self.gate.wait(30)
        self.lists += path == "jobs/"
        kind = "JobList" if path == "jobs/" else "PodList"
        return Answer(json.dumps({"kind": kind, "items": []}).encode(), NOW)


def test_a_look_is_shared_until_it_is_too_old() -> None:
    now = [0.0]
    looks, server = Looks(lambda: now[0]), Server()
    first = looks.at("here", server, 2.0)
    now[0] = 1.9
    assert looks.at("here", server, 2.0) is first
    assert looks.at("here", server, 0.0) is not first
    assert looks.at("elsewhere", server, 2.0) is not first
    now[0] = 4.0
    looks.at("here", server, 2.0)
    assert server.lists == 4


def test_those_who_ask_at_once_wait_for_one_look_and_hold_up_nobody_else() -> None:
    looks, slow, quick = Looks(lambda: 0.0), Server(), Server()
    slow.gate.clear()
    threads = [
        threading.Thread(target=looks.at, args=("slow", slow, 2.0), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    looks.at("quick", quick, 2.0)
    slow.gate.set()
    for thread in threads:
        thread.join(30)
    assert (slow.lists, quick.lists) == (1, 1)


def ended(folder: Path, name: str) -> tuple[JobRef, dict, dict]:
    ref = JobRef(name, f"uid-{name}", (folder / name,))
    token = observe.records_of(ref).token
    notes = {"schedd.io/token": token, "schedd.io/state": "started"}
    complete = {"type": "Complete", "status": "True"}
    job = {
        "metadata": {"name": name, "uid": f"uid-{name}", "annotations": notes},
        "spec": {"completions": 1},
        "status": {"conditions": [complete]},
    }
    state = {"terminated": {"exitCode": 0}}
    pod = {
        "metadata": {"name": f"pod-{name}", "uid": f"pod-{name}"},
        "spec": {},
        "status": {
            "phase": "Succeeded",
            "containerStatuses": [{"name": "trial", "state": state}],
        },
    }
    return ref, job, pod


@pytest.fixture
def bed(tmp_path: Path):
    server = Server()
    options = KubernetesOptions(image="i")
    observer = observe.Observer(server, options, lambda: server.time)
    many = [ended(tmp_path, f"j{i}") for i in range(5)]
    snapshot = observe.Snapshot(
        {ref.name: job for ref, job, _ in many},
        {f"uid-{ref.name}": [pod] for ref, _, pod in many},
        NOW,
    )
    return server, observer, [ref for ref, _, _ in many], snapshot


def test_slow_logs_take_their_share_of_the_time_and_everyone_gets_a_turn(bed) -> None:
    server, observer, refs, snapshot = bed
    reported: set[str] = set()
    for _ in refs:
        before = server.time
        reported |= observer.reports([r for r in refs if r.name not in reported], snapshot).keys()
        assert server.time - before <= courier.OUTPUT_TIME + 15.0
    assert reported == {ref.name for ref in refs}
    assert sorted(server.logs) == sorted(f"pod-{name}" for name in reported)


def test_an_end_without_its_output_is_reported_after_a_while_and_says_so(bed) -> None:
    server, observer, (ref, *_), snapshot = bed
    server.log = Refusal(500, "InternalError", "the node does not answer")
    late = observe.Snapshot(snapshot.jobs, snapshot.pods, NOW + observe.OUTPUT_PATIENCE)
    assert observer.reports([ref], snapshot) == {}
    assert observer.reports([ref], snapshot) == {}
    report = observer.reports([ref], late)[ref.name]
    assert report.state is JobState.INTERRUPTED
    assert "not all of its output is here: the node does not answer" in report.message
    gone = observe.Snapshot({}, {}, NOW)
    assert observer.reports([ref], gone)[ref.name] == report
