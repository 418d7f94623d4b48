"""What each route does: little more than a call of the client."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from scheduler.http import bodies
from scheduler.http.bodies import KEYS, OF_METRICS, Moments
from scheduler.model.trial import TrialStatus
from scheduler.python.answers import Best
from scheduler.python.client import Client
from scheduler.python.errors import Busy, UserInputError, translated
from scheduler.python.session import Place
from scheduler.storage import read
from scheduler.storage.read import TrialRecord

WAIT = 20.0
"""Seconds to wait for somebody else who drives the experiment."""
EXTERNAL = {"type": "external"}


@dataclass
class Visit:
    """One request: what is asked, of which experiment and trial."""

    place: Place
    name: str = ""
    index: int = 0
    body: Any = None
    query: Any = None
    request: str | None = None
    """The caller's own name of this request, by which it may be repeated."""
    generator: Any = None
    """That of the experiment, with its models, where arms may be made."""
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.place, wait=WAIT)
        if self.name:
            self.client.load_experiment(self.name)
            outside = self.client.session.outside
            outside.request = self.request
            outside.generator = self.generator or outside.generator

    def done(self, verb: str) -> bool:
        """Whether this was asked before, by the same name; if so it is done, or Busy is raised."""
        outside = self.client.session.outside
        with translated():
            asked = outside.asked(verb)
            if asked is not None and not outside.taken_up(asked.id, WAIT):
                raise Busy(f"somebody else drives {self.name}, and has not taken this up yet")
        return asked is not None


# -- experiments


def list_experiments(visit: Visit) -> BaseModel:
    """List the experiments in the store."""
    store, page = visit.place.store, visit.query
    with translated():
        names = store.names()
        found = [store.find(name) for name in names[page.offset : page.offset + page.limit]]
    lines = [
        bodies.ExperimentLine(name=each.definition.name, status=each.status)
        for each in found
        if each is not None
    ]
    end = page.offset + page.limit
    return bodies.ExperimentsAnswer(experiments=lines, next=end if end < len(names) else None)


def create_experiment(visit: Visit) -> BaseModel:
    """Create an experiment, whose trials its callers carry out; or go on with the same one."""
    written = dict(visit.body)
    _check_harmless(written)
    visit.client.session.make({**written, "runner": EXTERNAL})
    return _experiment(visit.client)


def get_experiment(visit: Visit) -> BaseModel:
    """Say how an experiment stands."""
    return _experiment(visit.client)


def _check_harmless(written: Mapping[str, Any]) -> None:
    """Raise UserInputError for what could start a program, or name a file."""
    if written.get("runner", EXTERNAL) != EXTERNAL:
        raise UserInputError('over HTTP an experiment has the runner {"type": "external"}')
    if strange := [key for key in written if key not in KEYS and key != "runner"]:
        raise UserInputError(f"over HTTP an experiment has no key {strange[0]!r}")
    metrics = written.get("metrics")
    for name, spec in metrics.items() if isinstance(metrics, dict) else ():
        if isinstance(spec, dict) and (others := sorted(spec.keys() - OF_METRICS)):
            raise UserInputError(f"over HTTP a metric has no key {others[0]!r}, as {name!r} has")


def _experiment(client: Client) -> BaseModel:
    state, definition = client.session.state(), client.session.definition
    stop = state.stop
    return bodies.ExperimentAnswer(
        name=definition.name,
        status=state.status,
        paused=state.paused,
        stop=bodies.Stop(criterion=stop.criterion, message=stop.message) if stop else None,
        created=state.tally.created,
        pending=state.pending,
        finished={status.value: n for status, n in state.tally.finished.items() if n},
        definition=_shown(json.loads(state.definition.canonical())),
    )


def _shown(written: dict[str, Any]) -> dict[str, Any]:
    """Return of a definition what may be given over HTTP; a runner's secrets stay here."""
    shown = {key: value for key, value in written.items() if key in KEYS}
    for name, spec in shown.get("metrics", {}).items():
        shown["metrics"][name] = {key: v for key, v in spec.items() if key in OF_METRICS}
    return shown


# -- trials


def list_trials(visit: Visit) -> BaseModel:
    """List trials by index; those that are RUNNING are what somebody was handed."""
    session, page = visit.client.session, visit.query
    statuses = (page.status,) if page.status else ()
    with translated():
        found = read.trials(
            visit.place.store,
            session.experiment.id,
            statuses,
            offset=page.offset,
            limit=page.limit + 1,
        )
        records = list(found)
    more = page.offset + page.limit if len(records) > page.limit else None
    return bodies.TrialsAnswer(trials=[*map(_trial, records[: page.limit])], next=more)


def get_trial(visit: Visit) -> BaseModel:
    """Show a trial."""
    return _trial(visit.client.session.record(visit.index))


def next_trial(visit: Visit) -> BaseModel:
    """Have a new trial, RUNNING from now on. An answer that was lost: ask again by its key."""
    return _trial(visit.client.session.record(visit.client.session.take()))


def attach_trial(visit: Visit) -> BaseModel:
    """Add a trial of an arm of your own, RUNNING from now on."""
    session, body = visit.client.session, visit.body
    if visit.done("add-arm"):
        with translated():
            begun = session.outside.asked("begin")
            index = begun.trial_index if begun else None
            index = session.outside.added(body.parameters) if index is None else index
        if begun is None:
            session.take(index)
    else:
        _, index = visit.client.attach_trial(body.parameters, body.arm_name)
    assert index is not None
    return _trial(session.record(index))


def complete_trial(visit: Visit) -> BaseModel:
    """Complete a trial with its results."""
    if not visit.done("complete"):
        visit.client.complete_trial(visit.index, visit.body.data, visit.body.progression)
    return get_trial(visit)


def attach_data(visit: Visit) -> BaseModel:
    """Record results of a trial that runs."""
    if not visit.done("record"):
        visit.client.attach_data(visit.index, visit.body.data, visit.body.progression)
    return get_trial(visit)


def fail_trial(visit: Visit) -> BaseModel:
    """Say that a trial has failed: its arm is kept away from."""
    if not visit.done("fail"):
        visit.client.mark_trial_failed(visit.index, visit.body.reason)
    return get_trial(visit)


def abandon_trial(visit: Visit) -> BaseModel:
    """Give a trial up: nothing is learned from it."""
    if not visit.done("abandon"):
        visit.client.mark_trial_abandoned(visit.index, visit.body.reason)
    return get_trial(visit)


def stop_trial_early(visit: Visit) -> BaseModel:
    """Say that a trial was ended because it could not become good."""
    if not visit.done("stop-early"):
        visit.client.mark_trial_early_stopped(visit.index, visit.body.reason)
    return get_trial(visit)


def _trial(record: TrialRecord) -> bodies.TrialAnswer:
    trial = record.trial
    arms = [
        bodies.ArmAnswer(
            name=arm.name,
            parameters=dict(arm.parameters),
            weight=arm.weight,
            metrics=_moments(
                (name, (o.mean, o.sem)) for name, o in record.metrics.get(arm.name, {}).items()
            ),
        )
        for arm in trial.arms
    ]
    return bodies.TrialAnswer(
        index=trial.index,
        status=TrialStatus(trial.status),
        attempt=trial.attempt,
        message=trial.message,
        generator=record.generator,
        arms=arms,
    )


# -- what was found


def best(visit: Visit) -> BaseModel:
    """Show the best arm."""
    return _best(visit.client.get_best_parameterization(visit.query.model))


def pareto(visit: Visit) -> BaseModel:
    """Show the feasible arms that no other one beats in every objective."""
    found = visit.client.get_pareto_frontier(visit.query.model)
    return bodies.FrontierAnswer(arms=[*map(_best, found)])


def predict(visit: Visit) -> BaseModel:
    """Say what a model predicts of arms."""
    found = visit.client.predict(visit.body.points)
    return bodies.PredictionsAnswer(predictions=[_moments(each.items()) for each in found])


def _best(found: Best) -> bodies.BestAnswer:
    parameters, moments, index, arm = found
    return bodies.BestAnswer(
        parameters=parameters, metrics=_moments(moments.items()), trial_index=index, arm_name=arm
    )


def _moments(found: Iterable[tuple[str, tuple[float, float | None]]]) -> dict[str, Moments]:
    return {name: Moments(mean=mean, sem=sem) for name, (mean, sem) in found}
