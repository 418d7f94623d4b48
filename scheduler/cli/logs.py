"""The verb that prints what a trial has written, once or as it comes."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import click

from runners.base import STDERR, STDOUT
from scheduler.cli import common
from scheduler.cli.refused import Refused
from scheduler.jobs import Place, tasks_of
from scheduler.model.trial import Trial
from scheduler.output import opened
from scheduler.storage import read

CHUNK = 64 * 1024
FOLLOW = 0.5
"""Seconds between two looks while following."""


@click.command()
@common.trial_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the trial has ended.")
@click.option("--stderr", is_flag=True, help="What it wrote to standard error.")
@click.option("--arm", metavar="NAME", help="Only of this arm.")
@click.option(
    "--attempt", type=click.IntRange(1, common.LARGEST), help="By default the present one."
)
@common.storage_option
@common.json_option
def logs(index: int, arm: str | None, attempt: int | None, **options: object) -> None:
    """Print what a trial has written.

    Standard output of its present attempt, byte for byte; where the trial runs several commands,
    each below its folder's name. As JSON: where the files lie.
    """
    storage, name = _text(options["storage"]), _text(options["experiment"])
    found = common.find_trial(storage, name, index)
    trial = _attempt_of(found.record.trial, attempt)
    places = _places(found, trial, arm)
    if options["as_json"]:
        common.print_json_list(_view(place, trial) for place in places)
        return
    file, other = (STDERR, STDOUT) if options["stderr"] else (STDOUT, STDERR)
    with ExitStack() as stack:
        printed = Tail([place.directory / file for place in places], stack)
        if options["follow"]:
            follow(printed, lambda: _over(found, trial), lambda: time.sleep(FOLLOW))
        else:
            printed.more()
    if not printed.anything:
        _explain(trial, [p.directory / other for p in places], file)


@dataclass(slots=True)
class _Open:
    path: Path
    file: BinaryIO | None = None


class Tail:
    """Prints what files hold and, called again, what was added; under headers if several."""

    def __init__(self, paths: Sequence[Path], stack: ExitStack) -> None:
        self._open = [_Open(path) for path in paths]
        self._stack = stack
        self._shown: Path | None = None
        self.anything = False
        """Whether anything was printed."""

    def more(self) -> None:
        """Print what is new. Raises Refused where a file is none that a runner writes."""
        for each in self._open:
            if each.file is None:
                each.file = _opened(each.path)
                if each.file:
                    self._stack.enter_context(each.file)
            if each.file:
                self._copy(each.path, each.file)

    def _copy(self, path: Path, file: BinaryIO) -> None:
        for chunk in _chunks(file):
            if len(self._open) > 1 and self._shown != path:
                click.echo(f"{chr(10) if self._shown else ''}==> {path} <==")
            self._shown, self.anything = path, True
            click.echo(chunk, nl=False)


def follow(printed: Tail, over: Callable[[], bool], wait: Callable[[], None]) -> None:
    """Print until the trial is over, and then what it wrote last."""
    while True:
        last = over()
        printed.more()
        if last:
            return
        wait()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield what lies between where the file was read to and its end as it is now."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _opened(path: Path) -> BinaryIO | None:
    """Return a log; ``None`` where there is none yet."""
    try:
        return opened(path)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None


def _attempt_of(trial: Trial, attempt: int | None) -> Trial:
    if attempt is not None and attempt > trial.attempt:
        raise Refused(f"trial {trial.index} is in attempt {trial.attempt}; there is no {attempt}")
    return replace(trial, attempt=attempt or trial.attempt)


def _places(found: common.Found, trial: Trial, arm: str | None) -> list[Place]:
    experiment = found.experiment
    places = tasks_of(experiment.definition, trial, experiment.trials_dir)
    chosen = [place for place in places if arm in (None, place.arm.name)]
    if not chosen:
        names = ", ".join(each.name for each in trial.arms)
        raise Refused(f"trial {trial.index} has no arm {arm!r}; it has {names}")
    return chosen


def _over(found: common.Found, trial: Trial) -> bool:
    """Whether nothing more will be written by this attempt."""
    record = read.trial(found.store, found.experiment.id, trial.index)
    assert record is not None
    return record.trial.status.is_final or record.trial.attempt > trial.attempt


def _explain(trial: Trial, others: list[Path], file: str) -> None:
    """Say on standard error why nothing was printed, and where there is something."""
    words = f"trial {trial.index}, attempt {trial.attempt}, is {trial.status}; {file} is empty"
    if any(path.exists() and path.stat().st_size for path in others):
        words += f", but {others[0].name} is not"
    click.echo(words, err=True)


def _view(place: Place, trial: Trial) -> dict[str, object]:
    return {
        "trial_index": trial.index,
        "attempt": trial.attempt,
        "arm": place.arm.name,
        "replicate": place.replicate,
        "stdout": str(place.directory / STDOUT),
        "stderr": str(place.directory / STDERR),
    }


def _text(option: object) -> str | None:
    return option if isinstance(option, str) else None
