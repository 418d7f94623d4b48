"""The verbs that a person steers with: stop, abandon, release, retry; the driver obeys."""

import time
from collections.abc import Iterator, Sequence

import click

from scheduler.cli import common
from scheduler.cli.refused import Refused
from scheduler.model.experiment import Ask, ExperimentStatus
from scheduler.model.trial import Trial, TrialStatus
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
@common.trials_argument
@click.option("--reason", default="", metavar="TEXT", help="Why; it is kept.")
@common.storage_option
def abandon(
    indexes: tuple[int, ...], experiment: str | None, reason: str, storage: str | None
) -> None:
    """Give up trials.

    Their jobs are cancelled. They become ABANDONED, which is no failure and is not learned from.
    """
    found = common.find_trials(storage, experiment, indexes)
    for trial in _trials(found):
        if trial.status.is_final:
            raise Refused(f"trial {trial.index} has ended already: it is {trial.status}")
    _ask_of_each(found, "abandon", reason)


@click.command()
@common.trials_argument
@common.storage_option
def retry(indexes: tuple[int, ...], experiment: str | None, storage: str | None) -> None:
    """Send failed or abandoned trials back for a new attempt.

    The same arms, a folder of its own, and fresh budgets for retries. An experiment that has
    ended goes on for these trials alone, and ends again by what had stopped it.
    """
    found = common.find_trials(storage, experiment, indexes)
    for trial in _trials(found):
        if trial.status not in RETRIABLE:
            kinds = " or ".join(RETRIABLE)
            raise Refused(
                f"trial {trial.index} is {trial.status}; only a trial that is {kinds} can be "
                "retried"
            )
    _ask_of_each(found, "retry")


@click.command()
@common.trials_argument
@common.storage_option
def release(indexes: tuple[int, ...], experiment: str | None, storage: str | None) -> None:
    """Let trials start whose jobs are held.

    For experiments with staging_required: true, whose trials wait until a person has looked at
    them. It holds for later attempts of a trial too.
    """
    found = common.find_trials(storage, experiment, indexes)
    definition = found[0].experiment.definition
    if not definition.runner.staging_required:
        raise Refused(
            f"the trials of {definition.name} are not held: it has no staging_required: true"
        )
    for trial in _trials(found):
        if trial.status.is_final or trial.status is TrialStatus.RUNNING:
            raise Refused(
                f"trial {trial.index} is {trial.status}; only one that waits can be released"
            )
        if trial.released:
            raise Refused(f"trial {trial.index} has been released already")
    _ask_of_each(found, "release")


def _trials(found: Sequence[common.Found]) -> Iterator[Trial]:
    return (each.record.trial for each in found)


def _ask_of_each(found: Sequence[common.Found], verb: str, reason: str = "") -> None:
    for each in found:
        ask(each.store, each.experiment, Ask(verb, each.record.trial.index, reason))


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
