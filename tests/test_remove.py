"""Experiments and logs that are removed, and what is left alone."""

import io
import shutil
import sys
from pathlib import Path

import pytest
from cli_bench import FILE, copied, finished, json_of, schedd
from places import storage, urls
from test_service import TRIAL, starts, until

from scheduler.rubbish import logs_of, remove_folders, remove_logs, trial_folders
from scheduler.storage import schema
from scheduler.storage.store import Store
from scheduler.submit import submit

__all__ = ["copied", "finished", "json_of", "schedd", "storage", "urls"]


@pytest.fixture
def store(copied, urls):
    """What is stored of it."""
    made = Store.open(urls("copy/schedd"))
    yield made
    made.close()


def rows(store: Store) -> int:
    with store.reading() as connection:
        names = [f'"{table}"' for table in schema.metadata.tables if table != "schema_info"]
        counts = [connection.exec_driver_sql(f"SELECT count(*) FROM {n}").scalar() for n in names]
    return sum(counts)


def test_an_experiment_is_removed_whole(copied, store, schedd):
    assert rows(store) > 30
    status, out, err = schedd("delete", "small", "--yes")
    assert (status, out, err) == (0, "small is removed, 6 folders too\n", "")
    assert rows(store) == 0
    assert not (copied / "small.trials").exists()
    assert (copied / "e.yaml").exists()
    assert "there is no experiment 'small'" in schedd("delete", "small", "--yes")[2]


def test_it_asks_and_takes_no_answer_for_no(copied, store, schedd, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert schedd("delete", "small")[0] == 130
    assert len(trial_folders(copied / "small.trials")) == 6
    assert schedd("delete", "small", "--yes", "--keep-folders")[0] == 0
    assert len(trial_folders(copied / "small.trials")) == 6


def test_it_is_refused_while_somebody_drives(store, schedd):
    lease = store.acquire(store.find("small"), 1.0)
    status, _, err = schedd("delete", "small", "--yes", "--force")
    assert (status, "small is driven by process" in err) == (73, True)
    lease.release()


def test_jobs_are_cancelled_where_that_is_wished(tmp_path, monkeypatch, schedd, storage):
    from scheduler.cli import common
    from scheduler.daemon import take

    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.py").write_text(TRIAL)
    Path("e.yaml").write_text(FILE.replace("@python", sys.executable))
    store = Store.open(storage, create=True)
    driven = take(store, submit(store, common.load("e.yaml"), 1.0))
    driven.loop.tick()
    driven.loop.tick()
    until(lambda: starts(tmp_path), "a trial runs")
    driven.release()
    store.close()
    status, _, err = schedd("delete", "small", "--yes")
    assert (status, "has 1 pending trial; --force" in err) == (2, True)
    assert schedd("delete", "small", "--yes", "--force")[0] == 0
    assert not (tmp_path / "small.trials").exists()


def test_old_logs_are_removed_only_when_told(copied, store, schedd):
    assert schedd("gc") == (0, "nothing to remove\n", "")
    assert schedd("set", "logs.retain=0s")[0] == 0
    size = sum(logs_of(copied / "small.trials", index) for index in range(6))
    assert size > 0
    status, out, _ = schedd("gc")
    assert (status, out.splitlines()) == (
        0,
        [
            f"would remove {size} bytes of logs of small",
            "nothing was removed; schedd gc --yes does it",
        ],
    )
    assert schedd("gc", "--yes")[1] == f"removed {size} bytes of logs of small\n"
    assert sum(logs_of(copied / "small.trials", index) for index in range(6)) == 0
    assert len(trial_folders(copied / "small.trials")) == 6
    assert schedd("gc")[1] == "nothing to remove\n"


@pytest.mark.parametrize("urls", ["sqlite"], indirect=True)
def test_orphans_beside_a_file_are_removed_only_when_told(copied, store, schedd):
    shutil.copytree(copied / "small.trials", copied / "gone.trials")
    (copied / "mine.trials").mkdir()
    (copied / "mine.trials" / "notes").mkdir()
    status, out, _ = schedd("gc")
    assert (status, out.splitlines()) == (
        0,
        [
            f"would remove 6 folders of trials in {copied}/gone.trials",
            "nothing was removed; schedd gc --yes does it",
        ],
    )
    assert schedd("gc", "--yes")[0] == 0
    assert len(trial_folders(copied / "small.trials")) == 6
    assert not (copied / "gone.trials").exists()
    assert (copied / "mine.trials" / "notes").exists()
    assert schedd("gc")[1] == "nothing to remove\n"


def test_links_lead_nowhere(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "e.trials"
    for folder in (outside / "a1", root / "0" / "a1", root / "2" / "a1" / "2_0", root / "notes"):
        folder.mkdir(parents=True)
    (outside / "a1" / "stdout.log").write_text("precious")
    (root / "1").symlink_to(outside)
    (root / "0" / "a1" / "sub").symlink_to(outside)
    (root / "0" / "a1" / "stdout.log").symlink_to(outside / "a1" / "stdout.log")
    (root / "2" / "a1" / "2_0" / "stderr.log").write_text("12345")
    (root / "3").mkdir()
    (root / "3" / "mine").mkdir()
    assert trial_folders(root) == ["0", "2"]
    assert remove_logs(root, 1) == 0
    assert remove_logs(root, 2) == 5
    remove_logs(root, 0)
    assert remove_folders(root) == 2
    assert (outside / "a1" / "stdout.log").read_text() == "precious"
    assert sorted(p.name for p in root.iterdir()) == ["1", "3", "notes"]
    (tmp_path / "link.trials").symlink_to(root)
    assert remove_folders(tmp_path / "link.trials") == 0
