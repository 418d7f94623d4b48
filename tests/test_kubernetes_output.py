"""Output that arrives in parts: each line once, whatever the server repeats, cuts or forgets."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metrics.base import FetchRequest
from metrics.jsonl import JsonlFetcher
from runners.kube import output
from runners.kube.output import Output

BEGIN = 1_800_000_000.0


class Log:
    """A container's log, as a kubelet answers for it."""

    def __init__(self) -> None:
        self.lines: list[tuple[float, bytes]] = []
        self.partial = b""
        self.asked = 0

    def say(self, text: str, at: float) -> None:
        self.lines.append((BEGIN + at, text.encode()))

    def __call__(self, query: dict[str, str]) -> bytes:
        self.asked += 1
        since = query.get("sinceTime")
        first = datetime.fromisoformat(since).timestamp() if since else 0.0
        lines = [line for line in self.lines if line[0] >= first]
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        stamps = "timestamps" in query
        body = b"".join((stamp(at) + b" " if stamps else b"") + text + b"\n" for at, text in lines)
        if self.partial:
            body += stamp(BEGIN + 9e5) + b" " + self.partial
        return body[: int(query["limitBytes"])]


def stamp(at: float) -> bytes:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z").encode()


def make(folder: Path, *, limit: int = 1 << 20, shared: bool = False) -> Output:
    folder.mkdir(exist_ok=True)
    return Output(folder, limit=limit, shared=shared)


def text(folder: Path, name: str = "stdout.log") -> str:
    return (folder / name).read_text()


LINES = st.tuples(
    st.floats(0.0, 4.0).map(lambda x: round(x, 3)),
    st.booleans(),
    st.sampled_from(["", "a", '{"x": 1}', "b" * 40]),
)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(LINES, max_size=30), jitter=st.integers(0, 5))
@example(lines=[(0.0, False, ""), (2.0, True, ""), (0.0, True, "a")], jitter=1)
def test_every_line_is_here_once_however_often_one_looks(lines, jitter, tmp_path_factory) -> None:
    """Stamps of two streams may be out of order by less than a second."""
    folder = tmp_path_factory.mktemp("output")
    log, at = Log(), 0.0
    for gap, look, words in lines:
        at += gap
        log.say(words, at - (jitter * len(words) % 7) / 8)
        if look:
            make(folder).follow("p", log, ended=False)
    make(folder).follow("p", log, ended=True)
    expected = "".join(f"{words}\n" for _, _, words in lines)
    assert text(folder) == expected
    objects = [words for _, _, words in lines if words.startswith("{")]
    assert (text(folder, "metrics.jsonl") if objects else "") == "".join(
        f"{each}\n" for each in objects
    )


def test_lines_of_one_instant_are_told_apart_by_their_order(tmp_path: Path) -> None:
    log = Log()
    for word in "abc":
        log.say(word, 1.0)
        make(tmp_path).follow("p", log, ended=False)
    assert text(tmp_path) == "a\nb\nc\n"


def test_a_line_without_its_end_waits_for_it_while_the_container_runs(tmp_path: Path) -> None:
    log = Log()
    log.say("whole", 0.0)
    log.partial = b"half"
    make(tmp_path).follow("p", log, ended=False)
    assert text(tmp_path) == "whole\n"
    make(tmp_path).follow("p", log, ended=True)
    assert text(tmp_path) == "whole\nhalf\n"


def test_a_crash_between_the_output_and_the_note_of_it_repeats_nothing(tmp_path: Path) -> None:
    log = Log()
    log.say('{"loss": 1}', 0.0)
    make(tmp_path).follow("p", log, ended=False)
    for name in ("stdout.log", "metrics.jsonl"):
        with (tmp_path / name).open("a") as out:
            out.write("written, and never noted")
    log.say('{"loss": 2}', 1.0)
    make(tmp_path).follow("p", log, ended=True)
    assert text(tmp_path) == text(tmp_path, "metrics.jsonl") == '{"loss": 1}\n{"loss": 2}\n'


@pytest.mark.parametrize("harm", ["remove", "shorten", "spoil", "link"])
def test_what_was_lost_here_is_brought_anew(harm: str, tmp_path: Path) -> None:
    log = Log()
    log.say("first", 0.0)
    make(tmp_path).follow("p", log, ended=False)
    note = tmp_path / ".schedd" / "output.json"
    if harm == "remove":
        (tmp_path / "stdout.log").unlink()
    elif harm == "shorten":
        (tmp_path / "stdout.log").write_text("x")
    elif harm == "spoil":
        note.write_text("[" * 10_000)
    else:
        note.unlink()
        note.symlink_to("/etc/passwd")
    log.say("second", 1.0)
    make(tmp_path).follow("p", log, ended=True)
    assert text(tmp_path) == "first\nsecond\n"


def test_a_rotated_log_costs_only_what_was_rotated_away(tmp_path: Path) -> None:
    log = Log()
    for i in range(6):
        log.say(str(i), i / 10)
    make(tmp_path).follow("p", log, ended=False)
    del log.lines[:4]
    log.say("6", 0.65)
    make(tmp_path).follow("p", log, ended=True)
    assert text(tmp_path).split() == list("0123456")


def test_another_pod_begins_anew_and_the_output_of_the_first_is_kept(tmp_path: Path) -> None:
    first, second = Log(), Log()
    first.say('{"loss": 1}', 0.0)
    second.say('{"loss": 2}', 0.0)
    make(tmp_path).follow("evicted-1", first, ended=True)
    assert make(tmp_path).is_complete("evicted-1")
    assert not make(tmp_path).is_complete("second-2")
    make(tmp_path).follow("second-2", second, ended=True)
    assert text(tmp_path) == text(tmp_path, "metrics.jsonl") == '{"loss": 2}\n'
    assert text(tmp_path, "stdout.evicted-.log") == '{"loss": 1}\n'


def test_a_link_in_the_place_of_the_output_leads_nowhere(tmp_path: Path) -> None:
    """A task on a shared disk could put one there."""
    treasure = tmp_path / "treasure"
    treasure.write_text("gold" * 100)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "stdout.log").symlink_to(treasure)
    log = Log()
    log.say("first", 0.0)
    make(tmp_path / "t", shared=True).follow("p", log, ended=True)
    assert treasure.read_text() == "gold" * 100
    assert text(tmp_path / "t") == "first\n"


def test_a_folder_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    log = Log()
    log.say("first", 0.0)
    Output(tmp_path / "gone", limit=4096, shared=False).follow("p", log, ended=True)
    assert text(tmp_path / "gone") == "first\n"


def test_only_short_lines_that_are_objects_are_metrics(tmp_path: Path) -> None:
    log = Log()
    lines = ['{"loss": 1}', ' {"a": NaN}\r', "[1]", '"{}"', "{x}", '{"a": 1} b', "{" * 9999 + "}"]
    lines.append('{"long": "%s"}' % ("x" * output.LONGEST_OBJECT))
    for line in lines:
        log.say(line, 1.0)
    make(tmp_path).follow("p", log, ended=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"loss": 1}\n {"a": NaN}\r\n'


def test_complete_output_is_not_asked_for_again(tmp_path: Path) -> None:
    log = Log()
    log.say("a", 0.0)
    make(tmp_path).follow("p", log, ended=True)
    asked = log.asked
    make(tmp_path).follow("p", log, ended=True)
    assert log.asked == asked


def test_of_too_much_output_the_beginning_and_the_end_are_here(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(output, "PART", 4096)
    monkeypatch.setattr(output, "TAIL_LINES", 3)
    log = Log()
    for i in range(5000):
        log.say(f"line {i}", i / 100)
    make(tmp_path, limit=8192).follow("p", log, ended=False)
    make(tmp_path, limit=8192).follow("p", log, ended=True)
    lines = text(tmp_path).splitlines()
    assert lines[:2] == ["line 0", "line 1"]
    assert lines[-4:] == [
        "[schedd: output_limit is reached; the last lines follow]",
        "line 4997",
        "line 4998",
        "line 4999",
    ]
    assert len(text(tmp_path)) < 3 * 8192


def test_a_container_that_writes_faster_than_one_reads_holds_nobody_up(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "PART", 64)

    class Endless(Log):
        def __call__(self, query: dict[str, str]) -> bytes:
            for _ in range(20):
                self.say("x" * 20, len(self.lines) / 10)
            return super().__call__(query)

    log = Endless()
    make(tmp_path).follow("p", log, ended=False)
    assert log.asked == output.PARTS
    seen = text(tmp_path)
    make(tmp_path).follow("p", log, ended=False)
    assert text(tmp_path).startswith(seen)
    assert len(text(tmp_path)) > len(seen)


def test_a_line_longer_than_a_part_is_left_out_and_the_rest_is_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(output, "PART", 256)
    log = Log()
    log.say("a", 0.0)
    log.say("x" * 5000, 5.0)
    log.say("b", 10.0)
    for ended in (False, False, True):
        make(tmp_path).follow("p", log, ended=ended)
    assert text(tmp_path).split() == ["a", "b"]


def test_words_of_the_kubelet_itself_are_no_output(tmp_path: Path) -> None:
    make(tmp_path).follow(
        "p", lambda _: b"unable to retrieve container logs for containerd://1\n", ended=True
    )
    assert text(tmp_path) == ""


def test_nothing_is_made_of_the_output_where_the_task_writes_its_own_files(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"loss": 3}\n')
    log = Log()
    log.say('{"loss": 1}', 0.0)
    made = make(tmp_path, shared=True)
    made.follow("p", log, ended=True)
    made.conclude('{"loss": 2}')
    assert text(tmp_path, "metrics.jsonl") == '{"loss": 3}\n'
    assert not (tmp_path / "metrics.json").exists()


def test_the_termination_message_is_a_result_and_a_line_of_the_metrics(tmp_path: Path) -> None:
    log = Log()
    log.say('{"loss": 1, "step": 1}', 0.0)
    made = make(tmp_path)
    made.follow("p", log, ended=True)
    for _ in range(2):  # once more after a crash
        made.conclude('{\n  "loss": 0.5,\n  "step": 2\n}\n')
    assert json.loads(text(tmp_path, "metrics.json")) == {"loss": 0.5, "step": 2}
    request = FetchRequest("loss", tmp_path, {}, running=False, placeholders={})
    points = JsonlFetcher(JsonlFetcher.Options(step="step")).fetch(request)
    assert [(p.step, p.mean) for p in points] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("message", ["", "done", "[1]", "NaN", "{", "[" * 100_000])
def test_another_termination_message_is_no_result(message: str, tmp_path: Path) -> None:
    make(tmp_path).conclude(message)
    assert list(tmp_path.glob("*.json*")) == []


def log_with(folder: Path, content: bytes) -> Callable[[], None]:
    folder.mkdir(exist_ok=True)
    (folder / "stdout.log").write_bytes(content)
    return lambda: make(folder).conclude("")


def block(name: str, content: bytes) -> bytes:
    head = f"-----BEGIN SCHEDD FILE {name}-----\n".encode()
    return head + content + b"-----END SCHEDD FILE-----\n"


def test_files_between_markers_are_files(tmp_path: Path) -> None:
    content = b"noise\n" + block("a.csv", b"x,y\n\xff,2\n") + block("empty", b"") + b"noise\n"
    log_with(tmp_path, content)()
    assert (tmp_path / "a.csv").read_bytes() == b"x,y\n\xff,2\n"
    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.parametrize("name", ["../x", "a/b", ".schedd", ".hidden", "", "a b", "x" * 101])
def test_a_name_that_leads_elsewhere_is_no_files(name: str, tmp_path: Path) -> None:
    log_with(tmp_path / "t", block(name, b"evil\n"))()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["stdout.log", "t"]


def test_the_logs_themselves_are_not_replaced(tmp_path: Path) -> None:
    content = block("stdout.log", b"evil\n") + block("stderr.log", b"evil\n")
    log_with(tmp_path, content)()
    assert (tmp_path / "stdout.log").read_bytes() == content
    assert not (tmp_path / "stderr.log").exists()


def test_files_have_limits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(output.results, "LARGEST", 100)
    monkeypatch.setattr(output.results, "MOST", 3)
    content = block("large", b"x" * 60 + b"\n" + b"y" * 60 + b"\n")
    content += b"".join(block(f"f{i}", b"1\n") for i in range(9))
    content += b"-----BEGIN SCHEDD FILE open-----\nnever ended\n"
    log_with(tmp_path, content)()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f0", "f1", "f2", "stdout.log"]
