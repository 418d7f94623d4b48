"""What each built-in fetcher makes of real files, real programs and arbitrary bytes."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import metrics.lines
from metrics.base import Fetcher, FetchRequest, InvalidMetric, Point, UnavailableMetric
from metrics.csv import CsvFetcher, CsvOptions
from metrics.json import JsonFetcher, JsonOptions
from metrics.jsonl import JsonlFetcher, JsonlOptions
from metrics.lines import LineFetcher
from metrics.regex import RegexFetcher, RegexOptions
from metrics.testing import outcome

FILE = "data"


def ask(directory: Path, *, running: bool = False) -> FetchRequest:
    return FetchRequest(metric="loss", directory=directory, running=running)


def json_fetcher(**keys: str) -> Fetcher:
    return JsonFetcher(JsonOptions(path=FILE, **keys))


def jsonl(**keys: str) -> LineFetcher:
    return JsonlFetcher(JsonlOptions(path=FILE, **keys))


def table(**keys: str) -> LineFetcher:
    return CsvFetcher(CsvOptions(path=FILE, **keys))


def regex(pattern: str = r"loss=(\S+)") -> LineFetcher:
    return RegexFetcher(RegexOptions(path=FILE, pattern=pattern))


def read(fetcher: Fetcher, folder: Path, text: str | bytes, running: bool = False) -> list[Point]:
    content = text.encode() if isinstance(text, str) else text
    (folder / FILE).write_bytes(content)
    return list(fetcher.fetch(ask(folder, running=running)))


def pairs(points: Sequence[Point]) -> list[tuple[float | None, float]]:
    return [(point.step, point.mean) for point in points]


# --- json


def test_json_reads_a_number_or_a_mean_and_its_error(tmp_path: Path) -> None:
    assert read(json_fetcher(), tmp_path, '{"loss": 0.5}') == [Point(0.5)]
    assert read(json_fetcher(), tmp_path, '{"loss": "0.5"}') == [Point(0.5)]
    nested = '{"mem": {"peak": {"mean": 2, "sem": 0.1}}, "se": 0.3, "loss": 1}'
    assert read(json_fetcher(key="mem.peak"), tmp_path, nested) == [Point(2, 0.1)]
    assert read(json_fetcher(sem_key="se"), tmp_path, nested) == [Point(1, 0.3)]
    assert read(json_fetcher(sem_key="none"), tmp_path, nested) == [Point(1)]


def test_json_nan_spoils_only_the_metric_that_has_it(tmp_path: Path) -> None:
    text = json.dumps({"loss": float("nan"), "acc": 0.5, "big": float("inf")})
    assert read(json_fetcher(key="acc"), tmp_path, text) == [Point(0.5)]
    for key in ("loss", "big"):
        with pytest.raises(InvalidMetric, match=r"^metric 'loss' \(data\) is .*not finite$"):
            read(json_fetcher(key=key), tmp_path, text)


@pytest.mark.parametrize("text", ['{"loss": 0.', "[0.5]", "0.5", "\x00" * 9, b"\xff\xfe{"])
def test_json_half_written_is_not_yet_until_the_job_ends(
    tmp_path: Path, text: str | bytes
) -> None:
    assert read(json_fetcher(), tmp_path, text, running=True) == []
    with pytest.raises(InvalidMetric, match=r"^metric 'loss' \(data\)"):
        read(json_fetcher(), tmp_path, text)


def test_json_without_the_key_says_which_there_are(tmp_path: Path) -> None:
    assert read(json_fetcher(), tmp_path, '{"los": 1}', running=True) == []
    with pytest.raises(UnavailableMetric, match=r"has no key 'loss'; it has 'los'$"):
        read(json_fetcher(), tmp_path, '{"los": 1}')


@pytest.mark.parametrize("value", ["null", "true", '"much"', "[1]", "1e999", "NaN", '{"a": 1}'])
def test_json_that_is_no_number_is_invalid_at_any_time(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidMetric, match=r"^metric 'loss' \(data\)"):
        read(json_fetcher(), tmp_path, f'{{"loss": {value}}}', running=True)


def test_json_of_five_mebibytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidMetric, match="larger than 4 MiB"):
        read(json_fetcher(), tmp_path, '{"loss": 1}' + " " * (5 << 20))


# --- jsonl


def test_jsonl_is_a_curve_by_step_or_else_by_line(tmp_path: Path) -> None:
    text = '{"step": 10, "loss": 3}\n\n{"acc": 1}\n{"loss": {"mean": 2, "sem": 0.1}}\n'
    assert read(jsonl(), tmp_path, text) == [Point(3, None, 10), Point(2, 0.1, 4)]
    text = '{"t": {"epoch": 5}, "a.b": 1, "se": 0.5, "step": 7}\r\n{"a.b": 2, "step": null}'
    deep = jsonl(key="a.b", step="t.epoch", sem_key="se")
    assert read(deep, tmp_path, text) == [Point(1, 0.5, 5), Point(2, None, 2)]


def test_jsonl_last_line_counts_once_it_is_whole(tmp_path: Path) -> None:
    fetcher = jsonl()
    assert pairs(read(fetcher, tmp_path, '{"loss": 3}\n{"lo', running=True)) == [(1, 3)]
    two = [(1, 3), (2, 2)]
    assert pairs(read(fetcher, tmp_path, '{"loss": 3}\n{"loss": 2}', running=True)) == two[:1]
    assert pairs(read(fetcher, tmp_path, '{"loss": 3}\n{"loss": 2}')) == two
    with pytest.raises(InvalidMetric, match=r"\(data, line 2\) is not JSON"):
        read(fetcher, tmp_path, '{"loss": 3}\n{"lo')


@pytest.mark.parametrize("line", ["loss: 1", "[1]", '{"loss": NaN}', '{"loss": 1, "step": "x"}'])
def test_jsonl_a_bad_line_is_named_each_time_it_is_asked_for(tmp_path: Path, line: str) -> None:
    fetcher = jsonl()
    for _ in range(2):
        with pytest.raises(InvalidMetric, match=r"metric 'loss' \(data, line 2\)"):
            read(fetcher, tmp_path, f'{{"loss": 1}}\n{line}\n', running=True)


def test_jsonl_without_the_key_is_asked_for_again(tmp_path: Path) -> None:
    assert read(jsonl(), tmp_path, '{"acc": 1}\n', running=True) == []
    with pytest.raises(UnavailableMetric, match="none of 1 lines has the key 'loss'"):
        read(jsonl(), tmp_path, '{"acc": 1}\n')


# --- csv


def test_csv_reads_a_column(tmp_path: Path) -> None:
    text = '\ufeffepoch,loss,se\n1,3,\n2,,\n"4","2.5",0.5\r\nepoch,loss,se\n6,1,0\n'
    assert pairs(read(table(), tmp_path, text)) == [(1, 3), (3, 2.5), (5, 1)]
    curve = [Point(3, None, 1), Point(2.5, 0.5, 4), Point(1, 0, 6)]
    assert read(table(column="loss", step="epoch", sem="se"), tmp_path, text) == curve
    tabs = text.replace(",", "\t")
    assert read(table(delimiter="\t", step="epoch", sem="se"), tmp_path, tabs) == curve


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,0,5", "has 3 cells where the header has 2"),
        ("1", "has 1 cells where the header has 2"),
        ('1,"0.5', "is not a row of a table"),
        ("1,0\r5", "is not a row of a table"),
        ("1,nan", "is nan, which is not finite"),
        ("1,low", "is 'low', which is not a number"),
        ("x,1", "the step of metric 'loss' (data, line 3) is 'x', which is not a number"),
    ],
)
def test_csv_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InvalidMetric) as raised:
        read(table(step="epoch"), tmp_path, f"epoch,loss\n1,1\n{row}\n", running=True)
    assert message in str(raised.value)
    assert "metric 'loss' (data, line 3)" in str(raised.value)


def test_csv_a_torn_row_waits_for_its_end(tmp_path: Path) -> None:
    fetcher = table(step="epoch")
    assert read(fetcher, tmp_path, "epoch,lo", running=True) == []
    assert pairs(read(fetcher, tmp_path, "epoch,loss\n1,3\n2,0", running=True)) == [(1, 3)]
    assert pairs(read(fetcher, tmp_path, "epoch,loss\n1,3\n2,0.5")) == [(1, 3), (2, 0.5)]


def test_csv_without_the_column_says_which_there_are(tmp_path: Path) -> None:
    assert read(table(), tmp_path, "a,b\n1,2\n", running=True) == []
    with pytest.raises(UnavailableMetric, match="has no column 'loss'; it has 'a', 'b'"):
        read(table(), tmp_path, "a,b\n1,2\n")
    with pytest.raises(UnavailableMetric, match="has no column 'epoch'"):
        read(table(step="epoch"), tmp_path, "a,loss\n1,2\n")
    with pytest.raises(UnavailableMetric, match="the column 'loss' is empty in all rows"):
        read(table(), tmp_path, "a,loss\n1,\n")


# --- regex


def test_regex_makes_every_match_a_point(tmp_path: Path) -> None:
    text = "start\nloss=3 loss=2\nprogress 1% loss=1.5\rprogress 2% loss=1e-1\r\n"
    assert pairs(read(regex(), tmp_path, text)) == [(1, 3), (2, 2), (3, 1.5), (4, 0.1)]


def test_regex_reads_a_progress_bar_as_it_goes(tmp_path: Path) -> None:
    text = "1% loss=2\r2% loss=1\r3% los"
    assert pairs(read(regex(r"loss=(\S+)$"), tmp_path, text, running=True)) == [(1, 2), (2, 1)]


def test_regex_takes_step_and_error_from_their_groups(tmp_path: Path) -> None:
    full = regex(r"(?P<step>\d+): (?P<value>\S+)( ± (?P<sem>\S+))?")
    text = "5: 0.5 ± 0.1\n6: 0.25\n"
    assert read(full, tmp_path, text) == [Point(0.5, 0.1, 5), Point(0.25, None, 6)]
    first = regex(r"(?P<step>\d+): (\S+)")
    assert pairs(read(first, tmp_path, text)) == [(5, 0.5), (6, 0.25)]
    assert read(regex(r"(x)?: "), tmp_path, text, running=True) == []


def test_regex_reads_the_log_of_the_stream(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_text("loss=1\n")
    (tmp_path / "stderr.log").write_text("loss=2\n")
    for options, value in (
        (RegexOptions(pattern="loss=(.)"), 1),
        (RegexOptions(pattern="loss=(.)", stream="stderr"), 2),
    ):
        assert pairs(RegexFetcher(options).fetch(ask(tmp_path))) == [(1, value)]


@pytest.mark.parametrize(("found", "why"), [("nan", "not finite"), ("", "not a number")])
def test_regex_an_empty_or_nan_match_is_invalid(tmp_path: Path, found: str, why: str) -> None:
    with pytest.raises(InvalidMetric, match=rf"metric 'loss' \(data, match 2\).*{why}"):
        read(regex(r"loss=([a-z\d]*)"), tmp_path, f"loss=1\nloss={found}\n")


def test_regex_reads_no_number_in_part(tmp_path: Path) -> None:
    half = "loss=1\nloss=0.12"
    assert pairs(read(regex(), tmp_path, half, running=True)) == [(1, 1)]
    assert pairs(read(regex(), tmp_path, half + "34\n", running=True)) == [(1, 1), (2, 0.1234)]
    noise = "x" * (RegexFetcher.max_line - 6)
    more = "x" * (3 << 20)  # several times what is read at once
    text = f"{more} loss=3\nloss=1\n{noise}loss=12\nloss=2\n"
    assert pairs(read(regex(), tmp_path, text)) == [(1, 1), (2, 2)]
    fetcher = regex()
    assert read(fetcher, tmp_path, more, running=True) == []
    assert pairs(read(fetcher, tmp_path, text, running=True)) == [(1, 1), (2, 2)]


def test_regex_without_a_match_is_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(UnavailableMetric, match="none of 2 lines matches 'loss="):
        read(regex(), tmp_path, "a\nb\n")


def test_regex_errors_are_told_at_load() -> None:
    with pytest.raises(ValidationError, match="is not a regular expression: missing \\)"):
        RegexOptions(pattern="(a")
    with pytest.raises(ValidationError, match="needs a group for the value"):
        RegexOptions(pattern="loss")


# --- following files


class Counting(JsonlFetcher):
    """Counts the lines it was shown."""

    shown = 0

    def points(self, line, progress, source):  # type: ignore[no-untyped-def]
        self.shown += 1
        return super().points(line, progress, source)


def counting() -> Counting:
    return Counting(JsonlOptions(path=FILE))


def lines(*values: float) -> str:
    return "".join(f'{{"loss": {value}}}\n' for value in values)


def test_a_poll_reads_only_what_is_new(tmp_path: Path) -> None:
    fetcher = counting()
    for n in range(1, 6):
        values = range(n)
        assert len(read(fetcher, tmp_path, lines(*values), running=True)) == n
    assert fetcher.shown == 5


@pytest.mark.parametrize("text", [lines(9), lines(8, 2, 3, 4), lines(1, 2, 8, 4, 5), ""])
def test_a_rewritten_file_is_read_from_its_start(tmp_path: Path, text: str) -> None:
    fetcher = jsonl()
    read(fetcher, tmp_path, lines(1, 2, 3), running=True)
    again = read(fetcher, tmp_path, text, running=True)
    assert again == read(jsonl(), tmp_path, text, running=True)


def test_a_replaced_or_removed_file_is_read_anew(tmp_path: Path) -> None:
    fetcher = jsonl()
    read(fetcher, tmp_path, lines(1, 2), running=True)
    (tmp_path / FILE).write_text(lines(1) + "\n" * 2000)
    assert pairs(fetcher.fetch(ask(tmp_path, running=True))) == [(1, 1)]
    (tmp_path / "new").write_text(lines(7) + "\n" * 2000)
    os.replace(tmp_path / "new", tmp_path / FILE)
    assert pairs(fetcher.fetch(ask(tmp_path, running=True))) == [(1, 7)]
    (tmp_path / FILE).unlink()
    assert list(fetcher.fetch(ask(tmp_path, running=True))) == []


def test_points_given_are_not_changed_by_later_polls(tmp_path: Path) -> None:
    fetcher = jsonl()
    (tmp_path / FILE).write_text(lines(1))
    first = fetcher.fetch(ask(tmp_path, running=True))
    (tmp_path / FILE).write_text(lines(1, 2))
    assert len(fetcher.fetch(ask(tmp_path, running=True))) == 2
    assert len(first) == 1


def test_reading_is_bounded_in_time_and_carries_on(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 14))  # every look at the clock takes 14 of the 20 seconds
    fetcher = JsonlFetcher(JsonlOptions(path=FILE), clock=lambda: next(ticks))
    padding = " " * 1000
    (tmp_path / FILE).write_text("".join(f'{{"loss": {n}}}{padding}\n' for n in range(3000)))
    assert 0 < len(fetcher.fetch(ask(tmp_path, running=True))) < 3000
    outcomes = [outcome(fetcher, ask(tmp_path)) for _ in range(2)]
    assert isinstance(outcomes[0], UnavailableMetric)
    assert "the rest at the next poll" in str(outcomes[0])
    assert [point.mean for point in outcomes[1]] == list(range(3000))  # type: ignore[union-attr]


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.lines, "MAX_REMEMBERED", 4)
    fetcher = counting()
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
        read(fetcher, folder, lines(1, 2), running=True)
    assert fetcher.shown == 6
    for folder, shown in ((folders[2], 6), (folders[1], 6), (folders[0], 8)):
        assert len(fetcher.fetch(ask(folder, running=True))) == 2
        assert fetcher.shown == shown


def test_an_ended_job_is_forgotten(tmp_path: Path) -> None:
    fetcher = counting()
    read(fetcher, tmp_path, lines(1), running=True)
    for shown in (1, 2):
        assert len(fetcher.fetch(ask(tmp_path))) == 1
        assert fetcher.shown == shown


def test_too_many_points_and_too_large_files_are_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics.lines, "MAX_POINTS", 3)
    assert len(read(jsonl(), tmp_path, lines(1, 2, 3))) == 3
    with pytest.raises(InvalidMetric, match="more than 3 values"):
        read(jsonl(), tmp_path, lines(1, 2, 3, 4))
    with (tmp_path / FILE).open("r+b") as file:
        file.truncate(metrics.lines.MAX_FILE + 1)
    with pytest.raises(InvalidMetric, match="larger than 256 MiB"):
        jsonl().fetch(ask(tmp_path))


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_that_is_too_long_is_invalid(tmp_path: Path, end: str) -> None:
    text = lines(1) + " " * (JsonlFetcher.max_line + 1) + "1" + end
    with pytest.raises(InvalidMetric, match=r"\(data, line 2\) is longer than 1024 KiB"):
        read(jsonl(), tmp_path, text, running=True)


# --- arbitrary bytes

FETCHERS = {"json": json_fetcher, "jsonl": jsonl, "csv": table, "regex": regex}
PIECES = st.sampled_from(
    [
        *(b'{"loss": 1}', b'{"loss": {"mean": 1, "sem": ', b"loss", b"step,loss", b"1,2"),
        *(b"loss=1e", b"NaN", b"-Infinity", b"1e999", b'"', b"\n", b"\r", b",", b"\x00", b"\xff"),
    ]
)
CONTENT = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=20).map(b"".join)
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("kind", FETCHERS)
@given(contents=st.lists(CONTENT, min_size=1, max_size=3), running=st.booleans())
@FUZZ
def test_only_finite_points_or_the_two_errors_come_out(
    tmp_path: Path, kind: str, contents: list[bytes], running: bool
) -> None:
    fetcher = FETCHERS[kind]()
    for content in contents:
        (tmp_path / FILE).write_bytes(content)
        outcome(fetcher, ask(tmp_path, running=running))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "regex"])
@given(content=CONTENT, cuts=st.lists(st.integers(0, 160), max_size=4))
@FUZZ
def test_following_a_file_gives_what_reading_it_at_once_gives(
    tmp_path: Path, kind: str, content: bytes, cuts: list[int]
) -> None:
    follower = FETCHERS[kind]()
    for cut in sorted(cuts):
        (tmp_path / FILE).write_bytes(content[:cut])
        outcome(follower, ask(tmp_path, running=True))
    (tmp_path / FILE).write_bytes(content)
    at_once, followed = (outcome(each, ask(tmp_path)) for each in (FETCHERS[kind](), follower))
    assert str(followed) == str(at_once)
