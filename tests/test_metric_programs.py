"""Fetchers that run something of the user's: commands, functions; and the jobs' own record()."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import ValidationError

import metrics.process
from metrics.base import FetchRequest, InvalidMetric, Point, UnavailableMetric
from metrics.command import CommandFetcher, CommandOptions
from metrics.jsonl import JsonlFetcher, JsonlOptions
from metrics.process import run
from metrics.python import PythonFetcher, PythonOptions
from metrics.record import record


def ask(directory: Path, **more: object) -> FetchRequest:
    return FetchRequest(metric="loss", directory=directory, **more)  # type: ignore[arg-type]


# --- command


def shell(script: str, timeout: float = 30) -> CommandFetcher:
    return CommandFetcher(CommandOptions(command=("sh", "-c", script), timeout=timeout))


@pytest.mark.parametrize(
    ("script", "points"),
    [
        ("echo 0.5", [Point(0.5)]),
        ("echo noise; echo ' 1e-3 '; echo; echo", [Point(0.001)]),
        ("""echo '{"mean": 2, "sem": 0.1}'""", [Point(2, 0.1)]),
        ("""echo '{"loss": 3, "acc": 1}'""", [Point(3)]),
        ("""printf '{"loss":\t{"mean": 4, "sem": 1}}'""", [Point(4, 1)]),
        ("echo 9 >&2", []),
        ("head -c 9000000 /dev/zero; echo; echo 5", [Point(5)]),
        ("cat number; pwd >&2", [Point(6)]),
        ("cat $SCHEDD_TRIAL_DIR/number", [Point(6)]),
    ],
)
def test_a_command_prints_its_value_last(tmp_path: Path, script: str, points: list[Point]) -> None:
    (tmp_path / "number").write_text("6")
    assert shell(script).fetch(ask(tmp_path)) == points


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo nan", "metric 'loss' (its command) is nan, which is not finite"),
        ("echo done", "metric 'loss' (its command) is 'done', which is not a number"),
        ("echo '{'", "metric 'loss' (its command) is not JSON: "),
        ("""echo '{"acc": 1}'""", "metric 'loss' (its command) has no 'mean'; it has 'acc'"),
        ("head -c 9000000 /dev/zero | tr '\\0' 1", "printed a line of more than 64 KiB"),
    ],
)
def test_what_a_command_prints_may_be_invalid(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(InvalidMetric) as raised:
        shell(script).fetch(ask(tmp_path))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 1; echo a >&2; echo 'no \033 data' >&2; exit 3", "exited with status 3: no ? data"),
        ("echo 1; kill -9 $$", "was killed by signal 9"),
    ],
)
def test_a_failing_command_is_asked_later(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(UnavailableMetric) as raised:
        shell(script).fetch(ask(tmp_path))
    assert str(raised.value) == f"the command of metric 'loss' {message}"


@pytest.mark.parametrize("script", ["sleep 600", "yes", "yes >&2", "exec >&- 2>&-; sleep 600"])
def test_a_command_out_of_time_is_asked_later(tmp_path: Path, script: str) -> None:
    with pytest.raises(UnavailableMetric, match="of metric 'loss' did not end in time"):
        shell(script, timeout=0.1).fetch(ask(tmp_path))


def test_nothing_that_a_command_started_outlives_it(tmp_path: Path) -> None:
    (tmp_path / "stay").touch()
    os.mkfifo(tmp_path / "alive")
    keeper = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    # The background process holds the FIFO and our pipes open until it is dead.
    assert shell("sleep 600 3>alive & echo 1").fetch(ask(tmp_path)) == [Point(1)]
    with pytest.raises(UnavailableMetric):
        shell("sleep 600 3>alive & sleep 600", timeout=0.1).fetch(ask(tmp_path))
    with os.fdopen(keeper, "rb") as fifo:
        os.set_blocking(fifo.fileno(), True)
        assert fifo.read() == b""  # the end of the file: nobody has it open any more


def test_the_output_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.process, "MAX_OUTPUT", 1000)
    ended = run(["head", "-c", "3000000", "/dev/zero"], cwd=tmp_path, timeout=30)
    assert (len(ended.stdout.kept), ended.stdout.cut, ended.status) == (1000, True, 0)


def test_placeholders_fill_arguments_and_never_a_shell(tmp_path: Path) -> None:
    options = CommandOptions(command=("sh", "-c", 'echo "$1"', "x", "{params.lr}"))
    request = ask(tmp_path, placeholders={"params.lr": "0.5"})
    assert CommandFetcher(options).fetch(request) == [Point(0.5)]
    with pytest.raises(InvalidMetric, match="unknown"):
        CommandFetcher(options).fetch(ask(tmp_path))


def test_a_command_that_cannot_start_says_why(tmp_path: Path) -> None:
    def fetch(*command: str) -> object:
        return CommandFetcher(CommandOptions(command=command)).fetch(ask(tmp_path))

    with pytest.raises(UnavailableMetric, match=r"does not start: \./nothing: No such file"):
        fetch("./nothing")
    (tmp_path / "plain").write_text("")
    with pytest.raises(UnavailableMetric, match="Permission denied"):
        fetch("./plain")
    with pytest.raises(InvalidMetric, match="cannot be run"):
        fetch("echo", "\0")


# --- python


Define = Callable[..., PythonFetcher]


@pytest.fixture
def define(tmp_path_factory: pytest.TempPathFactory) -> Define:
    def fetcher(code: str, name: str = "loss", timeout: float = 60) -> PythonFetcher:
        file = tmp_path_factory.mktemp("user") / "metrics.py"
        file.write_text(dedent(code))
        return PythonFetcher(PythonOptions(function=f"{file}:{name}", timeout=timeout))

    return fetcher


@pytest.mark.parametrize(
    ("result", "points"),
    [
        ("0.5", [Point(0.5)]),
        ("None", []),
        ("(1, 0.1)", [Point(1, 0.1)]),
        ("(1, None)", [Point(1)]),
        ("{'mean': 1, 'sem': 0.1}", [Point(1, 0.1)]),
        ("[(1, 0.5), (2, 0.25)]", [Point(0.5, None, 1), Point(0.25, None, 2)]),
        ("[]", []),
        ("__import__('fractions').Fraction(1, 4)", [Point(0.25)]),
        ("__import__('numpy').float32(0.5)", [Point(0.5)]),
        ("parameters['lr'] * float((trial_dir / 'x').read_text())", [Point(0.2)]),
    ],
)
def test_a_function_returns_its_value(
    tmp_path: Path, define: Define, result: str, points: list[Point]
) -> None:
    (tmp_path / "x").write_text("2")
    fetcher = define(f"def loss(trial_dir, parameters): return {result}")
    assert fetcher.fetch(ask(tmp_path, parameters={"lr": 0.1})) == points


@pytest.mark.parametrize(
    "result",
    [
        *("float('nan')", "'low'", "True", "[1]", "(1, 2, 3)", "{'avg': 1}", "[(1, None)]"),
        *("(1, -1)", "object()", "{'mean': [1]}", "[(1, 2)] * 100001", "10 ** 400"),
    ],
)
def test_a_result_that_is_no_number_is_invalid(
    tmp_path: Path, define: Define, result: str
) -> None:
    with pytest.raises(InvalidMetric, match=r"metric 'loss' \(/.*metrics.py:loss\)"):
        define(f"def loss(trial_dir): return {result}").fetch(ask(tmp_path))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('first\\nlast')", "failed: last"),
        ("raise KeyError('x')", "failed: KeyError: 'x'"),
        ("return undefined", "failed: NameError: name 'undefined' is not defined"),
        ("raise SystemExit(0)", "failed: SystemExit: 0"),
        ("import os; os._exit(0)", "the function's process exited with status 0"),
        ("import os; print('why', flush=True); os.abort()", "was killed by signal 6: why"),
        ("import os; os.write(1, b'why'); os._exit(4)", "process exited with status 4: why"),
        ("import os; os.closerange(0, 99); os._exit(0)", "process exited with status 0"),
    ],
)
def test_a_function_that_fails_is_asked_later(
    tmp_path: Path, define: Define, body: str, message: str
) -> None:
    with pytest.raises(UnavailableMetric) as raised:
        define(f"def loss(trial_dir):\n  {body}").fetch(ask(tmp_path))
    assert str(raised.value).endswith(message)
    assert str(raised.value).startswith("metric 'loss' (")


def test_a_function_that_hangs_is_asked_later(tmp_path: Path, define: Define) -> None:
    hanging = define("import time\ndef loss(trial_dir): time.sleep(600)", timeout=0.1)
    with pytest.raises(UnavailableMetric, match="did not end in time"):
        hanging.fetch(ask(tmp_path))


def test_noise_and_a_crash_after_the_answer_do_not_matter(tmp_path: Path, define: Define) -> None:
    noisy = define("""
        import atexit, os, subprocess, sys
        def loss(trial_dir):
            print('{"points": [[666, null, null]]}', flush=True)
            os.write(1, b'666')
            subprocess.run(["echo", "666"])
            atexit.register(os._exit, 9)
            return 0.5
    """)
    assert noisy.fetch(ask(tmp_path)) == [Point(0.5)]


def test_a_function_finds_its_neighbours_and_its_own_folder(
    tmp_path: Path, define: Define
) -> None:
    fetcher = define("""
        import os
        from neighbour import VALUE
        class Nested:
            @staticmethod
            def loss(trial_dir, *, unused=1):
                assert os.environ["SCHEDD_TRIAL_DIR"] == str(trial_dir)
                return VALUE
    """, name="Nested.loss")  # fmt: skip
    file = Path(fetcher.options.function.rpartition(":")[0])
    file.with_name("neighbour.py").write_text("VALUE = 7\n")
    assert fetcher.fetch(ask(tmp_path)) == [Point(7)]


def test_a_relative_file_is_relative_to_where_the_fetcher_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metrics.py").write_text("def loss(d): return 1\n")
    monkeypatch.chdir(tmp_path)
    fetcher = PythonFetcher(PythonOptions(function="./metrics.py:loss"))
    monkeypatch.chdir("/")
    assert fetcher.fetch(ask(tmp_path)) == [Point(1)]


def test_a_module_is_found_where_packages_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = PythonFetcher(PythonOptions(function="os.path:getsize"))
    assert fetcher.fetch(ask(tmp_path)) == [Point(tmp_path.stat().st_size)]
    (tmp_path / "stray.py").write_text("def loss(d): return 1\n")
    monkeypatch.chdir(tmp_path)  # not even from the current folder
    with pytest.raises(UnavailableMetric, match="No module named 'stray'"):
        PythonFetcher(PythonOptions(function="stray:loss")).fetch(ask(tmp_path))


@pytest.mark.parametrize("module", ["metrics", "runners.local", "scheduler"])
def test_a_name_of_ours_is_refused_with_the_way_out(module: str) -> None:
    root = module.split(".", maxsplit=1)[0]
    with pytest.raises(ValidationError, match=rf"schedd's own; .* write \./{root}\.py:loss"):
        PythonOptions(function=f"{module}:loss")


# --- record


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    record({"loss": 0.5, "acc": 1}, step=3, directory=tmp_path)
    file = record({"loss": 0.25}, directory=tmp_path)
    assert file.read_text() == '{"step": 3, "loss": 0.5, "acc": 1}\n{"loss": 0.25}\n'
    points = JsonlFetcher(JsonlOptions()).fetch(ask(tmp_path))
    assert points == [Point(0.5, None, 3), Point(0.25, None, 2)]


def test_record_finds_the_folder_of_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCHEDD_TRIAL_DIR", raising=False)
    with pytest.raises(ValueError, match="SCHEDD_TRIAL_DIR is not set"):
        record({"loss": 1})
    monkeypatch.setenv("SCHEDD_TRIAL_DIR", str(tmp_path))
    assert record({"loss": 1}) == tmp_path / "metrics.jsonl"


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", None, True, [1], 10**400, b"1"])
def test_record_refuses_what_is_no_finite_number(tmp_path: Path, value: object) -> None:
    for arguments in (({"loss": value}, 1), ({"loss": 1}, value or [])):
        with pytest.raises(ValueError, match=r"^(metric 'loss'|the step) is .*, which is not "):
            record(*arguments, directory=tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [{}, {"": 1}, {"step": 1}, {3: 1}])
def test_record_refuses_what_is_no_name(tmp_path: Path, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"there is no value|is no possible name"):
        record(values, directory=tmp_path)


def test_record_takes_numbers_of_numpy(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    file = record({"loss": numpy.float32(0.5)}, step=numpy.int64(2), directory=tmp_path)
    assert json.loads(file.read_text()) == {"loss": 0.5, "step": 2}


def test_record_starts_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"loss": 1}')
    record({"loss": 2}, directory=tmp_path)
    assert file.read_text() == '{"loss": 1}\n{"loss": 2}\n'


def test_record_follows_no_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        record({"loss": 1}, directory=tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        for step in range(50):
            record({f"metric-{writer}-{'x' * 500}": 1.5}, step=step, directory=tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if line]  # see _lead()
    assert len({(*row, row["step"]) for row in rows}) == len(rows) == 400


def test_record_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    code = "from metrics.record import record; record({'loss': 0.5}, step=1)"
    environment = {**os.environ, "SCHEDD_TRIAL_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-P", "-c", code], env=environment, check=True)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 0.5}\n'
