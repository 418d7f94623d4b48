"""The verbs that remove: delete an experiment, and gc, which frees the disk."""

import time
from collections.abc import Iterator
from pathlib import Path

import click

from runners.base import Runner, RunnerError
from scheduler import registry
from scheduler.cli import common
from scheduler.cli.refused import Refused
from scheduler.cli.text import pending as count_pending
from scheduler.jobs import ref_of
from scheduler.model.trial import FINAL, Trial
from scheduler.rubbish import logs_of, remove_folders, remove_logs, trial_folders
from scheduler.storage import read
from scheduler.storage.engine import folder_of
from scheduler.storage.remove import remove
from scheduler.storage.store import Experiment, Store

PATIENCE = 60.0
"""Seconds that cancelled jobs have to end."""


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Cancel the jobs of pending trials first.")
@click.option("--keep-folders", is_flag=True, help="Leave the trials' folders.")
@common.storage_option
def delete(name: str, yes: bool, force: bool, keep_folders: bool, storage: str | None) -> None:
    """Remove an experiment, its history and its trials' folders.

    Refused while somebody drives it (schedd stop ends it), and while jobs are pending unless
    --force. schedd export keeps what is worth keeping.
    """
    store, experiment = common.find(storage, name)
    name, root = experiment.definition.name, experiment.trials_dir
    lease = store.acquire(experiment, time.time())
    try:
        pending = [t for t in store.peek(experiment).active.values() if t.status.is_pending]
        if pending and not force:
            raise Refused(f"{name} has {count_pending(len(pending))}; --force cancels their jobs")
        shared = keep_folders or _is_shared(store, experiment)
        folders = [] if shared else trial_folders(root)
        if not yes:
            text = f"Remove {name} with its history and {len(folders)} folders in {root}?"
            click.confirm(text, abort=True)
        if pending:
            _cancel(experiment, pending)
        if not shared:
            remove_folders(root)  # before the rows: what is cut short can be done again
        remove(store, lease)
    finally:
        lease.release()
    click.echo(f"{name} is removed, {len(folders)} folders too")


@click.command()
@click.option("--yes", is_flag=True, help="Remove; without it, only say what would be.")
@common.storage_option
def gc(yes: bool, storage: str | None) -> None:
    """Free the disk of what is not needed any more.

    Logs of trials that ended longer ago than logs.retain, where an experiment sets that; and the
    folders of trials whose experiment is in the store no more, beside a SQLite database. Without
    --yes nothing is removed.
    """
    store = common.opened(common.storage_url(storage))
    now, did = time.time(), "removed" if yes else "would remove"
    found = False
    for name in store.names():
        experiment = store.find(name)
        if experiment is not None and (size := _logs(store, experiment, now, yes)):
            found = True
            click.echo(f"{did} {size} bytes of logs of {name}")
    for root in _orphans(store, storage):
        found = True
        count = remove_folders(root) if yes else len(trial_folders(root))
        click.echo(f"{did} {count} folders of trials in {root}")
    if not found:
        click.echo("nothing to remove")
    elif not yes:
        click.echo("nothing was removed; schedd gc --yes does it")


def _logs(store: Store, experiment: Experiment, now: float, yes: bool) -> int:
    """Return how many bytes of logs are older than they are to be kept; remove them if ``yes``."""
    retain = experiment.definition.logs.retain
    if retain is None:
        return 0
    size, act = 0, remove_logs if yes else logs_of
    for record in read.trials(store, experiment.id, sorted(FINAL)):
        ended = record.trial.completed_at
        if ended is not None and now - ended > retain:
            size += act(experiment.trials_dir, record.trial.index)
    return size


def _orphans(store: Store, storage: str | None) -> Iterator[Path]:
    """Yield ``NAME.trials`` beside the database that belong to no experiment of it."""
    beside = folder_of(common.storage_url(storage))
    if beside is None:
        return  # a server: nothing lies beside it
    experiments = [e for name in store.names() if (e := store.find(name))]
    known = {e.trials_dir.resolve() for e in experiments}
    for root in sorted(beside.glob("*.trials")):
        if root.resolve() not in known and trial_folders(root):
            yield root


def _is_shared(store: Store, experiment: Experiment) -> bool:
    """Whether another experiment of the store keeps its trials in the same place."""
    others = (store.find(n) for n in store.names() if n != experiment.definition.name)
    return any(o is not None and o.trials_dir == experiment.trials_dir for o in others)


def _cancel(experiment: Experiment, pending: list[Trial]) -> None:
    """End the jobs of pending trials. Raises Refused where that cannot be seen to have worked."""
    definition, token = experiment.definition, experiment.token
    runner = registry.build_runner(definition, lambda: None)
    refs = {t.index: ref_of(definition, t, experiment.trials_dir, token) for t in pending}
    try:
        left = set(refs)
        deadline = time.monotonic() + PATIENCE
        while left:
            runner.cancel([refs[i] for i in left])
            reports = runner.poll([refs[i] for i in left])
            left -= {i for i in left if (r := reports.get(refs[i].name)) and r.state.is_final}
            if left and time.monotonic() > deadline:
                raise Refused(f"the jobs of {len(left)} trials have not ended yet; try again")
            time.sleep(_pause(runner) if left else 0.0)
    except RunnerError as error:
        raise Refused(f"the jobs cannot be cancelled: {error}") from None
    finally:
        runner.close()


def _pause(runner: Runner) -> float:
    return max(runner.poll_floor, 0.2)
