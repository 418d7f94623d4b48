"""Fixtures of the tests on a real Slurm: they skip, and say why, where none can be had."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.slurm import Slurm, slurm, why_not
from slurm_faults.bed import PATIENCE, end_all


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    """A cluster of two nodes for one test, which may break it."""
    yield from fresh()


@pytest.fixture
def accounted() -> Iterator[Slurm]:
    """A cluster with accounting."""
    yield from fresh(accounting=True)


def fresh(*, accounting: bool = False, **keys: object) -> Iterator[Slurm]:
    need_slurm(accounting=accounting)
    with slurm(accounting=accounting, **keys) as started:
        yield started


def need_slurm(*, accounting: bool = False) -> None:
    if reason := why_not(accounting=accounting):
        pytest.skip(reason)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: a database is synced a dozen times in each run."""
    shared = Path("/dev/shm")
    parent = shared if shared.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="slurm-faults-", dir=parent))
    yield folder
    end_all()
    shutil.rmtree(folder)


def await_that(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until ``holds`` returns something true."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.1)
