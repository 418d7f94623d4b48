"""Every built-in fetcher keeps the contract; the shapes of values; placeholders and paths."""

import csv
import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from metrics.base import (
    Fetcher,
    FetcherOptions,
    FetchRequest,
    InvalidMetric,
    Point,
    UnavailableMetric,
    finite,
    reduce_points,
)
from metrics.command import CommandFetcher, CommandOptions
from metrics.csv import CsvFetcher, CsvOptions
from metrics.files import Source, fill
from metrics.json import JsonFetcher, JsonOptions
from metrics.jsonl import JsonlFetcher, JsonlOptions
from metrics.python import PythonFetcher, PythonOptions
from metrics.regex import RegexFetcher, RegexOptions
from metrics.testing import METRIC, FetcherContract, FileFetcherContract
from metrics.values import MISSING, lookup, parse, point


class TestJson(FileFetcherContract):
    def fetcher(self) -> Fetcher:
        return JsonFetcher(JsonOptions())

    def write(self, directory: Path, metric: str, value: float | str) -> None:
        (directory / "metrics.json").write_text(json.dumps({metric: value}))


class TestJsonl(FileFetcherContract):
    def fetcher(self) -> Fetcher:
        return JsonlFetcher(JsonlOptions())

    def write(self, directory: Path, metric: str, value: float | str) -> None:
        with (directory / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({metric: value}) + "\n")


class TestCsv(FileFetcherContract):
    def fetcher(self) -> Fetcher:
        return CsvFetcher(CsvOptions(path="table.csv", step="epoch"))

    def write(self, directory: Path, metric: str, value: float | str) -> None:
        file = directory / "table.csv"
        text = file.read_text() if file.exists() else f"epoch,{metric}\n"
        rows = [*csv.reader(text.splitlines())]
        rows.append([str(len(rows)), str(value)])
        with file.open("w") as opened:
            csv.writer(opened).writerows(rows)


class TestRegex(FileFetcherContract):
    def fetcher(self) -> Fetcher:
        return RegexFetcher(RegexOptions(pattern=METRIC + r"=(?P<value>\S+)"))

    def write(self, directory: Path, metric: str, value: float | str) -> None:
        with (directory / "stdout.log").open("a") as file:
            file.write(f"epoch done, {metric}={value} \n")


class TestCommand(FetcherContract):
    def fetcher(self) -> Fetcher:
        return CommandFetcher(CommandOptions(command=("cat", "answer")))

    def write(self, directory: Path, metric: str, value: float | str) -> None:
        (directory / "answer").write_text(f"noise\n{value}\n")


FUNCTION = "import json\ndef value(folder): return json.loads((folder / 'v').read_text())\n"


class TestPython(FetcherContract):
    @pytest.fixture(autouse=True)
    def _module(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.module = tmp_path_factory.mktemp("module") / "mine.py"
        self.module.write_text(FUNCTION)

    def fetcher(self) -> Fetcher:
        return PythonFetcher(PythonOptions(function=f"{self.module}:value"))

    def write(self, directory: Path, metric: str, value: float | str) -> None:
        (directory / "v").write_text(json.dumps(value))


BUILT_IN = {
    "json": JsonFetcher,
    "jsonl": JsonlFetcher,
    "csv": CsvFetcher,
    "regex": RegexFetcher,
    "command": CommandFetcher,
    "python": PythonFetcher,
}


def test_the_entry_points_are_the_built_ins() -> None:
    found = {each.name: each.load() for each in entry_points(group="schedd.metrics")}
    assert BUILT_IN.items() <= found.items()


@pytest.mark.parametrize("fetcher", BUILT_IN.values())
def test_the_readme_names_every_option(fetcher: type[Fetcher]) -> None:
    readme = Path(__file__).parents[1].joinpath("metrics", "README.md").read_text()
    (name,) = (name for name, each in BUILT_IN.items() if each is fetcher)
    (row,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}` "))
    assert [key for key in fetcher.Options.model_fields if f"`{key}`" not in row] == []


def test_the_fetcher_of_the_readme_works(tmp_path: Path) -> None:
    readme = Path(__file__).parents[1].joinpath("metrics", "README.md").read_text()
    names: dict[str, Any] = {"__name__": "readme"}
    exec(readme.split("```python\n")[1].split("```")[0], names)
    fetcher = names["LastLineFetcher"](names["LastLineOptions"]())
    assert fetcher.fetch(ask(tmp_path)) == []
    (tmp_path / "loss.txt").write_text("0.5\n")
    assert fetcher.fetch(ask(tmp_path)) == [Point(0.5)]


@pytest.mark.parametrize("name", [*BUILT_IN, "record", "base"])
def test_importing_a_fetcher_is_cheap_and_keeps_to_itself(name: str) -> None:
    code = f"import sys, metrics.{name}; print(*sys.modules)"
    run = [sys.executable, "-P", "-c", code]
    modules = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    roots = {module.split(".")[0] for module in modules}
    heavy = {"scheduler", "runners", "numpy", "torch", "sqlalchemy", "pytest", "yaml"}
    assert not roots & (heavy | ({"pydantic"} if name == "record" else set()))


def test_finite_accepts_numbers_and_their_spelling() -> None:
    assert [finite(v, "x") for v in (1, 0.5, "2e-3", " 7 ")] == [1, 0.5, 0.002, 7]


@pytest.mark.parametrize(
    "value", [True, None, "", "nan", "inf", float("nan"), 10**400, "1,5", [1], {}, b"1", "x" * 999]
)
def test_finite_refuses_the_rest(value: object) -> None:
    with pytest.raises(InvalidMetric, match=r"^x is .{1,100}$"):
        finite(value, "x")


def test_reduce_points_keeps_the_error_of_the_chosen_point() -> None:
    curve = [Point(3, 0.1, 1), Point(1, 0.2, 2), Point(2, 0.3, 3)]
    assert reduce_points(curve, "last") == Point(2, 0.3)
    assert reduce_points(curve, "min") == Point(1, 0.2)
    assert reduce_points(curve, "max") == Point(3, 0.1)
    assert reduce_points(curve, "mean") == Point(2)


def test_lookup_follows_dots_but_a_literal_key_wins() -> None:
    document = {"mem": {"peak": 1, "list": [1]}, "a.b": 2, "a": {"b": 3}, "none": None}
    assert lookup(document, "mem.peak") == 1
    assert lookup(document, "a.b") == 2
    assert lookup(document, "none") is None
    for key in ("mem.low", "mem.peak.x", "mem.list.0", "", "."):
        assert lookup(document, key) is MISSING


def test_point_takes_a_number_or_mean_and_sem() -> None:
    assert point(1, "x", sem="0.5", step=3) == Point(1, 0.5, 3)
    assert point({"mean": 1, "sem": 0.5}, "x") == Point(1, 0.5)
    assert point({"mean": 1, "sem": None}, "x", sem=2) == Point(1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"avg": 1}, "x has no 'mean'; it has 'avg'"),
        ({"mean": {"mean": 1}}, "x is {'mean': 1}, which is not a number"),
        ({"mean": 1, "sem": -1}, "the standard error of x is -1.0, which is negative"),
        ({"mean": 1, "sem": "nan"}, "the standard error of x is nan, which is not finite"),
    ],
)
def test_point_says_what_is_wrong(value: object, message: str) -> None:
    with pytest.raises(InvalidMetric) as raised:
        point(value, "x")
    assert str(raised.value) == message


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000, "1" * 5000, "{'a': 1}"])
def test_parse_refuses_what_is_no_json(text: str) -> None:
    with pytest.raises(InvalidMetric, match=r"^x is not JSON: "):
        parse(text, "x")


def ask(directory: Path, **more: object) -> FetchRequest:
    return FetchRequest(metric="loss", directory=directory, **more)  # type: ignore[arg-type]


def test_fill_replaces_names_once_and_leaves_other_braces() -> None:
    request = ask(Path("/job"), placeholders={"params.x": "{trial_dir}", "trial_index": "3"})
    text = "{trial_dir}/{trial_index} {params.x} {{trial_dir}} {} {1} {'a': 2} a{2,3}"
    filled = "/job/3 {trial_dir} {trial_dir} {} {1} {'a': 2} a{2,3}"
    assert fill(text, request) == filled


def test_fill_refuses_an_unknown_name_and_says_which_there_are() -> None:
    with pytest.raises(InvalidMetric, match=r"\{tral_dir\}, which is unknown.*\{trial_dir\}"):
        fill("{tral_dir}/x", ask(Path("/job")))


def test_paths_are_relative_to_the_folder_and_messages_too(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"here")
    for path in ("a/x", "{trial_dir}/a/x", "./a/../a//x"):
        source = Source(ask(tmp_path), path)
        assert (source.read(), source.at("line 3")) == (b"here", "metric 'loss' (a/x, line 3)")


def test_links_lead_nowhere_within_the_folder_but_anywhere_outside(tmp_path: Path) -> None:
    job, other = tmp_path / "job", tmp_path / "other"
    job.mkdir()
    other.mkdir()
    (other / "secret").write_bytes(b"1")
    (other / "link").symlink_to("secret")
    (job / "file").symlink_to(other / "secret")
    (job / "folder").symlink_to(other)
    for path in ("file", "folder/secret", "{trial_dir}/file"):
        with pytest.raises(InvalidMetric, match="symbolic link"):
            Source(ask(job), path).read()
    for path in (str(other / "link"), "../other/link"):  # the user named that place
        assert Source(ask(job), path).read() == b"1"


def test_the_folder_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    assert Source(ask(tmp_path / "link"), "x").read() == b"1"


def test_names_that_cannot_be_are_invalid(tmp_path: Path) -> None:
    for path in ("a\0b", "x" * 300, "/dev/zero", "{trial_dir}", "\ud800"):
        with pytest.raises(InvalidMetric):
            Source(ask(tmp_path), path).read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_asked_for_later(tmp_path: Path) -> None:
    (tmp_path / "x").touch(0o000)
    with pytest.raises(UnavailableMetric, match=r"\(x\) cannot be read: Permission denied"):
        Source(ask(tmp_path), "x").read()


def test_an_error_while_reading_is_asked_for_later(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    source = Source(ask(tmp_path), "x")
    with pytest.raises(UnavailableMetric, match="Stale file handle"), source.open():
        raise OSError(116, "Stale file handle")


def test_a_document_has_a_size_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert Source(ask(tmp_path), "x").read(5) == b"12345"
    with pytest.raises(InvalidMetric, match="larger than"):
        Source(ask(tmp_path), "x").read(4)


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (JsonOptions, {"path": ""}),
        (JsonOptions, {"file": "x"}),
        (CsvOptions, {}),
        (CsvOptions, {"path": "x", "delimiter": ";;"}),
        (CsvOptions, {"path": "x", "delimiter": '"'}),
        (RegexOptions, {"pattern": "(a"}),
        (RegexOptions, {"pattern": "a+"}),
        (RegexOptions, {"pattern": "(?P<step>a)"}),
        (RegexOptions, {"pattern": "(a)", "stream": "both"}),
        (RegexOptions, {"pattern": "(a)", "stream": "stdout", "path": "x"}),
        (CommandOptions, {"command": []}),
        (CommandOptions, {"command": "cat x"}),
        (CommandOptions, {"command": ["x"], "timeout": 0}),
        (CommandOptions, {"command": ["x"], "timeout": "soon"}),
        (PythonOptions, {"function": "x"}),
        (PythonOptions, {"function": "./x.py"}),
        (PythonOptions, {"function": "a b:c"}),
        (PythonOptions, {"function": "./x.py:a()"}),
    ],
)
def test_wrong_options_are_refused_at_load(
    options: type[FetcherOptions], keys: dict[str, object]
) -> None:
    with pytest.raises(ValidationError):
        options(**keys)


@pytest.mark.parametrize(
    ("written", "seconds"), [(5, 5), ("30s", 30), ("2m", 120), ("500ms", 0.5), ("7", 7)]
)
def test_timeouts_are_durations(written: object, seconds: float) -> None:
    options = CommandOptions.model_validate({"command": ["x"], "timeout": written})
    assert options.timeout == seconds


@given(st.text(max_size=40), st.dictionaries(st.text(max_size=5), st.text(max_size=5)))
def test_fill_never_fails_otherwise(text: str, placeholders: dict[str, str]) -> None:
    names = set(re.findall(r"\{([A-Za-z_][\w.]*)\}", text)) - {"trial_dir", *placeholders}
    try:
        fill(text, ask(Path("/job"), placeholders=placeholders))
    except InvalidMetric:
        assert names
