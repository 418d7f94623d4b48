"""Figures of a daemon at work: what they say, in a format that is read back by its rules."""

import re
import socket
import urllib.request
from urllib.error import HTTPError

import pytest
from cli_bench import process
from places import storage, urls
from simulation.bench import definition
from test_service import daemon, starts, until, written

from scheduler.gauges import Gauges
from scheduler.model.experiment import Event, ExperimentState, Progress, Tally
from scheduler.model.trial import Arm, Trial, TrialStatus
from scheduler.scrape import keep_writing, serve, write

__all__ = ["storage", "urls"]

T = TrialStatus
SAMPLE = re.compile(
    r'(?P<name>[a-z_]+)(\{(?P<labels>(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*)\})? (?P<value>[0-9.e+-]+)'
)


def samples(text: str) -> dict[str, float]:
    """Return all samples; every line is a comment of a known kind or follows its TYPE."""
    family, found = "", {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split()
            assert kind in ("counter", "gauge", "histogram")
            assert kind != "counter" or family.endswith("_total")
            continue
        if line.startswith("# HELP "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match["name"].startswith(family)
        key = match["name"] + (f"{{{match['labels']}}}" if match["labels"] else "")
        assert key not in found
        found[key] = float(match["value"])
    assert text.endswith("\n")
    return found


@pytest.fixture
def gauges():
    made = Gauges(started=12.0)
    pending = {i: Trial(i, (Arm("a", {"x": 1}),), s) for i, s in enumerate((T.RUNNING, T.STAGED))}
    state = ExperimentState(
        definition(),
        active=pending,
        tally=Tally(finished={T.COMPLETED: 7, T.FAILED: 1}),
        progress=Progress(1.0, stalled=True),
    )
    made.ticked("e", state, 3, 0.004, 2.5)
    made.ticked("e", state, 3, 0.3, 3.5)
    made.ticked("e", state, 3, 99.0, 4.5)
    made.happened("e", [Event(1.0, "runner_unavailable", ""), Event(1.0, "trial_staged", "")])
    made.failed()
    made.hanging = {"local": 0, "slurm": 2}
    return made


def test_what_is_counted_is_shown(gauges):
    found = samples(gauges.text())
    wanted = {
        'schedd_tick_seconds_bucket{le="0.001"}': 0,
        'schedd_tick_seconds_bucket{le="0.005"}': 1,
        'schedd_tick_seconds_bucket{le="0.25"}': 1,
        'schedd_tick_seconds_bucket{le="0.5"}': 2,
        'schedd_tick_seconds_bucket{le="30"}': 2,
        'schedd_tick_seconds_bucket{le="+Inf"}': 3,
        "schedd_tick_seconds_count": 3,
        'schedd_turns_hanging{runner="local"}': 0,
        'schedd_turns_hanging{runner="slurm"}': 2,
        "schedd_ticks_failed_total": 1,
        'schedd_errors_total{experiment="e",kind="runner_unavailable"}': 1,
        'schedd_trials{experiment="e",status="RUNNING"}': 1,
        'schedd_trials{experiment="e",status="COMPLETED"}': 7,
        'schedd_trials{experiment="e",status="ABANDONED"}': 0,
        'schedd_slots{experiment="e"}': 2,
        'schedd_slots_busy{experiment="e"}': 2,
        'schedd_stalled{experiment="e"}': 1,
        'schedd_lease_epoch{experiment="e"}': 3,
        'schedd_generator_seconds_total{experiment="e"}': 4.5,
        "process_start_time_seconds": 12.0,
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["schedd_tick_seconds_sum"] == pytest.approx(99.304)
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_open_fds"] > 2


def test_what_is_let_go_of_is_not_shown_but_its_errors_stay_counted(gauges):
    gauges.forget("e")
    names = samples(gauges.text())
    assert [n for n in names if 'experiment="e"' in n] == [
        'schedd_errors_total{experiment="e",kind="runner_unavailable"}'
    ]


def test_the_page_is_metrics_and_nothing_else(gauges):
    server = serve("127.0.0.1", 0, gauges.text)
    base = f"http://127.0.0.1:{server.server_port}"
    with urllib.request.urlopen(f"{base}/metrics?x", timeout=60) as page:
        assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "schedd_trials" in page.read().decode()
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(f"{base}/etc", timeout=60)
    assert refused.value.code == 404
    refused.value.close()
    with pytest.raises(OSError, match="in use"):
        serve("127.0.0.1", server.server_port, gauges.text)
    server.shutdown()
    server.server_close()


def test_the_file_is_whole_or_not_there(tmp_path, gauges):
    file = tmp_path / "schedd.prom"
    write(file, gauges.text)
    assert file.stat().st_mode & 0o777 == 0o644
    before = file.read_text()

    def breaks():
        raise RuntimeError("no text")

    with pytest.raises(RuntimeError):
        write(file, breaks)
    assert file.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["schedd.prom"]
    with pytest.raises(OSError, match="No such file"):
        keep_writing(tmp_path / "nowhere" / "x", gauges.text, print)


@pytest.mark.parametrize("address", ["9090", "localhost:x", "localhost:99999", ":1"])
def test_an_address_that_is_none_is_refused(tmp_path, address):
    done = process(tmp_path, "daemon", "--metrics-addr", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--metrics-addr {address} is not HOST:PORT" in done.stderr


def test_a_daemon_can_be_looked_into(storage, tmp_path):
    process(tmp_path, "submit", written(tmp_path, "one"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [f"--metrics-addr=127.0.0.1:{port}", "--metrics-file=schedd.prom"]
    with daemon(tmp_path, *words) as running:
        until(lambda: len(starts(tmp_path)) == 2, "it has two trials")

        def busy():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as page:
                found = samples(page.read().decode())
            return found.get('schedd_slots_busy{experiment="one"}') == 2

        until(busy, "its slots are seen to be busy")
        assert samples((tmp_path / "schedd.prom").read_text())
        running.terminate()
        running.wait()
        assert not (tmp_path / "schedd.prom").exists()
    (tmp_path / "go").touch()  # its trials outlive the daemon
