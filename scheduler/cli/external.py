"""The verbs for trials that people carry out: next, complete, fail."""

import json
import math
import time

import click

from scheduler import registry
from scheduler.cli import common, text, views
from scheduler.cli.control import ask
from scheduler.cli.refused import Refused
from scheduler.cli.steer import mapping
from scheduler.daemon import Driven, News, drive_once, take
from scheduler.jobs import tasks_of
from scheduler.model.base import did_you_mean
from scheduler.model.experiment import Ask, Event, ExperimentState, ExperimentStatus
from scheduler.model.trial import Trial
from scheduler.storage import read
from scheduler.storage.errors import Held
from scheduler.storage.store import Experiment, Store

NOTHING = 3
"""Exit status where no trial can be handed out."""
LOOK = 0.2
"""Seconds between two looks at what somebody else drives."""

Data = dict[str, dict[str, list[float | None]]]
"""Arm -> metric -> [mean, standard error]."""


@click.command("next")
@common.name_argument
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=60.0,
    metavar="SECONDS",
    show_default=True,
    help="How long to wait for a trial where another process drives the experiment.",
)
@common.storage_option
@common.json_option
@click.pass_context
def next_(
    ctx: click.Context, name: str | None, wait: float, storage: str | None, as_json: bool
) -> None:
    """Take the next trial of an external experiment.

    Prints its index, its arms and its folder; it is RUNNING from then on, and no other call gets
    it. Where nobody drives the experiment, this call proposes the trial itself. Exit status 3
    where there is none to be had.
    """
    store, experiment = _external(*common.find(storage, name))
    index = _taken(store, experiment, wait)
    if index is None:
        ended = store.peek(experiment).status is not ExperimentStatus.RUNNING
        why = "it has ended" if ended else "as many as may be pending are"
        click.echo(f"no trial of {experiment.definition.name} is to be had: {why}", err=True)
        ctx.exit(NOTHING)
    record = read.trial(store, experiment.id, index)
    assert record is not None
    places = tasks_of(experiment.definition, record.trial, experiment.trials_dir)
    folders = [str(place.directory) for place in places]
    if as_json:
        view = views.trial_view(record)
        common.print_json(
            {k: view[k] for k in ("index", "attempt", "arms")} | {"folders": folders}
        )
        return
    click.echo(f"trial {index} of {experiment.definition.name}")
    for arm in record.trial.arms:
        click.echo(f"  arm {arm.name}: {text.parameters(arm.parameters)}")
    click.echo("\n".join(f"  {folder}" for folder in folders))


@click.command()
@common.trial_argument
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME=VALUE", help="What was measured."
)
@click.option("--sem", "sems", multiple=True, metavar="[NAME=]VALUE", help="Its standard error.")
@click.option(
    "--data",
    metavar="'{ARM: {METRIC: VALUE, ...}, ...}'",
    help="The same of several arms; VALUE may be [MEAN, SEM].",
)
@common.storage_option
def complete(
    index: int,
    experiment: str | None,
    metrics: tuple[str, ...],
    sems: tuple[str, ...],
    data: str | None,
    storage: str | None,
) -> None:
    """Report the result of an external trial.

    schedd complete 3 --metric loss=0.2 --sem 0.01. Without any metric, the experiment's fetchers
    read the trial's folder.
    """
    found = common.find_trial(storage, experiment, index)
    _external(found.store, found.experiment)
    trial = _pending(found)
    values = _of_arms(data) if data else _of_one(trial, metrics, sems)
    if data and (metrics or sems):
        raise Refused("--data goes with neither --metric nor --sem")
    if values:
        _check(found.experiment, trial, values)
    payload = {"attempt": trial.attempt, "data": values}
    _tell(found, Ask("complete", index, payload=payload))


@click.command()
@common.trial_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def fail(index: int, experiment: str | None, reason: str, storage: str | None) -> None:
    """Report that an external trial has failed."""
    found = common.find_trial(storage, experiment, index)
    _external(found.store, found.experiment)
    trial = _pending(found)
    payload = {"attempt": trial.attempt}
    _tell(found, Ask("fail", index, reason, payload))


def _external(store: Store, experiment: Experiment) -> tuple[Store, Experiment]:
    definition = experiment.definition
    if not registry.runner_class(definition.runner.type).by_people:
        raise Refused(
            f"the trials of {definition.name} are carried out by its runner, "
            f"{definition.runner.type!r}; this verb is for runner: {{type: external}}"
        )
    return store, experiment


def _pending(found: common.Found) -> Trial:
    trial = found.record.trial
    if not trial.status.is_pending or trial.ended_at is not None:
        raise Refused(f"trial {trial.index} is {trial.status}; it awaits no result")
    return trial


def _taken(store: Store, experiment: Experiment, wait: float) -> int | None:
    """Return the trial that is ours now; make one where nobody else does."""
    until = time.monotonic() + wait
    while True:
        try:
            driven = take(store, experiment)
        except Held:
            index = store.begin(experiment.id, time.time())
            if index is not None or time.monotonic() >= until or _has_ended(store, experiment):
                return index
            time.sleep(LOOK)
            continue
        try:
            return _begun(driven, store, experiment)
        finally:
            driven.release()


def _begun(driven: Driven[News], store: Store, experiment: Experiment) -> int | None:
    """Begin a trial of an experiment that this process drives, and note that at once."""
    index = store.begin(experiment.id, time.time())
    if index is None:
        drive_once(driven, _watch_nothing)
        index = store.begin(experiment.id, time.time())
    if index is not None:
        driven.loop.tick()
    return index


def _has_ended(store: Store, experiment: Experiment) -> bool:
    found = store.find(experiment.definition.name)
    return found is None or found.status is not ExperimentStatus.RUNNING


def _tell(found: common.Found, wanted: Ask) -> None:
    """Note the result, take it up at once where nobody else will, and say what came of it."""
    store, experiment = found.store, found.experiment
    name, index = experiment.definition.name, found.record.trial.index
    try:
        driven = take(store, experiment)
    except Held:
        ask(store, experiment, wanted)
        return
    store.command(experiment.id, wanted, time.time())
    try:
        driven.loop.tick()
    finally:
        driven.release()
    after = read.trial(store, experiment.id, index)
    assert after is not None
    click.echo(f"trial {index} of {name}: {after.trial.status}")


def _watch_nothing(_state: ExperimentState, _events: tuple[Event, ...]) -> None:
    """Show nothing: the trial is what this call is about."""


def _of_one(trial: Trial, metrics: tuple[str, ...], sems: tuple[str, ...]) -> Data:
    """Return what the options say of a trial's only arm."""
    if not metrics:
        if sems:
            raise Refused("--sem needs --metric")
        return {}
    if len(trial.arms) > 1:
        names = ", ".join(arm.name for arm in trial.arms)
        raise Refused(f"trial {trial.index} has several arms, {names}: give --data")
    means = dict(_named(each, None) for each in metrics)
    errors = dict(_named(each, next(iter(means)) if len(means) == 1 else None) for each in sems)
    if unknown := [name for name in errors if name not in means]:
        raise Refused(f"--sem {unknown[0]} has no --metric {unknown[0]}")
    return {trial.arms[0].name: {name: [mean, errors.get(name)] for name, mean in means.items()}}


def _named(option: str, default: str | None) -> tuple[str, float]:
    name, sign, value = option.rpartition("=")
    if not sign and default is not None:
        name = default
    if not name:
        raise Refused(f"{option!r} is not NAME=VALUE, for example loss=0.2")
    return name, _number(value, option)


def _number(value: object, where: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise Refused(f"{value!r} in {where!r} is not a number") from None
    if not math.isfinite(number) or isinstance(value, bool):
        raise Refused(f"{value!r} in {where!r} is not a finite number")
    return number


def _of_arms(option: str) -> Data:
    return {arm: _of_arm(arm, metrics) for arm, metrics in mapping(option).items()}


def _of_arm(arm: str, metrics: object) -> dict[str, list[float | None]]:
    if not isinstance(metrics, dict):
        raise Refused(f"--data: {arm!r} needs a mapping of metrics, not {json.dumps(metrics)}")
    pairs: dict[str, list[float | None]] = {}
    for name, value in metrics.items():
        mean, sem = value if isinstance(value, list) and len(value) == 2 else (value, None)
        pairs[str(name)] = [
            _number(mean, str(name)),
            None if sem is None else _number(sem, str(name)),
        ]
    return pairs


def _check(experiment: Experiment, trial: Trial, data: Data) -> None:
    """Refuse what could not complete the trial, or would be lost."""
    definition, arms = experiment.definition, [arm.name for arm in trial.arms]
    for name in data:
        if name not in arms:
            raise Refused(f"trial {trial.index} has no arm {name!r}; it has {', '.join(arms)}")
    for arm in arms:
        given = data.get(arm, {})
        for name in given:
            if name not in definition.metric_specs:
                known = definition.metric_specs
                near = did_you_mean(name, known) or f"; the metrics are {', '.join(known)}"
                raise Refused(f"{definition.name} has no metric {name!r}{near}")
        if absent := sorted(definition.required_metrics - set(given)):
            raise Refused(f"arm {arm} needs {', '.join(absent)} as well")
        if any(sem is not None and sem < 0 for _, sem in given.values()):
            raise Refused("a standard error cannot be negative")
