"""Programs that a kubeconfig names to get credentials, and that may never end."""

import json
import os
import subprocess
import threading

import pytest

from runners.base import Unavailable
from runners.kube.login import Login, Patience

pytest.importorskip("kubernetes")
SCRIPT = 'test -e "$0/done" || read line < "$0/gate"; touch "$0/done"; cat "$0/credential"'


@pytest.fixture
def kubeconfig(tmp_path):
    """A kubeconfig whose program waits for a line from the pipe ``gate``, once."""
    os.mkfifo(tmp_path / "gate")
    version = "client.authentication.k8s.io/v1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "secret"}}
    (tmp_path / "credential").write_text(json.dumps(credential))
    program = {"apiVersion": version, "command": "sh", "args": ["-c", SCRIPT, str(tmp_path)]}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "one", "user": {"exec": program | {"interactiveMode": "Never"}}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def test_a_program_that_does_not_end_holds_nobody_up(kubeconfig, tmp_path):
    login = Login(str(kubeconfig), None, None)
    login._patience = Patience(0.2)
    for _ in range(2):
        with pytest.raises(Unavailable, match="does not end"):
            login.connect()
    asked = [thread for thread in threading.enumerate() if thread.name == "login"]
    assert len(asked) == 1
    subprocess.run(["sh", "-c", f"echo > {tmp_path}/gate"], check=True)
    asked[0].join()
    login._patience = Patience()
    connection = login.connect()
    assert login.credentials(connection) == {"authorization": "Bearer secret"}


def test_a_thread_that_has_answered_and_ends_a_moment_later_holds_nobody_up(monkeypatch):
    ends = threading.Event()

    class Lingering(threading.Thread):
        def run(self):
            super().run()
            ends.wait(30)

    monkeypatch.setattr(threading, "Thread", Lingering)
    patience = Patience()
    assert [patience.call(lambda: 1), patience.call(lambda: 2)] == [1, 2]
    ends.set()


@pytest.mark.parametrize("current", ["one", "", None, "gone"])
def test_a_context_that_is_named_needs_no_current_one(kubeconfig, current):
    kubeconfig.with_name("done").touch()
    config = json.loads(kubeconfig.read_text())
    config["current-context"] = current
    config["contexts"][0]["context"]["namespace"] = "ml"
    kubeconfig.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    found = Login(str(kubeconfig), "one", None).connect()
    assert (found.namespace, found.current_context) == ("ml", None)


@pytest.mark.parametrize(
    ("file", "context", "current", "words"),
    [
        ("kubeconfig", "two", "one", "there is no context 'two'; .*kubeconfig has one"),
        ("kubeconfig", None, "two", "there is no context 'two'; .*kubeconfig has one"),
        ("kubeconfig", None, "", "none of its contexts is the current one; write kubernetes"),
        ("nothing", None, "one", "there is no file .*nothing"),
    ],
)
def test_a_context_that_is_not_there_is_told(kubeconfig, file, context, current, words):
    config = json.loads(kubeconfig.read_text())
    kubeconfig.write_text(json.dumps(config | {"current-context": current}))
    with pytest.raises(Unavailable, match=words):
        Login(str(kubeconfig.with_name(file)), context, None).connect()
