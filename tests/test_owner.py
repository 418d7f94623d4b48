"""A folder of trials belongs to one experiment of one database, and a second one is told whose."""

import json
import re

import pytest
from cli_bench import TRIAL, finished, process, schedd, written
from places import EITHER, place, storage, urls
from simulation.bench import definition

from scheduler import owner
from scheduler.daemon import take
from scheduler.rubbish import OWNER
from scheduler.storage.store import Store

__all__ = ["finished", "schedd", "storage", "urls"]


def stored(url, root):
    store = Store.open(url, create=True)
    store.create(definition(), root, 0.0)
    return store, store.find("e")


@pytest.mark.parametrize("kind", EITHER)
def test_a_second_database_is_told_to_which_the_folder_belongs(kind, finished, schedd):
    with place(kind, finished, "other") as url:
        is_refused(finished, schedd, "--storage", url)


def is_refused(finished, schedd, *other):
    for verb in ("submit", "run"):
        status, _, err = schedd(verb, "e.yaml", *other)
        assert status == 78
        assert err.startswith(f"schedd: {finished}/small.trials holds the trials of another exper")
        assert f"small in sqlite:///{finished}/schedd.db; give this one a folder of its" in err
        assert err.count("\n") == 1
    assert "holds no experiment" in schedd("status", *other)[1]


def test_who_drives_first_has_it(urls, tmp_path):
    root = tmp_path / "e.trials"
    (one, first), (two, second) = (stored(urls(name), root) for name in ("one", "two"))
    take(one, first).release()
    take(one, first).release()
    assert json.loads((root / OWNER).read_text())["token"] == first.token
    with pytest.raises(owner.FolderTaken, match=re.escape(f"e in {urls('one')};")):
        take(two, second)
    assert not two.is_driven("e")
    assert [path.name for path in root.iterdir()] == [OWNER]
    one.close()
    two.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"experiment": "e"}', '{"token": 7}'])
def test_a_note_that_makes_no_sense_is_none(text, tmp_path):
    (tmp_path / OWNER).write_text(text)
    owner.check(tmp_path)


def test_a_folder_that_cannot_be_written_is_the_runner_s_to_tell(urls, tmp_path):
    (tmp_path / "file").write_text("")
    store, experiment = stored(urls("one"), tmp_path / "file" / "e.trials")
    take(store, experiment).release()
    store.close()


def test_delete_leaves_room_for_another(storage, tmp_path):
    written(tmp_path, TRIAL)
    assert process(tmp_path, "run", "e.yaml").returncode == 0
    assert process(tmp_path, "delete", "small", "--yes").returncode == 0
    assert not (tmp_path / "small.trials").exists()
    assert process(tmp_path, "submit", "e.yaml").returncode == 0
