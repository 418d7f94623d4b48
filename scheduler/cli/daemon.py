"""The verbs of the service: daemon, which drives everything in a store, and submit."""

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from scheduler import registry
from scheduler.cli import common, under_systemd
from scheduler.cli.progress import Progress
from scheduler.cli.refused import Refused
from scheduler.gauges import Gauges
from scheduler.model.experiment import Event, ExperimentState
from scheduler.notify import Notifier
from scheduler.python.plugs import plug
from scheduler.scrape import keep_writing, serve
from scheduler.service import Service
from scheduler.submit import submit as store_it

GRACE = 3.0
"""Seconds that those who are told of something have when the daemon is to end."""


@click.command()
@click.option(
    "--generators",
    type=click.IntRange(1, 64),
    default=2,
    metavar="N",
    show_default=True,
    help="Processes that propose arms, at most; each may need half a gigabyte.",
)
@click.option(
    "--max-jobs",
    "max_jobs",
    multiple=True,
    metavar="RUNNER=N",
    help="At most N unfinished jobs of all experiments on this runner together.",
)
@click.option("--metrics-addr", metavar="HOST:PORT", help="Serve /metrics for Prometheus here.")
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the same here, every 15 s, for node_exporter.",
)
@common.storage_option
def daemon(
    generators: int,
    max_jobs: tuple[str, ...],
    metrics_addr: str | None,
    metrics_file: Path | None,
    storage: str | None,
) -> None:
    """Drive every experiment in the store.

    Takes those that nobody drives, also those that are submitted later; polls, learns and deploys
    until SIGTERM or Ctrl-C, which leave jobs alone. Logs to standard error: JSON, or words on a
    terminal. Under systemd it says when it is ready and feeds the watchdog; schedd install-service
    makes it a service.
    """
    faulthandler.enable()  # the watchdog's SIGABRT shows where every thread hangs
    caps = dict(map(_cap, max_jobs))
    at = (
        None
        if metrics_addr is None
        else common.address(metrics_addr, "--metrics-addr", "127.0.0.1:9090")
    )
    store = common.opened(common.storage_url(storage), create=True)
    store.database.must_be_sound()
    tell_systemd = under_systemd.notifier()
    under_systemd.hide()
    gauges = Gauges()
    audience = _Audience(gauges)
    log = audience.log
    service = Service(
        store,
        audience.tell,
        generators=generators,
        progress=lambda: tell_systemd("WATCHDOG=1"),
        max_jobs=caps,
        gauges=gauges,
        plug=plug,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    log.tell("", None, (Event(time.time(), "daemon_started", f"drives what {store.url} holds"),))
    tell_systemd("READY=1")
    hanging: list[str] = []
    try:
        with figures(gauges, at, metrics_file, log):
            hanging = service.run()
    finally:
        tell_systemd("STOPPING=1")
        audience.close()
        store.close()
    left = f"; left in the middle of a turn that hangs: {', '.join(hanging)}" if hanging else ""
    log.tell("", None, (Event(time.time(), "daemon_stopped", f"jobs go on{left}"),))
    if hanging:
        os._exit(0)  # the interpreter would wait for their threads, for ever perhaps


@click.command()
@click.argument("file", type=click.Path())
@common.storage_option
def submit(file: str, storage: str | None) -> None:
    """Store an experiment for a daemon to drive.

    As schedd run, without driving it: schedd daemon takes it within seconds.
    """
    definition = common.load_to_run(file)
    store = common.opened(common.storage_url(storage, definition), create=True)
    store_it(store, definition, time.time(), lambda text: click.echo(text, err=True))
    name = definition.name
    driven = "" if store.is_driven(name) else "; nobody drives it yet: schedd daemon does"
    click.echo(f"submitted {name}{driven}")


def _cap(option: str) -> tuple[str, int]:
    runner, sign, count = option.partition("=")
    if not sign or not count.isdecimal() or int(count) < 1:
        raise Refused(f"--max-jobs {option} is not RUNNER=N, for example local=4")
    if runner not in registry.runner_names():
        known = ", ".join(registry.runner_names())
        raise Refused(f"there is no runner called {runner!r}; there is {known}")
    return runner, int(count)


class _Log:
    """One line an event; JSON where nobody reads along, as SCHEDD_LOG asks for elsewhere."""

    def __init__(self) -> None:
        if not sys.stderr.isatty():
            os.environ.setdefault("SCHEDD_LOG", "json")
        self._shown: dict[str, Progress] = {}

    def tell(self, name: str, state: ExperimentState | None, events: tuple[Event, ...]) -> None:
        """Show what happened to one experiment, or to the daemon itself."""
        if name not in self._shown:
            self._shown[name] = Progress(name, sys.stderr, among_others=True)
        self._shown[name].watch(state, events)


class _Audience:
    """Who is told what happens: the log, and those whom the experiments name."""

    def __init__(self, gauges: Gauges) -> None:
        self.log = _Log()
        self._gauges = gauges
        self._notifier = Notifier(self._trouble)

    def tell(self, name: str, state: ExperimentState | None, events: tuple[Event, ...]) -> None:
        """Tell all of them what happened to one experiment."""
        self.log.tell(name, state, events)
        self._notifier.tell(name, state, events)

    def close(self) -> None:
        """Wait a little until those who are being told know."""
        self._notifier.close(GRACE)

    def _trouble(self, name: str, why: str) -> None:
        events = (Event(time.time(), "notification_failed", why),)
        self._gauges.happened(name, events)
        self.log.tell(name, None, events)


@contextmanager
def figures(
    gauges: Gauges, address: tuple[str, int] | None, file: Path | None, log: _Log
) -> Iterator[None]:
    """Let figures be read at ``address`` and in ``file``; the file is removed in the end.

    Raises OSError where either cannot be had.
    """

    def failed(why: str) -> None:
        log.tell("", None, (Event(time.time(), "metrics_file_failed", why),))

    server = serve(*address, gauges.text) if address else None
    stop = None
    try:
        stop = keep_writing(file, gauges.text, failed) if file else None
        yield
    finally:
        if server:
            server.shutdown()
            server.server_close()
        if file is not None and stop is not None:
            stop.set()
            file.unlink(missing_ok=True)
