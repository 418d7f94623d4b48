"""The next trials of an experiment, as its loop would make them; nothing is stored or deployed."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from runners.base import Job, Runner, RunnerError
from scheduler import candidates, registry
from scheduler.cli.common import opened
from scheduler.cli.refused import Refused
from scheduler.generation.protocol import GenerationReply, GenerationRequest
from scheduler.generation.worker import WorkerGenerator
from scheduler.jobs import job_of
from scheduler.model.definition import ExperimentDefinition
from scheduler.model.experiment import ExperimentState, Tally, evolve
from scheduler.model.observation import Arms, MeasuredArms
from scheduler.model.pooling import pooled
from scheduler.model.redefine import changes
from scheduler.model.strategy import is_exhausted
from scheduler.model.trial import Trial, TrialStatus
from scheduler.model.warm_start import NOTHING, Gathered, complete
from scheduler.storage.errors import NoDatabase
from scheduler.storage.journal import ExperimentRecords
from scheduler.storage.store import Experiment, Store, first_trials
from scheduler.submit import trials_dir
from scheduler.warm_start import gather

NO_TOKEN = "0" * 8
"""Stands in the names of jobs where the experiment's own token is not drawn yet."""
LOOK = 1.0
"""Seconds after which the generator is asked whether it is late."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything that the next trials follow from."""

    state: ExperimentState
    trials_dir: Path
    records: candidates.Records
    token: str = NO_TOKEN
    warm: Gathered = NOTHING
    """What a new experiment would begin with."""


@dataclass(frozen=True, slots=True)
class NewRecords:
    """The records of an experiment that was never run: what it would begin with."""

    warm: Gathered

    def measured(self) -> MeasuredArms:
        """Return (parameters, metrics) of the arms that were measured elsewhere."""
        return pooled(tuple((arm.parameters, arm.metrics) for arm in self.warm.arms))

    def failed(self, reasons: Collection[str]) -> Arms:
        """Return nothing: no arm has failed here."""
        return ()

    def arms(self) -> Arms:
        """Return nothing: what was made is pending."""
        return ()


def of_definition(definition: ExperimentDefinition, url: str) -> Outlook:
    """Return the outlook of a file: of what is stored under its name, or of a new experiment.

    Raises DefinitionChanged where the stored one could not go on with this file.
    """
    try:
        store = opened(url)
    except NoDatabase:
        return of_new(definition, url)
    found = store.find(definition.name)
    if found is None:
        return of_new(definition, url)
    changes(found.definition, definition)
    return of_stored(store, found)


def of_new(definition: ExperimentDefinition, url: str) -> Outlook:
    """Return the outlook of an experiment that was never run; raises as ``gather`` does."""
    warm = gather(definition, lambda: opened(url))
    trials = first_trials(definition, 0.0)
    state = ExperimentState(
        definition,
        active={trial.index: trial for trial in trials},
        tally=Tally(created=len(trials)),
        generators=registry.traits_of(definition),
        transferred=complete(warm.arms, definition.required_metrics),
    )
    return Outlook(state, trials_dir(url, definition), NewRecords(warm), warm=warm)


def of_stored(store: Store, experiment: Experiment) -> Outlook:
    """Return the outlook of a stored experiment."""
    traits = registry.traits_of(experiment.definition)
    state = replace(store.peek(experiment), generators=traits)
    records = ExperimentRecords(store, experiment)
    return Outlook(state, experiment.trials_dir, records, experiment.token)


def next_trials(outlook: Outlook, count: int) -> Iterator[Trial]:
    """Yield the next trials: those that wait, and then new ones, at most ``count``.

    Raises Refused where no arm can be proposed.
    """
    state = outlook.state
    waiting = [t for t in state.active.values() if t.status is TrialStatus.CANDIDATE][:count]
    yield from waiting
    missing = min(count - len(waiting), state.definition.trials.total_trials - state.tally.created)
    if missing > 0:
        yield from islice(_proposed(outlook), missing)


def rendered(outlook: Outlook, trial: Trial) -> str:
    """Return what the runner would deploy. Raises Refused where it cannot say."""
    with _runner(outlook) as runner:
        return runner.render(_job(outlook, trial))


def examine(outlook: Outlook, trial: Trial) -> None:
    """Ask the backend about a trial. Raises Refused where it would not take it, or is silent."""
    with _runner(outlook) as runner:
        runner.render(_job(outlook, trial))
        runner.examine(_job(outlook, trial))


@contextmanager
def _runner(outlook: Outlook) -> Iterator[Runner]:
    runner = registry.build_runner(outlook.state.definition, lambda: None)
    try:
        yield runner
    except RunnerError as error:
        raise Refused(str(error)) from None
    finally:
        runner.close()


def _job(outlook: Outlook, trial: Trial) -> Job:
    return job_of(outlook.state.definition, trial, outlook.trials_dir, outlook.token)


def _proposed(outlook: Outlook) -> Iterator[Trial]:
    """Yield new trials, each conditioned on those before, until the search space is exhausted."""
    state, wake = outlook.state, threading.Event()
    generator = WorkerGenerator(wake.set)
    try:
        while True:
            known = candidates.known(state, outlook.records)
            reply = _reply(generator, wake, candidates.request(state, 1, known))
            arrived = candidates.arrivals(state, reply, 0.0)
            yield from arrived.trials
            state = replace(evolve(state, arrived), spent_nodes=candidates.spent(state, reply))
            if is_exhausted(state):
                return
    finally:
        generator.close()


def _reply(
    generator: WorkerGenerator, wake: threading.Event, request: GenerationRequest
) -> GenerationReply:
    generator.ask(request)
    while (reply := generator.reply()) is None:
        wake.wait(LOOK)
        wake.clear()
    if isinstance(reply, str):
        raise Refused(f"no arm can be proposed: {reply}")
    return reply
