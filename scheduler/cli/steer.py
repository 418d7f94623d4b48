"""The verbs that change a living experiment: pause, unpause, drain, set, add-arm, diff."""

import json
import time
from typing import Any

import click

from scheduler.cli import common
from scheduler.cli.control import ask
from scheduler.cli.refused import Refused
from scheduler.config.errors import ConfigError
from scheduler.config.reader import read_bytes
from scheduler.model import redefine
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import Ask, ExperimentStatus
from scheduler.storage import read
from scheduler.storage.errors import Held
from scheduler.storage.store import Experiment, Store

Diff = list[tuple[str, object, object]]


@click.command()
@common.name_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def pause(name: str | None, reason: str, storage: str | None) -> None:
    """Deploy and propose nothing new.

    What runs goes on and is learned from. The time until schedd unpause does not count against
    the timeout of stopping_criteria.
    """
    store, experiment = _running(storage, name)
    if store.peek(experiment).paused:
        raise Refused(f"{experiment.definition.name} is paused already")
    ask(store, experiment, Ask("pause", None, reason))


@click.command()
@common.name_argument
@common.storage_option
def unpause(name: str | None, storage: str | None) -> None:
    """Let a paused experiment go on."""
    store, experiment = _running(storage, name)
    asked = read.surroundings(store, experiment.id).asked
    if not store.peek(experiment).paused and "pause" not in asked:
        raise Refused(f"{experiment.definition.name} is not paused")
    ask(store, experiment, Ask("unpause"))


@click.command()
@common.name_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def drain(name: str | None, reason: str, storage: str | None) -> None:
    """End an experiment once its running trials have ended.

    Nothing new is deployed; what runs is not cancelled, as schedd stop would.
    """
    ask(*_running(storage, name), Ask("drain", None, reason))


@click.command("set")
@click.argument("values", metavar="KEY=VALUE...", nargs=-1, required=True)
@click.option("--experiment", "-e", "name", metavar="NAME", help="Where the store holds several.")
@common.storage_option
def set_(values: tuple[str, ...], name: str | None, storage: str | None) -> None:
    """Change an experiment's budget while it runs.

    schedd set trials.total_trials=200 trials.max_pending_trials=8. Everything under trials
    (except batch_size and replicates), stopping_criteria, failures, missing_metrics and polling
    may change, and the description and tags. VALUE is YAML. What differs is printed.
    """
    store, experiment = common.find(storage, name)
    wanted = dict(map(_parsed, values))
    before = experiment.definition
    after = redefine.having(before, wanted)
    found = redefine.diff(before, after)
    if not found:
        click.echo("nothing differs")
        return
    _print(found)
    created = store.peek(experiment).tally.created
    if created > after.trials.total_trials:
        click.echo(f"{created} trials are proposed already: they are carried out all the same")
    _set(store, experiment, wanted, after)


@click.command("add-arm")
@click.argument("parameters", metavar="'{NAME: VALUE, ...}'")
@click.option("--name", "arm", metavar="NAME", help="What the arm is called.")
@click.option("--experiment", "-e", "name", metavar="NAME", help="Where the store holds several.")
@common.storage_option
def add_arm(parameters: str, arm: str | None, name: str | None, storage: str | None) -> None:
    """Add a trial of an arm that you choose.

    It is the next to be deployed, and counts toward total_trials. Parameters are given as JSON or
    YAML, all of them but fixed and derived ones.
    """
    store, experiment = _running(storage, name)
    definition, state = experiment.definition, store.peek(experiment)
    values = mapping(parameters)
    try:
        definition.admit(values)
    except ValueError as error:
        raise Refused(f"this is not an arm of {definition.name}: {error}") from None
    if state.tally.created >= definition.trials.total_trials:
        more = state.tally.created + 1
        raise Refused(
            f"all {state.tally.created} trials are made; first: schedd set "
            f"trials.total_trials={more}"
        )
    if arm is not None and read.has_arm(store, experiment.id, arm):
        raise Refused(f"there is an arm called {arm!r} already")
    ask(store, experiment, Ask("add-arm", payload={"parameters": values, "name": arm}))


@click.command()
@click.argument("file", type=click.Path())
@common.storage_option
def diff(file: str, storage: str | None) -> None:
    """Show how a file differs from the stored experiment.

    Exit status 1 where something differs that cannot change.
    """
    after = common.load(file)
    store = common.opened(common.storage_url(storage, after))
    found = store.find(after.name)
    if found is None:
        click.echo(f"{after.name} is new: {store.url} has no experiment of this name")
        return
    _print(redefine.diff(found.definition, after))
    redefine.changes(found.definition, after)


def _running(storage: str | None, name: str | None) -> tuple[Store, Experiment]:
    store, experiment = common.find(storage, name)
    if experiment.status is not ExperimentStatus.RUNNING:
        name = experiment.definition.name
        raise Refused(f"{name} has ended already: it is {experiment.status}")
    return store, experiment


def _set(
    store: Store, experiment: Experiment, wanted: dict[str, Any], after: ExperimentDefinition
) -> None:
    """Write it where nobody drives; otherwise ask the driver to."""
    name, now = experiment.definition.name, time.time()
    stop = store.peek(experiment).stop
    try:
        lease = store.acquire(experiment, now)
    except Held:
        if stop is not None:
            raise Refused(f"{name} is ending, stopped by {stop.criterion}; set it then") from None
        ask(store, experiment, Ask("set", payload=wanted))
        return
    try:
        store.redefine(lease, after, now, f"changed: {', '.join(wanted)}")
    finally:
        lease.release()
    click.echo(f"set; go on with: schedd resume {name}{common.storage_words(store)}")


def _print(found: Diff) -> None:
    for key, before, after in found:
        click.echo(f"{key}: {_shown(before)} -> {_shown(after)}")
    if not found:
        click.echo("nothing differs")


def _shown(value: object) -> str:
    return "(none)" if value is None else json.dumps(value, default=str, ensure_ascii=False)


def _parsed(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise Refused(f"{text!r} is not KEY=VALUE, for example trials.total_trials=200")
    return key, _yaml(value)


def mapping(text: str) -> dict[str, Any]:
    """Return what JSON or YAML text maps. Raises Refused where it is no mapping."""
    value = _yaml(text)
    if not isinstance(value, dict):
        raise Refused(f"{text!r} is not a mapping of parameters, for example '{{\"lr\": 0.1}}'")
    return value


def _yaml(text: str) -> Any:
    try:
        return read_bytes(f"value: {text}".encode(), "the value", {}).data["value"]
    except ConfigError as error:
        why = error.mistakes[0].message
        raise Refused(f"{text!r} is neither JSON nor YAML: {why}") from None
