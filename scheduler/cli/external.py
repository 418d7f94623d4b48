"""The verbs for trials that people carry out: next, complete, fail."""

import json
import math

import click

from scheduler.cli import common, text, views
from scheduler.cli.control import say_when
from scheduler.cli.refused import Refused
from scheduler.cli.steer import mapping
from scheduler.jobs import tasks_of
from scheduler.lack import NoTrial
from scheduler.model.experiment import Ask
from scheduler.model.trial import Trial
from scheduler.outside import Data, Outside, check_data, check_external, check_pending
from scheduler.storage import read
from scheduler.storage.store import Experiment, Store

NOTHING = 3
"""Exit status where no trial can be handed out."""


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
    store, experiment = common.find(storage, name)
    index = _external(store, experiment).take(wait)
    if isinstance(index, NoTrial):
        click.echo(index.why, err=True)
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
    outside, trial = _external(found.store, found.experiment), found.record.trial
    check_pending(trial)
    values = _of_arms(data) if data else _of_one(trial, metrics, sems)
    if data and (metrics or sems):
        raise Refused("--data goes with neither --metric nor --sem")
    if values:
        check_data(found.experiment.definition, trial, values)
    payload = {"attempt": trial.attempt, "data": values}
    _tell(found, outside, Ask("complete", index, payload=payload))


@click.command()
@common.trial_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def fail(index: int, experiment: str | None, reason: str, storage: str | None) -> None:
    """Report that an external trial has failed."""
    found = common.find_trial(storage, experiment, index)
    outside, trial = _external(found.store, found.experiment), found.record.trial
    check_pending(trial)
    payload = {"attempt": trial.attempt}
    _tell(found, outside, Ask("fail", index, reason, payload))


def _external(store: Store, experiment: Experiment) -> Outside:
    check_external(experiment.definition)
    return Outside(store, experiment)


def _tell(found: common.Found, outside: Outside, wanted: Ask) -> None:
    """Note the result, which is taken up at once where nobody else would; say what came of it."""
    store, experiment, index = found.store, found.experiment, found.record.trial.index
    if not outside.tell(wanted, wait=0):
        say_when(store, experiment, wanted)
        return
    after = read.trial(store, experiment.id, index)
    assert after is not None
    click.echo(f"trial {index} of {experiment.definition.name}: {after.trial.status}")


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
    return {trial.arms[0].name: {name: (mean, errors.get(name)) for name, mean in means.items()}}


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


def _of_arm(arm: str, metrics: object) -> dict[str, tuple[float, float | None]]:
    if not isinstance(metrics, dict):
        raise Refused(f"--data: {arm!r} needs a mapping of metrics, not {json.dumps(metrics)}")
    pairs: dict[str, tuple[float, float | None]] = {}
    for name, value in metrics.items():
        mean, sem = value if isinstance(value, list) and len(value) == 2 else (value, None)
        error = None if sem is None else _number(sem, str(name))
        pairs[str(name)] = (_number(mean, str(name)), error)
    return pairs
