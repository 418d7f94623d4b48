"""The conformance suite of fetchers: subclass :class:`FetcherContract` in a test.

    class TestMine(FileFetcherContract):
        def fetcher(self):
            return MyFetcher(MyFetcher.Options())

        def write(self, directory, metric, value):
            (directory / "mine.txt").write_text(f"{metric} {value}")

For a fetcher that opens files, take :class:`FileFetcherContract`. Every built-in passes.
"""

# ruff: noqa: D102  (the name of a test is its sentence)

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from metrics.base import (
    Fetcher,
    FetcherOptions,
    FetchRequest,
    InvalidMetric,
    MetricError,
    Point,
    UnavailableMetric,
    reduce_points,
)

METRIC = "val_loss"
"""The metric that the suite asks for."""


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("nowhere"))


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _endless_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def _sparse(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(1 << 40)


HOSTILE: tuple[Callable[[Path], object], ...] = (
    _fifo,
    _folder,
    _dangling_link,
    _loop,
    _endless_device,
    _sparse,
    lambda file: file.write_bytes(b""),
    lambda file: file.write_bytes(b"\xff\xfe\x00\x80\n" * 100),
    lambda file: file.write_bytes(b"[" * 1_000_000),
    lambda file: file.write_bytes(b"9" * 10_000),
    lambda file: file.write_bytes(file.read_bytes().rstrip()[:-1]),
)
"""What a job may do to a file that it was to write."""


class FetcherContract(ABC):
    """What holds for every fetcher."""

    @abstractmethod
    def fetcher(self) -> Fetcher:
        """Return a new fetcher that reads what :meth:`write` writes."""

    @abstractmethod
    def write(self, directory: Path, metric: str, value: float | str) -> None:
        """Make ``value`` the last value of ``metric``, as a job would, in its folder.

        The value may be NaN, infinite, or text that is not a number.
        """

    def fetch(self, directory: Path, *, running: bool = False) -> Sequence[Point]:
        """Ask a new fetcher for the suite's metric."""
        return self.fetcher().fetch(_request(directory, running=running))

    @pytest.mark.parametrize("value", [0.25, -1.5e-3, 7.0, 0.0, 1e308, 5e-324])
    def test_the_value_that_was_written_is_read(self, tmp_path: Path, value: float) -> None:
        self.write(tmp_path, METRIC, value)
        assert _final(self.fetch(tmp_path)) == value

    @pytest.mark.parametrize("running", [False, True])
    def test_without_a_value_there_are_no_points(self, tmp_path: Path, running: bool) -> None:
        for directory in (tmp_path, tmp_path / "not-made-yet"):
            found = outcome(self.fetcher(), _request(directory, running=running))
            assert found == [] or isinstance(found, UnavailableMetric)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "much", "1,5"])
    def test_what_is_no_finite_number_is_invalid(self, tmp_path: Path, value: float | str) -> None:
        self.write(tmp_path, METRIC, value)
        with pytest.raises(InvalidMetric) as raised:
            self.fetch(tmp_path)
        assert METRIC in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_asking_again_gives_the_same_answer(self, tmp_path: Path) -> None:
        self.write(tmp_path, METRIC, 0.5)
        fetcher = self.fetcher()
        for running in (True, True, False, False):
            assert _final(fetcher.fetch(_request(tmp_path, running=running))) == 0.5

    def test_a_later_value_is_seen(self, tmp_path: Path) -> None:
        fetcher = self.fetcher()
        for value in (3.0, 2.0, 1.0):
            self.write(tmp_path, METRIC, value)
            assert _final(fetcher.fetch(_request(tmp_path, running=True))) == value

    def test_jobs_are_told_apart(self, tmp_path: Path) -> None:
        fetcher = self.fetcher()
        folders = [tmp_path / name for name in "abc"]
        for value, folder in enumerate(folders):
            folder.mkdir()
            self.write(folder, METRIC, value)
        for value, folder in enumerate(folders):
            assert _final(fetcher.fetch(_request(folder))) == value

    def test_metrics_are_told_apart(self, tmp_path: Path) -> None:
        self.write(tmp_path, METRIC, 0.5)
        request = FetchRequest(metric="other_metric", directory=tmp_path, running=True)
        found = outcome(self.fetcher(), request)
        assert isinstance(found, list) or "other_metric" in str(found)

    def test_the_folder_is_left_as_it_was(self, tmp_path: Path) -> None:
        self.write(tmp_path, METRIC, 0.5)
        before = _content(tmp_path)
        self.fetch(tmp_path)
        assert _content(tmp_path) == before

    def test_unknown_options_are_refused(self) -> None:
        options = self.fetcher().Options
        assert issubclass(options, FetcherOptions)
        assert options.model_config.get("extra") == "forbid"
        assert options.model_config.get("frozen") is True
        for name, option in options.model_fields.items():
            assert option.annotation is not None, name


class FileFetcherContract(FetcherContract):
    """What also holds for a fetcher that itself opens what the job wrote."""

    @pytest.mark.parametrize("running", [False, True])
    @pytest.mark.parametrize("harm", HOSTILE)
    def test_a_hostile_folder_does_no_harm(
        self, tmp_path: Path, harm: Callable[[Path], object], running: bool
    ) -> None:
        self.write(tmp_path, METRIC, 0.5)
        fetcher = self.fetcher()
        fetcher.fetch(_request(tmp_path, running=True))  # what it remembers must not mislead it
        for file in [each for each in tmp_path.rglob("*") if each.is_file()]:
            harm(file)
        outcome(fetcher, _request(tmp_path, running=running))


def _request(directory: Path, *, running: bool = False) -> FetchRequest:
    return FetchRequest(
        metric=METRIC,
        directory=directory,
        parameters={"lr": 0.1},
        running=running,
        placeholders={"trial_dir": str(directory)},
    )


def outcome(fetcher: Fetcher, request: FetchRequest) -> list[Point] | MetricError:
    """Return points, certainly finite, or the error, certainly one line; nothing else passes."""
    try:
        points = list(fetcher.fetch(request))
    except MetricError as error:
        assert len(str(error).splitlines()) == 1, str(error)  # noqa: PT017  (both ends matter)
        return error
    for point in points:
        numbers = (point.mean, point.sem or 0.0, point.step or 0.0)
        assert all(map(math.isfinite, numbers)), point
    return points


def _final(points: Sequence[Point]) -> float:
    assert points, "there should be a value"
    return reduce_points(points, "last").mean


def _content(directory: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in directory.rglob("*") if file.is_file()}
