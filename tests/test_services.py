"""The daemons that tests start: ended with all they started, and never outliving their test."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from services import debian
from services.ports import Ports
from services.service import NotReady, Service
from services.slurm import Slurm, slurm, why_not

FAMILY = (
    "sh -c 'setsid sleep 3600 & echo $! >> pids'; setsid sleep 3600 & echo $! $$ >> pids; wait"
)
"""A daemon with an orphan, a child, and itself."""


def await_that(holds: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    with suppress(OSError):
        return b") Z" in Path(f"/proc/{pid}/stat").read_bytes()
    return True


def pids(folder: Path) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(word) for word in (folder / "pids").read_text().split()]
    return []


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        yield Path(name)


def family(folder: Path) -> Service:
    script = f"cd {folder}; {FAMILY}"
    service = Service("family", folder, folder / "log", ["sh", "-c", script], os.environ)
    await_that(lambda: len(pids(folder)) == 3)
    return service


def test_a_daemon_ends_alone_or_with_all_it_started(folder):
    service = family(folder)
    *started, daemon = pids(folder)
    assert service.is_alive
    service.end(signal.SIGKILL)
    assert not service.is_alive
    assert [is_gone(pid) for pid in (*started, daemon)] == [False, False, True]
    service.sweep()
    assert all(is_gone(pid) for pid in started)
    service.close()
    assert folder.exists()


def test_closing_ends_everything(folder):
    family(folder).close()
    assert all(is_gone(pid) for pid in pids(folder))


def test_a_daemon_inherits_no_ignored_signal(folder):
    script = f"grep SigIgn /proc/self/status > {folder}/ignored"
    service = Service("ask", folder, folder / "log", ["sh", "-c", script], os.environ)
    await_that(lambda: not service.is_alive)
    service.close()
    ignored = int((folder / "ignored").read_text().split()[1], 16)
    assert ignored & 0x7FFFFFFF == 0  # those above are the threading library's own


def test_nothing_outlives_a_test_process_that_is_killed(folder):
    made = folder / "made"
    made.mkdir()
    program = f"""
import os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_services import family
made = Path({str(made)!r})
kept = [family(made)]
Path({str(folder)!r}, "pids").write_text((made / "pids").read_text())
time.sleep(3600)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        await_that(lambda: len(pids(folder)) == 3)
        process.kill()
    await_that(lambda: all(is_gone(pid) for pid in pids(folder)))
    await_that(lambda: not made.exists())


def test_a_daemon_that_ends_at_once_is_told_with_its_last_words(folder):
    command = ["sh", "-c", "echo no luck >&2; exit 1"]
    service = Service("unlucky", folder, folder / "log", command, os.environ)
    with pytest.raises(NotReady, match="unlucky did not become ready: no luck"):
        service.await_ready(lambda: False)
    service.close()


def test_an_installation_that_failed_is_not_tried_again_at_once(monkeypatch, tmp_path):
    tried: list[list[str]] = []

    def fails(names: list[str]) -> str:
        tried.append(names)
        return "no network\nat all"

    monkeypatch.setattr(debian, "_install", fails)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for _ in range(3):
        debian._lacking.cache_clear()
        assert debian.lacking({"no-such-program": "no-such-package"}) == "no network\nat all"
    assert tried == [["no-such-package"]]
    debian._lacking.cache_clear()


def test_blocks_of_ports_do_not_meet():
    blocks = [Ports() for _ in range(20)]
    assert len({number for block in blocks for number in block.numbers}) == 20 * 16
    for block in blocks:
        block.close()


def test_two_clusters_at_once_know_nothing_of_each_other(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\nsleep 3600\n")

    def submit(cluster: Slurm) -> str:
        return cluster.run("sbatch", "--parsable", "--hold", f"--chdir={tmp_path}", str(script))

    with slurm(nodes=1) as one, slurm(nodes=1) as other:
        assert [submit(one), submit(one), submit(other)] == ["1", "2", "1"]
        other.forget()
        assert submit(other) == "1"
        assert len(one.run("squeue", "-h").splitlines()) == 2
