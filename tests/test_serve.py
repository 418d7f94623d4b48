"""schedd serve as it runs: its sockets, its end, and who speaks to it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest
from cli_bench import ENTRY
from places import EITHER, either, place, urls

from scheduler import Client, ObjectNotFoundError, ScheddError, UnsupportedError, UserInputError
from scheduler.cli.refused import Refused
from scheduler.cli.serve import _address
from scheduler.http import serve

__all__ = ["either", "urls"]

ROOT = Path(__file__).parent.parent
SPACE = [{"name": "x", "type": "range", "bounds": [0.0, 1.0]}]
SOBOL = {"nodes": [{"generator": "sobol"}]}


class Served:
    """A server of its own process, and what it says."""

    def __init__(self, folder: Path, storage: str, *options: str) -> None:
        environment = {**os.environ, "SCHEDD_STORAGE": storage}
        self.process = subprocess.Popen(
            [*ENTRY, "serve", *options], cwd=folder, env=environment, stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        said = self.process.stderr.readline().decode()
        assert said.startswith("serves "), said + self.process.stderr.read().decode()
        self.url = said.split()[-1]

    def end(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said


@pytest.fixture(scope="module", params=EITHER)
def on_port(request, tmp_path_factory):
    """A server on a port, its token, and what it says in the end."""
    folder = tmp_path_factory.mktemp("port")
    with place(request.param, folder) as storage:
        served = Served(folder, storage, "--listen", "127.0.0.1:0")
        yield served, (folder / "schedd.token").read_text().strip()
        assert served.end() == (0, b"")


def carried_out(client: Client) -> tuple[object, ...]:
    """Use all that a client can; return what it says."""
    client.configure_experiment(SPACE, name="both")
    client.configure_optimization("-loss", outcome_constraints=["size <= 10"])
    client.configure(generation_strategy=SOBOL)
    trials = client.get_next_trials(max_trials=2)
    for index, parameters in trials.items():
        client.attach_data(index, {"loss": 2.0, "size": 1}, progression=3)
        client.complete_trial(index, {"loss": (parameters["x"], 0.0)})
    attached = client.attach_trial({"x": 0.5}, "mine")
    client.mark_trial_failed(2, "it broke")
    _, index = client.get_next_trial()
    client.mark_trial_abandoned(index)
    best = client.get_best_parameterization(use_model_predictions=False)
    with pytest.raises(UserInputError) as first:
        client.complete_trial(0, 1.0)
    with pytest.raises(ObjectNotFoundError) as second:
        client.complete_trial(99, 1.0)
    with pytest.raises(UserInputError) as third:
        client.get_pareto_frontier()
    said = [str(each.value) for each in (first, second, third)]
    return trials, attached, best, client.get_trials(), said, client.get_max_parallelism()


def test_a_client_of_a_server_does_and_says_what_a_local_one_does(on_port, tmp_path):
    served, token = on_port
    with Client(f"sqlite:///{tmp_path}/local.db") as local:
        expected = carried_out(local)
    with Client(served.url, token=token) as remote:
        assert carried_out(remote) == expected
        again = Client.load_from_database("both", served.url, token=token)
        assert again.get_trials() == remote.get_trials()
        stops = partial(remote.should_stop_trial_early, 0)
        for call in (remote.finding, remote.save_to_json_file, lambda: remote.experiment, stops):
            with pytest.raises(UnsupportedError):
                call()


def test_who_cannot_speak_to_it_is_told_why(on_port):
    served, token = on_port
    with pytest.raises(UserInputError, match="Authorization: Bearer TOKEN"):
        Client(served.url, token="x" * 43).load_experiment("both")
    with pytest.raises(ObjectNotFoundError, match="no experiment 'none'"):
        Client(served.url, token=token).load_experiment("none")
    for url in (
        "http://",
        "http://h:p",
        "unix://",
        "unix://host/p",
        "http://h/path",
        "http://u@h",
    ):
        with pytest.raises(UserInputError):
            Client(url)
    with pytest.raises(ScheddError, match="does not answer"):
        Client("unix:///nowhere/at.all").load_experiment("both")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v1/experiments HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/experiments HTTP/1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: HERE\r\nHost: HERE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: HERE\r\n\r\n", 401),
        (b"POST / HTTP/1.1\r\nHost: HERE\r\nContent-Length: 1048577\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: HERE\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: HERE\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
def test_what_comes_over_the_wire_is_refused_as_a_problem(on_port, request_, status):
    address = on_port[0].url.removeprefix("http://")
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        whole = request_.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        connection.sendall(whole.replace(b"HERE", address.encode()))
        with connection.makefile("rb") as file:
            answer = file.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == json.loads(body)["status"] == status
    assert b"application/problem+json" in head
    assert b"nosniff" in head


def hung_up(connection: socket.socket) -> bool:
    """Send a little more of a request; return whether the server has had enough."""
    try:
        connection.sendall(b"GET ")
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_who_takes_too_long_over_a_request_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(serve, "READ_TIME", 0.0)
    listening = serve.on_port("127.0.0.1", 0)
    address = listening.getsockname()
    server = serve.server(lambda *_: [], listening)
    thread = threading.Thread(target=server.run)
    thread.start()
    with socket.create_connection(address, timeout=0.05) as connection:
        while not hung_up(connection):
            pass
    server.pull_trigger()
    server.task_dispatcher.shutdown()
    server.asyncore.close_all(server._map)
    thread.join()


# -- the verb


def test_the_commands_of_the_document_work_at_a_socket_of_ones_own(either, tmp_path):
    text = (ROOT / "docs/http.md").read_text()
    start, commands = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    verb = start.split()
    assert verb[:2] == ["schedd", "serve"]
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "tuning.sock"))  # of a server that was killed
    stale.close()
    served = Served(tmp_path, either, *verb[2:])
    path = tmp_path / "tuning.sock"
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "schedd.token").exists()
        second = [*ENTRY, "serve", "--socket", str(path)]
        refused = subprocess.run(second, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (refused.returncode, "another server listens" in refused.stderr) == (2, True)
        client = Client(f"unix://{path}")
        if shutil.which("curl"):
            script = "set -e; shopt -s expand_aliases\n" + commands
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (done.stdout, done.stderr)
            client.load_experiment()
            assert [row["loss"] for row in client.get_trials()] == [0.31]
        else:
            client.create_experiment(SPACE, name="tuning")
    finally:
        ended = served.end()
    assert ended == (0, b"")
    assert not path.exists()


def test_a_file_is_not_replaced_by_a_socket(tmp_path):
    path = tmp_path / "precious"
    path.write_text("x")
    with pytest.raises(serve.NoSocket, match="is no socket"):
        serve.at_path(path)
    assert path.read_text() == "x"


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_other_machines_need_a_proxy_with_tls(listen):
    with pytest.raises(Refused, match="name it by --behind-tls"):
        _address(listen, ())
    assert _address(listen, ("tune.example.org",))[1] == 1


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_this_machine_needs_none(listen):
    assert _address(listen, ())[1] == 1


@pytest.mark.parametrize("listen", ["127.0.0.1", ":1", "127.0.0.1:x", "127.0.0.1:65536"])
def test_an_address_that_is_none_is_refused(listen):
    with pytest.raises(Refused, match="is not HOST:PORT"):
        _address(listen, ())


@pytest.mark.schemathesis
def test_the_server_is_as_it_is_described(tmp_path):
    served = Served(tmp_path, f"sqlite:///{tmp_path}/tuning.db", "--listen", "127.0.0.1:0")
    token = (tmp_path / "schedd.token").read_text().strip()
    with Client(served.url, token=token) as client:
        client.create_experiment(SPACE, name="one", objective_name="loss")
        for _ in range(4):
            parameters, index = client.get_next_trial()
            if index != 1:
                client.complete_trial(index, (parameters["x"], 0.0))
    configuration = str(ROOT / "tests/http/schemathesis.toml")
    program = [os.environ["SCHEDD_SCHEMATHESIS"], "--config-file", configuration, "run"]
    header = ["-H", f"Authorization: Bearer {token}", "--warnings", "off"]
    url = f"{served.url}/v1/openapi.json"
    done = subprocess.run(
        [*program, url, *header], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert served.end() == (0, b"")
