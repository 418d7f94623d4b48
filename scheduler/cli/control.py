"""The verbs that a person steers with: stop, abandon, release, retry; the driver obeys."""

import time

import click

from scheduler.cli import common
from scheduler.cli.refused import Refused
from scheduler.model.experiment import Ask, ExperimentStatus
from scheduler.model.trial import TrialStatus
from scheduler.obey import RETRIABLE
from scheduler.storage import read
from scheduler.storage.store import Experiment, Store


@click.command()
@common.name_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def stop(name: str | None, reason: str, storage: str | None) -> None:
    """End an experiment; cancel what runs.

    Trials that have not ended become ABANDONED. Ctrl-C on schedd run leaves them alone instead.
    """
    store, experiment = common.find(storage, name)
    if experiment.status is not ExperimentStatus.RUNNING:
        name = experiment.definition.name
        raise Refused(f"{name} has ended already: it is {experiment.status}")
    ask(store, experiment, Ask("stop", None, reason))


@click.command()
@common.trial_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def abandon(index: int, experiment: str | None, reason: str, storage: str | None) -> None:
    """Give up a trial.

    Its job is cancelled. It becomes ABANDONED, which is no failure and is not learned from.
    """
    found = common.find_trial(storage, experiment, index)
    trial = found.record.trial
    if trial.status.is_final:
        raise Refused(f"trial {index} has ended already: it is {trial.status}")
    ask(found.store, found.experiment, Ask("abandon", index, reason))


@click.command()
@common.trial_argument
@common.storage_option
def retry(index: int, experiment: str | None, storage: str | None) -> None:
    """Send a failed or abandoned trial back for a new attempt.

    The same arms, a folder of its own, and fresh budgets for retries. An experiment that has
    ended goes on for this trial alone, and ends again by what had stopped it.
    """
    found = common.find_trial(storage, experiment, index)
    status = found.record.trial.status
    if status not in RETRIABLE:
        kinds = " or ".join(RETRIABLE)
        raise Refused(f"trial {index} is {status}; only a trial that is {kinds} can be retried")
    ask(found.store, found.experiment, Ask("retry", index))


@click.command()
@common.trial_argument
@common.storage_option
def release(index: int, experiment: str | None, storage: str | None) -> None:
    """Let a trial start whose job is held.

    For experiments with staging_required: true, whose trials wait until a person has looked at
    them. It holds for later attempts of the trial too.
    """
    found = common.find_trial(storage, experiment, index)
    trial, name = found.record.trial, found.experiment.definition.name
    if not found.experiment.definition.runner.staging_required:
        raise Refused(f"the trials of {name} are not held: it has no staging_required: true")
    if trial.status.is_final or trial.status is TrialStatus.RUNNING:
        raise Refused(f"trial {index} is {trial.status}; only one that waits can be released")
    if trial.released:
        raise Refused(f"trial {index} has been released already")
    ask(found.store, found.experiment, Ask("release", index))


def ask(store: Store, experiment: Experiment, wanted: Ask) -> None:
    """Note the command; say when it takes effect."""
    store.command(experiment.id, wanted, time.time())
    say_when(store, experiment, wanted)


def say_when(store: Store, experiment: Experiment, wanted: Ask) -> None:
    """Say when a command that was noted takes effect."""
    name, index = experiment.definition.name, wanted.trial_index
    what = f"{wanted.verb} {name}" if index is None else f"{wanted.verb} trial {index} of {name}"
    if store.is_driven(name):
        driver = read.surroundings(store, experiment.id).driver
        click.echo(f"{what}: takes effect at the next tick of {driver}")
        return
    words = common.storage_words(store)
    resume = f"schedd resume {name}{words} (a daemon needs no word)"
    click.echo(f"{what}: nobody drives it; takes effect with: {resume}")
