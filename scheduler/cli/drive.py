"""The verbs that drive an experiment: run, resume, tick."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from scheduler.cli import common, under_systemd
from scheduler.cli.errors import ENDED_BY_FAILURES, report
from scheduler.cli.progress import Progress, progress
from scheduler.cli.summary import summary
from scheduler.cli.text import pending
from scheduler.daemon import (
    INTERRUPTED,
    Driven,
    Interrupted,
    News,
    Watcher,
    drive,
    drive_once,
    interrupt_on_signals,
    take,
)
from scheduler.model.experiment import Event, ExperimentState, ExperimentStatus
from scheduler.notify import Notifier
from scheduler.python.plugs import plug
from scheduler.storage import read
from scheduler.storage.errors import Held
from scheduler.storage.store import Experiment, Store
from scheduler.submit import submit

LOOK = 1.0
"""Seconds between two looks at what another process drives."""


@click.command()
@click.argument("file", type=click.Path())
@common.storage_option
def run(file: str, storage: str | None) -> None:
    """Run an experiment to its end, or go on with it.

    FILE defines the experiment. Run it again after a crash, a reboot or Ctrl-C, and it goes on
    where it was: jobs that still run are adopted, none is started twice. With a greater
    total_trials an ended experiment goes on. Where another process drives it, such as schedd
    daemon, this one follows, and drives where that one dies.

    Exit status: 0 a criterion stopped it, 1 failures ended it, 2 the file is wrong, 71 the system
    refused something, 73 another process drives it and the file sets another budget, 78 the
    database cannot be used, 130 interrupted.
    """
    definition = common.load_to_run(file)
    store = common.opened(common.storage_url(storage, definition), create=True)
    experiment = submit(store, definition, time.time(), lambda text: click.echo(text, err=True))
    while True:
        try:
            driven = take(store, experiment, plug)
        except Held as held:
            follow(store, experiment, held)
        else:
            _drive(store, experiment, driven)


@click.command()
@common.name_argument
@common.storage_option
def resume(name: str | None, storage: str | None) -> None:
    """Go on with a stored experiment.

    Safe at any time, from cron too: where another process drives the experiment already, this one
    says so and leaves with exit status 0. A pause is lifted by schedd unpause alone, since cron
    calls this every minute.
    """
    store, experiment = common.find(storage, name)
    try:
        driven = take(store, experiment, plug)
    except Held as held:
        _say_if_paused(store.peek(experiment))
        click.echo(f"{held}; nothing to do", err=True)
        return
    _drive(store, experiment, driven)


@click.command()
@common.name_argument
@common.storage_option
def tick(name: str | None, storage: str | None) -> None:
    """Do what is due now and leave: for cron.

    Looks at the jobs, reads metrics, decides, submits what fits, and ends. With a NAME for that
    experiment, else for every one in the store, one after the other. Does nothing, with exit
    status 0, where another process drives the experiment.
    """
    if name is not None:
        sys.exit(_tick(*common.find(storage, name)))
    store = common.opened(common.storage_url(storage))
    under_systemd.hide()
    sys.exit(max((_tick_one_of_many(store, each) for each in read.unfinished(store)), default=0))


def _tick_one_of_many(store: Store, name: str) -> int:
    """Return the exit status of one tick; what is wrong with it does not stop the next one's."""
    experiment = store.find(name)
    if experiment is None:
        return 0  # deleted meanwhile
    try:
        return _tick(store, experiment)
    except Exception as error:
        return report(error)


def _tick(store: Store, experiment: Experiment) -> int:
    try:
        driven = take(store, experiment, plug)
    except Held:
        return 0
    shown = Progress(experiment.definition.name, sys.stderr)
    try:
        with telling(experiment.definition.name, shown) as watch:
            drive_once(driven, watch)
    finally:
        driven.release()
    return ENDED_BY_FAILURES if driven.loop.state.status is ExperimentStatus.FAILED else 0


def _drive(store: Store, experiment: Experiment, driven: Driven[News]) -> NoReturn:
    """Drive to the end, show how it goes, and leave with the exit status."""
    interrupt_on_signals(driven.news)
    _say_if_paused(driven.loop.state)
    name = experiment.definition.name
    try:
        with progress(driven.loop.state) as shown, telling(name, shown) as watch:
            drive(driven, watch)
    except Interrupted:
        running = driven.loop.state.pending
        left = f"left alone: {pending(running)}; " if running else ""
        command = f"schedd resume {name}{common.storage_words(store)}"
        click.echo(f"Interrupted. {left}go on with: {command}", err=True)
        sys.exit(INTERRUPTED)
    finally:
        driven.release()
    _leave(store, driven.loop.state)


def _say_if_paused(state: ExperimentState) -> None:
    """Say what else would have to be called, of whoever expects that it goes on."""
    name = state.definition.name
    if state.paused:
        words = "is paused: nothing new is started until schedd unpause"
        click.echo(f"{name} {words} {name}", err=True)


@contextmanager
def telling(name: str, shown: Progress) -> Iterator[Watcher]:
    """Show what happens, and tell those who are to be told; at the end wait for them a while."""

    def report(_: str, why: str) -> None:
        shown.watch(None, (Event(time.time(), "notification_failed", why),))

    notifier = Notifier(report)

    def watch(state: ExperimentState, events: tuple[Event, ...]) -> None:
        shown.watch(state, events)
        notifier.tell(name, state, events)

    try:
        yield watch
    finally:
        notifier.close()


def follow(store: Store, experiment: Experiment, held: Held) -> None:
    """Show how another process drives it; leave where it ends, return where nobody drives."""
    name = experiment.definition.name
    click.echo(f"{held}; following it", err=True)
    seen = read.count_events(store, experiment.id)
    try:
        with progress(store.peek(experiment)) as shown:
            while True:
                driven = store.is_driven(name)
                state = store.peek(experiment)
                news = tuple(read.events(store, experiment.id, offset=seen))
                seen += len(news)
                shown.watch(state, news)
                if state.status is not ExperimentStatus.RUNNING or not driven:
                    break
                time.sleep(LOOK)
    except KeyboardInterrupt:
        click.echo(f"{name} goes on: {held}", err=True)
        sys.exit(INTERRUPTED)
    if state.status is not ExperimentStatus.RUNNING:
        _leave(store, state)


def _leave(store: Store, state: ExperimentState) -> NoReturn:
    """Say what came of it, and leave with the exit status."""
    click.echo(summary(state, common.storage_words(store)))
    sys.exit(ENDED_BY_FAILURES if state.status is ExperimentStatus.FAILED else 0)
